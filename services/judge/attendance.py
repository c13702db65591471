"""Which judge models give votes that can be read. One that mostly does not is not paid for a
while."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field

SEEN, LEAST = 24, 8
"""How many of a model's votes are looked back on, and how many there must be before it is
stopped."""


@dataclass(slots=True)
class Attendance:
    """By judge model: whether each of its latest votes could be read. Calls that failed are left
    out: they cost nothing."""

    rest_s: float
    clock: Callable[[], float] = time.monotonic
    _seen: dict[str, deque[bool]] = field(default_factory=dict)
    _until: dict[str, float] = field(default_factory=dict)

    def votes(self, model: str) -> bool:
        """Whether it is asked now. After its rest it is tried again."""
        if model in self._until and self.clock() >= self._until[model]:
            del self._until[model], self._seen[model]
        return model not in self._until

    def note(self, model: str, read: int, abstained: int) -> bool:
        """Take note of a comparison. Returns whether the model is stopped now."""
        seen = self._seen.setdefault(model, deque(maxlen=SEEN))
        seen.extend([True] * read + [False] * abstained)
        if model in self._until or len(seen) < LEAST or 2 * sum(seen) >= len(seen):
            return False
        self._until[model] = self.clock() + self.rest_s
        return True
