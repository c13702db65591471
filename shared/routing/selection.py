"""Which model is best for a prompt: performance, cost and latency weighed as its sender wants.

For each eligible model m over the assigned clusters with weights w: performance is the sum of
w * logistic(strength - strength of the best eligible), cost and latency are the weighted expectations. Each is scaled
to 0..1 over the eligible models, and utility = a*performance - b*cost - d*latency with a + b + d = 1.
With d = 0 this is the score of Avengers-Pro (arXiv 2508.12631) on win rates.

Where the table has a predictor, its share of the performance is the predicted win rate: logistic(log-odds of success - those of the
best eligible). The arithmetic is written for many prompts at once; the live selector asks for one, the evaluation for all.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from shared.routing.assignment import Assignment, Assignments, assign_all
from shared.routing.predictor import logit
from shared.routing.table import RoutingTable

Vector = npt.NDArray[np.float64]

INTERVAL = 1.96
"""Standard errors on either side of a 95% interval of a normal distribution."""


@dataclass(frozen=True, slots=True)
class Weights:
    """What the sender cares about: non-negative, at least one above 0; only their ratio matters."""

    performance: float
    cost: float
    latency: float

    def normalised(self) -> Weights:
        total = self.performance + self.cost + self.latency
        return Weights(self.performance / total, self.cost / total, self.latency / total)


PROFILES: Mapping[str, Weights] = {
    "quality": Weights(1.0, 0.0, 0.0),
    "balanced": Weights(0.6, 0.25, 0.15),
    "economy": Weights(0.35, 0.6, 0.05),
    "fast": Weights(0.35, 0.05, 0.6),
}


@dataclass(frozen=True, slots=True)
class Limits:
    """What a model must keep to be eligible. None means no limit."""

    max_cost_usd: float | None = None
    max_latency_s: float | None = None
    allow: frozenset[str] | None = None
    deny: frozenset[str] = frozenset()
    context_tokens: int = 0
    retired: frozenset[str] = frozenset()
    """Models the catalogue has taken out, whoever allows them."""


@dataclass(frozen=True, slots=True)
class Candidate:
    """One eligible model with everything that its utility is made of."""

    model: str
    utility: float
    performance: float
    """Expected win rate against the best model of each cluster; 0.5 is the best itself."""
    performance_low: float
    performance_high: float
    cost_usd: float
    latency_s: float
    gain: float
    """a times scaled performance."""
    cost_penalty: float
    latency_penalty: float
    predicted: float | None = None
    """Probability that it succeeds, where the table has a predictor."""
    unproven: bool = False
    """Too little is known of it to let it stand before a proven one."""


@dataclass(frozen=True, slots=True)
class Selection:
    """The eligible models, best first, and the others with the limit that ruled each out."""

    candidates: tuple[Candidate, ...]
    ruled_out: tuple[tuple[str, str], ...]
    confidence: float
    """Probability that the winner's utility is above the runner-up's, given the rankings' standard errors."""
    why: str
    clusters: tuple[str, ...] = field(default=())
    share: float = 0.0
    """The predictor's part of the performance."""


@dataclass(frozen=True, slots=True)
class Prediction:
    """What a table's predictor says of one prompt: `probability` and `spread` (models,), and its `share` of the performance."""

    probability: Vector
    spread: Vector
    share: float


def share_of(table: RoutingTable, share: float | None) -> float:
    """The predictor's part of the performance: `share` where one is set, else the table's own; 0 without a predictor."""
    if table.predictor is None:
        return 0.0
    return table.predictor.share if share is None else share


def predict(table: RoutingTable, points: npt.NDArray[np.float32], share: float | None = None) -> list[Prediction | None]:
    """The predictions for points (n, dimension) of the table's space; None for each where it has no predictor, or a share of 0.

    `share` replaces the table's own.
    """
    used = share_of(table, share)
    if table.predictor is None or used == 0:
        return [None] * len(points)
    probability, spread = table.predictor(points)
    return [Prediction(p, s, used) for p, s in zip(probability, spread, strict=True)]


