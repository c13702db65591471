"""Values that a sender may put into fields of free form, and that can go on as JSON from service to
service.

Some encoders write NaN and infinities, which JSON does not have. And every stage puts what it hands
on one level deeper, while readers follow no more than some two hundred levels.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from shared.contracts.wishes import ChatMessage

DEEPEST = 100
"""Levels of lists and objects in one another."""
NOT_FINITE = (
    "the number is not finite (NaN, Infinity, or too large); JSON has no such number, so "
    "give another or leave the field out"
)
TOO_DEEP = f"more than {DEEPEST} lists and objects in one another"


@dataclass(frozen=True, slots=True)
class Unfit:
    """What can't go on: where, as "field.0.name", and why."""

    place: str
    why: str

    def __str__(self) -> str:
        return f"{self.place}: {self.why}"


def unfit(value: Any, place: str, level: int = 0) -> Unfit | None:
    """The first part of `value` that can't go on; None if all of it can."""
    if isinstance(value, float):
        return None if math.isfinite(value) else Unfit(place, NOT_FINITE)
    items: Iterable[tuple[Any, Any]]
    if isinstance(value, dict):
        items = value.items()
    elif isinstance(value, (list, tuple)):
        items = enumerate(value)
    else:
        return None
    if level > DEEPEST:
        return Unfit(place[:80], TOO_DEEP)
    for key, item in items:
        if isinstance(item, (float, dict, list)):
            misfit = unfit(item, f"{place}.{str(key)[:40]}" if place else str(key)[:40], level + 1)
            if misfit is not None:
                return misfit
    return None


def unfit_in_chat(messages: Iterable[ChatMessage] | None) -> Unfit | None:
    """The same in the turns of a chat."""
    for number, turn in enumerate(messages or ()):
        misfit = unfit(turn.model_extra, f"messages.{number}") or unfit(
            turn.content, f"messages.{number}.content"
        )
        if misfit is not None:
            return misfit
    return None
