"""What each page says, as plain values for its template. No framework, no adapter."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

import numpy as np

from services.console.memory import SECONDS, Memory, Seen, Version
from services.console.pictures import (
    HIGH,
    WIDE,
    apart,
    axis,
    decades,
    front,
    hull,
    inner,
    plane,
    ticks,
)
from shared.contracts.evaluations import Evaluated
from shared.contracts.evidence import facts_of
from shared.contracts.messages import Decided
from shared.contracts.parts import Profile
from shared.routing.assignment import Assignment
from shared.routing.comparing import by_votes, differences, origin
from shared.routing.frontier import Frontier
from shared.routing.rates import MOST_S, MOST_USD, PROFILES, Goal, Rates
from shared.routing.selection import INTERVAL, Limits, Prediction, Selection, select
from shared.routing.table import RoutingTable
from shared.routing.task2vec import similar

COLOURS = 10
"""Kinds of colour in the style sheet; more models than that share them."""
SHOWN = 25
"""Decisions listed on Now."""
MOVED = 20
"""Strengths that moved most, listed in a difference."""


def colour(model: str | None, models: Sequence[str]) -> str:
    """The class of a model's colour."""
    return (
        f"m{sorted(models).index(model) % COLOURS}"
        if model is not None and model in models
        else "m-none"
    )


def row(seen: Seen, models: Sequence[str], *, prompts: bool) -> dict[str, Any]:
    """One decision of the list; `prompts`: for somebody who may see them."""
    return {
        "id": seen.request_id,
        "at": datetime.fromtimestamp(seen.at, UTC).strftime("%H:%M:%S"),
        "task": task_of(seen, prompts=prompts),
        "cluster": seen.cluster,
        "label": _short(seen.label, 48),
        "novel": seen.novel,
        "model": seen.model or "no eligible model",
        "runner_up": seen.runner_up or "nobody",
        "colour": colour(seen.model, models),
        "confidence": f"{seen.confidence:.2f}",
        "cost": usd(seen.cost_usd),
        "ms": round(1000 * seen.took_s),
    }


def task_of(seen: Seen, *, prompts: bool) -> str | None:
    """What a prompt asks; None if that would tell somebody its words who may not see them."""
    return None if seen.own_words and not prompts else seen.task


def usd(amount: float) -> str:
    """Dollars with enough digits to compare."""
    if amount == 0:
        return "$0"
    return (
        f"${amount:.2g}"
        if abs(amount) < 0.01
        else f"${amount:,.2f}"
        if abs(amount) >= 1
        else f"${amount:.3f}"
    )


def percentile(values: Sequence[float], share: float) -> float | None:
    ordered = sorted(values)
    return (
        ordered[min(len(ordered) - 1, max(0, math.ceil(share * len(ordered)) - 1))]
        if ordered
        else None
    )


def numbers(memory: Memory, now: float) -> dict[str, Any]:
    """The figures at the head of Now."""
    recent = list(memory.last_seconds(now, 10))
    latencies = [t for _, second in memory.last_seconds(now, 60) for t in second]
    p50, p99 = percentile(latencies, 0.5), percentile(latencies, 0.99)
    saved = 1 - memory.chosen_usd / memory.single_usd if memory.single_usd > 0 else None
    return {
        "count": f"{memory.count:,}",
        "rate": f"{sum(len(s) for _, s in recent) / 10:.1f}",
        "p50": "–" if p50 is None else f"{1000 * p50:.0f} ms",
        "p99": "–" if p99 is None else f"{1000 * p99:.0f} ms",
        "chosen": usd(memory.chosen_usd),
        "single": usd(memory.single_usd),
        "single_model": memory.single or "no table yet",
        "saved": "–"
        if saved is None
        else f"{saved:.0%} less"
        if saved >= 0
        else f"{-saved:.0%} more",
    }


GOAL_PROMPTS = 2000
"""The newest decisions of a goal, over which it is to be met."""