def select(
    table: RoutingTable,
    assignment: Assignment,
    weights: Weights,
    limits: Limits,
    contexts: Mapping[str, int],
    prediction: Prediction | None = None,
) -> Selection:
    """Rank the models of `table` for one assignment.

    `contexts` maps a model to the tokens it can read; a model that is not in it is not held to a context length.
    With no eligible model `candidates` is empty, and `ruled_out` and `why` say which limit ruled out which model.
    """
    w = assignment.weights.astype(np.float64)
    cost, latency = w @ table.cost_usd[assignment.clusters], w @ table.latency_s[assignment.clusters]
    ruled_out = _ruled_out(table.models, cost, latency, limits, contexts)
    kept = np.array([i for i, model in enumerate(table.models) if model not in ruled_out], np.intp)
    if not len(kept):
        why = "no eligible model: " + "; ".join(f"{m}: {reason}" for m, reason in ruled_out.items())
        return Selection((), tuple(ruled_out.items()), 0.0, why)

    rows = np.ix_(assignment.clusters, kept)
    strength, errors = table.strength[rows].astype(np.float64), table.standard_error[rows].astype(np.float64)
    expected, uncertain = _performance(w[None], strength[None], errors[None])
    share = 0.0
    if prediction is not None:
        share = prediction.share
        ahead = _predicted(prediction.probability[None, kept], prediction.spread[None, kept])
        expected = _blended(expected, ahead[0], share)
        uncertain = np.hypot((1.0 - share) * uncertain, share * ahead[1])
    performance, error = expected[0], uncertain[0]
    a = weights.normalised()
    spread = float(np.ptp(performance))
    parts = np.stack(_parts(performance, cost[kept], latency[kept], a))
    utility = parts[0] - parts[1] - parts[2]
    unproven = _held_back(_unproven(table, assignment, w, kept), utility, parts[0])
    # the proven first; equal utility: the cheaper, then the table's order
    order = np.lexsort((kept, cost[kept], -np.round(utility, 12), unproven))
    candidates = tuple(
        Candidate(
            model=table.models[kept[i]],
            utility=float(utility[i]),
            performance=float(performance[i]),
            performance_low=float(max(0.0, performance[i] - INTERVAL * error[i])),
            performance_high=float(min(1.0, performance[i] + INTERVAL * error[i])),
            cost_usd=float(cost[kept[i]]),
            latency_s=float(latency[kept[i]]),
            gain=float(parts[0, i]),
            cost_penalty=float(parts[1, i]),
            latency_penalty=float(parts[2, i]),
            predicted=None if prediction is None else float(prediction.probability[kept[i]]),
            unproven=bool(unproven[i]),
        )
        for i in order
    )
    confidence = _confidence(utility, error * (a.performance / spread if spread else a.performance), order)
    why = _why(candidates, a, table, assignment, share)
    waiting = [table.models[kept[i]] for i in np.flatnonzero(unproven) if utility[i] > candidates[0].utility]
    if waiting:
        why += f"; too little is known yet to let {', '.join(waiting)} win"
    return Selection(candidates, tuple(ruled_out.items()), confidence, why, share=share)


def performances(table: RoutingTable, points: npt.NDArray[np.float32], share: float | None = None) -> tuple[Vector, Vector, Vector]:
    """Performance, expected cost in USD and latency in seconds of all models, each (n, models), for points of the table's space.

    What `select` works with, for many prompts and no limits: one prompt after the other gives the same numbers.
    """
    return _expectations(table, points, assign_all(points, table), share)


def _expectations(
    table: RoutingTable, points: npt.NDArray[np.float32], found: Assignments, share: float | None
) -> tuple[Vector, Vector, Vector]:
    w = found.weights.astype(np.float64)
    strength, error = table.strength[found.clusters].astype(np.float64), table.standard_error[found.clusters].astype(np.float64)
    expected, _ = _performance(w, strength, error)
    used = share_of(table, share)
    if table.predictor is not None and used > 0:
        expected = _blended(expected, _predicted(*table.predictor(points))[0], used)
    cost = np.einsum("np,npm->nm", w, table.cost_usd[found.clusters])
    return expected, cost, np.einsum("np,npm->nm", w, table.latency_s[found.clusters])


