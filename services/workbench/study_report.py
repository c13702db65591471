"""The report of a study: rankings, what votes show, and the truth where it is known."""

from __future__ import annotations

import csv
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from shared.catalog import tasks
from shared.catalog.models import Model
from shared.contracts.evaluations import Evaluated
from shared.contracts.evidence import agreements, arrays, raters
from shared.contracts.raters import RaterKind, Voter
from shared.routing.learning.bradley_terry import Ranking, fit_votes
from shared.routing.learning.votes import Hits

Floats = npt.NDArray[np.float64]
WEIGHTS = {RaterKind.judge: 1.0, RaterKind.human: 2.0, RaterKind.feedback: 0.3}


@dataclass(frozen=True, slots=True)
class Study:
    """Evaluations ranked, task by task."""

    models: tuple[str, ...]
    tasks: tuple[tuple[str, str], ...]
    """(id, name)"""
    ranking: Ranking
    hits: Mapping[Voter, Hits]
    evaluations: tuple[Evaluated, ...]
    task_of: Mapping[str, str]
    cost_usd: Mapping[str, float]
    latency_s: Mapping[str, float]


def study_of(
    evaluations: Sequence[Evaluated],
    models: Sequence[str],
    task_of: Mapping[str, str],
    pool: Sequence[Model],
) -> Study:
    """Rank `models` on each task by `evaluations`. The reference is the most expensive model of
    `pool`."""
    named_tasks = [(t.id, t.name) for t in tasks.methodology()]
    position = {task: i for i, (task, _) in enumerate(named_tasks)}
    where = {model: i for i, model in enumerate(models)}
    used = sorted(
        (
            e
            for e in evaluations
            if e.request_id in task_of and e.first in where and e.second in where
        ),
        key=lambda e: e.evaluation_id,
    )
    data, ballots = arrays(used, where, lambda e: position[task_of[e.request_id]])
    reference = where[max(pool, key=lambda m: (m.price.output, m.name)).name]
    weights = {rater: WEIGHTS[rater.kind] for rater in ballots}
    ranking, hits = fit_votes(data, ballots, len(named_tasks), len(models), reference, weights)
    took: dict[str, dict[str, tuple[float, float]]] = {m: {} for m in models}
    for evaluation in used:
        for answer in evaluation.answers:
            took.setdefault(answer.model, {})[evaluation.request_id] = (
                answer.cost_usd,
                answer.latency_s,
            )
    cost = {m: float(np.mean([c for c, _ in took[m].values()])) if took[m] else 0.0 for m in models}
    latency = {
        m: float(np.median([s for _, s in took[m].values()])) if took[m] else 0.0 for m in models
    }
    return Study(
        tuple(models), tuple(named_tasks), ranking, hits, tuple(used), dict(task_of), cost, latency
    )


def report(
    study: Study, folder: Path, truth: Mapping[str, Mapping[str, float]] | None, missing: int
) -> dict[str, Any]:
    """Facts of a study; also written to `folder` as Markdown, CSV, JSON and a picture."""
    r = study.ranking
    firsts = r.strength.argmax(axis=1)
    overall = [
        {
            "model": m,
            "strength": float(r.overall[i]),
            "low": float(r.overall[i] - 1.96 * r.overall_error[i]),
            "high": float(r.overall[i] + 1.96 * r.overall_error[i]),
            "cost_usd": study.cost_usd[m],
            "latency_s": study.latency_s[m],
            "first_on": int((firsts == i).sum()),
        }
        for i, m in enumerate(study.models)
    ]
    facts: dict[str, Any] = {
        "simulated": any(e.rater.simulated for e in study.evaluations),
        "overall": sorted(overall, key=lambda row: -float(str(row["strength"]))),
        "tasks": [_task(study, c) for c in range(len(study.tasks))],
        "votes": raters(study.evaluations, study.hits),
        "agreement": agreements(study.evaluations),
        "missing": missing,
    }
    if truth is not None:
        facts["truth"] = _beside_truth(study, truth)
    (folder / "ranking.json").write_text(json.dumps(facts, indent=2) + "\n")
    (folder / "ranking.md").write_text(_markdown(facts))
    with (folder / "ranking.csv").open("w", newline="") as file:
        lines = csv.writer(file)
        lines.writerow(
            ["task", "rank", "model", "strength", "standard_error", "cost_usd", "latency_s"]
        )
        for task in facts["tasks"]:
            for i, m in enumerate(task["models"], 1):
                lines.writerow(
                    [
                        task["name"],
                        i,
                        m["model"],
                        m["strength"],
                        m["standard_error"],
                        study.cost_usd[m["model"]],
                        study.latency_s[m["model"]],
                    ]
                )
    _picture(study, facts, folder / "ranking.png")
    return facts


def _task(study: Study, c: int) -> dict[str, Any]:
    r = study.ranking
    order = np.argsort(-r.strength[c], kind="stable")
    ranked = [
        {
            "model": study.models[i],
            "strength": float(r.strength[c, i]),
            "standard_error": float(r.standard_error[c, i]),
        }
        for i in order
    ]
    return {"id": study.tasks[c][0], "name": study.tasks[c][1], "models": ranked}


def why(abstained: Mapping[str, int]) -> str:
    """The reasons of abstentions, where they are known."""
    reasons = ", ".join(
        f"{count} {reason.replace('_', ' ')}"
        for reason, count in sorted(abstained.items(), key=lambda pair: -pair[1])
    )
    return f" ({reasons})" if reasons else ""


