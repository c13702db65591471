"""What raters' votes say about which of two answers is better.

A comparison's votes are not independent: they judge the same two answers. So each comparison has
one hidden truth: which of its answers is better. A rater finds it with a hit rate that depends on
the position of the better answer (Dawid and Skene 1979, position for class). What
votes say is then one number, the log-likelihood ratio of "the first model's answer is better",
however many votes there were. Ties and abstentions say nothing and are left out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]

PRIOR_HITS, PRIOR_MISSES = 8.0, 2.0
"""A rater nobody knows counts as one that was right 8 times of 10, in either position."""
BOUNDS = (0.02, 0.98)


@dataclass(frozen=True, slots=True)
class Hits:
    """How often a rater votes for the better answer, when it is shown first and when it is shown
    second."""

    first: float = PRIOR_HITS / (PRIOR_HITS + PRIOR_MISSES)
    second: float = PRIOR_HITS / (PRIOR_HITS + PRIOR_MISSES)

    @property
    def pull(self) -> float:
        """The fraction of votes that go to the first position whatever is there (negative: to the
        second)."""
        return self.first - self.second

    @property
    def accuracy(self) -> float:
        """The hit rate of those votes that do not follow the position."""
        pull = abs(self.pull)
        return min(self.first, self.second) / (1.0 - pull) if pull < 1 else 0.5


@dataclass(frozen=True, slots=True)
class Ballots:
    """Votes of one rater (or kind of rater) on n comparisons of a model i with a model j; each (n,)
    float64.

    `straight`: i was shown first. `turned`: j was. `_first` and `_second` count votes for the
    position.
    """

    straight_first: Floats
    straight_second: Floats
    turned_first: Floats
    turned_second: Floats

    def __len__(self) -> int:
        return len(self.straight_first)

    @classmethod
    def of(cls, counts: Sequence[tuple[float, float, float, float]]) -> Ballots:
        """From one tuple (straight_first, straight_second, turned_first, turned_second) a
        comparison."""
        columns = np.asarray(counts, np.float64).reshape(-1, 4).T
        return cls(*columns)


def log_ratio(ballots: Ballots, hits: Hits) -> Floats:
    """(n,): log P(votes | i's answer is better) - log P(votes | j's is)."""
    straight_first = np.log(hits.first) - np.log1p(-hits.second)
    straight_second = np.log1p(-hits.first) - np.log(hits.second)
    ratio: Floats = (
        ballots.straight_first * straight_first
        + ballots.straight_second * straight_second
        - ballots.turned_first * straight_first
        - ballots.turned_second * straight_second
    )
    return ratio


def estimate_hits(ballots: Ballots, belief: Floats) -> Hits:
    """Hit rates from votes and the belief (n,), 0..1, that i's answer is better. The M-step of
    expectation maximisation."""
    other = 1.0 - belief
    hit_first = float(belief @ ballots.straight_first + other @ ballots.turned_first)
    miss_first = float(belief @ ballots.straight_second + other @ ballots.turned_second)
    hit_second = float(other @ ballots.straight_second + belief @ ballots.turned_second)
    miss_second = float(other @ ballots.straight_first + belief @ ballots.turned_first)
    first = (hit_first + PRIOR_HITS) / (hit_first + miss_first + PRIOR_HITS + PRIOR_MISSES)
    second = (hit_second + PRIOR_HITS) / (hit_second + miss_second + PRIOR_HITS + PRIOR_MISSES)
    first, second = (float(np.clip(rate, *BOUNDS)) for rate in (first, second))
    return Hits(first, second) if first + second > 1.05 else Hits()


@dataclass(frozen=True, slots=True)
class Verdicts:
    """What a heap of votes shows of those who cast them. Shares are 0..1, NaN where nothing
    says."""

    comparisons: int
    votes: int
    ties: int
    abstentions: int
    follows_position: float
    """Of comparisons decided in both orders, the share whose majority went to the same position in
    both."""
    first_share: float
    """Of all votes for an answer, the share that went to the one shown first; without bias it is
    one half."""


def verdicts(ballots: Ballots, ties: int, abstentions: int) -> Verdicts:
    """Sum up ballots for people."""
    straight = np.sign(ballots.straight_first - ballots.straight_second)
    turned = np.sign(ballots.turned_first - ballots.turned_second)
    both = (straight != 0) & (turned != 0)
    first = float(ballots.straight_first.sum() + ballots.turned_first.sum())
    votes = first + float(ballots.straight_second.sum() + ballots.turned_second.sum())
    return Verdicts(
        comparisons=len(ballots),
        votes=int(votes) + ties + abstentions,
        ties=ties,
        abstentions=abstentions,
        follows_position=float((straight == turned)[both].mean()) if both.any() else float("nan"),
        first_share=first / votes if votes else float("nan"),
    )


@dataclass(frozen=True, slots=True)
class Agreement:
    """Cohen's kappa of two raters over what both have judged, with a 95% interval from resampling
    comparisons."""

    kappa: float
    low: float
    high: float
    both: int
    same: float
    """The share on which they agree outright."""


def agreement(
    one: Mapping[str, int], other: Mapping[str, int], seed: int = 0, resamples: int = 1000
) -> Agreement:
    """`one` and `other` map a comparison's id to +1 (the first model) or -1 (the second); other
    values are ties, left out."""
    ids = sorted(i for i in one.keys() & other.keys() if one[i] and other[i])
    if not ids:
        return Agreement(float("nan"), float("nan"), float("nan"), 0, float("nan"))
    a, b = (np.array([source[i] for i in ids]) > 0 for source in (one, other))
    rows = np.random.default_rng(seed).integers(0, len(ids), (resamples, len(ids)))
    spread = _kappa(a[rows], b[rows])
    low, high = np.nanquantile(spread, [0.025, 0.975])
    return Agreement(
        float(_kappa(a[None], b[None])[0]),
        float(low),
        float(high),
        len(ids),
        float((a == b).mean()),
    )


def _kappa(a: npt.NDArray[np.bool_], b: npt.NDArray[np.bool_]) -> Floats:
    same = (a == b).mean(axis=1)
    p = a.mean(axis=1)
    q = b.mean(axis=1)
    chance = p * q + (1 - p) * (1 - q)
    return np.where(chance < 1, (same - chance) / np.where(chance < 1, 1 - chance, 1.0), 1.0)
