"""Would routing pay? Routers on outcomes that they have not seen, over repeated splits, with
intervals.

Prompts are split at random; a router learns from the larger part, and its choices on the smaller
are scored with the known outcomes. Every figure has its standard error over splits. Splits of the
same prompts are not independent, so intervals come from resampling prompts (the bootstrap, Efron
1979): a prompt's results in all splits stay together. Differences are paired by prompt and split.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

import numpy as np
import numpy.typing as npt

from shared.routing.deciding.cascade import SEES, Answered, Sees, fit_head
from shared.routing.deciding.frontier import Frontier
from shared.routing.deciding.pacing import EVERY, Offer, Pacer
from shared.routing.deciding.predictor import calibration_error
from shared.routing.deciding.rates import Goal
from shared.routing.deciding.selection import Expectations, choices
from shared.routing.errors import OutcomesInvalid
from shared.routing.offline.measures import (
    Curve,
    apgr,
    area,
    cost_save,
    cpt,
    pairs,
    pairs_apgr,
    perf_gain,
    recovered,
)
from shared.routing.offline.outcomes import Outcomes, ends, enough
from shared.routing.offline.routers import Data, FittedRouter, Router, RouterExpectations

Matrix = npt.NDArray[np.float64]
Rows = npt.NDArray[np.intp]
Array = npt.NDArray[np.float32]

TRAIN = 0.7
RESAMPLES = 2000
SWEPT_RESAMPLES = 200
GAPLESS = 0.05
KEEP = 0.97
"""The part of the best single model's success that `keep` is measured with."""
SPEND = 0.5
"""The part of the best single model's cost that `spend` is measured with."""


def random_splits(count: int, splits: int, train: float = TRAIN) -> Iterator[tuple[Rows, Rows]]:
    """Rows to learn from and to score, for seeds 0, 1, …"""
    for seed in range(splits):
        order = np.random.RandomState(seed).permutation(count).astype(np.intp)
        cut = int(train * count)
        yield order[:cut], order[cut:]


def folds(count: int, number: int) -> Iterator[tuple[Rows, Rows]]:
    """The same for cross-validation: each prompt is scored once."""
    order = np.random.RandomState(0).permutation(count).astype(np.intp)
    for held in range(number):
        mine = np.arange(count) % number == held
        yield order[~mine], order[mine]


Measure = Literal["area", "apgr"]
"""What a whole sweep is measured by: the area under the quality-cost curve, or the APGR over every
two models."""


@dataclass(slots=True)
class GapMeasures:
    """How the gap between two models is recovered, split by split."""

    apgr: list[float] = field(default_factory=list)
    cpt50: list[float] = field(default_factory=list)
    cpt80: list[float] = field(default_factory=list)

    def note(self, gap: Matrix) -> None:
        """Take down one split's `measures.recovered`."""
        self.apgr.append(apgr(gap))
        self.cpt50.append(cpt(gap, 0.5))
        self.cpt80.append(cpt(gap, 0.8))


@dataclass(frozen=True, slots=True)
class SplitPart:
    """One split of a router's sweep from cost alone to quality alone."""

    rows: Rows
    """(n,): which prompts."""
    chosen: npt.NDArray[np.uint16]
    """(steps, n): the model of each prompt at each step."""
    paid: Array
    quality: Array
    """(n, models): what each would have cost and scored."""
    span: tuple[float, float]
    """Costs between which the area is taken."""
    lead: Array
    """(pairs, n): by how much the stronger of every two models scores more, in `order`."""
    order: npt.NDArray[np.int32]
    """(pairs, n): the prompts of a pair, those first from which the stronger is expected to gain
    most."""

    def value(self, times: npt.NDArray[np.intp], measure: Measure) -> float:
        """The measure, where each prompt of the file comes this many `times`."""
        if measure == "apgr":
            counted = times[self.rows].astype(np.float32)
            return pairs_apgr(self.lead, counted[self.order])
        drawn = np.repeat(np.arange(len(self.rows)), times[self.rows])
        chosen = self.chosen[:, drawn]
        paid, quality = (
            values[drawn, chosen].mean(axis=1, dtype=np.float64)
            for values in (self.paid, self.quality)
        )
        return area(Curve(paid, quality), *self.span)


