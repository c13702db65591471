"""What several pages say: colours, money, the table they are drawn from."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from services.console.memory import SeenDecision, Version
from services.console.pages.views import AcrossMark, Dot, Scatter, TableAbout
from services.console.pictures import apart, axis, decades, front, ticks
from shared.contracts.figures import usd
from shared.routing.deciding.assignment import Assignment
from shared.routing.deciding.rates import Rates
from shared.routing.deciding.selection import Limits, Selection, select
from shared.routing.deciding.table import RoutingTable

COLOURS = 10
"""Kinds of colour in the style sheet; more models than that share them."""


def colour(model: str | None, models: Sequence[str]) -> str:
    """The class of a model's colour."""
    return (
        f"m{sorted(models).index(model) % COLOURS}"
        if model is not None and model in models
        else "m-none"
    )


def task_of(seen: SeenDecision, *, prompts: bool) -> str | None:
    """What a prompt asks; None if that would tell somebody its words who may not see them."""
    return None if seen.own_words and not prompts else seen.task


def about(version: Version) -> TableAbout:
    """The table that a page is drawn from."""
    return {
        "version": str(version.published.ref),
        "clusters": len(version.table.clusters),
        "simulated": version.table.provenance.simulated,
        "unranked": version.table.unranked,
        "source": version.table.provenance.source,
        "models": [
            {"name": m, "colour": colour(m, version.table.models)}
            for m in sorted(version.table.models)
        ],
    }


def choice(
    table: RoutingTable, cluster: int, rates: Rates, retired: frozenset[str] = frozenset()
) -> Selection:
    """What a prompt that lies right in `cluster` would be given. Where all models are `retired`,
    they count."""
    there = Assignment(
        np.array([cluster]), np.ones(1, np.float32), np.zeros(1, np.float32), novel=False
    )
    left = retired if set(table.models) - retired else frozenset[str]()
    return select(table, there, rates, Limits(retired=left), {})


def cut_short(text: str, letters: int = 34) -> str:
    return text if len(text) <= letters else text[: letters - 1].rsplit(" ", 1)[0] + "…"


def scatter(models: Sequence[str], cost: Any, quality: Any, latency: Any) -> Scatter:
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
    dots: list[Dot] = [
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
    marks: list[AcrossMark] = [
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
