"""A completion in the inner form, whole or in chunks, put as a response."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from shared.protocols import arguments_of, compact, count, mapping, objects, whole_number, words_of
from shared.protocols.keepsake import Thoughts, extras_of, keepsake_of, signed
from shared.protocols.responses.asked import custom_tools

ENDS = {"length": "max_output_tokens", "content_filter": "content_filter"}
"""Why an answer is not whole, by its finish reason."""
HEX = 32
"""Letters of a response's id behind its prefix; its items' ids begin with them."""
WORDS = frozenset({"role", "content", "refusal"})
"""Fields of a delta that holds words and nothing else."""
ECHOED: Mapping[str, Any] = {
    "instructions": None,
    "max_output_tokens": None,
    "metadata": {},
    "parallel_tool_calls": True,
    "previous_response_id": None,
    "reasoning": {"effort": None, "summary": None},
    "service_tier": "default",
    "temperature": 1.0,
    "text": {"format": {"type": "text"}},
    "tool_choice": "auto",
    "tools": [],
    "top_p": 1.0,
    "truncation": "disabled",
    "store": True,
    "user": None,
}
"""Fields of a request that its response repeats, and what they are where nobody says."""


def usage_of(usage: Mapping[str, Any]) -> dict[str, Any]:
    """Tokens and cost as a response's usage."""
    prompt = mapping(usage.get("prompt_tokens_details"))
    answer = mapping(usage.get("completion_tokens_details"))
    read, written = count(usage.get("prompt_tokens")), count(usage.get("completion_tokens"))
    made: dict[str, Any] = {
        "input_tokens": read,
        "input_tokens_details": {
            "cached_tokens": count(prompt.get("cached_tokens")),
            "cache_write_tokens": count(usage.get("cache_creation_input_tokens")),
        },
        "output_tokens": written,
        "output_tokens_details": {"reasoning_tokens": count(answer.get("reasoning_tokens"))},
        "total_tokens": read + written,
    }
    return made | {name: usage[name] for name in ("cost", "estimated") if name in usage}


def response_of(completion: Mapping[str, Any], asked: Mapping[str, Any]) -> dict[str, Any]:
    """A whole completion as the response to the request `asked`."""
    events = ResponseEvents(str(completion["id"]), str(completion["model"]), asked)
    for _ in events.take(_one_chunk(completion)):
        pass
    return events.response


def _one_chunk(completion: Mapping[str, Any]) -> dict[str, Any]:
    choice = dict((objects(completion.get("choices")) or [{}])[0])
    said = dict(mapping(choice.get("message")))
    calls = objects(said.get("tool_calls"))
    said["tool_calls"] = [{"index": place, **call} for place, call in enumerate(calls)]
    end = {"index": 0, "delta": said, "finish_reason": choice.get("finish_reason") or "stop"}
    return {**completion, "choices": [end]}


@dataclass(slots=True)
class _Item:
    """An item of the output, as it comes."""

    item: dict[str, Any]
    place: int
    text: str = ""
    done: bool = False


