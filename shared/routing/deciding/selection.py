"""Which model is best for a prompt: success, cost and latency in true units, weighed as its sender
wants.

Each eligible model has a `success` over the assigned clusters. In a table from outcomes it is the
expected score of its answer on 0..1. In a table from votes it is the probability of winning against
the reference model, which itself has 0.5. Cost is in USD, latency in seconds. With the sender's
rates (`shared.routing.deciding.rates`), in points of success:

    utility = success - cost_usd / usd_per_point - latency_s / s_per_point - caution

`caution` is 0 for a model with enough evidence. Each model's utility is its own, so the choice
between two never depends on a third. A predictor of the table gives its fraction of the success.
The arithmetic is written for many prompts at once; the live selector asks for one, the evaluation
for all. Tables of format 1 are decided as they were (`shared.routing.deciding.scaled`)."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import numpy.typing as npt

from shared.routing.deciding import scaled
from shared.routing.deciding.abilities import NO_NEEDS, UNKNOWN, Abilities, Needs
from shared.routing.deciding.assignment import Assignment, Assignments, assign_all
from shared.routing.deciding.choosing import DIGITS, best_of
from shared.routing.deciding.predictor import logit
from shared.routing.deciding.rates import Rates, weights_of
from shared.routing.deciding.table import RoutingTable

Vector = npt.NDArray[np.float64]
Mask = npt.NDArray[np.bool_]

MOSTLY = 0.8
"""The part of a prompt in its nearest cluster from which its reason names that one alone."""
INTERVAL = 1.96
"""Standard errors on either side of a 95% interval of a normal distribution."""


@dataclass(frozen=True, slots=True)
class Limits:
    """What a model must keep to be eligible. None means no limit."""

    max_cost_usd: float | None = None
    max_latency_s: float | None = None
    allow: frozenset[str] | None = None
    deny: frozenset[str] = frozenset()
    needs: Needs = NO_NEEDS
    retired: frozenset[str] = frozenset()
    """Models the catalogue has taken out, even if they are allowed."""


@dataclass(frozen=True, slots=True)
class Candidate:
    """One eligible model with everything that its utility is made of."""

    model: str
    utility: float
    success: float
    """Expected score on 0..1, or probability of winning against the reference; for a table of
    format 1 the win rate against the best."""
    success_low: float
    success_high: float
    cost_usd: float
    latency_s: float
    gain: float
    """The success itself; for a table of format 1 scaled and weighed."""
    cost_penalty: float
    latency_penalty: float
    switching_cost_usd: float = 0.0
    """Part of the cost: what reading the conversation costs, where another model has it
    cached."""
    caution: float = 0.0
    """Points that an unproven model's success is taken to be lower."""
    predicted: float | None = None
    """Success as the table's predictor has it, where there is one."""
    unproven: bool = False
    """Too little is known of it to let it stand before a proven one."""


@dataclass(frozen=True, slots=True)
class Cached:
    """What the earlier turns of a conversation change of one model's cost, in USD."""

    saved_usd: float
    """Less than a prompt that nobody has read: what its provider has cached."""
    lost_usd: float
    """More than if it had read all that the best-informed model has read."""


NO_CACHE = Cached(0.0, 0.0)


@dataclass(frozen=True, slots=True)
class Selection:
    """The eligible models, best first, and the others with the limit that ruled each out."""

    candidates: tuple[Candidate, ...]
    ruled_out: tuple[tuple[str, str], ...]
    confidence: float
    """Probability that the winner's utility is above the runner-up's, given the standard errors."""
    why: str
    clusters: tuple[str, ...] = field(default=())
    share: float = 0.0
    """The predictor's part of the success."""


@dataclass(frozen=True, slots=True)
class Prediction:
    """What a table's predictor says of one prompt: `probability` and `spread` (models,), and its
    `share` of the success."""

    probability: Vector
    spread: Vector
    share: float


