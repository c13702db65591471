"""Strengths of models from comparisons: Bradley-Terry, cluster by cluster, each shrunk toward all
the others.

P(i's answer is better than j's) = logistic(strength_i - strength_j). Strengths of a cluster are
drawn around the model's strength over all clusters, with an estimated spread (empirical Bayes). So
three comparisons in a cluster count little, and three hundred count fully. Which answer was better
is hidden behind votes (`shared.routing.learning.votes`); it is summed out, so six votes on one pair
of answers never count as six comparisons. Several pairs of the same prompt share answers, so they
count less than as many prompts would: by how much is estimated (`overlap`). The maximum a
posteriori is found by Newton steps, in blocks as small as the number of models. Standard errors
come from the observed information (Louis 1982). Bradley and Terry 1952; ties are left out."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

import numpy as np
import numpy.typing as npt

from shared.routing.learning.drift import ModelChange, changes
from shared.routing.learning.votes import Ballots, Hits, estimate_hits, log_ratio

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.intp]

OVERALL_SPREAD = 2.0
"""Standard deviation of models' overall strengths before anything is known, in logits."""
SPREAD_GUESS = 1.0
"""Variance of a model's strength over clusters before anything is known…"""
SPREAD_SURE = 1.0
"""…and the standard deviation of its logarithm."""
SPREAD_RANGE = (-5.0, 3.0)
"""Logarithms between which the variance is sought."""
FEW_PROMPTS = 20
OVERLAP_GUESS = 1.5
"""How much several comparisons of one prompt overlap, while fewer than `FEW_PROMPTS` prompts have
several."""
ENOUGH = 20_000
"""Comparisons from which the spread over clusters and the raters' hit rates are told well
enough."""
STEPS = 60
TOLERANCE = 1e-5
CHANGES = 3
"""At most this many changes are looked for in a cluster."""
ROUNDS = 12
"""At most this many rounds of estimating hit rates."""


@dataclass(frozen=True, slots=True)
class Comparisons:
    """n comparisons of models `first` and `second` in `cluster`, each of a `prompt` and counting
    `weight`, 1 when fresh; all (n,).

    `prompt` numbers the prompts: comparisons with the same number judge the same answers.
    """

    cluster: Ints
    first: Ints
    second: Ints
    weight: Floats
    prompt: Ints

    def __len__(self) -> int:
        return len(self.cluster)

    def rows(self, rows: Ints) -> Comparisons:
        """The same for some of the comparisons, in that order."""
        return Comparisons(
            self.cluster[rows],
            self.first[rows],
            self.second[rows],
            self.weight[rows],
            self.prompt[rows],
        )


@dataclass(frozen=True, slots=True)
class Ranking:
    """Strengths in logits. Shapes: (clusters, models), and (models,) for `overall`.

    The squares of two `standard_error` add up to about the variance of the difference
    (quasi-variances, Firth and de Menezes 2004). The selector uses them so;
    `reference_error` is that of the difference to the reference model.
    """

    strength: Floats
    standard_error: Floats
    reference_error: Floats
    overall: Floats
    overall_error: Floats
    spread: float
    """Estimated standard deviation of a model's strength over clusters."""
    covariance: Floats
    """(clusters, models, models), before any model is taken as the reference."""
    changed: tuple[ModelChange, ...] = ()
    """The changes that were found; what was known of the model there before is left out."""
    ratio: Floats | None = None
    """(n,): of all comparisons, the log-likelihood ratio of "first is better" by the votes."""
    fresh: Ints | None = None
    """Rows of the comparisons that count; the others are from before a change."""


def decay(ages_s: Floats, half_life_s: float) -> Floats:
    """(n,): what a comparison of that age still counts."""
    return np.exp2(-np.maximum(ages_s, 0.0) / half_life_s)


