"""What a sender cares about, as exchange rates: what a point of success is worth in USD and in
seconds.

A point of success is a whole one: from an answer that surely fails to an answer that surely
succeeds. At 0.10 USD a point, an answer that succeeds 0.03 more often may cost 0.003 USD more.
Utility is then in points of success:

    utility = success - cost_usd / usd_per_point - latency_s / s_per_point

The rates don't depend on which models there are, so the choice between two models never depends on
a third.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

MOST_USD = 10.0
"""USD a point of success is worth where cost is no matter: a vanishing lead still does not outweigh
a finite cost."""
MOST_S = 30_000.0
"""Seconds a point is worth where latency is no matter."""
LEAST = 1e-4
"""Weight of performance where a sender gives it none: nearly nothing, so that cost and latency keep
their ratio."""
USD_AT_EQUAL_WEIGHTS = 0.04
"""USD a point is worth to a sender who weighs performance and cost alike."""
S_AT_EQUAL_WEIGHTS = 30.0
"""Seconds a point is worth to a sender who weighs performance and latency alike."""


@dataclass(frozen=True, slots=True)
class Rates:
    """What a point of success is worth; both above 0 and finite."""

    usd_per_point: float = MOST_USD
    s_per_point: float = MOST_S


@dataclass(frozen=True, slots=True)
class Weights:
    """The older form of preferences: non-negative, at least one above 0; only their ratio
    matters."""

    performance: float
    cost: float
    latency: float

    def normalised(self) -> Weights:
        """With a sum of 1."""
        total = self.performance + self.cost + self.latency
        return Weights(self.performance / total, self.cost / total, self.latency / total)

    def rates(self) -> Rates:
        """The exchange rates that these weights stand for.

        `USD_AT_EQUAL_WEIGHTS` times performance over cost, and the same for seconds; a weight of 0
        is the most a rate can be.
        """
        a = self.normalised()
        performance = max(a.performance, LEAST)
        usd = USD_AT_EQUAL_WEIGHTS * performance
        seconds = S_AT_EQUAL_WEIGHTS * performance
        return Rates(
            MOST_USD if a.cost * MOST_USD <= usd else usd / a.cost,
            MOST_S if a.latency * MOST_S <= seconds else seconds / a.latency,
        )


@dataclass(frozen=True)
class Goal:
    """What is to be reached on average over the traffic. One of `keep` and `spend_usd` is given."""

    keep: float | None = None
    """Part of the best single model's success that is to be kept, at the least cost."""
    spend_usd: float | None = None
    """Mean cost of an answer in USD that is not to be passed, for the most success."""
    s_per_point: float = MOST_S
    """As in `Rates`."""

    @cached_property
    def text(self) -> str:
        """For people."""
        if self.keep is not None:
            return f"keep {100 * self.keep:g}% of the best model's success"
        return f"spend at most {1000 * (self.spend_usd or 0.0):g} USD per 1,000 prompts"


PROFILES: Mapping[str, Rates] = {
    "quality": Rates(2.0, 3600.0),
    "balanced": Rates(0.10, 120.0),
    "economy": Rates(0.01, 300.0),
    "fast": Rates(0.10, 20.0),
}
OLD_PROFILES: Mapping[str, Weights] = {
    "quality": Weights(1.0, 0.0, 0.0),
    "balanced": Weights(0.6, 0.25, 0.15),
    "economy": Weights(0.35, 0.6, 0.05),
    "fast": Weights(0.35, 0.05, 0.6),
}
"""What the profiles weighed in tables of format 1, which are still decided by weights."""


def weights_of(rates: Rates) -> Weights:
    """The weights that tables of format 1 decide by: the profile's earlier ones, else those that
    `Weights.rates` makes these rates of."""
    for name, own in PROFILES.items():
        if own == rates:
            return OLD_PROFILES[name]
    cost = 0.0 if rates.usd_per_point >= MOST_USD else USD_AT_EQUAL_WEIGHTS / rates.usd_per_point
    latency = 0.0 if rates.s_per_point >= MOST_S else S_AT_EQUAL_WEIGHTS / rates.s_per_point
    weights = Weights(1.0, cost, latency).normalised()
    return (
        weights if weights.performance > 1.01 * LEAST else Weights(0.0, cost, latency).normalised()
    )
