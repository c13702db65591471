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
    made = dict(turn)
    if isinstance(made.get("tool_call_id"), str):
        made["tool_call_id"] = _id(made["tool_call_id"])
    if turn.get("role") != "assistant":
        return made
    made = {name: value for name, value in made.items() if name not in OWN}
    if isinstance(made.get("tool_calls"), list):
        made["tool_calls"] = [_call(call) for call in made["tool_calls"]]
    if isinstance(made.get("content"), list):
        made["content"] = [
            part
            for part in made["content"]
            if not (isinstance(part, Mapping) and part.get("type") in THOUGHTS)
        ]
        made["content"] = made["content"] or (None if made.get("tool_calls") else "")
    return made


def _call(call: Any) -> Any:
    if not isinstance(call, Mapping):
        return call
    made = {name: value for name, value in call.items() if name not in OWN_OF_CALLS}
    return made | ({"id": _id(made["id"])} if isinstance(made.get("id"), str) else {})


def _id(name: str) -> str:
    return (
        name
        if PLAIN_ID.fullmatch(name)
        else hashlib.sha256(name.encode("utf-8", "replace")).hexdigest()[:9]
    )
