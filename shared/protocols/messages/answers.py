"""A completion in the inner form, whole or in chunks, put as an answer in Anthropic's form."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from shared.protocols import (
    NATIVE,
    arguments_of,
    count,
    mapping,
    objects,
    text_of_parts,
    whole_number,
    words_of,
)
from shared.protocols.keepsake import Thoughts, extras_of, keepsake_of, signed, thoughts_in

STOP_REASONS: Mapping[str, str] = {
    "stop": "end_turn",
    "length": "max_tokens",
    "tool_calls": "tool_use",
    "function_call": "tool_use",
    "content_filter": "refusal",
}
ERRORS: Mapping[int, str] = {
    400: "invalid_request_error",
    401: "authentication_error",
    402: "billing_error",
    403: "permission_error",
    404: "not_found_error",
    413: "request_too_large",
    429: "rate_limit_error",
    503: "overloaded_error",
    504: "timeout_error",
    529: "overloaded_error",
}


def usage_of(usage: Mapping[str, Any]) -> dict[str, Any]:
    """Tokens and cost as Anthropic's usage; what the cache gave stands beside the rest."""
    prompt = count(usage.get("prompt_tokens"))
    details = mapping(usage.get("prompt_tokens_details"))
    read = count(details.get("cached_tokens") or usage.get("cache_read_input_tokens"))
    written = count(usage.get("cache_creation_input_tokens"))
    made: dict[str, Any] = {
        "input_tokens": max(0, prompt - read - written),
        "cache_creation_input_tokens": written,
        "cache_read_input_tokens": read,
        "output_tokens": count(usage.get("completion_tokens")),
    }
    return made | {name: usage[name] for name in ("cost", "estimated") if name in usage}


def answer_of(completion: Mapping[str, Any], *, thoughts: bool) -> dict[str, Any]:
    """A whole completion as a message; `thoughts`: whether they are wanted."""
    usage = usage_of(mapping(completion.get("usage")))
    native = completion.get(NATIVE)
    ours = {"id": completion["id"], "model": completion["model"]}
    if isinstance(native, Mapping):
        return {**native, **ours, "usage": {**mapping(native.get("usage")), **usage}}
    choices = objects(completion.get("choices")) or [{}]
    said = mapping(choices[0].get("message"))
    blocks = [*_thoughts(said, completion["model"], thoughts=thoughts)]
    if text := said.get("content") or said.get("refusal"):
        blocks.append({"type": "text", "text": text_of_parts(text)})
    for call in objects(said.get("tool_calls")):
        function = mapping(call.get("function"))
        blocks.append(
            {
                "type": "tool_use",
                "id": call.get("id", ""),
                "name": function.get("name", ""),
                "input": arguments_of(function.get("arguments")),
            }
        )
    finish = choices[0].get("finish_reason")
    return {
        **ours,
        "type": "message",
        "role": "assistant",
        "content": blocks,
        "stop_reason": _stop_reason(finish, called=bool(said.get("tool_calls"))),
        "stop_sequence": None,
        "usage": usage,
    } | _simulated(completion)


def _simulated(came: Mapping[str, Any]) -> dict[str, Any]:
    return {"simulated": came["simulated"]} if "simulated" in came else {}


def _stop_reason(finish: Any, *, called: bool) -> str:
    if called and finish in ("stop", None):
        return "tool_use"
    return STOP_REASONS.get(str(finish), "end_turn")


def _thoughts(said: Mapping[str, Any], model: str, *, thoughts: bool) -> Iterator[dict[str, Any]]:
    """The thoughts as a block that a client hands back; Anthropic's own as they are."""
    words = thoughts_in(said)
    kept = keepsake_of(said, model)
    if thoughts and (words or (kept and signed(said))):
        yield {"type": "thinking", "thinking": words, "signature": kept or ""}
    elif kept and signed(said):
        yield {"type": "redacted_thinking", "data": kept}


