"""How far each partition may be committed while its records are worked on out of order."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import TypeVar

P = TypeVar("P")


@dataclass(slots=True)
class Lane:
    """One partition, for as long as it is ours. Records are taken in the order of their offsets.

    `position` is the offset to commit: everything before it is done. Offsets may have gaps, as
    compaction and transactions leave them.
    """

    waiting: dict[int, bool] = field(default_factory=dict)
    """Offsets taken and not yet passed by `position`, in order; True once done."""
    position: int | None = None
    committed: int | None = None
    lost: bool = False
    """The partition went to another; so did what is waiting."""

    def take(self, offset: int) -> None:
        self.waiting[offset] = False

    def done(self, offset: int) -> None:
        self.waiting[offset] = True
        while self.waiting and self.waiting[first := next(iter(self.waiting))]:
            del self.waiting[first]
            self.position = first + 1

    @property
    def idle(self) -> bool:
        return not self.waiting


class Progress(dict[P, Lane]):
    """The lanes of the partitions that are ours now, by partition."""

    def lane(self, partition: P) -> Lane:
        if partition not in self:
            self[partition] = Lane()
        return self[partition]

    def uncommitted(self) -> dict[P, int]:
        """Partitions whose position moved since it was last committed."""
        return {
            p: lane.position
            for p, lane in self.items()
            if lane.position is not None and lane.position != lane.committed
        }

    def committed(self, offsets: dict[P, int]) -> None:
        for partition, offset in offsets.items():
            if partition in self:
                self[partition].committed = offset

    def drop(self, partitions: Iterable[P]) -> None:
        """Forget partitions that went to others; work on them that still ends no longer counts."""
        for partition in partitions:
            if (lane := self.pop(partition, None)) is not None:
                lane.lost = True

    @property
    def in_flight(self) -> int:
        return sum(len(lane.waiting) for lane in self.values())
