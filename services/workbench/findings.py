"""What a benchmark found: its findings as facts, as columns, and in words."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from shared.contracts.figures import usd
from shared.routing.offline.evaluation import CascadeResult, Interval, Measure, Result
from shared.routing.offline.outcomes import Outcomes
from shared.routing.offline.routers import Data

PEER = "Avengers-Pro, k=60"
OURS = "auto"
"""What `table build` makes of the same prompts."""
AS_GOOD = 0.02
"""Points below the best single model at which a cheaper one counts as just as good."""
SINGLE = "best single model"
SAID: Mapping[Measure, str] = {"area": "the area under the quality-cost curve", "apgr": "APGR"}
NARROW = 150
"""Letters of a window in which only the first columns are shown."""
BASELINES = (
    "kNN-40",
    "kNN-100",
    "k-means, 25",
    "k-means, 60",
    "soft, 8 of 150, shrunk",
    "Avengers-Pro, k=25",
    PEER,
)
"""What a few lines of code do."""
FIRST = 5
FEW = 150


@dataclass(frozen=True, slots=True)
class Options:
    """How outcomes are evaluated."""

    prices: Path | None = None
    splits: int = 5
    folds: int | None = None
    k: int | None = None
    """Clusters of tables without an estimator. None: as many as `table build` would take."""
    describe: str = "auto"
    variant: str = "minilm-int8"
    encoder_dir: Path | None = None
    robustness: int = 100
    seed: int = 0


@dataclass(slots=True)
class Findings:
    """What was found for one file."""

    name: str
    data: Data
    results: dict[str, Result]
    intervals: dict[str, Interval]
    beside_peer: dict[str, Interval]
    beside_single: dict[str, Interval]
    beside_best: dict[Measure, dict[str, Interval | None]]
    """By measure: the whole sweep of `OURS` less each baseline's."""
    cascades: Mapping[str, CascadeResult]
    robustness: dict[str, dict[str, float]]
    weak: str = ""
    strong: str = ""
    without_response: int = 0
    """Prompts without a response, where others have one."""
    options: Options = Options()


def mean(values: Sequence[float]) -> float | None:
    """The mean of those that have a value; None if none has."""
    known = [value for value in values if np.isfinite(value)]
    return float(np.mean(known)) if known else None


def spread(values: Sequence[float]) -> float | None:
    """The standard error over splits; None of fewer than two."""
    return float(np.std(values, ddof=1) / len(values) ** 0.5) if len(values) > 1 else None


def priced(outcomes: Outcomes) -> bool:
    """Whether costs are known."""
    return bool(np.nanmax(outcomes.cost_usd) > 0)


def alone(outcomes: Outcomes) -> list[tuple[str, float, float]]:
    """Each model with its mean score and the mean cost of an answer, USD."""
    scores = np.nanmean(outcomes.scores, axis=0)
    costs = np.nanmean(np.atleast_2d(outcomes.cost_usd), axis=0)
    return [(m, float(s), float(c)) for m, s, c in zip(outcomes.models, scores, costs, strict=True)]


def facts(findings: Findings) -> dict[str, Any]:
    """Everything, for machines."""
    outcomes = findings.data.outcomes
    return {
        "file": findings.name,
        "prompts": len(outcomes.texts),
        "splits": len(findings.results[SINGLE].accuracy),
        "encoder": str(findings.data.encoder),
        "notes": notes(findings),
        "models": [
            {"model": m, "accuracy": accuracy, "cost_usd": cost}
            for m, accuracy, cost in alone(outcomes)
        ],
        "routers": [_router(findings, name, r) for name, r in findings.results.items()],
        "cascades": [
            {"sees": sees, "weak": findings.weak, "strong": findings.strong}
            | {n: mean(getattr(r, n)) for n in ("apgr", "cpt50", "cpt80", "calibration_error")}
            | {"cpt80_standard_error": spread(r.cpt80)}
            for sees, r in findings.cascades.items()
        ],
        "robustness": [{"router": name} | one for name, one in findings.robustness.items()],
        "auto_less_baselines": {
            measure: {
                "baselines": {
                    name: None if one is None else asdict(one) for name, one in beside.items()
                },
                "best": best_baseline(findings, measure),
            }
            for measure, beside in findings.beside_best.items()
        },
        "verdict": verdict(findings),
    }


def measures(outcomes: Outcomes) -> tuple[Measure, ...]:
    """What the whole sweep is measured by: there is no area without costs."""
    return ("area", "apgr") if priced(outcomes) else ("apgr",)


def best_baseline(findings: Findings, measure: Measure) -> str:
    """The baseline of the largest area, or APGR."""
    return max(BASELINES, key=lambda name: mean(getattr(findings.results[name], measure)) or 0.0)


def _router(findings: Findings, name: str, r: Result) -> dict[str, Any]:
    measured = (
        "regret",
        "novel",
        "calibration_error",
        "area",
        "perf_gain",
        "cost_save",
        "apgr",
        "cpt50",
        "cpt80",
        "cost_usd",
    )
    interval = findings.intervals[name]
    return {
        "router": name,
        "accuracy": mean(r.accuracy),
        "standard_error": spread(r.accuracy),
        "interval": [interval.low, interval.high],
        "first_splits": mean(r.accuracy[:FIRST]),
        "beside_avengers_pro": asdict(findings.beside_peer[name]),
        "beside_best_single": asdict(findings.beside_single[name]),
        "decisions": r.decisions,
        "recipes": r.recipes,
        "keep": goal_facts(r.keep, "success", "cost"),
        "spend": goal_facts(r.spend, "budget", "success"),
        "curve": [
            {"cost_usd": float(c), "quality": float(q)}
            for c, q in zip(*np.mean(r.curve, axis=0), strict=True)
        ]
        if r.curve
        else [],
    } | {n: mean(getattr(r, n)) for n in measured}