def routes(table: RoutingTable, points: npt.NDArray[np.float32], preferences: Sequence[Weights]) -> npt.NDArray[np.intp]:
    """(n, preferences): which model `select` chooses for points (n, dimension) of the table's space, without limits."""
    found = assign_all(points, table)
    expected = _expectations(table, points, found, None)
    unproven = np.zeros(expected[0].shape, np.bool_)
    if table.unproven_error is not None:
        unproven = np.einsum("np,npm->nm", found.weights.astype(np.float64), table.standard_error[found.clusters]) > table.unproven_error
        unproven &= ~unproven.all(axis=1, keepdims=True)
    return np.stack([choices(*expected, weights, unproven) for weights in preferences], axis=1)


def choices(
    performance: Vector, cost: Vector, latency: Vector, weights: Weights, unproven: npt.NDArray[np.bool_] | None = None
) -> npt.NDArray[np.intp]:
    """(n,): which model `select` chooses for each prompt, given what is expected of all models, each (n, models).

    `unproven` (n, models) are those of which too little is known.
    """
    gain, paid, waited = _parts(performance, cost, latency, weights.normalised())
    utility = np.round(gain - paid - waited, 12)
    if unproven is not None:
        utility = np.where(_held_back(unproven, utility, gain), -np.inf, utility)
    ties = utility == utility.max(axis=-1, keepdims=True)
    found: npt.NDArray[np.intp] = np.where(ties, cost, np.inf).argmin(axis=-1)
    return found


def _unproven(table: RoutingTable, assignment: Assignment, w: Vector, kept: npt.NDArray[np.intp]) -> npt.NDArray[np.bool_]:
    """(kept,): models of which too little is known to let them win. If that is so of all of them, it is so of none."""
    if table.unproven_error is None:
        return np.zeros(len(kept), np.bool_)
    error = (w @ table.standard_error[assignment.clusters])[kept]
    found: npt.NDArray[np.bool_] = error > table.unproven_error
    return np.zeros_like(found) if found.all() else found


def _held_back(unproven: npt.NDArray[np.bool_], utility: Vector, gain: Vector) -> npt.NDArray[np.bool_]:
    """Which of the unproven models must not stand before the proven, in the shape of all three.

    Those that might be worse than one of them. What would be preferred even if it did no better than the worst, as cheap models are
    where cost is what matters, need not be proven.
    """
    best = np.where(unproven, -np.inf, utility).max(axis=-1, keepdims=True)
    found: npt.NDArray[np.bool_] = unproven & (utility - gain <= best)
    return found


def _ruled_out(models: tuple[str, ...], cost: Vector, latency: Vector, limits: Limits, contexts: Mapping[str, int]) -> dict[str, str]:
    reasons: dict[str, str] = {}
    for i, model in enumerate(models):
        if model in limits.retired:
            reasons[model] = "retired from the catalogue"
        elif limits.allow is not None and model not in limits.allow:
            reasons[model] = "not among the allowed models"
        elif model in limits.deny:
            reasons[model] = "denied"
        elif limits.context_tokens > contexts.get(model, math.inf):
            reasons[model] = f"reads {contexts[model]} tokens, {limits.context_tokens} are needed"
        elif limits.max_cost_usd is not None and cost[i] > limits.max_cost_usd:
            reasons[model] = f"expected cost {cost[i]:.3g} USD is above {limits.max_cost_usd:.3g}"
        elif limits.max_latency_s is not None and latency[i] > limits.max_latency_s:
            reasons[model] = f"expected latency {latency[i]:.2f} s is above {limits.max_latency_s:.2f}"
    return reasons


