"""A conversation's history in a form that any model takes: what only the model that wrote it
understands is left out or renamed."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from shared.protocols import NATIVE, objects, plain, text_of_parts, words_of
from shared.protocols.keepsake import OF_CALL

PLAIN_ID = re.compile(r"[A-Za-z0-9]{9}")
"""The strictest form of a tool call's id that is asked for (Mistral); everybody takes it."""
_OWN = (
    "reasoning reasoning_content reasoning_details reasoning_signature thinking_blocks "
    "thought_signature signature encrypted_content "
    "provider_specific_fields extra_content annotations audio images"
)
OWN = frozenset(_OWN.split())
"""What a model adds to its own turns: thoughts and their signatures."""
OWN_OF_CALLS = frozenset({*OF_CALL, "index"})
THOUGHTS = (
    "thinking",
    "redacted_thinking",
    "reasoning",
    "reasoning.text",
    "reasoning.summary",
    "reasoning.encrypted",
)


def portable(chat: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """The turns without foreign thoughts, and with ids of tool calls that every provider takes, the
    same wherever one stands."""
    return history(chat, lambda _turn: False)


def history(
    chat: Sequence[Mapping[str, Any]], own: Callable[[Mapping[str, Any]], bool]
) -> list[dict[str, Any]]:
    """The turns for one model, which wrote those of which `own` is true. These stay unchanged, so
    that its provider finds them in its cache; the others become portable."""
    kept_ids: set[str] = set()
    turns: list[dict[str, Any]] = []
    for turn in chat:
        if turn.get("role") == "assistant":
            if mine := own(turn):
                kept_ids.update(_ids(turn))
            turns.append(dict(turn) if mine else _foreign(turn))
        elif words_of(turn.get("tool_call_id")) in kept_ids:
            turns.append(dict(turn))
        else:
            turns.append(_turn(turn))
    return turns


def _foreign(turn: Mapping[str, Any]) -> dict[str, Any]:
    """A turn that another wrote. What came in Anthropic's form stays for a model of Anthropic's,
    except for the thoughts that another has signed."""
    portable_turn = plain(_turn(turn))
    native = turn.get(NATIVE)
    if isinstance(native, list):
        kinds = ("thinking", "redacted_thinking")
        portable_turn[NATIVE] = [
            block
            for block in native
            if not (isinstance(block, Mapping) and block.get("type") in kinds)
        ]
    elif native is not None:
        portable_turn[NATIVE] = native
    return portable_turn


def _ids(turn: Mapping[str, Any]) -> Iterable[str]:
    for call in objects(turn.get("tool_calls")):
        if isinstance(call.get("id"), str):
            yield call["id"]


def fingerprint(turn: Mapping[str, Any]) -> str:
    """What an assistant's turn is known by when it comes back: its tool calls, else its words.
    Clients leave out thoughts, and trim."""
    ids = sorted(_ids(turn))
    words = "\0".join(ids) if ids else text_of_parts(turn.get("content")).strip()
    return hashlib.sha256(words.encode("utf-8", "replace")).hexdigest()[:16]


def _turn(turn: Mapping[str, Any]) -> dict[str, Any]:
    portable_turn = dict(turn)
    if isinstance(portable_turn.get("tool_call_id"), str):
        portable_turn["tool_call_id"] = plain_id(portable_turn["tool_call_id"])
    if turn.get("role") != "assistant":
        return portable_turn
    portable_turn = {name: value for name, value in portable_turn.items() if name not in OWN}
    if isinstance(portable_turn.get("tool_calls"), list):
        portable_turn["tool_calls"] = [_call(call) for call in portable_turn["tool_calls"]]
    if isinstance(portable_turn.get("content"), list):
        portable_turn["content"] = [
            part
            for part in portable_turn["content"]
            if not (isinstance(part, Mapping) and part.get("type") in THOUGHTS)
        ]
        portable_turn["content"] = portable_turn["content"] or (
            None if portable_turn.get("tool_calls") else ""
        )
    return portable_turn


def _call(call: Any) -> Any:
    if not isinstance(call, Mapping):
        return call
    portable_call = {name: value for name, value in call.items() if name not in OWN_OF_CALLS}
    return portable_call | (
        {"id": plain_id(portable_call["id"])} if isinstance(portable_call.get("id"), str) else {}
    )


def plain_id(name: str) -> str:
    """A tool call's id that every provider takes."""
    return (
        name
        if PLAIN_ID.fullmatch(name)
        else hashlib.sha256(name.encode("utf-8", "replace")).hexdigest()[:9]
    )
