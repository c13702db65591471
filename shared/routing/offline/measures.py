"""Measures of a router, by the names under which the field publishes them.

- quality-cost curve: the mean score and mean cost that a router reaches as its sender's weights go
  from cost to quality. Its area is the mean quality over the range of costs of the single models,
  on the non-decreasing hull (AIQ of RouterBench, arXiv 2403.12031).
- PerfGain and CostSave (LLMRouterBench, arXiv 2601.07206): the best quality on the curve relative
  to the best single model's; and the part of that model's cost that is saved where the curve is at
  least as good.
- APGR and CPT (RouteLLM, arXiv 2406.18665), for a weak and a strong model. APGR is the
  recovered part of the gap between them, averaged over all fractions of prompts given to the strong
  one. CPT is the smallest fraction that recovers 50% or 80% of the gap. Among more models (ours)
  APGR is the mean over every two of them that differ, weighted by their gaps.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Vector = npt.NDArray[np.float64]
Floats = npt.NDArray[np.floating]
"""Of any precision."""
Rows = npt.NDArray[np.intp]
DIFFER = 0.03
"""By how much the mean scores of two among more models must differ: dividing by a gap that may be
chance tells nothing."""
MOST_PAIRS = 66
"""All of 12 models."""


@dataclass(frozen=True, slots=True)
class Curve:
    """`cost` in USD a prompt and `quality` in 0..1, one for each setting of the weights; any
    order."""

    cost: Vector
    quality: Vector


def area(curve: Curve, low: float, high: float) -> float:
    """Mean quality over costs from `low` to `high`, USD a prompt; below the curve's cheapest point
    it has the quality of that point.

    With `low` not below `high` there is no range, and the best quality is returned.
    """
    order = np.lexsort((-curve.quality, curve.cost))
    best = np.maximum.accumulate(curve.quality[order])
    if not low < high:
        return float(best[-1])
    ends = np.clip(np.append(curve.cost[order], high), low, high)
    held = np.diff(ends, prepend=low)
    return float((held * np.concatenate([best[:1], best])).sum() / (high - low))


def perf_gain(curve: Curve, best: float) -> float:
    """How much better the curve's best point is than the best single model's quality `best`, as a
    part of that."""
    return float(curve.quality.max() / best - 1.0) if best > 0 else float("nan")


def cost_save(curve: Curve, quality: float, cost: float) -> float:
    """The part of `cost` saved at no less than `quality`; 0 where the curve does not get there for
    less."""
    enough = curve.cost[curve.quality >= quality - 1e-12]
    return float(max(0.0, 1.0 - enough.min() / cost)) if len(enough) and cost > 0 else 0.0


def recovered(gain: Vector, weak: Vector, strong: Vector) -> Vector:
    """(n + 1,): the gap recovered when the strong model answers the 0, 1, … n prompts with the most
    expected `gain`, ties in order.

    `weak` and `strong` are scores (n,). Can pass 1 where the weak model is better on some prompts.
    NaN if there is no gap.
    """
    lead = strong - weak
    gap = lead.sum()
    if not gap > 0:
        return np.full(len(gain) + 1, np.nan)
    order = np.argsort(-gain, kind="stable")
    share: Vector = np.concatenate([[0.0], np.cumsum(lead[order])]) / gap
    return share


def apgr(gap: Vector) -> float:
    """The average performance gap recovered, of `recovered`; 0.5 for chance."""
    return float(gap.mean())


def pairs(means: Vector) -> Rows:
    """(pairs, 2): every two of m models that differ by `DIFFER`, the one of the lower mean score
    first; of more than `MOST_PAIRS` some, from the closest to the furthest. Two models alone are
    always a pair."""
    rank = np.argsort(np.argsort(means, kind="stable"))
    weak, strong = np.nonzero(rank[:, None] < rank[None, :])
    gaps = means[strong] - means[weak]
    if len(means) > 2:
        kept = np.argsort(gaps, kind="stable")[np.sort(gaps) >= DIFFER]
        if len(kept) > MOST_PAIRS:
            kept = kept[np.linspace(0, len(kept) - 1, MOST_PAIRS).round().astype(np.intp)]
        weak, strong = weak[np.sort(kept)], strong[np.sort(kept)]
    return np.stack([weak, strong], axis=1)


def pairs_apgr(lead: Floats, times: Floats) -> float:
    """APGR over pairs, weighted by their gaps; for one pair, its APGR.

    `lead` (pairs, n): by how much the stronger scores more, each pair's prompts in the order in
    which they go to it; NaN where a score is not known, and such a prompt does not count. `times`
    (pairs, n): how often each of these prompts counts. NaN if there is no gap.
    """
    known = np.isfinite(lead)
    if not known.all():
        times = times * known
        lead = np.where(known, lead, 0.0)
    count = np.maximum(times.sum(axis=1), 1.0)
    gained = lead * times
    so_far = np.cumsum(gained, axis=1)
    # the r-th of a prompt's copies adds its lead again: the sum over r = 1 … times
    below = np.einsum("pn,pn->p", times, so_far) - 0.5 * np.einsum("pn,pn->p", gained, times - 1.0)
    gap = (so_far[:, -1] / count).sum()
    return float((below / (count + 1.0) / count).sum() / gap) if gap > 0 else float("nan")


def cpt(gap: Vector, part: float) -> float:
    """The call-performance threshold: the least fraction of prompts given to the strong model that
    recovers `part` of the gap."""
    return (
        float(np.argmax(gap >= part) / (len(gap) - 1)) if np.isfinite(gap).all() else float("nan")
    )
