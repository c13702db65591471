"""What the gateway remembers in Redis."""

from __future__ import annotations

from typing import Self

from shared.contracts.remembered import Remembered


class AnsweredAt(Remembered):
    """Where a request's completion stands, for feedback on it."""

    partition: int
    offset: int
    key: str
    """The name of the key that asked."""

    @classmethod
    def older(cls, lines: list[str]) -> Self | None:
        if len(lines) != 3 or not (lines[0].isdecimal() and lines[1].isdecimal()):
            return None
        return cls(partition=int(lines[0]), offset=int(lines[1]), key=lines[2])


class Spoke(Remembered):
    """Who spoke last in a conversation, and about what."""

    model: str
    cluster: str
    """Its task."""
    cares: str
    """What its sender cares about."""

    @classmethod
    def older(cls, lines: list[str]) -> Self | None:
        if len(lines) != 3:
            return None
        model, cluster, cares = lines
        return cls(model=model, cluster=cluster, cares=cares)