@dataclass(frozen=True, slots=True)
class Expectations:
    """What is expected of every model for n prompts, each (n, models)."""

    success: Vector
    error: Vector
    """Standard errors of `success`."""
    cost_usd: Vector
    latency_s: Vector
    unproven: Mask
    """Models of which too little is known."""
    scaled: bool = False
    """Whether they are compared by scaling, as tables of format 1 are."""

    def of(self, models: npt.NDArray[np.intp]) -> Expectations:
        """For some of the models."""
        return self._at((slice(None), models))

    def rows(self, prompts: slice) -> Expectations:
        """For some of the prompts."""
        return self._at((prompts, slice(None)))

    def _at(self, place: tuple[slice, slice | npt.NDArray[np.intp]]) -> Expectations:
        return Expectations(
            self.success[place],
            self.error[place],
            self.cost_usd[place],
            self.latency_s[place],
            self.unproven[place],
            self.scaled,
        )


@dataclass(frozen=True, slots=True)
class Terms:
    """What utilities are made of, each (n, models), in points of success: gain - cost - latency -
    caution."""

    gain: Vector
    cost: Vector
    latency: Vector
    caution: Vector
    behind: Mask
    """Models that stand behind the others whatever their utility; never with true units."""

    @property
    def utility(self) -> Vector:
        return self.gain - self.cost - self.latency - self.caution


def share_of(table: RoutingTable, share: float | None) -> float:
    """The estimator's part of the success: `share` where one is set, else the table's own; 0
    without an estimator."""
    learnt = table.estimator or table.predictor
    if learnt is None:
        return 0.0
    return learnt.share if share is None else share


def predict(
    table: RoutingTable,
    features: npt.NDArray[np.float32],
    points: npt.NDArray[np.float32],
    share: float | None = None,
) -> list[Prediction | None]:
    """The estimates for features (n, …) that lie at `points`; None for each where the table has no
    estimator, or a fraction of 0.

    `share` replaces the table's own.
    """
    used = share_of(table, share)
    estimates = _estimates(table, features, points) if used > 0 else None
    if estimates is None:
        return [None] * len(points)
    return [Prediction(p, s, used) for p, s in zip(*estimates, strict=True)]


def _estimates(
    table: RoutingTable, features: npt.NDArray[np.float32], points: npt.NDArray[np.float32]
) -> tuple[Vector, Vector] | None:
    if table.estimator is not None:
        return table.estimator(features)
    return table.predictor(points) if table.predictor is not None else None


def expectations(
    table: RoutingTable,
    features: npt.NDArray[np.float32],
    tokens: Vector | None = None,
    share: float | None = None,
) -> Expectations:
    """What is expected for prompts of these features (n, …); one prompt after the other gives the
    same numbers.

    `tokens` (n,): the prompts' lengths, which their costs depend on; None: as long as the prompts
    of their clusters.
    """
    points = table.points(features)
    found = assign_all(points, table)
    used = share_of(table, share)
    return _expected(
        table, found, tokens, _estimates(table, features, points) if used > 0 else None, used
    )


