"""An answer in Anthropic's form, whole or as events, put into the inner form."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from shared.protocols import NATIVE, compact, count, mapping, objects, whole_number, words_of

FINISH_REASONS: Mapping[str, str] = {
    "end_turn": "stop",
    "stop_sequence": "stop",
    "pause_turn": "stop",
    "max_tokens": "length",
    "model_context_window_exceeded": "length",
    "tool_use": "tool_calls",
    "refusal": "content_filter",
}


def completion_of(message: Mapping[str, Any]) -> dict[str, Any]:
    """A whole message as a completion, with the message under `NATIVE`."""
    texts: list[str] = []
    said: dict[str, Any] = {"role": "assistant"}
    calls: list[dict[str, Any]] = []
    for block in objects(message.get("content")):
        kind = block.get("type")
        if kind == "text":
            texts.append(words_of(block.get("text")))
        elif kind == "tool_use":
            calls.append(_call_of(block, compact(mapping(block.get("input")))))
        elif kind in ("thinking", "redacted_thinking"):
            said.setdefault("thinking_blocks", []).append(dict(block))
            if isinstance(words := block.get("thinking"), str) and words:
                said["reasoning_content"] = said.get("reasoning_content", "") + words
    said["content"] = "".join(texts)
    if calls:
        said["tool_calls"] = calls
    choice = {"index": 0, "message": said, "finish_reason": _finish_reason(message)}
    return {
        "id": message.get("id"),
        "object": "chat.completion",
        "model": message.get("model"),
        "choices": [choice],
        "usage": counts_of(message.get("usage")),
        NATIVE: dict(message),
    }


def _call_of(block: Mapping[str, Any], arguments: str) -> dict[str, Any]:
    function = {"name": words_of(block.get("name")), "arguments": arguments}
    return {"id": words_of(block.get("id")), "type": "function", "function": function}


def _finish_reason(value: Mapping[str, Any]) -> str | None:
    reason = value.get("stop_reason")
    return FINISH_REASONS.get(str(reason), "stop") if reason else None


def counts_of(usage: Any) -> dict[str, Any]:
    """Anthropic's usage as a completion's."""
    usage = mapping(usage)
    read = count(usage.get("cache_read_input_tokens"))
    written = count(usage.get("cache_creation_input_tokens"))
    prompt = count(usage.get("input_tokens")) + read + written
    answer = count(usage.get("output_tokens"))
    return {
        "prompt_tokens": prompt,
        "completion_tokens": answer,
        "total_tokens": prompt + answer,
        "prompt_tokens_details": {"cached_tokens": read},
        "cache_creation_input_tokens": written,
    }


@dataclass(slots=True)
class MessageChunks:
    """Events of Anthropic's stream as chunks of a completion, each with its event under
    `NATIVE`."""

    usage: dict[str, Any] = field(default_factory=dict)
    ended: bool = False
    _common: dict[str, Any] = field(default_factory=dict)
    _blocks: dict[int, dict[str, Any]] = field(default_factory=dict)
    _calls: int = 0

    def take(self, event: Mapping[str, Any]) -> dict[str, Any] | None:
        """The chunk that an event makes; None: none. An error is none of them."""
        kind = event.get("type")
        if kind == "message_stop":
            self.ended = True
            return None
        delta: dict[str, Any] = {}
        finish = None
        more: dict[str, Any] = {}
        if kind == "message_start":
            message = mapping(event.get("message"))
            self._common = {"id": message.get("id"), "model": message.get("model")}
            self.usage |= mapping(message.get("usage"))
            delta = {"role": "assistant"}
        elif kind == "content_block_start":
            delta = self._begun(
                whole_number(event.get("index")), mapping(event.get("content_block"))
            )
        elif kind == "content_block_delta":
            delta = self._grown(whole_number(event.get("index")), mapping(event.get("delta")))
        elif kind == "content_block_stop":
            delta = self._closed(whole_number(event.get("index")))
        elif kind == "message_delta":
            finish = _finish_reason(mapping(event.get("delta")))
            counted = mapping(event.get("usage"))
            self.usage |= {name: count for name, count in counted.items() if count is not None}
            more = {"usage": counts_of(self.usage)}
        choice = {"index": 0, "delta": delta, "finish_reason": finish}
        chunk = {"object": "chat.completion.chunk", "choices": [choice], NATIVE: [dict(event)]}
        return self._common | chunk | more

    def _begun(self, index: int, block: Mapping[str, Any]) -> dict[str, Any]:
        kept = self._blocks[index] = dict(block)
        if block.get("type") == "tool_use":
            kept["call"] = self._calls
            kept["arguments"] = ""
            self._calls += 1
            call = _call_of(block, "")
            return {"tool_calls": [{"index": kept["call"], **call}]}
        if block.get("type") == "text" and (text := words_of(block.get("text"))):
            return {"content": text}
        return {}

    def _grown(self, index: int, delta: Mapping[str, Any]) -> dict[str, Any]:
        block = self._blocks.setdefault(index, {})
        kind = delta.get("type")
        if kind == "text_delta":
            return {"content": words_of(delta.get("text"))}
        if kind == "thinking_delta":
            block["thinking"] = words_of(block.get("thinking")) + words_of(delta.get("thinking"))
            return {"reasoning_content": words_of(delta.get("thinking"))}
        if kind == "signature_delta":
            block["signature"] = words_of(block.get("signature")) + words_of(delta.get("signature"))
        if kind == "input_json_delta" and "call" in block:
            part = words_of(delta.get("partial_json"))
            block["arguments"] += part
            if part:
                return {"tool_calls": [{"index": block["call"], "function": {"arguments": part}}]}
        return {}

    def _closed(self, index: int) -> dict[str, Any]:
        block = self._blocks.get(index, {})
        if block.get("type") in ("thinking", "redacted_thinking"):
            return {"thinking_blocks": [block]}
        if "call" in block and not block["arguments"]:
            given = compact(mapping(block.get("input")))
            return {"tool_calls": [{"index": block["call"], "function": {"arguments": given}}]}
        return {}