def goals_of(memory: Memory) -> list[dict[str, str]]:
    """Each goal beside what was reached, over its newest decisions, with 95% intervals."""
    found: dict[Goal, list[Seen]] = {}
    for seen in reversed(memory.decisions):
        if seen.goal is not None and len(own := found.setdefault(seen.goal, [])) < GOAL_PROMPTS:
            own.append(seen)
    return [_goal_row(goal, own) for goal, own in found.items()]


def _goal_row(goal: Goal, own: Sequence[Seen]) -> dict[str, str]:
    cost = 1000 * np.array([s.cost_usd for s in own])
    row = {"goal": goal.text, "prompts": f"{len(own):,}", "cost": _spread(cost, usd)}
    both = np.array(
        [
            (s.success, s.single_success)
            for s in own
            if s.success is not None and s.single_success is not None
        ]
    )
    if not len(both) or not both[:, 1].sum():
        return row | {"kept": "–"}
    ratio = float(both[:, 0].sum() / both[:, 1].sum())
    error = float(
        np.std(both[:, 0] - ratio * both[:, 1]) / both[:, 1].mean() / math.sqrt(len(both))
    )
    return row | {
        "kept": f"{ratio:.1%} ({ratio - INTERVAL * error:.1%} to {ratio + INTERVAL * error:.1%})"
    }


def _spread(values: np.ndarray, form: Callable[[float], str]) -> str:
    """The mean and its 95% interval."""
    mean, error = float(values.mean()), float(values.std() / math.sqrt(len(values)))
    return (
        f"{form(mean)} ({form(max(0.0, mean - INTERVAL * error))} to "
        f"{form(mean + INTERVAL * error)})"
    )


def series(memory: Memory, now: float, since: int | None = None) -> dict[str, list[Any]]:
    """The last two minutes second by second (or from the second `since` on): decisions, p50 and p99
    in ms."""
    at: list[int] = []
    rate: list[int] = []
    p50: list[float | None] = []
    p99: list[float | None] = []
    for second, latencies in memory.last_seconds(
        now, SECONDS if since is None else max(0, min(SECONDS, int(now) - since))
    ):
        at.append(second)
        rate.append(len(latencies))
        for share, values in ((0.5, p50), (0.99, p99)):
            found = percentile(latencies, share)
            values.append(None if found is None else round(1000 * found, 1))
    return {"at": at, "rate": rate, "p50": p50, "p99": p99}


def now(memory: Memory, at: float, *, prompts: bool) -> dict[str, Any]:
    """The page Now."""
    models = memory.current.table.models if memory.current else ()
    latest = [
        row(memory.decisions[-1 - i], models, prompts=prompts)
        for i in range(min(SHOWN, len(memory.decisions)))
    ]
    return {
        "numbers": numbers(memory, at),
        "latest": latest,
        "history": len(memory.decisions),
        "goals": goals_of(memory),
    }


def about(version: Version) -> dict[str, Any]:
    """The table that a page is drawn from."""
    return {
        "version": str(version.published.ref),
        "clusters": len(version.table.clusters),
        "simulated": version.table.provenance.simulated,
        "unranked": origin(version.table) == "none yet",
        "source": version.table.provenance.source,
        "models": [
            {"name": m, "colour": colour(m, version.table.models)}
            for m in sorted(version.table.models)
        ],
    }


def choice(table: RoutingTable, cluster: int, rates: Rates) -> Selection:
    """What a prompt that lies right in `cluster` would be given."""
    there = Assignment(
        np.array([cluster]), np.ones(1, np.float32), np.zeros(1, np.float32), novel=False
    )
    return select(table, there, rates, Limits(), {})


