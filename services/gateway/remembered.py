"""What the gateway remembers in Redis, as JSON; what older versions wrote is still read."""

from __future__ import annotations

from typing import Self

from pydantic import BaseModel, ConfigDict, ValidationError


class AnsweredAt(BaseModel):
    """Where a request's completion stands, for feedback on it."""

    model_config = ConfigDict(frozen=True)

    partition: int
    offset: int
    key: str
    """The name of the key that asked."""

    @classmethod
    def read(cls, text: str | None) -> Self | None:
        """None: nothing is remembered, or nothing that can be read."""
        try:
            return cls.model_validate_json(text or "")
        except ValidationError:
            return cls._older((text or "").split("\n"))

    @classmethod
    def _older(cls, lines: list[str]) -> Self | None:
        """Three lines, as until 2026-11-26."""
        if len(lines) != 3 or not (lines[0].isdecimal() and lines[1].isdecimal()):
            return None
        return cls(partition=int(lines[0]), offset=int(lines[1]), key=lines[2])


class Spoke(BaseModel):
    """Who spoke last in a conversation, and about what."""

    model_config = ConfigDict(frozen=True)

    model: str
    cluster: str
    """Its task."""
    cares: str
    """What its sender cares about."""

    @classmethod
    def read(cls, text: str | None) -> Self | None:
        """None: nothing is remembered, or nothing that can be read."""
        try:
            return cls.model_validate_json(text or "")
        except ValidationError:
            return cls._older((text or "").split("\n", 2))

    @classmethod
    def _older(cls, lines: list[str]) -> Self | None:
        """Three lines, as until 2026-11-26."""
        if len(lines) != 3:
            return None
        model, cluster, cares = lines
        return cls(model=model, cluster=cluster, cares=cares)
