"""A conversation's history in a form that any model takes: what only the model that wrote it
understands is left out or renamed."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping, Sequence
from typing import Any

PLAIN_ID = re.compile(r"[A-Za-z0-9]{9}")
"""The strictest form of a tool call's id that is asked for (Mistral); everybody takes it."""
_OWN = (
    "reasoning reasoning_content reasoning_details reasoning_signature thinking_blocks "
    "thought_signature signature encrypted_content "
    "provider_specific_fields extra_content annotations audio images"
)
OWN = frozenset(_OWN.split())
"""What a model adds to its own turns: thoughts and their signatures."""
OWN_OF_CALLS = frozenset(
    {"extra_content", "provider_specific_fields", "thought_signature", "index"}
)
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
    return [_turn(turn) for turn in chat]


def _turn(turn: Mapping[str, Any]) -> dict[str, Any]:
    portable_turn = dict(turn)
    if isinstance(portable_turn.get("tool_call_id"), str):
        portable_turn["tool_call_id"] = _id(portable_turn["tool_call_id"])
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
        {"id": _id(portable_call["id"])} if isinstance(portable_call.get("id"), str) else {}
    )


def _id(name: str) -> str:
    return (
        name
        if PLAIN_ID.fullmatch(name)
        else hashlib.sha256(name.encode("utf-8", "replace")).hexdigest()[:9]
    )