@dataclass(slots=True)
class Result(GapMeasures):
    """What one router reached, split by split."""

    accuracy: list[float] = field(default_factory=list)
    cost_usd: list[float] = field(default_factory=list)
    """Mean cost of a prompt."""
    regret: list[float] = field(default_factory=list)
    """Mean score below the oracle's."""
    novel: list[float] = field(default_factory=list)
    calibration_error: list[float] = field(default_factory=list)
    area: list[float] = field(default_factory=list)
    perf_gain: list[float] = field(default_factory=list)
    cost_save: list[float] = field(default_factory=list)
    curve: list[tuple[Matrix, Matrix]] = field(default_factory=list)
    """Cost and quality as its preferences go from cost alone to quality alone."""
    keep: list[tuple[float, float]] = field(default_factory=list)
    """Told to keep `KEEP` of the best single model's success: the parts of its success and of its
    cost that there were."""
    spend: list[tuple[float, float]] = field(default_factory=list)
    """Told to spend `SPEND` of the best single model's cost: the part of that budget that was
    spent, and of its success that there was."""
    recipes: dict[str, int] = field(default_factory=dict)
    """In how many splits it chose to do what."""
    decisions: dict[str, int] = field(default_factory=dict)
    parts: list[SplitPart] = field(default_factory=list)
    """What each split is made of, prompt by prompt, so that two routers can be compared on the same
    resampled prompts."""
    score: Matrix = field(default_factory=lambda: np.zeros(0))
    """(prompts,): the sum of scores over the splits in which a prompt was scored."""
    seen: Matrix = field(default_factory=lambda: np.zeros(0))
    """(prompts,): in how many it was."""


@dataclass(frozen=True, slots=True)
class Interval:
    """A mean with its 95% interval."""

    mean: float
    low: float
    high: float


def best_single(scores: Matrix) -> int:
    """The model of the highest mean score, (n, models), among those that have enough scores to say
    so."""
    counts = np.isfinite(scores).sum(axis=0)
    sums = np.where(np.isfinite(scores), scores, 0.0).sum(axis=0)
    return int(np.where(enough(counts), sums / np.maximum(counts, 1), -np.inf).argmax())