def kendall(one: Floats, other: Floats) -> float:
    """Kendall's tau of two strengths (models,), without ties."""
    i, j = np.triu_indices(len(one), 1)
    return float((np.sign(one[i] - one[j]) * np.sign(other[i] - other[j])).mean())


def _beside_truth(study: Study, truth: Mapping[str, Mapping[str, float]]) -> dict[str, float]:
    """How near the ranking comes to the truth, and how near counting the votes of one order alone
    would have come."""
    true = np.array([[truth[task][m] for m in study.models] for task, _ in study.tasks])
    r = study.ranking
    reference = int(np.flatnonzero(np.abs(r.strength).sum(axis=0) == 0)[0])
    wrong = np.abs(r.strength - (true - true[:, [reference]])) > 1.96 * r.reference_error
    others = [i for i in range(len(study.models)) if i != reference]
    position = {task: c for c, (task, _) in enumerate(study.tasks)}
    wins = np.zeros_like(true)
    for e in study.evaluations:
        c = position[study.task_of[e.request_id]]
        lead = np.sign(
            e.votes.straight_first - e.votes.straight_second
        )  # the first of the alphabet always stood first
        wins[c, study.models.index(e.first)] += lead
        wins[c, study.models.index(e.second)] -= lead
    wins += 1e-9 * np.arange(len(study.models))
    return {
        "tau": float(np.mean([kendall(true[c], r.strength[c]) for c in range(len(true))])),
        "coverage": float(1.0 - wrong[:, others].mean()),
        "single_order_tau": float(np.mean([kendall(true[c], wins[c]) for c in range(len(true))])),
    }


def _markdown(facts: Mapping[str, Any]) -> str:
    lines = ["# Ranking", ""]
    if facts["simulated"]:
        lines += ["**Language models and judges were SIMULATED.**", ""]
    lines += [
        "| rank | model | strength | 95% interval | USD per answer | latency, s | first on |",
        "|---|---|---|---|---|---|---|",
    ]
    for i, m in enumerate(facts["overall"], 1):
        lines.append(
            f"| {i} | {m['model']} | {m['strength']:+.2f} | {m['low']:+.2f} … {m['high']:+.2f} "
            f"| {m['cost_usd']:.6f} | {m['latency_s']:.1f} | {m['first_on']} |"
        )
    lines += ["", "| task | ranking: strength ± standard error |", "|---|---|"]
    for task in facts["tasks"]:
        ranked = ", ".join(
            f"{m['model']} {m['strength']:+.2f} ± {m['standard_error']:.2f}" for m in task["models"]
        )
        lines.append(f"| {task['name']} | {ranked} |")
    lines += [
        "",
        "| rater | comparisons | votes | ties | abstentions | pull to the first position | hits |",
        "|---|---|---|---|---|---|---|",
    ]
    for v in facts["votes"]:
        lines.append(
            f"| {v['rater']} | {v['comparisons']} | {v['votes']} | {v['ties']:.1%} | "
            f"{v['abstentions']:.1%}{why(v['abstained'])} "
            + (
                "| – | – |"
                if v["accuracy"] is None
                else f"| {v['pull']:+.2f} | {v['accuracy']:.2f} |"
            )
        )
    for a in facts["agreement"]:
        lines += [
            "",
            (
                f"Agreement of {a['one']} and {a['other']}: kappa {a['kappa']:.2f} "
                f"[{a['low']:.2f}, {a['high']:.2f}] "
                f"on {a['both']} comparisons."
            ),
        ]
    if "truth" in facts:
        t = facts["truth"]
        lines += [
            "",
            (
                f"Beside the simulator's truth: Kendall tau {t['tau']:.3f} on average over tasks "
                "(votes of one order, counted: "
                f"{t['single_order_tau']:.3f}); {t['coverage']:.1%} of the 95% intervals hold it."
            ),
        ]
    return "\n".join(lines) + "\n"


def _picture(study: Study, facts: Mapping[str, Any], path: Path) -> None:
    """Strengths as a heat map, and cost beside strength."""
    import matplotlib as mpl

    mpl.use("Agg")
    import matplotlib.pyplot as plt

    order = [study.models.index(row["model"]) for row in facts["overall"]]
    figure, (left, right) = plt.subplots(
        1, 2, figsize=(15, 8), width_ratios=(3, 2), layout="constrained"
    )
    values = study.ranking.strength[:, order]
    centred = values - values.mean(axis=1, keepdims=True)
    limit = float(np.abs(centred).max()) or 1.0
    image = left.imshow(centred, cmap="RdYlGn", vmin=-limit, vmax=limit, aspect="auto")
    left.set_xticks(range(len(order)), [study.models[i] for i in order], rotation=30, ha="right")
    left.set_yticks(range(len(study.tasks)), [name for _, name in study.tasks])
    left.set_title(
        "strength on each task, less the task's mean (logits)"
        + (" · SIMULATED" if facts["simulated"] else "")
    )
    figure.colorbar(image, ax=left, shrink=0.6)
    for row in facts["overall"]:
        low = row["strength"] - row["low"]
        high = row["high"] - row["strength"]
        right.errorbar(row["cost_usd"], row["strength"], yerr=[[low], [high]], fmt="o", capsize=4)
        right.annotate(
            row["model"],
            (row["cost_usd"], row["strength"]),
            textcoords="offset points",
            xytext=(8, 4),
        )
    right.set_xscale("log")
    right.set_xlabel("USD per answer")
    right.set_ylabel("overall strength, 95% interval (logits)")
    right.grid(alpha=0.3)
    figure.savefig(path, dpi=110)
    plt.close(figure)