def select(
    table: RoutingTable,
    assignment: Assignment,
    rates: Rates,
    limits: Limits,
    abilities: Mapping[str, Abilities],
    prediction: Prediction | None = None,
    tokens: float | None = None,
    caches: Mapping[str, Cached] | None = None,
) -> Selection:
    """Rank the models of `table` for one assignment.

    `abilities` says what models can take; one that is not in it is taken to be able to do
    anything. `tokens` is the prompt's length. `caches` says what a conversation's earlier turns
    save with each model. With no eligible model `candidates` is empty, and `ruled_out` and `why`
    say which limit ruled out which model.
    """
    one = Assignments(
        assignment.clusters[None],
        assignment.weights[None],
        assignment.distances[None],
        np.array([assignment.novel]),
    )
    length = None if tokens is None else np.array([tokens])
    share = 0.0 if prediction is None else prediction.share
    predicted = (
        None if prediction is None else (prediction.probability[None], prediction.spread[None])
    )
    everyone = _expected(table, one, length, predicted, share)
    counted = everyone
    if caches:
        everyone, counted = _with_caches(everyone, table.models, caches)
    ruled_out = _ruled_out(
        table.models, everyone.cost_usd[0], everyone.latency_s[0], limits, abilities
    )
    eligible = np.array(
        [i for i, model in enumerate(table.models) if model not in ruled_out], np.intp
    )
    if not len(eligible):
        why = "no eligible model: " + "; ".join(f"{m}: {reason}" for m, reason in ruled_out.items())
        return Selection((), tuple(ruled_out.items()), 0.0, why)

    expected = everyone.of(eligible)
    terms = terms_of(counted.of(eligible), rates)
    utility = terms.utility[0]
    success = expected.success[0]
    error = expected.error[0]
    cost = expected.cost_usd[0]
    latency = expected.latency_s[0]
    # equal utility: the cheaper, then the table's order
    order = np.lexsort((eligible, cost, -np.round(utility, DIGITS), terms.behind[0]))
    candidates = tuple(
        Candidate(
            model=table.models[eligible[i]],
            utility=float(utility[i]),
            success=float(success[i]),
            success_low=float(max(0.0, success[i] - INTERVAL * error[i])),
            success_high=float(min(1.0, success[i] + INTERVAL * error[i])),
            cost_usd=float(cost[i]),
            latency_s=float(latency[i]),
            gain=float(terms.gain[0, i]),
            cost_penalty=float(terms.cost[0, i]),
            latency_penalty=float(terms.latency[0, i]),
            switching_cost_usd=(caches or {}).get(table.models[eligible[i]], NO_CACHE).lost_usd,
            caution=float(terms.caution[0, i]),
            predicted=None if prediction is None else float(prediction.probability[eligible[i]]),
            unproven=bool(terms.behind[0, i] or terms.caution[0, i] > 0),
        )
        for i in order
    )
    confidence = _confidence(utility, _utility_error(expected, rates)[0], order)
    task = f"“{table.clusters[assignment.clusters[0]].label}”"
    if float(assignment.weights[0]) < MOSTLY:
        task += " and tasks near it"
    why = _why(candidates, rates, task, expected.scaled)
    waiting = [
        c.model for c in candidates if c.unproven and c.utility + c.caution > candidates[0].utility
    ]
    if waiting and not candidates[0].unproven:
        why += f"; too little is known yet to let {', '.join(waiting)} win"
    if prediction is not None:
        why += (
            f"; predicted to succeed with {candidates[0].predicted:.0%}, which counts for "
            f"{share:.0%} of the success"
        )
    if assignment.novel:
        why += "; the prompt is novel, so its nearest task says little"
    return Selection(candidates, tuple(ruled_out.items()), confidence, why, share=share)


def routes(
    table: RoutingTable, features: npt.NDArray[np.float32], preferences: Sequence[Rates]
) -> npt.NDArray[np.intp]:
    """(n, preferences): which model `select` chooses for prompts of these features (n, …), without
    limits."""
    expected = expectations(table, features)
    return np.stack([choices(expected, rates) for rates in preferences], axis=1)


def choices(expected: Expectations, rates: Rates) -> npt.NDArray[np.intp]:
    """(n,): which model `select` chooses for each prompt, without limits."""
    terms = terms_of(expected, rates)
    return best_of(np.where(terms.behind, -np.inf, terms.utility), expected.cost_usd)


def terms_of(expected: Expectations, rates: Rates) -> Terms:
    """What the utilities of all models are made of."""
    success = expected.success
    cost = expected.cost_usd
    latency = expected.latency_s
    if expected.scaled:
        parts = scaled.terms(success, cost, latency, weights_of(rates))
        behind = scaled.held_back(expected.unproven, parts[0] - parts[1] - parts[2], parts[0])
        return Terms(*parts, np.zeros_like(success), behind)
    caution = np.where(expected.unproven, success - _pessimistic(success, expected.error), 0.0)
    return Terms(
        success,
        cost / rates.usd_per_point,
        latency / rates.s_per_point,
        caution,
        np.zeros(success.shape, np.bool_),
    )