def evaluate(
    data: Data,
    routers: Mapping[str, Router],
    splits: Sequence[tuple[Rows, Rows]],
    tick: Callable[[str], object] = lambda _name: None,
    keep: Callable[[int, str, FittedRouter, RouterExpectations, Rows], object] = lambda *_: None,
) -> dict[str, Result]:
    """Results by router, with those of "random" and "oracle". `keep` is given each router that has
    learnt.

    Raises `OutcomesInvalid` if a part of a split is empty, or has no score.
    """
    outcomes = data.outcomes
    count = len(outcomes.texts)
    known = np.where(np.isfinite(outcomes.scores), outcomes.scores, 0.0)
    cost = outcomes.paid()
    results = {
        name: Result(score=np.zeros(count), seen=np.zeros(count))
        for name in ("random", "oracle", *routers)
    }
    for number, (train, test) in enumerate(splits):
        if not len(train) or not len(test) or not np.isfinite(outcomes.scores[train]).any():
            raise OutcomesInvalid(
                f"split {number + 1} leaves {len(train)} prompts with scores to learn from and "
                f"{len(test)} to test on; add prompts"
            )
        part = data.rows(train)
        part = replace(part, outcomes=part.outcomes.with_few_shrunk())
        scores = known[test]
        scored = outcomes.scores[test]
        price = cost[test]
        single = best_single(outcomes.scores[train])
        best_quality = float(scores[:, single].mean())
        best_cost = float(price[:, single].mean())
        span = ends(price)
        oracle = np.where(scores == scores.max(axis=1, keepdims=True), -price, -np.inf).argmax(
            axis=1
        )
        top = scores.max(axis=1)
        both = pairs(np.nanmean(part.outcomes.scores, axis=0))

        def note(name: str, score: Matrix, usd: Matrix, at: Rows, top: Matrix) -> Result:
            one = results[name]
            one.accuracy.append(float(score.mean()))
            one.cost_usd.append(float(usd.mean()))
            one.regret.append(float((top - score).mean()))
            one.score[at] += score
            one.seen[at] += 1
            return one

        rows = np.arange(len(test))
        price32 = price.astype(np.float32)
        scores32 = scores.astype(np.float32)
        note("random", scores.mean(axis=1), price.mean(axis=1), test, top)
        note("oracle", scores[rows, oracle], price[rows, oracle], test, top)
        given = {name: values[test] for name, values in data.features.items()}
        for name, router in routers.items():
            tick(name)
            fitted = router.fit(part, number)
            expected = fitted.expect(given)
            keep(number, name, fitted, expected, test)
            chosen = expected.best()
            one = note(name, scores[rows, chosen], price[rows, chosen], test, top)
            for i, times in zip(*np.unique(chosen, return_counts=True), strict=True):
                one.decisions[outcomes.models[i]] = one.decisions.get(outcomes.models[i], 0) + int(
                    times
                )
            if not router.looks:
                continue
            if expected.novel is not None:
                one.novel.append(float(expected.novel.mean()))
            if fitted.recipe:
                one.recipes[fitted.recipe] = one.recipes.get(fitted.recipe, 0) + 1
            one.calibration_error.append(
                calibration_error(expected.of.success, outcomes.scores[test])
            )
            swept = np.stack(expected.sweep())
            paid = price[rows, swept]
            quality = scores[rows, swept]
            curve = Curve(paid.mean(axis=1), quality.mean(axis=1))
            one.curve.append((curve.cost, curve.quality))
            one.area.append(area(curve, *span))
            if fitted.frontier is not None and best_cost > 0:
                kept, spent = (
                    paced(expected.of, outcomes.models, goal, fitted.frontier)
                    for goal in (Goal(keep=KEEP), Goal(spend_usd=SPEND * best_cost))
                )
                one.keep.append(
                    (scores[rows, kept].mean() / best_quality, price[rows, kept].mean() / best_cost)
                )
                one.spend.append(
                    (
                        price[rows, spent].mean() / (SPEND * best_cost),
                        scores[rows, spent].mean() / best_quality,
                    )
                )
            one.perf_gain.append(perf_gain(curve, best_quality))
            one.cost_save.append(cost_save(curve, best_quality, best_cost))
            weak, strong = both.T
            order = np.argsort(
                (expected.of.success[:, weak] - expected.of.success[:, strong]).T,
                axis=1,
                kind="stable",
            )
            lead = np.take_along_axis((scored[:, strong] - scored[:, weak]).T, order, axis=1)
            one.parts.append(
                SplitPart(
                    test,
                    swept.astype(np.uint16),
                    price32,
                    scores32,
                    span,
                    lead.astype(np.float32),
                    order.astype(np.int32),
                )
            )
            if len(outcomes.models) == 2:
                first, second = both[0]
                known_rows = np.isfinite(scored).all(axis=1)
                gain = expected.of.success[:, second] - expected.of.success[:, first]
                one.note(
                    recovered(
                        gain[known_rows], scored[known_rows, first], scored[known_rows, second]
                    )
                )
            else:
                one.apgr.append(pairs_apgr(lead, np.ones(lead.shape)))
    return results


def weak_and_strong(outcomes: Outcomes) -> tuple[int, int]:
    """Of two models the worse and the better, by their mean scores."""
    means = np.nanmean(outcomes.scores, axis=0)
    return (0, 1) if means[1] >= means[0] else (1, 0)


def interval(result: Result, seed: int = 0) -> Interval:
    """Accuracy, resampled by prompt."""
    return _resampled(result.score, result.seen, seed)


