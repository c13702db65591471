"""What a model wants back untouched in the next turn, carried through a client of another protocol.

Models sign their thoughts and calls, and refuse a history whose signatures are missing or foreign.
A protocol without a place for another's signatures has one opaque field: a thinking block's
`signature` (Anthropic), a reasoning item's `encrypted_content` (OpenAI). The keepsake goes there:
the fields of the assistant's turn as they came, and who wrote it."""

from __future__ import annotations

import base64
import json
import zlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from shared.contracts.plain import unfit
from shared.protocols import AUTHOR, KEEPSAKE, compact, mapping, objects, words_of

OF_TURN = ("reasoning_content", "reasoning", "reasoning_details", "thinking_blocks")
OF_CALL = ("extra_content", "provider_specific_fields", "thought_signature")
MOST_TIMES, LEAST_BYTES = 8, 1024
"""A keepsake unpacks to at most this many times its own length, and to that many bytes. Models'
text compresses to a fifth at best, so more is an attempt to fill the memory."""


@dataclass(slots=True)
class Thoughts:
    """What a model says beside its answer, as it comes in deltas, and must get back."""

    words: list[str] = field(default_factory=list)
    details: list[Any] = field(default_factory=list)
    blocks: list[Any] = field(default_factory=list)
    calls: list[dict[str, Any]] = field(default_factory=list)

    def take(self, delta: Mapping[str, Any]) -> str:
        """The words of the thoughts in a delta; all else is noted."""
        if words := thoughts_in(delta):
            self.words.append(words)
        if isinstance(more := delta.get("reasoning_details"), list):
            self.details.extend(more)
        if isinstance(more := delta.get("thinking_blocks"), list):
            self.blocks.extend(more)
        return words

    def turn(self) -> dict[str, Any]:
        """As an assistant's turn has it."""
        made: dict[str, Any] = {}
        if self.words:
            made["reasoning_content"] = "".join(self.words)
        if self.details:
            made["reasoning_details"] = whole_details(self.details)
        if self.blocks:
            made["thinking_blocks"] = self.blocks
        return made | ({"tool_calls": self.calls} if self.calls else {})


TEXTS = ("text", "summary", "data", "signature")
"""Fields of OpenRouter's reasoning details that come in pieces."""


def whole_details(details: Iterable[Any]) -> list[Any]:
    """OpenRouter's reasoning details with the pieces of each joined: those of one kind and index
    that follow each other."""
    joined_: list[Any] = []
    pieces: dict[str, list[str]] = {}

    def close() -> None:
        for name, texts in pieces.items():
            joined_[-1][name] = "".join(texts)
        pieces.clear()

    for detail in details:
        if not isinstance(detail, Mapping):
            continue
        last = joined_[-1] if joined_ else None
        same = last is not None and (last.get("type"), last.get("index"), "index" in detail) == (
            detail.get("type"),
            detail.get("index"),
            True,
        )
        if not same:
            close()
            joined_.append({})
        for name, value in detail.items():
            if name in TEXTS and isinstance(value, str):
                pieces.setdefault(name, []).append(value)
            elif value is not None or name not in joined_[-1]:
                joined_[-1][name] = value
    close()
    return joined_


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
    """What a keepsake holds; None: it is not ours, or damaged."""
    if not isinstance(text, str) or not text.startswith(KEEPSAKE):
        return None
    try:
        reading = zlib.decompressobj()
        data = base64.urlsafe_b64decode(text.removeprefix(KEEPSAKE))
        value = json.loads(reading.decompress(data, MOST_TIMES * len(text) + LEAST_BYTES))
    except (ValueError, zlib.error, RecursionError):
        return None
    return value if isinstance(value, dict) and unfit(value, "") is None else None


def give_back(turn: dict[str, Any], kept: Mapping[str, Any]) -> None:
    """Put what was kept where the model had it, behind what stands there."""
    for name in OF_TURN:
        if name in kept:
            turn[name] = _behind(turn.get(name), kept[name])
    if isinstance(kept.get("model"), str):
        turn[AUTHOR] = kept["model"]
    calls = mapping(kept.get("calls"))
    for call in turn.get("tool_calls") or ():
        extras = mapping(calls.get(words_of(call.get("id"))))
        call.update({name: extras[name] for name in OF_CALL if name in extras})


def _behind(one: Any, more: Any) -> Any:
    same = isinstance(one, (str, list)) and type(one) is type(more)
    return one + more if same else more


def of_calls(kept: Mapping[str, Any]) -> dict[str, Any]:
    """The part of a keepsake that further calls of its turn may need."""
    return {name: kept[name] for name in ("calls", "model") if name in kept}


def joined(one: dict[str, Any] | None, more: dict[str, Any] | None) -> dict[str, Any] | None:
    """Two keepsakes of one turn."""
    if one is None or more is None:
        return one or more
    both = {**one, **more}
    both |= {n: _behind(one[n], more[n]) for n in OF_TURN if n in one and n in more}
    calls = {**mapping(one.get("calls")), **mapping(more.get("calls"))}
    return both | ({"calls": calls} if calls else {})


def extras_of(call: Mapping[str, Any]) -> dict[str, Any]:
    """What a tool call has that its model wants back."""
    return {name: call[name] for name in OF_CALL if call.get(name)}


def thoughts_in(said: Mapping[str, Any]) -> str:
    """The words of a turn's thoughts, under whichever name."""
    for name in ("reasoning_content", "reasoning"):
        if isinstance(words := said.get(name), str) and words:
            return words
    return ""
