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

    def allows(self) -> bool:
        """Whether a call may be made now. After True, `succeeded`, `failed` or `abandoned` must
        follow."""
        if self.opened_at is None:
            return True
        if self.trying or self.clock() - self.opened_at < self.rest_s:
            return False
        self.trying = True
        return True

    def would_allow(self) -> bool:
        """What `allows` would say, without taking the turn."""
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

    def succeeded(self) -> None:
        self.failures = 0
        self.opened_at = None
        self.trying = False

    def failed(self) -> None:
        self.failures += 1
        self.trying = False
        if self.failures >= self.failures_to_open:
            self.opened_at = self.clock()

    def abandoned(self) -> None:
        """The call ended without saying anything about the other side."""
        self.trying = False