def difference(result: Result, other: Result, seed: int = 0) -> Interval:
    """Accuracy of one less that of another, paired by prompt and split, resampled by prompt."""
    return _resampled(result.score - other.score, result.seen, seed)


def swept(result: Result, count: int, seed: int = 0, measure: Measure = "area") -> Matrix:
    """The measure of each split, (1 + resamples, splits): of the `count` prompts, then of
    resamples."""
    rng = np.random.default_rng(seed)
    draws = [
        np.ones(count, np.intp),
        *(
            np.bincount(rng.integers(0, count, count), minlength=count)
            for _ in range(SWEPT_RESAMPLES)
        ),
    ]
    return np.array([[part.value(times, measure) for part in result.parts] for times in draws])


def swept_difference(mine: Matrix, theirs: Matrix) -> Interval | None:
    """One `swept` less another, paired by split and resample. None where it can't be told, since
    more than `GAPLESS` of it has no gap between models."""
    apart = mine - theirs
    told = np.isfinite(apart)
    if not told[0].any() or told.mean() < 1.0 - GAPLESS:
        return None
    means = [float(one[here].mean()) for one, here in zip(apart, told, strict=True) if here.any()]
    low, high = np.quantile(means[1:], [0.025, 0.975])
    return Interval(means[0], float(low), float(high))


def _resampled(total: Matrix, seen: Matrix, seed: int) -> Interval:
    used = seen > 0
    total = total[used]
    seen = seen[used]
    rng = np.random.default_rng(seed)
    means = []
    for _ in range(RESAMPLES):
        rows = rng.integers(0, len(total), len(total))
        means.append(total[rows].sum() / seen[rows].sum())
    low, high = np.quantile(means, [0.025, 0.975])
    return Interval(float(total.sum() / seen.sum()), float(low), float(high))


@dataclass(slots=True)
class CascadeResult(GapMeasures):
    """What a cascade reached, split by split; shares are of prompts that are escalated to the
    strong model."""

    calibration_error: list[float] = field(default_factory=list)
    curve: list[Matrix] = field(default_factory=list)
    """The gap recovered at 0, 1, … 100% escalated."""


def evaluate_cascades(
    answered: Answered, weak: Matrix, strong: Matrix, splits: Sequence[tuple[Rows, Rows]]
) -> dict[Sees, CascadeResult]:
    """Cascades by what they see. `weak` and `strong` are scores (n,) of the model asked first and
    of the one escalated to; prompts without one of them are left out."""
    results: dict[Sees, CascadeResult] = {sees: CascadeResult() for sees in SEES}
    known = np.isfinite(weak) & np.isfinite(strong)
    for train, test in ((train[known[train]], test[known[test]]) for train, test in splits):
        for sees, one in results.items():
            good = fit_head(sees, "weak", answered.rows(train), weak[train])(
                "weak", answered.rows(test)
            )
            gap = recovered(-good, weak[test], strong[test])
            one.note(gap)
            one.calibration_error.append(calibration_error(good[:, None], weak[test][:, None]))
            one.curve.append(np.interp(np.linspace(0, 1, 101), np.linspace(0, 1, len(gap)), gap))
    return results


def paced(expected: Expectations, models: Sequence[str], goal: Goal, frontier: Frontier) -> Rows:
    """(n,): what is chosen for prompts that come one after another, with the rate that holds
    `goal`: as the selector does it."""
    pacer = Pacer(goal)
    picks = np.empty(len(expected.success), np.intp)
    for start in range(0, len(picks), EVERY):  # in between, the rate stays
        block = slice(start, start + EVERY)
        own = expected.rows(block)
        picks[block] = choices(own, pacer.rates(frontier))
        offers = np.stack([own.success, own.cost_usd, own.latency_s], axis=-1).tolist()
        for pick, offered in zip(picks[block], offers, strict=True):
            each = {model: Offer(*offer) for model, offer in zip(models, offered, strict=True)}
            pacer.decided(each, models[pick], frontier)
    return picks
