"""Which partitions are stalled: records wait, and the committed offset does not move."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Generic, TypeVar

P = TypeVar("P")


@dataclass(frozen=True, slots=True)
class Waiting:
    """How far a partition is; None: not known."""

    offset: int | None
    """The next to be committed."""
    behind: int | None
    """Records from there to its end."""


@dataclass(slots=True)
class Standing(Generic[P]):
    """Watches partitions. Call `look` every few seconds."""

    after_s: float
    clock: Callable[[], float] = time.monotonic
    _since: dict[P, tuple[int | None, float]] = field(default_factory=dict)
    """By partition: the offset at which it was seen to wait, and since when."""

    def look(self, now: Mapping[P, Waiting]) -> dict[P, float]:
        """The partitions that have made no progress for longer than `after_s`, with the seconds. A
        partition that nothing is known of stands."""
        at = self.clock()
        since = {}
        for part, waiting in now.items():
            if waiting.behind == 0:
                continue
            offset, began = self._since.get(part, (waiting.offset, at))
            since[part] = (waiting.offset, began if offset == waiting.offset else at)
        self._since = since
        return {part: at - began for part, (_, began) in since.items() if at - began > self.after_s}