def _pessimistic(success: Vector, error: Vector) -> Vector:
    """The lower end of the 95% interval, of the log-odds, since that of a probability may lie below
    0."""
    slope = np.maximum(success * (1.0 - success), 1e-6)
    return 1.0 / (1.0 + np.exp(-(logit(success) - INTERVAL * error / slope)))


def _utility_error(expected: Expectations, rates: Rates) -> Vector:
    """Standard errors of the utilities, (n, models)."""
    if not expected.scaled:
        return expected.error
    spread = np.ptp(expected.success, axis=-1, keepdims=True)
    return (
        expected.error
        * weights_of(rates).normalised().performance
        / np.where(spread > 0, spread, 1.0)
    )


def _expected(
    table: RoutingTable,
    assignments: Assignments,
    tokens: Vector | None,
    predicted: tuple[Vector, Vector] | None,
    share: float,
) -> Expectations:
    w = assignments.weights.astype(np.float64)
    at = assignments.clusters
    cost = np.einsum("np,npm->nm", w, table.cost_usd[at])
    latency = np.einsum("np,npm->nm", w, table.latency_s[at])
    if tokens is not None and table.usd_per_token is not None and table.prompt_tokens is not None:
        longer = tokens - np.einsum("np,np->n", w, table.prompt_tokens[at])
        cost = np.maximum(cost + longer[:, None] * table.usd_per_token, LEAST_COST * cost)
    strength = table.strength[at].astype(np.float64)
    error = table.standard_error[at].astype(np.float64)
    old = table.reference_success is None
    if old:
        rate, variance = scaled.win_rates(strength, error)
    else:
        rate = table.success[at].astype(np.float64)
        variance = (rate * (1.0 - rate) * error) ** 2
    success = np.einsum("np,npm->nm", w, rate)
    spread = np.sqrt(np.einsum("np,npm->nm", w**2, variance))
    if predicted is not None:
        probability, committee = predicted
        if old:
            edges = np.clip(probability, 1e-3, 1.0 - 1e-3)
            probability, squared = scaled.win_rates(
                logit(probability), committee / (edges * (1.0 - edges))
            )
            committee = np.sqrt(squared)
        success = (1.0 - share) * success + share * probability
        spread = np.hypot((1.0 - share) * spread, share * committee)
    unproven = np.zeros(success.shape, np.bool_)
    if table.unproven_error is not None:
        unproven = np.einsum("np,npm->nm", w, table.standard_error[at]) > table.unproven_error
    return Expectations(success, spread, cost, latency, unproven, scaled=old)


def _with_caches(
    everyone: Expectations, models: Sequence[str], caches: Mapping[str, Cached]
) -> tuple[Expectations, Expectations]:
    """With what each model is expected to cost this time, and with the part of it that counts.
    Reading a conversation is paid once, and serves the turns that follow."""
    saved = np.array([caches.get(model, NO_CACHE).saved_usd for model in models])
    lost = np.array([caches.get(model, NO_CACHE).lost_usd for model in models])
    least = LEAST_COST * everyone.cost_usd
    cost = np.maximum(everyone.cost_usd - saved, least)
    counted = np.maximum(everyone.cost_usd - saved - lost * (1 - 1 / TURNS_SERVED), least)
    return replace(everyone, cost_usd=cost), replace(everyone, cost_usd=counted)


TURNS_SERVED = 4
"""Turns that a model is taken to serve when it takes a conversation over; of 1, 2, 4 and 8 among
the best on simulated conversations (docs/decisions/0013)."""
LEAST_COST = 0.05
"""Of a cluster's mean cost, however short a prompt is."""


