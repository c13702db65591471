"""What the gateway remembers in Redis."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Self

from pydantic import BaseModel, ConfigDict

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


class Reading(BaseModel):
    """What a model has read of a conversation, and its provider may have cached."""

    model_config = ConfigDict(frozen=True)

    tokens: int
    at: float
    """When, in seconds since 1970."""


class Spoke(Remembered):
    """Who spoke in a conversation, last and before, and about what."""

    model: str
    """Who spoke last."""
    cluster: str = ""
    """The task of its last turn."""
    cares: str = ""
    """Read by gateways of the version before, which stay while it is the same."""
    space: str = ""
    """The encoder in whose space the tasks lie."""
    tasks: Mapping[str, float] = {}
    """Its tasks, with what each weighs beside the next turn."""
    authors: Mapping[str, str] = {}
    """Who wrote which turn, by the turn's fingerprint; the newest last."""
    read: Mapping[str, Reading] = {}
    """What each model has read."""

    @classmethod
    def older(cls, lines: list[str]) -> Self | None:
        if len(lines) != 3:
            return None
        model, cluster, cares = lines
        return cls(model=model, cluster=cluster, cares=cares)


class KeptResponse(Remembered):
    """A response that may be asked for, or gone on from."""

    key: str
    """The name of the key that asked."""
    items: list[dict[str, Any]]
    """The conversation up to its end."""
    response: dict[str, Any]

    @classmethod
    def older(cls, lines: list[str]) -> Self | None:  # noqa: ARG003
        return None
