"""Holding a goal over the traffic as it comes: `keep` a part of the best model's success, or `spend` no more than so much.

The table's frontier says which rate reaches the goal over the traffic that it was made from. Live traffic is never quite that, so a pacer
keeps what was expected of the last `WINDOW` prompts, finds the rate that would have reached the goal on them, and makes up for what the
prompts before were short of or beyond it. Over 2,000 prompts the goal is then met although traffic, prices or models change.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from shared.routing.choosing import best_of, breakpoints
from shared.routing.frontier import Frontier, rates_for, reached
from shared.routing.rates import PROFILES, Goal, Rates

Vector = npt.NDArray[np.float64]

WINDOW = 500
"""Prompts on which the rate is found."""
FEWEST = 100
"""Prompts below which the table's own frontier says it alone."""
EVERY = 25
"""Prompts after which it is found again."""
HORIZON = 250
"""Prompts over which a shortfall is made up for."""
STEPS = 64
"""Rates that are tried."""


@dataclass(frozen=True, slots=True)
class Offer:
    """What one eligible model was expected to do for one prompt."""

    success: float
    cost_usd: float
    latency_s: float


@dataclass(slots=True)
class Pacer:
    """Holds one goal. `rates` before each decision, `decided` after it."""

    goal: Goal
    _recent: deque[Mapping[str, Offer]] = field(default_factory=lambda: deque(maxlen=WINDOW))
    _rate: float | None = None
    _owed: float = 0.0
    """By how much the prompts so far are beyond the goal: USD, or points of success. Below 0: short of it."""
    _since: int = 0

    def rates(self, frontier: Frontier | None) -> Rates:
        """The rates to decide by now. Without a frontier and with too few prompts, those of the profile balanced."""
        if len(self._recent) < FEWEST:
            if frontier is None:
                return Rates(PROFILES["balanced"].usd_per_point, self.goal.s_per_point)
            return rates_for(frontier, self.goal)
        if self._rate is None or self._since >= EVERY:
            self._rate, self._since = self._found(frontier), 0
        return Rates(self._rate, self.goal.s_per_point)

    def decided(self, offers: Mapping[str, Offer], chosen: str, frontier: Frontier | None) -> None:
        """Take note of a decision: what each eligible model offered, and which was chosen."""
        named = offers.get(frontier.single) if frontier is not None else None
        best = named or max(offers.values(), key=lambda o: o.success)
        rate = self._rate if self._rate is not None else self.rates(frontier).usd_per_point
        gain, times = frontier.correction(rate) if frontier is not None else (0.0, 1.0)
        if self.goal.keep is not None:
            self._owed += offers[chosen].success + gain - self.goal.keep * best.success
        else:
            self._owed += (self.goal.spend_usd or 0.0) - times * offers[chosen].cost_usd
        self._recent.append(offers)
        self._since += 1

    def _found(self, frontier: Frontier | None) -> float:
        names = sorted({name for offers in self._recent for name in offers})
        success, cost, latency = (np.full((len(self._recent), len(names)), np.nan) for _ in range(3))
        for i, offers in enumerate(self._recent):
            for j, name in enumerate(names):
                if (offer := offers.get(name)) is not None:
                    success[i, j], cost[i, j], latency[i, j] = offer.success, offer.cost_usd, offer.latency_s
        there = np.isfinite(success)
        single = np.nanmax(success, axis=1)
        if frontier is not None and frontier.single in names:
            own = success[:, names.index(frontier.single)]
            single = np.where(np.isfinite(own), own, single)
        rows = np.arange(len(success))
        base = np.where(there, success - latency / self.goal.s_per_point, -np.inf)
        costs = np.where(there, cost, np.inf)
        tried = breakpoints(np.where(there, base, 0.0), np.where(there, cost, 0.0), STEPS)
        got, paid = np.zeros(len(tried)), np.zeros(len(tried))
        for i, rate in enumerate(tried):
            picks = best_of(np.where(there, base - costs / rate, -np.inf), costs)
            gain, times = frontier.correction(float(rate)) if frontier is not None else (0.0, 1.0)
            got[i], paid[i] = success[rows, picks].mean() + gain, times * cost[rows, picks].mean()
        if self.goal.keep is not None:
            most = 0.1 * float(single.mean())
            wanted = self.goal.keep * float(single.mean()) - float(np.clip(self._owed / HORIZON, -most, most))
            return reached(tried, got, paid, wanted, Goal(keep=1.0))
        limit = self.goal.spend_usd or 0.0
        allowed = limit + float(np.clip(self._owed / HORIZON, -0.5 * limit, 0.5 * limit))
        return reached(tried, got, paid, 0.0, Goal(spend_usd=allowed))