@dataclass(slots=True)
class ResponseEvents:
    """The chunks of a completion as events of a response's stream, in their order and numbered."""

    id: str
    model: str
    asked: Mapping[str, Any]
    """The request, whose fields the response repeats."""
    _number: int = 0
    _items: list[_Item] = field(default_factory=list)
    _message: _Item | None = None
    _thought: _Item | None = None
    _calls: dict[int, _Item] = field(default_factory=dict)
    _said: Thoughts = field(default_factory=Thoughts)
    _usage: dict[str, Any] | None = None
    _state: dict[str, Any] = field(default_factory=dict)
    _began: int = field(default_factory=lambda: int(time.time()))
    _customs: frozenset[str] = frozenset()
    _started: bool = False

    @property
    def output(self) -> list[dict[str, Any]]:
        """The items that are there."""
        return [one.item for one in self._items]

    @property
    def response(self) -> dict[str, Any]:
        """The response as it stands."""
        echoed = {
            name: self.asked[name] if self.asked.get(name) is not None else default
            for name, default in ECHOED.items()
        }
        return {
            "id": self.id,
            "object": "response",
            "created_at": self._began,
            "status": "in_progress",
            "background": False,
            "error": None,
            "incomplete_details": None,
            "model": self.model,
            "output": self.output,
            "usage": self._usage,
            **echoed,
            **self._state,
        }

    def _event(self, kind: str, **fields: Any) -> dict[str, Any]:
        event = {"type": kind, "sequence_number": self._number, **fields}
        self._number += 1
        return event

    def take(self, chunk: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
        """The events that a chunk makes."""
        if self._message is not None and (text := _one_word(chunk)) and not self._message.done:
            yield self._write(text)
            return
        if not self._started:
            self._started = True
            self._customs = custom_tools(self.asked)
            if "simulated" in chunk:
                self._state["simulated"] = chunk["simulated"]
            yield self._event("response.created", response=self.response)
            yield self._event("response.in_progress", response=self.response)
        for choice in objects(chunk.get("choices")):
            if choice.get("index", 0) == 0:
                yield from self._delta(mapping(choice.get("delta")))
                if (finish := choice.get("finish_reason")) is not None:
                    yield from self._end(str(finish), mapping(chunk.get("usage")))

    def failed(self, code: str, message: str) -> Iterator[dict[str, Any]]:
        """The events of an answer that broke off."""
        self._state |= {"status": "failed", "error": {"code": "server_error", "message": message}}
        yield self._event("response.failed", response=self.response)
        # OpenAI's own package raises what stands under `error`, and hands the rest on
        error = {"type": "server_error", "code": code, "message": message, "param": None}
        yield self._event("error", code=code, message=message, param=None, error=error)

    def _begin(self, item: dict[str, Any]) -> tuple[_Item, dict[str, Any]]:
        one = _Item(item, len(self._items))
        self._items.append(one)
        shown = {**item, "status": "in_progress"} if "status" in item else dict(item)
        return one, self._event("response.output_item.added", output_index=one.place, item=shown)

    def _at(self, one: _Item) -> dict[str, Any]:
        return {"item_id": one.item["id"], "output_index": one.place}

    def _name(self, prefix: str) -> str:
        return f"{prefix}_{self.id.rpartition('_')[2]}{len(self._items)}"

    def _delta(self, delta: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
        if not delta.keys() <= WORDS and (words := self._said.take(delta)):
            yield from self._think(words)
        text = delta.get("content") or delta.get("refusal")
        if isinstance(text, str) and text:
            if self._message is None or self._message.done:
                yield from self._end_thought()
                yield from self._begin_message()
            yield self._write(text)
        for call in objects(delta.get("tool_calls")):
            yield from self._called(call)

    def _think(self, words: str) -> Iterator[dict[str, Any]]:
        if self._thought is None:
            yield from self._end_message()
            item = {"id": self._name("rs"), "type": "reasoning", "summary": []}
            self._thought, event = self._begin(item)
            yield event
            part = {"type": "summary_text", "text": ""}
            yield self._event(
                "response.reasoning_summary_part.added",
                **self._at(self._thought),
                summary_index=0,
                part=part,
            )
        self._thought.text += words
        yield self._event(
            "response.reasoning_summary_text.delta",
            **self._at(self._thought),
            summary_index=0,
            delta=words,
        )

    def _end_thought(self) -> Iterator[dict[str, Any]]:
        """End the thoughts, with the keepsake; begin them for it, where there are no words."""
        one = self._thought
        turn = self._said.turn()
        if one is None and not signed(turn):
            return
        kept = keepsake_of(turn, self.model)
        self._thought, self._said = None, Thoughts()
        if one is None:
            yield from self._end_message()
            item = {"id": self._name("rs"), "type": "reasoning", "summary": []}
            one, event = self._begin(item)
            yield event
        elif one.text:
            part = {"type": "summary_text", "text": one.text}
            yield self._event(
                "response.reasoning_summary_text.done",
                **self._at(one),
                summary_index=0,
                text=one.text,
            )
            yield self._event(
                "response.reasoning_summary_part.done", **self._at(one), summary_index=0, part=part
            )
            one.item["summary"] = [part]
        if kept is not None:
            one.item["encrypted_content"] = kept
        yield from self._finish(one)

    def _finish(self, one: _Item) -> Iterator[dict[str, Any]]:
        one.done = True
        if "status" in one.item:
            one.item["status"] = "completed"
        yield self._event("response.output_item.done", output_index=one.place, item=one.item)

    def _begin_message(self) -> Iterator[dict[str, Any]]:
        item = {"id": self._name("msg"), "type": "message", "status": "in_progress"}
        self._message, event = self._begin(item | {"role": "assistant", "content": []})
        yield event
        yield self._event(
            "response.content_part.added",
            **self._at(self._message),
            content_index=0,
            part=_text_part(""),
        )

    def _write(self, text: str) -> dict[str, Any]:
        assert self._message is not None
        self._message.text += text
        number = self._number
        self._number = number + 1
        return {  # once a token, so put together at once
            "type": "response.output_text.delta",
            "sequence_number": number,
            "item_id": self._message.item["id"],
            "output_index": self._message.place,
            "content_index": 0,
            "delta": text,
            "logprobs": [],
        }

    def _end_message(self) -> Iterator[dict[str, Any]]:
        one = self._message
        if one is None or one.done:
            return
        part = _text_part(one.text)
        where = {**self._at(one), "content_index": 0}
        yield self._event("response.output_text.done", **where, text=one.text, logprobs=[])
        yield self._event("response.content_part.done", **where, part=part)
        one.item["content"] = [part]
        yield from self._finish(one)

    def _called(self, came: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
        place = whole_number(came.get("index"))
        function = mapping(came.get("function"))
        if extras := extras_of(came):
            self._said.calls.append({"id": words_of(came.get("id")), **extras})
        if place not in self._calls:
            yield from self._end_thought()
            yield from self._end_message()
            name = words_of(function.get("name"))
            custom = name in self._customs
            item: dict[str, Any] = {
                "id": self._name("ctc" if custom else "fc"),
                "type": "custom_tool_call" if custom else "function_call",
                "status": "in_progress",
                "call_id": words_of(came.get("id")) or f"call_{place}",
                "name": name,
                "input" if custom else "arguments": "",
            }
            self._calls[place], event = self._begin(item)
            yield event
        one = self._calls[place]
        more = words_of(function.get("arguments"))
        if more:
            one.text += more
            if one.item["type"] == "function_call":
                yield self._event(
                    "response.function_call_arguments.delta", **self._at(one), delta=more
                )

    def _end_call(self, one: _Item) -> Iterator[dict[str, Any]]:
        if one.item["type"] == "function_call":
            one.item["arguments"] = one.text
            yield self._event(
                "response.function_call_arguments.done",
                **self._at(one),
                name=one.item["name"],
                arguments=one.text,
            )
        else:
            text = arguments_of(one.text).get("input", "")
            one.item["input"] = text if isinstance(text, str) else compact(text)
            where = self._at(one)
            yield self._event(
                "response.custom_tool_call_input.delta", **where, delta=one.item["input"]
            )
            yield self._event(
                "response.custom_tool_call_input.done", **where, input=one.item["input"]
            )
        yield from self._finish(one)

    def _end(self, finish: str, usage: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
        yield from self._end_thought()
        yield from self._end_message()
        for place in sorted(self._calls):
            yield from self._end_call(self._calls[place])
        self._usage = usage_of(usage)
        reason = ENDS.get(finish)
        if reason is None:
            self._state |= {"status": "completed", "completed_at": int(time.time())}
        else:
            self._state |= {"status": "incomplete", "incomplete_details": {"reason": reason}}
        kind = "response.completed" if reason is None else "response.incomplete"
        yield self._event(kind, response=self.response)


def _one_word(chunk: Mapping[str, Any]) -> str:
    """The text of a chunk that holds one and nothing else, as nearly all do; else an empty one."""
    choices = chunk.get("choices")
    if not isinstance(choices, list) or len(choices) != 1 or chunk.get("usage"):
        return ""
    choice = choices[0]
    delta = choice.get("delta")
    if choice.get("finish_reason") or choice.get("index") or not delta or len(delta) != 1:
        return ""
    return words_of(delta.get("content"))


def _text_part(text: str) -> dict[str, Any]:
    return {"type": "output_text", "text": text, "annotations": [], "logprobs": []}


def response_id(item_id: str) -> str:
    """The id of the response that an item belongs to: `ResponseEvents` makes one of the other."""
    return f"resp_{item_id.partition('_')[2][:HEX]}"


def visible(output: Iterable[Mapping[str, Any]], included: Iterable[str]) -> list[dict[str, Any]]:
    """The output as a client gets it: what is encrypted only where it is asked for."""
    if "reasoning.encrypted_content" in included:
        return [dict(item) for item in output]
    return [
        {name: value for name, value in item.items() if name != "encrypted_content"}
        for item in output
    ]