def fit(
    comparisons: Comparisons,
    ratio: Floats,
    clusters: int,
    models: int,
    reference: int,
    spread: float | None = None,
) -> Ranking:
    """Rank. `ratio` (n,) is the log-likelihood ratio of "first is better"; `spread` None:
    estimated.

    A model without any comparison gets the prior: the mean of all, with a wide error.
    """
    variance = (
        spread**2 if spread is not None else _find_variance(comparisons, ratio, clusters, models)
    )
    state = _State.begin(comparisons, ratio, clusters, models)
    state.climb(variance)
    state.data = replace(comparisons, weight=comparisons.weight / state.overlap())
    state.climb(variance)
    return state.ranking(variance, reference)


def _find_variance(comparisons: Comparisons, ratio: Floats, clusters: int, models: int) -> float:
    """The variance of a model's strength over clusters that explains the comparisons best; of many,
    some are enough to tell."""
    part, some = _thinned(comparisons, ENOUGH)
    state = _State.begin(part, ratio[some], clusters, models)
    state.climb(SPREAD_GUESS)
    state.data = replace(part, weight=part.weight / state.overlap())
    return float(
        np.exp(
            _peak(lambda log_variance: state.evidence(float(np.exp(log_variance))), *SPREAD_RANGE)
        )
    )