@dataclass(slots=True)
class MessageEvents:
    """The chunks of a completion as events of Anthropic's stream, one after the other.

    Blocks follow each other there: what belongs to a call while another is open waits for its
    turn.
    """

    id: str
    model: str
    prompt_tokens: int
    thoughts: bool
    _index: int = -1
    _open: str = ""
    _call: int = -1
    """The tool call whose block is open."""
    _calls: dict[int, dict[str, Any]] = field(default_factory=dict)
    """What is known of each call, and which of its arguments wait."""
    _said: Thoughts = field(default_factory=Thoughts)
    """What a keepsake is made of."""
    _started: bool = False

    def take(self, chunk: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
        """The events that a chunk makes."""
        if isinstance(native := chunk.get(NATIVE), list):
            yield from self._as_it_came(native, mapping(chunk.get("usage")))
            return
        if not self._started:
            yield self._start(chunk)
        for choice in objects(chunk.get("choices")):
            if choice.get("index", 0) == 0:
                yield from self._delta(mapping(choice.get("delta")))
                if (finish := choice.get("finish_reason")) is not None:
                    yield from self._end(str(finish), mapping(chunk.get("usage")))

    def _start(self, chunk: Mapping[str, Any]) -> dict[str, Any]:
        self._started = True
        message = {
            "id": self.id,
            "type": "message",
            "role": "assistant",
            "model": self.model,
            "content": [],
            "stop_reason": None,
            "stop_sequence": None,
            "usage": {"input_tokens": self.prompt_tokens, "output_tokens": 0},
        } | _simulated(chunk)
        return {"type": "message_start", "message": message}

    def _delta(self, delta: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
        if (words := self._said.take(delta)) and self.thoughts:
            block = {"type": "thinking", "thinking": "", "signature": ""}
            yield from self._into("thinking", block)
            yield self._part({"type": "thinking_delta", "thinking": words})
        if isinstance(text := delta.get("content") or delta.get("refusal"), str):
            if self._open != "text":
                yield from self._into("text", {"type": "text", "text": ""})
            yield self._part({"type": "text_delta", "text": text})
        for call in objects(delta.get("tool_calls")):
            yield from self._called(call)

    def _part(self, delta: dict[str, Any]) -> dict[str, Any]:
        return {"type": "content_block_delta", "index": self._index, "delta": delta}

    def _into(self, kind: str, block: dict[str, Any]) -> Iterator[dict[str, Any]]:
        """Close the open block and begin another, unless one of this kind is open."""
        if self._open == kind and kind != "tool_use":
            return
        if kind != "thinking" and self._open != "tool_use":
            yield from self._keepsake()
        yield from self._close()
        self._open = kind
        self._index += 1
        yield {"type": "content_block_start", "index": self._index, "content_block": block}

    def _close(self) -> Iterator[dict[str, Any]]:
        if self._open:
            yield {"type": "content_block_stop", "index": self._index}
        self._open = ""

    def _keepsake(self) -> Iterator[dict[str, Any]]:
        """Sign the open thinking block, or hide the keepsake in one of its own."""
        turn = self._said.turn()
        self._said = Thoughts()
        kept = keepsake_of(turn, self.model)
        if self._open == "thinking" and kept:
            yield self._part({"type": "signature_delta", "signature": kept})
        elif kept and signed(turn):
            yield from self._close()
            self._index += 1
            block = {"type": "redacted_thinking", "data": kept}
            yield {"type": "content_block_start", "index": self._index, "content_block": block}
            yield {"type": "content_block_stop", "index": self._index}

    def _called(self, came: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
        place = whole_number(came.get("index"))
        call = self._calls.setdefault(
            place, {"id": "", "name": "", "arguments": "", "waits": "", "begun": False}
        )
        function = mapping(came.get("function"))
        call["id"] = words_of(came.get("id")) or call["id"]
        call["name"] += words_of(function.get("name"))
        more = words_of(function.get("arguments"))
        if extras := extras_of(came):
            self._said.calls.append({"id": call["id"], **extras})
        if self._call != place and self._open == "tool_use" and not self._whole(self._call):
            call["waits"] += more
            return
        if self._call != place:
            if not call["name"]:
                call["waits"] += more
                return
            yield from self._begin_call(place)
        call["arguments"] += more
        if more:
            yield self._part({"type": "input_json_delta", "partial_json": more})

    def _begin_call(self, place: int) -> Iterator[dict[str, Any]]:
        call = self._calls[place]
        if self._open != "tool_use":
            yield from self._keepsake()
        block = {"type": "tool_use", "id": call["id"] or f"call_{place}", "name": call["name"]}
        yield from self._into("tool_use", block | {"input": {}})
        self._call = place
        call["begun"] = True
        if waits := call["waits"]:
            call["waits"] = ""
            call["arguments"] += waits
            yield self._part({"type": "input_json_delta", "partial_json": waits})

    def _whole(self, place: int) -> bool:
        """Whether a call has all its arguments, as far as one can see."""
        try:
            json.loads(self._calls[place]["arguments"])
        except ValueError:
            return False
        return True

    def _end(self, finish: str, usage: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
        for place in sorted(self._calls):
            if not self._calls[place]["begun"]:
                yield from self._begin_call(place)
        yield from self._keepsake()
        yield from self._close()
        delta = {
            "stop_reason": _stop_reason(finish, called=bool(self._calls)),
            "stop_sequence": None,
        }
        yield {"type": "message_delta", "delta": delta, "usage": usage_of(usage)}
        yield {"type": "message_stop"}

    def _as_it_came(
        self, native: Iterable[Mapping[str, Any]], usage: Mapping[str, Any]
    ) -> Iterator[dict[str, Any]]:
        """Anthropic's own events, under our id and name and with our usage."""
        for event in native:
            kind = event.get("type")
            if kind == "message_start":
                message = {**mapping(event.get("message")), "id": self.id, "model": self.model}
                yield {**event, "message": message}
            elif kind == "message_delta":
                yield {**event, "usage": {**mapping(event.get("usage")), **usage_of(usage)}}
                yield {"type": "message_stop"}
            elif kind != "message_stop":
                yield dict(event)


def error_of(status: int, message: str, request_id: str) -> dict[str, Any]:
    """An error as Anthropic's API says it."""
    kind = ERRORS.get(status) or ("api_error" if status >= 500 else "invalid_request_error")
    error = {"type": kind, "message": message}
    return {"type": "error", "error": error, "request_id": request_id}
