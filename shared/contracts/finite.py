"""Numbers that are no JSON: NaN and infinities, which some encoders write and most readers refuse."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

from shared.contracts.parts import ChatMessage

NOT_FINITE = "the number is not finite (NaN, Infinity, or too large); JSON has no such number, so give another or leave the field out"


def not_finite(value: Any, place: str) -> str | None:
    """Where in `value` there is a number that is not finite, as "place.field.0"; None if there is none."""
    if isinstance(value, float):
        return None if math.isfinite(value) else place
    items: Iterable[tuple[Any, Any]]
    if isinstance(value, dict):
        items = value.items()
    elif isinstance(value, (list, tuple)):
        items = enumerate(value)
    else:
        return None
    for key, item in items:
        if isinstance(item, (float, dict, list)):
            found = not_finite(item, f"{place}.{str(key)[:40]}" if place else str(key)[:40])
            if found is not None:
                return found
    return None


def not_finite_in_chat(messages: Iterable[ChatMessage] | None) -> str | None:
    """Likewise in the turns of a chat."""
    for number, turn in enumerate(messages or ()):
        found = not_finite(turn.model_extra, f"messages.{number}") or not_finite(
            getattr(turn, "content", None), f"messages.{number}.content"
        )
        if found is not None:
            return found
    return None