def _thinned(comparisons: Comparisons, most: int) -> tuple[Comparisons, Ints]:
    """A systematic sample: every n-th prompt with all its comparisons. Returns the sample and its
    rows."""
    step = -(-len(comparisons) // most) if len(comparisons) else 1
    rows = np.flatnonzero(comparisons.prompt % step == 0)
    return comparisons.rows(rows), rows


R = TypeVar("R", bound=Hashable)
"""What names a rater."""


def fit_votes(
    comparisons: Comparisons,
    ballots: dict[R, tuple[Ints, Ballots]],
    clusters: int,
    models: int,
    reference: int,
    weights: dict[R, float],
    at: Floats | None = None,
) -> tuple[Ranking, dict[R, Hits]]:
    """Rank, and find each rater's hit rates together with the ranking.

    `ballots` maps a rater to the comparisons (rows) it voted on and its votes on them; several
    raters may have voted on one. `weights` says how much a rater's votes count, 1 where it is not
    named. With the comparisons' times `at` (n,), what was known of a model before it changed
    (`shared.routing.learning.drift`) is left out.
    """
    hits = _find_hits(comparisons, ballots, clusters, models, weights)
    ratio = _ratio(len(comparisons), ballots, hits, weights)
    ranking = fit(comparisons, ratio, clusters, models, reference)
    changed: dict[tuple[int, int], ModelChange] = {}
    every = ratio
    left = np.arange(len(comparisons))
    for _ in range(CHANGES if at is not None else 0):
        assert at is not None
        changes_found = _changes(comparisons, ratio, ranking, at, models)
        if not changes_found:
            break
        changed |= {(one.cluster, one.model): one for one in changes_found}
        fresh = np.flatnonzero(~_stale(comparisons, at, changes_found))
        comparisons = comparisons.rows(fresh)
        ratio = ratio[fresh]
        at = at[fresh]
        left = left[fresh]
        ranking = fit(comparisons, ratio, clusters, models, reference, spread=ranking.spread)
    in_order = tuple(changed[where] for where in sorted(changed))
    return replace(ranking, changed=in_order, ratio=every, fresh=left), hits


def _changes(
    c: Comparisons, ratio: Floats, ranking: Ranking, at: Floats, models: int
) -> list[ModelChange]:
    lead = ranking.strength[c.cluster, c.first] - ranking.strength[c.cluster, c.second]
    chance = logistic(lead)
    belief = logistic(lead + ratio)
    expected = chance * (1 - chance)
    information = np.maximum(expected - belief * (1 - belief), 0.2 * expected)
    return changes(c.cluster, c.first, c.second, at, belief - chance, information, belief, models)


def _stale(c: Comparisons, at: Floats, changed: Sequence[ModelChange]) -> npt.NDArray[np.bool_]:
    """(n,): comparisons from before one of their models changed."""
    stale = np.zeros(len(c), np.bool_)
    for one in changed:
        theirs = (c.first == one.model) | (c.second == one.model)
        stale |= (c.cluster == one.cluster) & theirs & (at < one.at)
    return stale


def _ratio(
    count: int,
    ballots: dict[R, tuple[Ints, Ballots]],
    hits: dict[R, Hits],
    weights: dict[R, float],
) -> Floats:
    ratio = np.zeros(count)
    for rater, (rows, cast) in ballots.items():
        ratio += np.bincount(rows, weights.get(rater, 1.0) * log_ratio(cast, hits[rater]), count)
    return ratio


def _find_hits(
    comparisons: Comparisons,
    ballots: dict[R, tuple[Ints, Ballots]],
    clusters: int,
    models: int,
    weights: dict[R, float],
) -> dict[R, Hits]:
    """Expectation maximisation: who is better given the hit rates, the hit rates given who is
    better."""
    part, some = _thinned(comparisons, ENOUGH)
    place = np.full(len(comparisons), -1)
    place[some] = np.arange(len(some))
    thin: dict[R, tuple[Ints, Ballots]] = {}
    for rater, (rows, cast) in ballots.items():
        thinned = np.flatnonzero(place[rows] >= 0)
        thin[rater] = (
            place[rows[thinned]],
            Ballots(*(getattr(cast, name)[thinned] for name in Ballots.__dataclass_fields__)),
        )
    hits = {rater: Hits() for rater in ballots}
    state = _State.begin(part, np.zeros(len(part)), clusters, models)
    for _ in range(ROUNDS):
        state.ratio = _ratio(len(part), thin, hits, weights)
        state.climb(SPREAD_GUESS)
        lead = state.theta[part.cluster, part.first] - state.theta[part.cluster, part.second]
        belief = logistic(lead + state.ratio)
        estimates = {
            rater: estimate_hits(cast, belief[rows]) for rater, (rows, cast) in thin.items()
        }
        moved = max(
            (
                abs(estimates[r].first - hits[r].first) + abs(estimates[r].second - hits[r].second)
                for r in estimates
            ),
            default=0.0,
        )
        hits = estimates
        if moved < 0.005:
            break
    return hits


@dataclass(slots=True)
class _State:
    data: Comparisons
    ratio: Floats
    theta: Floats
    mean: Floats

    @classmethod
    def begin(cls, data: Comparisons, ratio: Floats, clusters: int, models: int) -> _State:
        return cls(data, ratio, np.zeros((clusters, models)), np.zeros(models))

    def _slopes(self) -> tuple[Floats, Floats, Floats]:
        """Gradient (clusters, models) of the comparisons, and the curvature of each: observed, and
        one that is never negative."""
        d = self.data
        lead = self.theta[d.cluster, d.first] - self.theta[d.cluster, d.second]
        chance = logistic(lead)
        belief = logistic(lead + self.ratio)
        pull = d.weight * (belief - chance)
        gradient = np.zeros_like(self.theta)
        k, m = self.theta.shape
        gradient += np.bincount(d.cluster * m + d.first, pull, k * m).reshape(k, m)
        gradient -= np.bincount(d.cluster * m + d.second, pull, k * m).reshape(k, m)
        expected = chance * (1 - chance)
        observed = expected - belief * (1 - belief)
        return gradient, d.weight * observed, d.weight * np.maximum(observed, 0.2 * expected)

    def _blocks(self, curvature: Floats, variance: float) -> Floats:
        """(clusters, models, models): minus the Hessian of each cluster's strengths, the prior's
        part included."""
        d = self.data
        (k, m) = self.theta.shape
        one_way = np.bincount(
            (d.cluster * m + d.first) * m + d.second, curvature, k * m * m
        ).reshape(k, m, m)
        cross: Floats = one_way.astype(np.float64) + one_way.transpose(0, 2, 1)
        blocks: Floats = -cross
        blocks[:, np.arange(m), np.arange(m)] += cross.sum(axis=2) + 1.0 / variance
        return blocks

    def climb(self, variance: float) -> None:
        """Newton steps to the maximum a posteriori, given the variance of strengths over
        clusters."""
        value = self._value(variance)
        for _ in range(STEPS):
            gradient, _, safe = self._slopes()
            apart = (self.theta - self.mean) / variance
            inverse = _inverse(self._blocks(safe, variance))
            own = gradient - apart
            common = apart.sum(axis=0) - self.mean / OVERALL_SPREAD**2
            schur = self._schur(inverse, variance)
            step_mean = np.linalg.solve(
                schur, common + np.einsum("kij,kj->i", inverse, own) / variance
            )
            step = np.einsum("kij,kj->ki", inverse, own + step_mean / variance)
            size = 1.0
            while size > 1e-4:
                trial = _State(
                    self.data, self.ratio, self.theta + size * step, self.mean + size * step_mean
                )
                reached = trial._value(variance)
                if reached >= value - 1e-12:
                    break
                size /= 2
            self.theta = trial.theta
            self.mean = trial.mean
            value = reached
            if size * max(np.abs(step).max(), np.abs(step_mean).max()) < TOLERANCE:
                break

    def _value(self, variance: float) -> float:
        d = self.data
        lead = self.theta[d.cluster, d.first] - self.theta[d.cluster, d.second]
        likelihood = np.logaddexp(_log_logistic(lead) + self.ratio, _log_logistic(-lead))
        prior = ((self.theta - self.mean) ** 2).sum() / variance + (
            self.mean**2
        ).sum() / OVERALL_SPREAD**2
        return float(d.weight @ likelihood - 0.5 * prior)

    @staticmethod
    def _schur(inverse: Floats, variance: float) -> Floats:
        k, m, _ = inverse.shape
        complement: Floats = (k / variance + 1.0 / OVERALL_SPREAD**2) * np.eye(m) - inverse.sum(
            axis=0
        ) / variance**2
        return complement

    def overlap(self) -> Floats:
        """(n,): how many comparisons of its prompt say as much as one of a prompt of its own; at
        least 1, exactly 1 where a prompt has one.

        The ratio of the gradients' variance over prompts to the information, per dimension
        (Ribatet, Cooley and Davison 2012), with the jackknife's correction (Bell and McCaffrey
        2002).
        """
        d = self.data
        (_, m) = self.theta.shape
        _, prompt, size = np.unique(d.prompt, return_inverse=True, return_counts=True)
        several = size[prompt] > 1
        shared = np.ones(len(d))
        if not several.any():
            return shared
        if np.unique(prompt[several]).size < FEW_PROMPTS:
            shared[several] = OVERLAP_GUESS
            return shared
        lead = self.theta[d.cluster, d.first] - self.theta[d.cluster, d.second]
        chance = logistic(lead)
        belief = logistic(lead + self.ratio)
        pull = np.where(several, d.weight * (belief - chance), 0.0)
        won, lost = (
            np.bincount(prompt * m + side, pull, len(size) * m) for side in (d.first, d.second)
        )
        home = np.zeros(len(size), np.intp)
        home[prompt] = d.cluster
        there = np.bincount(home, minlength=len(self.theta))[home]
        drawn = there / np.maximum(there - 1, 1)  # a prompt has drawn the fit toward itself
        slope = np.asarray(won - lost, np.float64).reshape(-1, m) * drawn[:, None]
        information = np.zeros((m, m))
        np.add.at(
            information,
            (d.first, d.second),
            np.where(several, d.weight**2 * (belief - chance) ** 2, 0.0),
        )
        information += information.T
        information = np.diag(information.sum(axis=1)) - information
        ratio = float(
            np.trace(np.linalg.pinv(information, hermitian=True) @ slope.T @ slope)
        ) / max(1, m - 1)
        shared[several] = max(1.0, ratio)
        return shared

    def evidence(self, variance: float) -> float:
        """Log-likelihood of the comparisons with the strengths integrated out (Laplace), plus the
        log-prior of `variance`."""
        self.climb(variance)
        _, observed, safe = self._slopes()
        k, m = self.theta.shape
        blocks = self._sound(self._blocks(observed, variance), safe, variance)
        _, own = np.linalg.slogdet(blocks)
        _, common = np.linalg.slogdet(self._schur(_inverse(blocks), variance))
        guess = (np.log(variance) - np.log(SPREAD_GUESS)) / SPREAD_SURE
        return float(
            self._value(variance)
            - 0.5 * (own.sum() + common)
            - 0.5 * k * m * np.log(variance)
            - 0.5 * guess**2
        )

    def _sound(self, blocks: Floats, safe: Floats, variance: float) -> Floats:
        """`blocks`, with the safe curvature where the observed one is hardly positive."""
        weak = np.linalg.eigvalsh(blocks).min(axis=1) < 0.05 / variance
        if weak.any():
            blocks = blocks.copy()
            blocks[weak] = self._blocks(safe, variance)[weak]
        return blocks

    def ranking(self, variance: float, reference: int) -> Ranking:
        _, observed, safe = self._slopes()
        blocks = self._sound(self._blocks(observed, variance), safe, variance)
        inverse = _inverse(blocks)
        common = _inverse(self._schur(inverse, variance))
        covariance = inverse + np.einsum("kij,jl,klm->kim", inverse, common, inverse) / variance**2
        differences = difference_variances(covariance)
        overall = difference_variances(common[None])[0]
        return Ranking(
            strength=self.theta - self.theta[:, [reference]],
            standard_error=np.sqrt(quasi_variances(differences)),
            reference_error=np.sqrt(np.maximum(differences[:, :, reference], 0.0)),
            overall=self.mean - self.mean[reference],
            overall_error=np.sqrt(np.maximum(overall[:, reference], 0.0)),
            spread=float(np.sqrt(variance)),
            covariance=covariance,
        )


def _peak(value: Callable[[float], float], low: float, high: float) -> float:
    """Where `value` is largest between `low` and `high`, to 0.05: golden section."""
    ratio = (5**0.5 - 1) / 2
    a = high - ratio * (high - low)
    b = low + ratio * (high - low)
    at_a = value(a)
    at_b = value(b)
    while high - low > 0.05:
        if at_a > at_b:
            high = b
            b = a
            at_b = at_a
            a = high - ratio * (high - low)
            at_a = value(a)
        else:
            low = a
            a = b
            at_a = at_b
            b = low + ratio * (high - low)
            at_b = value(b)
    return (low + high) / 2


def difference_variances(covariance: Floats) -> Floats:
    """(k, m, m) covariances to the variances of all differences."""
    variance = np.einsum("kii->ki", covariance)
    variances: Floats = variance[:, :, None] + variance[:, None, :] - 2 * covariance
    return variances


def quasi_variances(differences: Floats) -> Floats:
    """(k, m): q with q_i + q_j as near as can be, by least squares, to the variance of i's
    difference to j."""
    m = differences.shape[1]
    if m == 2:
        return np.repeat(differences[:, [0], [1]] / 2, 2, axis=1)
    rows = np.einsum("kij->ki", differences)
    total = np.einsum("ki->k", rows)[:, None] / (2.0 * (m - 1))
    return np.asarray(np.maximum((rows - total) / (m - 2), 0.05 * total / m), np.float64)


def _inverse(blocks: Floats) -> Floats:
    return np.asarray(np.linalg.inv(blocks), np.float64)


def losses(lead: Floats, ratio: Floats) -> Floats:
    """(n,): negative log-likelihood of what was voted, in nats, where the first's answer leads by
    `lead` log-odds.

    `ratio` (n,) is the log-likelihood ratio of "first is better", as the votes have it.
    """
    belief = logistic(np.clip(ratio, -30.0, 30.0))
    loss: Floats = np.logaddexp(0.0, -lead) * belief + np.logaddexp(0.0, lead) * (1.0 - belief)
    return loss


def logistic(x: Floats) -> Floats:
    """The probability of log-odds x, for any x."""
    probability: Floats = 0.5 * (1.0 + np.tanh(0.5 * x))
    return probability


def _log_logistic(x: Floats) -> Floats:
    log_probability: Floats = -np.logaddexp(0.0, -x)
    return log_probability