def map_of(memory: Memory, version: Version, profile: Profile) -> dict[str, Any]:
    """The page Map: clusters and prompts on a plane."""
    table = version.table
    placed = memory.placed(table)
    seen = [s for s, _ in placed]
    vectors = table.points_of([s.point[1] for s in seen if s.point])
    flat = plane(table.centroids, vectors)
    centres, dots = (
        flat.place(table.centroids),
        flat.place(vectors) if len(vectors) else np.zeros((0, 2)),
    )
    nearest = np.array([table.positions[place] for _, place in placed], np.intp)
    winners = [
        choice(table, c, PROFILES[profile]).candidates[0] for c in range(len(table.clusters))
    ]
    traffic = [int((nearest == c).sum()) for c in range(len(table.clusters))]
    most = max(traffic, default=0) or 1
    shown = apart(
        [(float(x), float(y)) for x, y in centres],
        [_short(c.label) for c in table.clusters],
        traffic,
    )
    areas = [
        {
            "id": cluster.id,
            "label": cluster.label,
            "short": _short(cluster.label),
            "x": round(float(centres[c][0]), 1),
            "y": round(float(centres[c][1]), 1),
            "r": round(7 + 22 * math.sqrt(traffic[c] / most), 1),
            "hull": " ".join(f"{x:.1f},{y:.1f}" for x, y in hull(inner(dots[nearest == c]))),
            "winner": winners[c].model,
            "colour": colour(winners[c].model, table.models),
            "cost": usd(winners[c].cost_usd),
            "named": shown[c],
            "traffic": traffic[c],
        }
        for c, cluster in enumerate(table.clusters)
    ]
    points = [
        {"x": round(float(x), 1), "y": round(float(y), 1), "colour": colour(s.model, table.models)}
        for s, (x, y) in zip(seen, dots, strict=True)
        if -20 < x < WIDE + 20 and -20 < y < HIGH + 20
    ]
    by_traffic = [
        areas[i]
        for i in sorted(range(len(areas)), key=lambda i: (-traffic[i], table.clusters[i].id))
    ]
    return {
        "table": about(version),
        "areas": areas,
        "rows": by_traffic,
        "points": points,
        "profile": profile.value,
        "newest": len(seen),
        "wide": WIDE,
        "high": HIGH,
    }


def _short(text: str, letters: int = 34) -> str:
    return text if len(text) <= letters else text[: letters - 1].rsplit(" ", 1)[0] + "…"


def cluster_of(
    memory: Memory, version: Version, cluster_id: str, *, prompts: bool
) -> dict[str, Any] | None:
    """One cluster: its prompts' descriptions, its ranking with intervals, what its models cost and
    take, its history over tables."""
    table = version.table
    if (c := table.positions.get(cluster_id)) is None:
        return None
    cluster = table.clusters[c]
    placed = memory.placed(table)
    here = [s for s, place in reversed(placed) if place == cluster_id]
    tasks = Counter(task for s in here if (task := task_of(s, prompts=prompts)) is not None)
    order = np.argsort(-table.strength[c], kind="stable")
    success, (low, high) = table.success[c], (ends[c] for ends in table.success_interval(INTERVAL))
    across = axis(float(low.min()), float(high.max()), 10, 390)
    chosen = Counter(s.model for s in here)
    ranking = [
        {
            "model": table.models[m],
            "colour": colour(table.models[m], table.models),
            "success": f"{success[m]:.2f}",
            "low": f"{low[m]:.2f}",
            "high": f"{high[m]:.2f}",
            "x": round(across(float(success[m])), 1),
            "x1": round(across(float(low[m])), 1),
            "x2": round(across(float(high[m])), 1),
            "cost": usd(float(table.cost_usd[c, m])),
            "latency": f"{table.latency_s[c, m]:.1f} s",
            "chosen": chosen[table.models[m]],
        }
        for m in order
    ]
    latest = [
        {"task": s.task, "prompt": s.prompt if prompts else None, "model": s.model}
        for s in here[:12]
    ]
    return {
        "table": about(version),
        "id": cluster.id,
        "label": cluster.label,
        "size": cluster.size,
        "traffic": len(here),
        "newest": len(placed),
        "tasks": tasks.most_common(12),
        "latest": latest if prompts else [],
        "ranking": ranking,
        "line": round(across(float(success[table.models.index(table.reference_model)])), 1),
        "by_votes": by_votes(table),
        "reference": table.reference_model,
        "scatter": scatter(table.models, table.cost_usd[c], success, table.latency_s[c]),
        "history": history(memory, cluster_id, version),
        "similar": [
            {"id": table.clusters[i].id, "label": table.clusters[i].label}
            for i, _ in similar(table, c)
        ],
    }