def _performance(w: Vector, strength: Vector, error: Vector) -> tuple[Vector, Vector]:
    """Performance and its standard error, each (n, models), by the delta method over independent clusters.

    `w` (n, clusters); `strength` and `error` (n, clusters, models).
    """
    rate, variance = _rates(strength, error)
    return np.einsum("np,npm->nm", w, rate), np.sqrt(np.einsum("np,npm->nm", w**2, variance))


def _predicted(probability: Vector, spread: Vector) -> tuple[Vector, Vector]:
    """The predicted win rate against the best, and its standard error, each (n, models)."""
    kept = np.clip(probability, 1e-3, 1.0 - 1e-3)
    rate, variance = _rates(logit(probability), spread / (kept * (1.0 - kept)))
    return rate, np.sqrt(variance)


def _blended(ranked: Vector, predicted: Vector, share: float) -> Vector:
    return (1.0 - share) * ranked + share * predicted


def _rates(strength: Vector, error: Vector) -> tuple[Vector, Vector]:
    """Win rates against the strongest along the last axis, and their variances."""
    best = strength.argmax(axis=-1)[..., None]
    rate = 1.0 / (1.0 + np.exp(np.take_along_axis(strength, best, axis=-1) - strength))
    variance = error**2 + np.take_along_axis(error, best, axis=-1) ** 2
    np.put_along_axis(variance, best, 0.0, axis=-1)  # the best is not compared with itself
    return rate, (rate * (1.0 - rate)) ** 2 * variance


def _parts(performance: Vector, cost: Vector, latency: Vector, a: Weights) -> tuple[Vector, Vector, Vector]:
    """The three terms of the utility, each in the shape of what it is made of."""
    return a.performance * _scaled(performance), a.cost * _scaled(cost), a.latency * _scaled(latency)


def _scaled(values: Vector) -> Vector:
    """Scale to 0..1 over the models, along the last axis; all 0 where they are equal."""
    low, spread = values.min(axis=-1, keepdims=True), np.ptp(values, axis=-1, keepdims=True)
    return np.where(spread > 0, (values - low) / np.where(spread > 0, spread, 1.0), 0.0)


def _confidence(utility: Vector, error: Vector, order: npt.NDArray[np.intp]) -> float:
    if len(order) < 2:
        return 1.0
    first, second = order[:2]
    lead, spread = float(utility[first] - utility[second]), math.hypot(error[first], error[second])
    if spread == 0.0:
        return 1.0 if lead > 0 else 0.5
    return 0.5 * (1.0 + math.erf(lead / spread / math.sqrt(2.0)))


def _why(candidates: tuple[Candidate, ...], a: Weights, table: RoutingTable, assignment: Assignment, share: float) -> str:
    first = candidates[0]
    task = table.clusters[assignment.clusters[0]].label
    weighed = f"weights performance {a.performance:.2f}, cost {a.cost:.2f}, latency {a.latency:.2f}"
    unsure = "; the prompt is novel, so its nearest task says little" if assignment.novel else ""
    if first.predicted is not None:
        unsure = f"; predicted to succeed with {first.predicted:.0%}, which counts for {share:.0%} of the performance{unsure}"
    if len(candidates) == 1:
        return f"{first.model} is the only eligible model ({weighed}){unsure}"
    second = candidates[1]
    leads = (
        ("performance", first.gain - second.gain),
        ("cost", second.cost_penalty - first.cost_penalty),
        ("latency", second.latency_penalty - first.latency_penalty),
    )
    terms = ", ".join(f"{name} {lead:+.3f}" for name, lead in leads if abs(lead) >= 0.0005) or "nothing: they are equal"
    lead = first.utility - second.utility
    if lead < 0:
        behind = f"{second.model} would lead it by {-lead:.3f}, but too little is known of it yet"
        return f"{first.model} for “{task}”; {behind} ({weighed}){unsure}"
    return f"{first.model} leads {second.model} by {lead:.3f} for “{task}”: {terms} ({weighed}){unsure}"