def _ruled_out(
    models: tuple[str, ...],
    cost: Vector,
    latency: Vector,
    limits: Limits,
    abilities: Mapping[str, Abilities],
) -> dict[str, str]:
    reasons: dict[str, str] = {}
    for i, model in enumerate(models):
        if model in limits.retired:
            reasons[model] = "retired from the catalogue"
        elif limits.allow is not None and model not in limits.allow:
            reasons[model] = "not among the allowed models"
        elif model in limits.deny:
            reasons[model] = "denied"
        elif (short := limits.needs.shortfall(abilities.get(model, UNKNOWN))) is not None:
            reasons[model] = short
        elif limits.max_cost_usd is not None and cost[i] > limits.max_cost_usd:
            reasons[model] = f"expected cost {cost[i]:.3g} USD is above {limits.max_cost_usd:.3g}"
        elif limits.max_latency_s is not None and latency[i] > limits.max_latency_s:
            reasons[model] = (
                f"expected latency {latency[i]:.2f} s is above {limits.max_latency_s:.2f}"
            )
    return reasons


def _confidence(utility: Vector, error: Vector, order: npt.NDArray[np.intp]) -> float:
    if len(order) < 2:
        return 1.0
    first, second = order[:2]
    lead = float(utility[first] - utility[second])
    spread = math.hypot(error[first], error[second])
    if spread == 0.0:
        return 1.0 if lead > 0 else 0.5
    return 0.5 * (1.0 + math.erf(lead / spread / math.sqrt(2.0)))


def _why(candidates: tuple[Candidate, ...], rates: Rates, task: str, by_weights: bool) -> str:
    first = candidates[0]
    sentence = (
        f"{first.model} for {task}: {first.success:.2f} expected success for "
        f"{_usd(first.cost_usd)} USD"
    )
    if len(candidates) == 1:
        return f"{sentence}; it is the only eligible model"
    second = candidates[1]
    if by_weights:
        return (
            f"{sentence}; it leads {second.model} by {first.utility - second.utility:.3f} by the "
            "weights of an older table"
        )
    return f"{sentence}; {_compared(first, second, rates)}"


def _compared(first: Candidate, second: Candidate, rates: Rates) -> str:
    """Why not the second, in the units that its sender cares about."""
    better = second.success - first.success
    name = second.model
    dearer = second.cost_usd - first.cost_usd
    slower = second.latency_s - first.latency_s
    by_time = abs(slower) / rates.s_per_point > abs(dearer) / rates.usd_per_point
    spent = f"in {second.latency_s:.1f} s" if by_time else f"for {_usd(second.cost_usd)} USD"
    if abs(better) < 5e-4:
        return f"{name} would succeed as often {spent}"
    places = 2 if abs(better) >= 0.005 else 3
    more = (
        f"{name} would succeed {abs(better):.{places}f} {'more' if better > 0 else 'less'} "
        f"often {spent}"
    )
    price = (slower if by_time else dearer) / better
    worth = rates.s_per_point if by_time else rates.usd_per_point
    if price <= 0 or (price < worth) == (better > 0):
        return f"{more}, {first.utility - second.utility:.3f} points behind in all"
    unit = "s" if by_time else "USD"
    limit = f"the {_number(worth)} that a point is worth here"
    if better > 0:
        return f"{more}, {_number(price)} {unit} per point, more than {limit}"
    return f"{more}, which saves {_number(price)} {unit} per point, less than {limit}"


def _usd(amount: float) -> str:
    """USD with four decimal places, or two digits where it is less."""
    return (
        f"{amount:.4f}"
        if amount >= 0.0005 or amount == 0
        else f"{amount:.{1 - math.floor(math.log10(amount))}f}"
    )


def _number(value: float) -> str:
    return f"{value:,.0f}" if value >= 10 else f"{value:.2f}" if value >= 0.095 else f"{value:.2g}"