def scatter(models: Sequence[str], cost: Any, quality: Any, latency: Any) -> dict[str, Any]:
    """Cost (logarithmic) against quality, the size of a dot by latency, with the Pareto front."""
    logs = np.log10(np.maximum(np.asarray(cost, np.float64), 1e-9))
    values = np.asarray(quality, np.float64)
    x = axis(float(logs.min()) - 0.15, float(logs.max()) + 0.15, 60, 580)
    pad = 0.08 * (float(np.ptp(values)) or 1.0)
    y = axis(float(values.min()) - pad, float(values.max()) + pad, 300, 20)
    slow = axis(0.0, float(np.max(latency)) or 1.0, 5, 16)
    best = front([float(v) for v in logs], [float(v) for v in values])
    ends = [x(float(v)) > 430 for v in logs]
    radii = [slow(float(v)) for v in np.asarray(latency)]
    places = [
        (x(float(logs[i])) + (-1 if ends[i] else 1) * (radii[i] + 5), y(float(values[i])) + 4)
        for i in range(len(models))
    ]
    middles = [
        (tx + (-1 if ends[i] else 1) * 3.7 * len(models[i]), ty)
        for i, (tx, ty) in enumerate(places)
    ]
    named = apart(middles, models, [float(v) for v in values])
    dots = [
        {
            "model": m,
            "named": named[i],
            "tx": round(places[i][0], 1),
            "ty": round(places[i][1], 1),
            "x": round(x(float(logs[i])), 1),
            "y": round(y(float(values[i])), 1),
            "r": round(radii[i], 1),
            "colour": colour(m, models),
            "cost": usd(float(cost[i])),
            "quality": f"{values[i]:.2f}",
            "latency": f"{float(latency[i]):.1f} s",
            "best": i in best,
            "end": ends[i],
        }
        for i, m in enumerate(models)
    ]
    marks = [
        {"x": round(x(v), 1), "text": usd(10**v)}
        for v in decades(float(logs.min()) - 0.1, float(logs.max()) + 0.1)
    ]
    return {
        "dots": dots,
        "line": " ".join(f"{x(float(logs[i])):.1f},{y(float(values[i])):.1f}" for i in best),
        "x": marks,
        "y": [
            {"y": round(y(v), 1), "text": f"{v:.2f}"}
            for v in ticks(float(values.min()), float(values.max()), 4)
        ],
    }


