"""What a model wants back untouched in the next turn, carried through a client of another protocol.

Models sign their thoughts and calls, and refuse a history whose signatures are missing or foreign.
A protocol that has no place for another's signatures has one opaque place of its own: a thinking
block's `signature` (Anthropic), a reasoning item's `encrypted_content` (OpenAI). The keepsake goes
there: the fields of the assistant's turn as they came, and who wrote it.
"""

from __future__ import annotations

import base64
import json
import zlib
from collections.abc import Mapping
from typing import Any

from shared.contracts.plain import unfit
from shared.protocols import AUTHOR, KEEPSAKE, compact, mapping, objects

OF_TURN = ("reasoning_content", "reasoning", "reasoning_details", "thinking_blocks")
OF_CALL = ("extra_content", "provider_specific_fields", "thought_signature")
MOST_BYTES = 4 * 1024 * 1024
"""Of one keepsake, unpacked."""


def keepsake_of(turn: Mapping[str, Any], model: str) -> str | None:
    """The keepsake of an assistant's turn; None: there is nothing to keep."""
    kept = {name: turn[name] for name in OF_TURN if turn.get(name)}
    calls: dict[str, Any] = {}
    for call in objects(turn.get("tool_calls")):
        extras = extras_of(call)
        if extras and isinstance(call.get("id"), str):
            calls[call["id"]] = extras
    if calls:
        kept["calls"] = calls
    if not kept:
        return None
    data = zlib.compress(compact(kept | {"model": model}).encode(), 1)
    return KEEPSAKE + base64.urlsafe_b64encode(data).decode()


def signed(turn: Mapping[str, Any]) -> bool:
    """Whether the model wants something back that nobody else can make."""
    return bool(turn.get("reasoning_details") or turn.get("thinking_blocks")) or any(
        extras_of(call) for call in objects(turn.get("tool_calls"))
    )


def opened(text: Any) -> dict[str, Any] | None:
    """What a keepsake holds; None: it is none of ours, or damaged."""
    if not isinstance(text, str) or not text.startswith(KEEPSAKE):
        return None
    try:
        reading = zlib.decompressobj()
        data = base64.urlsafe_b64decode(text.removeprefix(KEEPSAKE))
        value = json.loads(reading.decompress(data, MOST_BYTES))
    except (ValueError, zlib.error, RecursionError):
        return None
    return value if isinstance(value, dict) and unfit(value, "") is None else None


def give_back(turn: dict[str, Any], kept: Mapping[str, Any]) -> None:
    """Put what was kept where the model had it."""
    turn.update({name: kept[name] for name in OF_TURN if name in kept})
    if isinstance(kept.get("model"), str):
        turn[AUTHOR] = kept["model"]
    calls = kept.get("calls")
    for call in turn.get("tool_calls") or ():
        extras = calls.get(call.get("id")) if isinstance(calls, Mapping) else None
        if isinstance(extras, Mapping):
            call.update({name: extras[name] for name in OF_CALL if name in extras})


def joined(one: dict[str, Any] | None, more: dict[str, Any] | None) -> dict[str, Any] | None:
    """Two keepsakes of one turn."""
    if one is None or more is None:
        return one or more
    calls = {**mapping(one.get("calls")), **mapping(more.get("calls"))}
    return {**one, **more} | ({"calls": calls} if calls else {})


def extras_of(call: Mapping[str, Any]) -> dict[str, Any]:
    """What a tool call has that its model wants back."""
    return {name: call[name] for name in OF_CALL if call.get(name)}


def thoughts_in(said: Mapping[str, Any]) -> str:
    """The words of a turn's thoughts, under whichever name."""
    for name in ("reasoning_content", "reasoning"):
        if isinstance(words := said.get(name), str) and words:
            return words
    return ""
