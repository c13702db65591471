"""Conversations and answers of all kinds that every protocol has a place for."""

from __future__ import annotations

import json
from typing import Any

from hypothesis import strategies as st

words = st.text(st.characters(exclude_categories=("Cs",)), min_size=1, max_size=20).filter(
    lambda text: bool(text.strip())
)
names = st.from_regex(r"[a-z]{1,8}", fullmatch=True)
objects = st.dictionaries(names, st.integers(-9, 9) | words | st.booleans(), max_size=3)
ids = st.from_regex(r"call[A-Za-z0-9]{5}", fullmatch=True)


def arguments(value: dict[str, Any]) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


@st.composite
def calls(draw: st.DrawFn) -> list[dict[str, Any]]:
    unique = draw(st.lists(ids, min_size=1, max_size=3, unique=True))
    return [
        {
            "id": one,
            "type": "function",
            "function": {"name": draw(names), "arguments": arguments(draw(objects))},
        }
        for one in unique
    ]


@st.composite
def users(draw: st.DrawFn) -> dict[str, Any]:
    if draw(st.booleans()):
        return {"role": "user", "content": draw(words)}
    image = {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}}
    return {"role": "user", "content": [{"type": "text", "text": draw(words)}, image]}


@st.composite
def chats(draw: st.DrawFn) -> dict[str, Any]:
    """Sides take turns, as Anthropic wants it."""
    turns: list[dict[str, Any]] = []
    if draw(st.booleans()):
        turns.append({"role": "system", "content": draw(words)})
    turns.append(draw(users()))
    for _ in range(draw(st.integers(0, 3))):
        if draw(st.booleans()):
            turns.append({"role": "assistant", "content": draw(words)})
        else:
            asked = draw(calls())
            said = draw(st.none() | words)
            turns.append({"role": "assistant", "content": said, "tool_calls": asked})
            turns += [
                {"role": "tool", "tool_call_id": call["id"], "content": draw(words)}
                for call in asked
            ]
        turns.append(draw(users()))
    chat: dict[str, Any] = {"messages": turns}
    if draw(st.booleans()):
        function = {
            "name": draw(names),
            "description": draw(words),
            "parameters": {"type": "object"},
        }
        chat["tools"] = [{"type": "function", "function": function}]
        chat["tool_choice"] = draw(
            st.sampled_from(["auto", "required", "none"])
            | st.just({"type": "function", "function": {"name": function["name"]}})
        )
    if draw(st.booleans()):
        chat["max_tokens"] = draw(st.integers(1, 100))
    if draw(st.booleans()):
        chat["temperature"] = draw(st.floats(0, 1))
    elif "tools" not in chat:  # Anthropic has neither with thoughts
        chat["reasoning_effort"] = draw(st.sampled_from(["low", "medium", "high"]))
    if draw(st.booleans()):
        wanted = {"type": "object", "additionalProperties": False, "required": []}
        schema = {"name": "answer", "schema": wanted, "strict": True}
        chat["response_format"] = {"type": "json_schema", "json_schema": schema}
    return chat


@st.composite
def completions(draw: st.DrawFn) -> dict[str, Any]:
    """Whole answers of one choice."""
    said: dict[str, Any] = {"role": "assistant", "content": draw(st.just("") | words)}
    if draw(st.booleans()) or not said["content"]:
        said["tool_calls"] = draw(calls())
    finish = "tool_calls" if "tool_calls" in said else draw(st.sampled_from(["stop", "length"]))
    counts = {
        "prompt_tokens": draw(st.integers(1, 99)),
        "completion_tokens": draw(st.integers(1, 9)),
    }
    choice = {"index": 0, "message": said, "finish_reason": finish}
    return {"id": "x", "model": "m", "choices": [choice], "usage": counts}


def streamed(completion: dict[str, Any], data: st.DataObject) -> list[dict[str, Any]]:
    """A whole answer in chunks, cut at any place."""

    def cut(text: str) -> list[str]:
        places = sorted(data.draw(st.sets(st.integers(0, len(text)), max_size=3)))
        return [text[a:b] for a, b in zip([0, *places], [*places, len(text)], strict=True)]

    deltas: list[dict[str, Any]] = [{"role": "assistant"}]
    choice = completion["choices"][0]
    said = choice["message"]
    deltas += [{"content": piece} for piece in cut(said["content"])]
    for index, call in enumerate(said.get("tool_calls", ())):
        function = {"name": call["function"]["name"], "arguments": ""}
        deltas.append({"tool_calls": [{**call, "index": index, "function": function}]})
        deltas += [
            {"tool_calls": [{"index": index, "function": {"arguments": piece}}]}
            for piece in cut(call["function"]["arguments"])
        ]
    chunks = [{"choices": [{"index": 0, "delta": one, "finish_reason": None}]} for one in deltas]
    end = {"index": 0, "delta": {}, "finish_reason": choice["finish_reason"]}
    return [*chunks, {"choices": [end], "usage": completion["usage"]}]