def history(memory: Memory, cluster_id: str, version: Version) -> dict[str, Any] | None:
    """The success of this cluster's models over the tables that are remembered."""
    known = [v for v in memory.versions.values() if cluster_id in v.table.positions]
    if len(known) < 2:
        return None
    models = version.table.models
    rows = {
        m: [
            float(v.table.success[v.table.positions[cluster_id], v.table.models.index(m)])
            if m in v.table.models
            else None
            for v in known
        ]
        for m in models
    }
    values = [v for line in rows.values() for v in line if v is not None]
    x, y = axis(0, len(known) - 1, 50, 570), axis(min(values), max(values), 200, 15)
    lines = [
        {
            "model": m,
            "colour": colour(m, models),
            "points": " ".join(
                f"{x(i):.1f},{y(v):.1f}" for i, v in enumerate(line) if v is not None
            ),
            "first": next((f"{v:.2f}" for v in line if v is not None), ""),
            "last": next((f"{v:.2f}" for v in reversed(line) if v is not None), ""),
        }
        for m, line in rows.items()
    ]
    marks = [
        {"x": round(x(i), 1), "text": str(v.published.ref)}
        for i, v in enumerate(known)
        if i % max(1, len(known) // 6) == 0
    ]
    return {
        "lines": lines,
        "x": marks,
        "y": [
            {"y": round(y(v), 1), "text": f"{v:.2f}"} for v in ticks(min(values), max(values), 4)
        ],
    }


def models_of(version: Version, dial: int = 60) -> dict[str, Any]:
    """The page Models: success per cluster, cost against success, what the dial and each profile
    would choose where."""
    table = version.table
    models = sorted(table.models)
    places = [table.models.index(m) for m in models]
    rate = table.success
    best = rate.max(axis=1, keepdims=True)
    sizes = np.array([max(1, c.size) for c in table.clusters], np.float64)
    sizes /= sizes.sum()
    heat = [
        {
            "id": cluster.id,
            "label": cluster.label,
            "cells": [
                {
                    "text": f"{rate[c, m]:.0%}",
                    "heat": f"h{min(9, int(10 * rate[c, m]))}",
                    "best": bool(rate[c, m] == best[c, 0]),
                }
                for m in places
            ],
        }
        for c, cluster in enumerate(table.clusters)
    ]
    chosen = [
        {
            "id": cluster.id,
            "label": cluster.label,
            "picks": [
                {"model": name, "colour": colour(name, table.models)}
                for rates in (dialled(dial), *PROFILES.values())
                for name in [choice(table, c, rates).candidates[0].model]
            ],
        }
        for c, cluster in enumerate(table.clusters)
    ]
    return {
        "table": about(version),
        "models": models,
        "heat": heat,
        "chosen": chosen,
        "profiles": [p.value for p in Profile],
        "scatter": scatter(
            table.models, sizes @ table.cost_usd, sizes @ rate, sizes @ table.latency_s
        ),
        "by_votes": by_votes(table),
        "reference": table.reference_model,
        "dial": dial,
        "rate": usd(dialled(dial).usd_per_point),
        "curve": None if table.frontier is None else curve(table.frontier, dialled(dial)),
    }


def assignment_of(message: Decided, table: RoutingTable) -> Assignment:
    """Where a prompt lies in the table that it was assigned with."""
    parts = message.assignment.clusters
    clusters = np.array([table.positions[p.id] for p in parts], np.intp)
    weights, distances = (
        np.array(values, np.float32)
        for values in ([p.weight for p in parts], [p.distance for p in parts])
    )
    return Assignment(clusters, weights, distances, message.assignment.novel)


def limits_of(message: Decided, retired: frozenset[str]) -> Limits:
    """What a model must keep to for that prompt."""
    return replace(message.constraints.limits(message.context_tokens()), retired=retired)


DIAL = (1e-4, MOST_USD)
"""USD that a point of success is worth at the ends of the dial."""
WAIT = (MOST_S, 1.0)
"""Seconds that it is worth at the ends of the other."""


def dialled(dial: int, wait: int = 0) -> Rates:
    """The rates at these places of the two dials, 0 to 100, logarithmic."""
    usd_per_point = DIAL[0] * (DIAL[1] / DIAL[0]) ** (dial / 100)
    return Rates(usd_per_point, WAIT[0] * (WAIT[1] / WAIT[0]) ** (wait / 100))


def places_of(rates: Rates) -> dict[str, int]:
    """Where the dials stand for these rates."""
    dial = 100 * math.log(max(rates.usd_per_point, DIAL[0]) / DIAL[0]) / math.log(DIAL[1] / DIAL[0])
    wait = 100 * math.log(max(rates.s_per_point, WAIT[1]) / WAIT[0]) / math.log(WAIT[1] / WAIT[0])
    return {"dial": round(min(100.0, dial)), "wait": round(min(100.0, max(0.0, wait)))}


def profile_of(places: Mapping[str, int]) -> str | None:
    """The profile at these places of the dials, if one stands there."""
    return next(
        (name for name, rates in PROFILES.items() if places_of(rates) == dict(places)), None
    )


def curve(frontier: Frontier, rates: Rates) -> dict[str, Any]:
    """The quality-cost curve of a table, and where these rates stand on it."""
    cost, success = (
        np.maximum(frontier.cost_usd.astype(np.float64), 1e-9),
        frontier.success.astype(np.float64),
    )
    logs, at = np.log10(cost), math.log(rates.usd_per_point)
    grid = np.log(frontier.usd_per_point.astype(np.float64))
    here_cost, here = (
        float(np.exp(np.interp(at, grid, np.log(cost)))),
        float(np.interp(at, grid, success)),
    )
    low, high = (
        min(float(success.min()), frontier.single_success),
        max(float(success.max()), frontier.single_success),
    )
    pad = 0.08 * ((high - low) or 1.0)
    single = math.log10(max(frontier.single_cost_usd, 1e-9))
    x = axis(min(float(logs.min()), single) - 0.05, max(float(logs.max()), single) + 0.05, 60, 580)
    y = axis(low - pad, high + pad, 300, 20)
    return {
        "line": " ".join(
            f"{x(float(a)):.1f},{y(float(b)):.1f}" for a, b in zip(logs, success, strict=True)
        ),
        "here": {"x": round(x(math.log10(here_cost)), 1), "y": round(y(here), 1)},
        "single": {
            "x": round(x(single), 1),
            "y": round(y(frontier.single_success), 1),
            "model": frontier.single,
        },
        "x": [
            {"x": round(x(v), 1), "text": usd(1000 * 10**v)}
            for v in decades(float(logs.min()) - 0.1, float(logs.max()) + 0.1)
        ],
        "y": [{"y": round(y(v), 1), "text": f"{v:.2f}"} for v in ticks(low, high, 4)],
        "success": f"{here:.3f}",
        "cost": usd(1000 * here_cost),
        "kept": f"{here / frontier.single_success:.1%}" if frontier.single_success > 0 else "–",
        "measured": frontier.measured,
        "prompts": f"{frontier.prompts:,}",
    }


def trial_of(message: Decided, took_s: float) -> dict[str, Any]:
    """What is known of a prompt, whatever the weights."""
    parts = message.assignment.clusters
    return {
        "task": message.description.text,
        "source": message.description.origin,
        "simulated": message.description.simulated,
        "novel": message.assignment.novel,
        "clusters": [{"id": p.id, "label": p.label, "share": f"{p.weight:.0%}"} for p in parts],
        "ms": round(1000 * took_s),
        "table": str(message.decision.table),
    }


def prediction_of(message: Decided, table: RoutingTable) -> Prediction | None:
    """What the table's predictor said of that prompt, as far as it counted."""
    return message.assignment.prediction(table, message.decision.predictor_share)


def ranking_of(
    table: RoutingTable,
    assignment: Assignment,
    rates: Rates,
    limits: Limits,
    contexts: Mapping[str, int],
    prediction: Prediction | None = None,
    tokens: float | None = None,
) -> dict[str, Any]:
    """Every model's utility broken down, for one prompt and these rates."""
    found = select(table, assignment, rates, limits, contexts, prediction, tokens)
    spans = (
        max(c.gain, min(1.0, c.cost_penalty + c.latency_penalty + c.caution))
        for c in found.candidates
    )
    span = max(spans, default=1.0) or 1.0
    rows = [
        {
            "model": c.model,
            "colour": colour(c.model, table.models),
            "unproven": c.unproven,
            "predicted": None if c.predicted is None else f"{c.predicted:.0%}",
            "utility": f"{c.utility:+.3f}",
            "success": f"{c.success:.2f}",
            "interval": f"{c.success_low:.2f}–{c.success_high:.2f}",
            "cost": usd(c.cost_usd),
            "latency": f"{c.latency_s:.1f} s",
            "gain": f"{c.gain:+.3f}",
            "cost_penalty": f"{-c.cost_penalty:+.3f}",
            "latency_penalty": f"{-c.latency_penalty:+.3f}",
            "caution": f"{-c.caution:+.3f}",
            "bars": {
                "gain": round(100 * c.gain / span, 1),
                "cost": round(min(100.0, 100 * c.cost_penalty / span), 1),
                "latency": round(min(100.0, 100 * c.latency_penalty / span), 1),
            },
        }
        for c in found.candidates
    ]
    return {
        "rows": rows,
        "ruled_out": found.ruled_out,
        "winner": rows[0]["model"] if rows else None,
        "colour": rows[0]["colour"] if rows else "",
        "why": found.why,
        "confidence": f"{found.confidence:.2f}",
        "rates": {
            "usd": usd(rates.usd_per_point),
            "s": "no matter how long"
            if rates.s_per_point >= MOST_S
            else f"{rates.s_per_point:.3g} s",
        },
        "by_votes": by_votes(table),
        "reference": table.reference_model,
        "cautious": any(c.caution > 0 for c in found.candidates),
        "traffic": None if table.frontier is None else curve(table.frontier, rates),
    }


def tables_of(memory: Memory) -> list[dict[str, Any]]:
    """All versions, the newest first."""
    rows: list[dict[str, Any]] = []
    for published, clusters in (memory.known[v] for v in sorted(memory.known, reverse=True)):
        at = published.published_at.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
        facts = {
            "version": str(published.ref),
            "at": at,
            "note": published.note,
            "pinned": published.pinned,
            "clusters": clusters,
        }
        rows.append(facts | {"digest": published.digest[:12], "current": not rows})
    return rows


def diff_of(before: Version, after: Version) -> dict[str, Any]:
    """Two versions side by side."""
    moved = sorted(_moved(before.table, after.table), key=lambda r: -abs(r.by))[:MOVED]
    return {
        "changes": differences(before.table, after.table),
        "equal": before.table == after.table,
        "moved": moved,
    }


@dataclass(frozen=True, slots=True)
class Moved:
    """A success in two tables."""

    cluster: str
    label: str
    model: str
    was: float
    now: float
    error: float
    """Standard error of the difference."""

    @property
    def by(self) -> float:
        return self.now - self.was


def _moved(before: RoutingTable, after: RoutingTable) -> Iterator[Moved]:
    for j, cluster in enumerate(after.clusters):
        if (i := before.positions.get(cluster.id)) is None:
            continue
        for m, model in enumerate(after.models):
            if model in before.models:
                k = before.models.index(model)
                was, is_now = float(before.success[i, k]), float(after.success[j, m])
                errors = (
                    was * (1 - was) * float(before.standard_error[i, k]),
                    is_now * (1 - is_now) * float(after.standard_error[j, m]),
                )
                yield Moved(cluster.id, cluster.label, model, was, is_now, math.hypot(*errors))


def evidence_of(evaluations: Sequence[Evaluated], budget_usd: float) -> dict[str, Any]:
    """What the votes show, and what judging costs."""
    facts = facts_of(sorted(evaluations, key=lambda e: e.evaluation_id), budget_usd)
    facts["simulated_votes"] = facts.pop("simulated")
    return facts | {"share": min(1.0, facts["spent_today_usd"] / budget_usd) if budget_usd else 0.0}


def spending_of(memory: Memory, now: datetime) -> list[tuple[str, str]]:
    """What was spent today (UTC) on each key, the most first."""
    today = now.astimezone(UTC).date().isoformat()
    keys = sorted(
        ((key, amount) for (day, key), amount in memory.spent.items() if day == today),
        key=lambda k: -k[1],
    )
    return [(key, usd(amount)) for key, amount in keys]
