"""A circuit breaker: after some failures in a row nobody asks for a while, then one may try.

Thirty lines are kept here rather than a dependency; the states are Nygard's (Release It!, 2007).
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass


@dataclass(slots=True)
class Breaker:
    """Closed: everybody may ask. Open: nobody. Half open, after `rest_s`: one may ask, and its luck
    decides."""

    failures_to_open: int
    rest_s: float
    clock: Callable[[], float] = time.monotonic
    failures: int = 0
    opened_at: float | None = None
    trying: bool = False

    def turn(self) -> Turn | None:
        """A turn to make a call; None while none may be made. How the call went must be told."""
        if self.opened_at is None:
            return Turn(self, trial=False)
        if self.trying or self.clock() - self.opened_at < self.rest_s:
            return None
        self.trying = True
        return Turn(self, trial=True)

    def would_allow(self) -> bool:
        """Whether there would be a turn, without taking it."""
        return self.opened_at is None or (
            not self.trying and self.clock() - self.opened_at >= self.rest_s
        )

    def rests_for_s(self) -> float | None:
        """Seconds until one may ask again; None while everybody may."""
        return (
            None
            if self.opened_at is None
            else max(0.0, self.rest_s - (self.clock() - self.opened_at))
        )


@dataclass(frozen=True, slots=True)
class Turn:
    """One call. While the breaker is open, only the trial decides: calls from before it opened fail
    late."""

    breaker: Breaker
    trial: bool

    def succeeded(self) -> None:
        if not self.trial and self.breaker.opened_at is not None:
            return
        self.breaker.failures = 0
        self.breaker.opened_at = None
        self.breaker.trying = False

    def failed(self) -> None:
        breaker = self.breaker
        if self.trial:
            breaker.trying = False
        elif breaker.opened_at is not None:
            return
        breaker.failures += 1
        if breaker.failures >= breaker.failures_to_open:
            breaker.opened_at = breaker.clock()

    def abandoned(self) -> None:
        """The call ended without saying anything about the other side."""
        if self.trial:
            self.breaker.trying = False