def goal_facts(
    splits: Sequence[tuple[float, float]], first: str, second: str
) -> dict[str, float] | None:
    """Means and standard deviations over splits of what was reached."""
    if not splits:
        return None
    values = np.array(splits)
    names = (first, second)
    means = {name: float(v) for name, v in zip(names, values.mean(axis=0), strict=True)}
    return means | {
        f"{name}_deviation": float(v) for name, v in zip(names, values.std(axis=0), strict=True)
    }


def notes(findings: Findings) -> list[str]:
    """What somebody who reads the figures must know about the file."""
    outcomes = findings.data.outcomes
    said = []
    if not priced(outcomes):
        said.append(
            "no costs are known, so what follows is of quality alone; add cost_usd, or name "
            "--prices"
        )
    if missing := float(np.isnan(outcomes.scores).mean()):
        said.append(
            f"{missing:.1%} of the scores are missing; a router that chooses a model without one "
            "gets 0 for it"
        )
    scored = (
        len(outcomes.texts) - int(0.7 * len(outcomes.texts))
        if not findings.options.folds
        else len(outcomes.texts)
    )
    if scored < FEW:
        said.append(
            f"only {scored} prompts are scored in a split, so the figures are rough; intervals are "
            "wide, and best is often chance"
        )
    if findings.without_response:
        said.append(
            f"{findings.without_response} prompts have no response, so delta, response keys and "
            "the "
            "cascade are left out"
        )
    if twice := len(outcomes.texts) - len(set(outcomes.texts)):
        said.append(
            f"{twice} prompts come more than once, so some are learnt from and tested on alike; "
            "leave the copies out"
        )
    return said


def number(value: float | None, form: str = ".4f") -> str:
    """For people; a dash where there is none."""
    return "–" if value is None else format(value, form)


def columns(findings: Findings) -> list[tuple[str, Callable[[str, Result], str]]]:
    """What the table of routers shows, of what there is."""
    costs = priced(findings.data.outcomes)
    shown: list[tuple[str, Callable[[str, Result], str]]] = [
        ("accuracy", lambda _n, r: f"{number(mean(r.accuracy))} ± {number(spread(r.accuracy))}"),
        (f"less {PEER}", lambda n, _r: signed(findings.beside_peer[n])),
    ]
    if costs:
        shown += [
            ("cost", lambda _n, r: usd(mean(r.cost_usd) or 0.0)),
            ("PerfGain", lambda _n, r: number(mean(r.perf_gain), "+.1%")),
            ("CostSave", lambda _n, r: number(mean(r.cost_save), ".0%")),
            ("area", lambda _n, r: number(mean(r.area))),
        ]
    shown.append(("APGR", lambda _n, r: number(mean(r.apgr), ".3f")))
    if findings.weak:
        shown += [
            ("CPT(50)", lambda _n, r: number(mean(r.cpt50), ".0%")),
            ("CPT(80)", lambda _n, r: number(mean(r.cpt80), ".0%")),
        ]
    return [
        *shown,
        ("regret", lambda _n, r: number(mean(r.regret))),
        ("novel", lambda _n, r: number(mean(r.novel), ".1%")),
        ("ECE", lambda _n, r: number(mean(r.calibration_error), ".3f")),
    ]


def signed(one: Interval) -> str:
    """A difference with its interval."""
    return f"{one.mean:+.4f} [{one.low:+.4f}, {one.high:+.4f}]"


def verdict(findings: Findings) -> list[str]:
    """A few sentences for somebody who asks whether routing would pay."""
    best = findings.beside_single[OURS]
    ours = findings.results[OURS]
    single = findings.results[SINGLE]
    lines = []
    models = sorted(alone(findings.data.outcomes), key=lambda line: -line[1])
    top = models[0]
    near = min((m for m in models if m[1] >= top[1] - AS_GOOD), key=lambda m: m[2])
    if priced(findings.data.outcomes) and near[2] < 0.5 * top[2]:
        part = (
            "nothing"
            if near[2] == 0
            else f"a {top[2] / near[2]:.0f}th of the cost"
            if top[2] / near[2] >= 2.5
            else "half the cost"
        )
        lines.append(
            f"{near[0]} alone is as good as {top[0]} for most purposes: {near[1]:.3f} against "
            f"{top[1]:.3f} at {part}."
        )
    if not (mean(single.regret) or 0.0) > 0:
        return [
            *lines,
            (
                "There is nothing to route: the best single model does as well as an oracle that "
                "knows "
                "every answer."
            ),
        ]
    sure = "more" if best.low > 0 else "less" if best.high < 0 else "about as much"
    quality = f"{number(mean(ours.accuracy), '.3f')} against {number(mean(single.accuracy), '.3f')}"
    saved = mean(ours.cost_save)
    money = (
        f"; at the best single model's quality it saves {saved:.0%} of its cost" if saved else ""
    )
    than = "as" if sure == "about as much" else "than"
    did = max(ours.recipes, key=lambda name: ours.recipes[name])
    lines.append(
        f"Routing ({did}) gets {sure} right {than} the best single model alone: {quality}, "
        f"{signed(best)}{money}."
    )
    for measure, beside in findings.beside_best.items():
        name = best_baseline(findings, measure)
        if (apart := beside[name]) is not None:
            where = "ahead of" if apart.low > 0 else "behind" if apart.high < 0 else "level with"
            lines.append(
                f"By {SAID[measure]} it is {where} the best of the simple baselines, {name}: "
                f"{signed(apart)}."
            )
    return lines
