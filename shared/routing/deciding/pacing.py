"""Holding a goal over the traffic as it comes: `keep` a part of the best model's success, or
`spend` no more than a given amount.

The table's frontier says which rate reaches the goal over the traffic that it was made from. Live
traffic is never quite that. So a pacer keeps what was expected of the last `WINDOW` prompts, and
finds the rate that would have reached the goal on them. It corrects for earlier prompts that missed
or passed the goal. Over 2,000 prompts the goal is then met although traffic, prices or models
change."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from shared.routing.deciding.choosing import best_of, breakpoints
from shared.routing.deciding.frontier import Frontier, rates_for, reached
from shared.routing.deciding.rates import Goal, Rates

Vector = npt.NDArray[np.float64]

WINDOW = 300
"""Prompts on which the rate is found."""
FEWEST = 100
"""Prompts below which the table's own frontier says it alone."""
EVERY = 20
"""Prompts after which it is found again."""
HORIZON = 100
"""Prompts over which a shortfall is made up for."""
STEPS = 48
"""Rates that are tried."""


@dataclass(frozen=True, slots=True)
class Offer:
    """What one eligible model was expected to do for one prompt."""

    success: float
    cost_usd: float
    latency_s: float


class Pacer:
    """Holds one goal. `rates` before each decision, `decided` after it."""

    def __init__(self, goal: Goal) -> None:
        self.goal = goal
        self._columns: dict[str, int] = {}
        self._recent = np.full((3, WINDOW, 0), np.nan)
        """Success, cost and latency of the newest prompts, by model: a ring."""
        self._count = 0
        self._rate: float | None = None
        self._owed = 0.0
        """By how much the prompts so far are beyond the goal: USD, or points of success. Below 0:
        short of it."""

    def rates(self, frontier: Frontier | None) -> Rates:
        """The rates to decide by now. Without a frontier and with too few prompts, those of the
        profile balanced."""
        if self._count < FEWEST:
            return rates_for(frontier, self.goal)
        if self._rate is None or self._count % EVERY == 0:
            self._rate = self._found(frontier)
        return Rates(self._rate, self.goal.s_per_point)

    def decided(self, offers: Mapping[str, Offer], chosen: str, frontier: Frontier | None) -> None:
        """Take note of a decision: what each eligible model offered, and which was chosen."""
        best = max(offer.success for offer in offers.values())
        if frontier is not None and frontier.single in offers:
            best = offers[frontier.single].success + frontier.single_correction
        elif frontier is not None:  # the best of the eligible models takes its place
            best += frontier.best_correction
        rate = self._rate if self._rate is not None else self.rates(frontier).usd_per_point
        gain, times = frontier.correction(rate) if frontier is not None else (0.0, 1.0)
        if self.goal.keep is not None:
            self._owed += offers[chosen].success + gain - self.goal.keep * best
        else:
            self._owed += (self.goal.spend_usd or 0.0) - times * offers[chosen].cost_usd
        for name in offers:
            if name not in self._columns:
                self._columns[name] = len(self._columns)
                self._recent = np.concatenate(
                    [self._recent, np.full((3, WINDOW, 1), np.nan)], axis=2
                )
        row = self._count % WINDOW
        self._recent[:, row] = np.nan
        for name, offer in offers.items():
            self._recent[:, row, self._columns[name]] = (
                offer.success,
                offer.cost_usd,
                offer.latency_s,
            )
        self._count += 1

    def _found(self, frontier: Frontier | None) -> float:
        success, cost, latency = self._recent[:, : min(self._count, WINDOW)]
        there = np.isfinite(success)
        single = np.nanmax(success, axis=1)
        if frontier is not None:
            single = single + frontier.best_correction
            if frontier.single in self._columns:
                own = success[:, self._columns[frontier.single]] + frontier.single_correction
                single = np.where(np.isfinite(own), own, single)
        base = np.where(there, success - latency / self.goal.s_per_point, -np.inf)
        costs = np.where(there, cost, np.inf)
        tried = breakpoints(np.where(there, base, 0.0), np.where(there, cost, 0.0), STEPS)
        utility = base - np.where(there, cost, 0.0) / tried[:, None, None]
        picks = best_of(utility, costs)
        rows = np.arange(len(success))
        gain, times = corrections(frontier, tried)
        got = success[rows, picks].mean(axis=1) + gain
        paid = times * cost[rows, picks].mean(axis=1)
        if self.goal.keep is not None:
            most = 0.1 * float(single.mean())
            wanted = self.goal.keep * float(single.mean()) - float(
                np.clip(self._owed / HORIZON, -most, most)
            )
            return reached(tried, got, paid, wanted, Goal(keep=1.0))
        limit = self.goal.spend_usd or 0.0
        allowed = limit + float(np.clip(self._owed / HORIZON, -0.5 * limit, 0.5 * limit))
        return reached(tried, got, paid, 0.0, Goal(spend_usd=allowed))


def corrections(frontier: Frontier | None, rates: Vector) -> tuple[Vector, Vector]:
    """`Frontier.correction` at many rates; none without a frontier."""
    if frontier is None:
        return np.zeros(len(rates)), np.ones(len(rates))
    return frontier.corrections(rates)
