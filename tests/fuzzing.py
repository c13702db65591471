"""Bytes that are nearly right, for what reads bytes of others: providers' answers, requests over
HTTP, records of topics.

Mutations of real shapes by a seeded generator, so that a finding can be made again by its number.
`make fuzz` runs it for an hour, `make test` for a few thousand cases.
"""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from datetime import UTC, datetime
from itertools import pairwise
from typing import Any

from aiokafka import ConsumerRecord

from services.describer.receive import receive
from services.gateway.forms.chat import CHAT as CHAT_FORM
from services.gateway.forms.chat import ChatEvents
from services.gateway.forms.completions import COMPLETIONS
from services.gateway.forms.messages import MESSAGES
from services.gateway.forms.responses import RESPONSES
from services.gateway.requests import (
    ChatRequest,
    FeedbackRequest,
    Problem,
    RouteRequest,
    parse,
    wishes_of,
)
from services.gateway.understanding import AskedRequest, understand
from shared.adapters.errors import ModelUnreachable
from shared.adapters.kafka.client import time_of
from shared.adapters.kafka.settings import KafkaSettings
from shared.adapters.llm.dialect import Dialect
from shared.adapters.llm.reading import MOST_PARTS, Reader, refusal, said, usage, without_thinking
from shared.adapters.llm.reading_messages import MessagesReader
from shared.adapters.llm.wire import WIRES
from shared.catalog import models
from shared.contracts.errors import ContractError
from shared.contracts.messages import Submitted, read, to_json
from shared.contracts.topics import REPLIES
from shared.protocols.messages.answers import MessageEvents
from shared.protocols.portable import portable
from shared.protocols.responses.answers import ResponseEvents

CATALOG = models.load()
CALL = {
    "index": 0,
    "id": "call_1",
    "type": "function",
    "function": {"name": "look", "arguments": '{"a": 1}'},
}
USAGE = {
    "prompt_tokens": 5,
    "completion_tokens": 9,
    "cost": 0.002,
    "cost_details": {"upstream_inference_cost": 1},
    "is_byok": True,
}
MESSAGE = {
    "role": "assistant",
    "content": [{"type": "text", "text": "Paris"}],
    "tool_calls": [CALL],
    "reasoning": "hm",
}
CHOICE = {
    "index": 0,
    "message": MESSAGE,
    "finish_reason": "stop",
    "logprobs": {"content": [{"logprob": -0.1}]},
}
WHOLE = {"id": "x", "object": "chat.completion", "model": "m", "choices": [CHOICE], "usage": USAGE}
DELTAS: list[dict[str, Any]] = [
    {"role": "assistant", "content": ""},
    {"content": "Pa\ud83d"},
    {"content": "\ude00ris", "tool_calls": [CALL]},
    {"tool_calls": [{"index": 0, "function": {"arguments": " "}}]},
    {"content": [{"type": "thinking", "thinking": "hm"}]},
]
CHUNKS = [
    *(
        {"id": "x", "choices": [{"index": 0, "delta": delta, "finish_reason": None}]}
        for delta in DELTAS
    ),
    {"id": "x", "choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]},
    {"id": "x", "choices": [], "usage": USAGE},
]
CHAT = [
    {"role": "system", "content": "Be brief."},
    {
        "role": "user",
        "content": [
            {"type": "text", "text": "What does this say?"},
            {"type": "image_url", "image_url": {"url": "data:,"}},
        ],
    },
    {
        "role": "assistant",
        "content": None,
        "tool_calls": [CALL],
        "reasoning_details": [{"signature": "s"}],
    },
    {"role": "tool", "tool_call_id": "call_1", "content": "a sign"},
    {"role": "user", "content": "Go on."},
]
WISHES = {
    "preferences": {"usd_per_point": 0.1, "s_per_point": 60},
    "constraints": {"max_cost_usd": 1, "deny": ["a"]},
    "session_id": "s",
}
REQUEST = {
    "model": "auto",
    "messages": CHAT,
    "temperature": 0.5,
    "tools": [{"type": "function"}],
    "max_tokens": 5,
    "pointsman": WISHES,
}
PROMPT = {
    "request_id": "r",
    "prompt": "Name a fish.",
    "answer": True,
    "parameters": {"temperature": 0.5, "tools": [{}]},
    "metadata": {"a": "b"},
}
PROMPT |= {
    "submitted_at": "2026-11-26T12:00:00Z",
    "deadline_s": 5,
    "constraints": {"allow": ["gpt-5.6"]},
    "preferences": {"keep": 0.9},
}
RECORD = {
    "request_id": "r",
    "messages": CHAT,
    "profile": "fast",
    "reply_to": {"topic": "replies", "partition": 0},
}

DEEP = "as deep as it goes"
"""Becomes lists or objects in one another, more than any reader follows."""
CALLED = {"type": "tool_use", "id": "toolu_1", "name": "f", "input": {"a": [1]}}
THOUGHT = {"type": "thinking", "thinking": "Hm.", "signature": "pointsman.eJw="}
MESSAGE: Any = {
    "id": "msg_1",
    "type": "message",
    "role": "assistant",
    "model": "m",
    "content": [THOUGHT, {"type": "text", "text": "a"}, CALLED],
    "stop_reason": "tool_use",
    "usage": {"input_tokens": 3, "cache_read_input_tokens": 1, "output_tokens": 2},
}
EVENTS: Any = [
    {"type": "message_start", "message": MESSAGE | {"content": []}},
    {"type": "content_block_start", "index": 0, "content_block": THOUGHT | {"thinking": ""}},
    {
        "type": "content_block_delta",
        "index": 0,
        "delta": {"type": "thinking_delta", "thinking": "H"},
    },
    {
        "type": "content_block_delta",
        "index": 0,
        "delta": {"type": "signature_delta", "signature": "s"},
    },
    {"type": "content_block_stop", "index": 0},
    {"type": "ping"},
    {"type": "content_block_start", "index": 1, "content_block": {"type": "text", "text": ""}},
    {"type": "content_block_delta", "index": 1, "delta": {"type": "text_delta", "text": "a"}},
    {"type": "content_block_stop", "index": 1},
    {"type": "content_block_start", "index": 2, "content_block": CALLED | {"input": {}}},
    {
        "type": "content_block_delta",
        "index": 2,
        "delta": {"type": "input_json_delta", "partial_json": '{"a": 1}'},
    },
    {"type": "content_block_stop", "index": 2},
    {"type": "message_delta", "delta": {"stop_reason": "tool_use"}, "usage": {"output_tokens": 2}},
    {"type": "message_stop"},
]
MESSAGES_REQUEST: Any = {
    "model": "auto",
    "max_tokens": 9,
    "system": [{"type": "text", "text": "Be brief.", "cache_control": {"type": "ephemeral"}}],
    "tools": [{"name": "f", "input_schema": {"type": "object"}}, {"type": "bash_20250124"}],
    "tool_choice": {"type": "tool", "name": "f"},
    "thinking": {"type": "enabled", "budget_tokens": 2000},
    "output_config": {"effort": "low", "format": {"type": "json_schema", "schema": {}}},
    "messages": [
        {
            "role": "user",
            "content": [
                {"type": "text", "text": "Look"},
                {"type": "image", "source": {"type": "base64", "media_type": "a/b", "data": "A"}},
                {"type": "document", "source": {"type": "text", "data": "A"}, "title": "T"},
            ],
        },
        {"role": "assistant", "content": [THOUGHT, {"type": "text", "text": "a"}, CALLED]},
        {
            "role": "user",
            "content": [
                {
                    "type": "tool_result",
                    "tool_use_id": "toolu_1",
                    "is_error": True,
                    "content": [{"type": "text", "text": "x"}],
                },
                {"type": "text", "text": "Go on"},
            ],
        },
    ],
}
RESPONSES_REQUEST: Any = {
    "model": "auto",
    "instructions": "Be brief.",
    "reasoning": {"effort": "low"},
    "text": {"format": {"type": "json_schema", "name": "a", "schema": {}}, "verbosity": "low"},
    "tools": [{"type": "function", "name": "f", "parameters": {}}, {"type": "custom", "name": "g"}],
    "tool_choice": {"type": "allowed_tools", "mode": "auto", "tools": [{"name": "f"}]},
    "include": ["reasoning.encrypted_content"],
    "input": [
        {
            "role": "user",
            "content": [
                {"type": "input_text", "text": "Look"},
                {"type": "input_image", "image_url": "data:image/png;base64,AAAA"},
                {"type": "input_file", "file_data": "data:;base64,A"},
            ],
        },
        {"type": "reasoning", "summary": [], "encrypted_content": "pointsman.eJw="},
        {"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": "a"}]},
        {"type": "function_call", "call_id": "c", "name": "f", "arguments": "{}"},
        {"type": "custom_tool_call", "call_id": "d", "name": "g", "input": "x"},
        {"type": "function_call_output", "call_id": "c", "output": "x"},
        {
            "type": "custom_tool_call_output",
            "call_id": "d",
            "output": [{"type": "input_text", "text": "x"}],
        },
    ],
}
TEXT_REQUEST: Any = {"model": "auto", "prompt": "x", "max_tokens": 9, "echo": True}
LEAVES: tuple[Any, ...] = (
    *(
        None,
        True,
        False,
        0,
        -1,
        1,
        7,
        10**9,
        10**30,
        10**400,
        1e308,
        0.5,
        -0.0,
        float("nan"),
        float("inf"),
        float("-inf"),
    ),
    *(
        "",
        "error",
        "stop",
        "[DONE]",
        "assistant",
        "auto",
        "\ud83d",
        "\ude00",
        "\u2028",
        "\x00",
        "\x85",
        "x" * 300,
        "9" * 400,
        "<think>",
    ),
    DEEP,
    *(
        [],
        {},
        [None],
        [[]],
        {"": ""},
        {"error": "x"},
        {"code": 502, "message": "m"},
        {"type": "text", "text": None},
        {"total_cost": []},
    ),
)
BYTES = (
    b"\r",
    b"\n",
    b"\r\n",
    b"\n\n",
    b"data:",
    b"data: ",
    b": ",
    b"event: error\n",
    b"\xef\xbb\xbf",
    b"\x00",
    b"\xff",
    b"{",
    b"[",
    b'"',
    b"\\ud83d",
)


def mutated(value: Any, rng: random.Random) -> Any:
    """`value` with one part swapped, missing or doubled."""
    ways = _places(value)
    way = rng.choice(ways)
    leaf = rng.choice(LEAVES)
    if not way:
        return leaf if rng.random() < 0.2 else value
    made = json.loads(json.dumps(value))
    at = made
    for step in way[:-1]:
        at = at[step]
    how = rng.random()
    if how < 0.3:
        del at[way[-1]]
    elif how < 0.4 and isinstance(at, list):
        at.insert(way[-1], at[way[-1]])
    elif how < 0.5 and isinstance(at, dict):
        at[str(leaf)[:20]] = at.pop(way[-1])
    else:
        at[way[-1]] = leaf
    return made


def _places(value: Any, way: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    below = (
        value.items()
        if isinstance(value, dict)
        else enumerate(value)
        if isinstance(value, list)
        else ()
    )
    return [way, *(place for key, child in below for place in _places(child, (*way, key)))]


def encoded(value: Any, rng: random.Random) -> bytes:
    """JSON, mostly; from time to time with some bytes cut, put in or swapped."""
    data = json.dumps(value, ensure_ascii=rng.random() < 0.7).encode("utf-8", "replace")
    deep = rng.choice((20, 99, 101, 200, 5000))
    nest = b"[" * deep + b"]" * deep if rng.random() < 0.5 else b'{"a":' * deep + b"0" + b"}" * deep
    data = data.replace(json.dumps(DEEP).encode(), nest)
    return broken(data, rng) if rng.random() < 0.2 else data


def broken(data: bytes, rng: random.Random) -> bytes:
    for _ in range(rng.randint(1, 3)):
        place = rng.randint(0, len(data))
        end = min(len(data), place + rng.choice((0, 0, 1, 5, 100)))
        data = (
            data[:place]
            + (rng.choice(BYTES) if rng.random() < 0.7 else bytes([rng.randrange(256)]))
            + data[end:]
        )
    return data


def some(value: Any, rng: random.Random) -> Any:
    for _ in range(rng.randint(0, 3)):
        value = mutated(value, rng)
    return value


# what reads them


def provider(rng: random.Random) -> None:
    """A provider's answer, whole or as a stream, split anywhere: chunks that can be written, or
    `ModelUnreachable` that quotes nothing."""
    if rng.random() < 0.4:
        data = encoded(some(WHOLE, rng), rng)
    else:
        end = rng.choice((b"\n", b"\r", b"\r\n"))
        chunks = some(CHUNKS, rng)
        parts = [
            b"data: " + encoded(one, rng) + end * 2
            for one in (chunks if isinstance(chunks, list) else [chunks])
        ]
        data = b"".join(parts) + (b"data: [DONE]" + end * 2 if rng.random() < 0.7 else b"")
        data = broken(data, rng) if rng.random() < 0.2 else data
    _read_answer(Reader(), data, rng)


def anthropic(rng: random.Random) -> None:
    """The same for Anthropic's API."""
    if rng.random() < 0.3:
        data = encoded(some(MESSAGE, rng), rng)
    else:
        events = some(EVENTS, rng)
        data = b"".join(
            b"event: x\ndata: " + encoded(one, rng) + b"\n\n"
            for one in (events if isinstance(events, list) else [events])
        )
        data = broken(data, rng) if rng.random() < 0.2 else data
    _read_answer(MessagesReader(), data, rng)


def _read_answer(reader: Reader, data: bytes, rng: random.Random) -> None:
    taken: list[dict[str, Any]] = []
    edges = [0, *sorted(rng.randint(0, len(data)) for _ in range(rng.randint(0, 4))), len(data)]
    try:
        for start, stop in pairwise(edges):
            taken += reader.feed(data[start:stop])
        taken += reader.end()
    except ModelUnreachable as error:
        text = str(error)
        _require(len(text) < 200, "the error quotes")
        json.dumps(error.said, ensure_ascii=False).encode()
    else:
        answer = reader.answer()
        message = answer["choices"][0]["message"]
        _require(
            message["content"] is None or isinstance(message["content"], str), "content is no text"
        )
        json.dumps(answer, ensure_ascii=False, allow_nan=False).encode()
        told = usage(answer.get("usage"))
        _require(told.cost_usd is None or told.cost_usd >= 0, "a cost below nothing")
        _require(told.cached_tokens <= (told.prompt_tokens or 0), "more cached than read")
        without_thinking(message["content"] or "")
    for one in taken:
        _require(
            len(json.dumps(one, ensure_ascii=False, allow_nan=False).encode())
            <= 12 * len(data) + 4096,
            "more than what came",
        )
        for choice in one["choices"]:
            _require(
                all(
                    0 <= call["index"] < MOST_PARTS
                    for call in choice["delta"].get("tool_calls", ())
                ),
                "a huge index",
            )
    json.dumps(said(refusal(data), 400), ensure_ascii=False).encode()
    _say(taken)


def _say(chunks: list[dict[str, Any]]) -> None:
    """Chunks said in every protocol."""
    ways: tuple[Any, ...] = (
        ChatEvents(),
        MessageEvents("msg_1", "m", 3, thoughts=True),
        MessageEvents("msg_1", "m", 3, thoughts=False),
        ResponseEvents("resp_1", "m", {"tools": [{"type": "custom", "name": "f"}]}),
    )
    for way in ways:
        for chunk in chunks:
            for event in way.events(chunk) if isinstance(way, ChatEvents) else way.take(chunk):
                if not isinstance(event, bytes):
                    json.dumps(event, ensure_ascii=False, allow_nan=False).encode()


def protocols(rng: random.Random) -> None:
    """A request in another protocol: understood, and written in both forms that providers speak;
    or a `Problem` of the client's."""
    form, value = rng.choice(
        ((MESSAGES, MESSAGES_REQUEST), (RESPONSES, RESPONSES_REQUEST), (COMPLETIONS, TEXT_REQUEST))
    )
    data = encoded(some(value, rng), rng)
    try:
        asked = form.read(data, {})
        wanted = understand(
            asked,
            wishes_of({}, asked.request.pointsman),
            "r-1",
            "team",
            CATALOG,
            CATALOG.retired,
            len(data),
        )
    except Problem as problem:
        _require(400 <= problem.status < 500, "not the client's fault")
        json.dumps(form.problem(problem, "r-1"), ensure_ascii=False, allow_nan=False).encode()
        return
    for turns in (wanted.chat, portable(wanted.chat)):
        body = {"model": "m", "messages": turns, **wanted.parameters}
        for wire in WIRES.values():
            sent = wire.body(body, Dialect(), stream=True)
            json.dumps(sent, ensure_ascii=False, allow_nan=False).encode()
    if wanted.submitted is not None:
        read(Submitted, to_json(wanted.submitted))


def http(rng: random.Random) -> None:
    """A request at the gateway: understood, or a `Problem` of the client's that can be written."""
    kind, value = rng.choice(
        (
            (ChatRequest, REQUEST),
            (RouteRequest, REQUEST),
            (RouteRequest, {"prompt": "x", "pointsman": WISHES}),
        )
    )
    if rng.random() < 0.1:
        kind, value = FeedbackRequest, {"request_id": "r", "thumb": "up", "better": "gpt-5.6"}
    data = encoded(some(value, rng), rng)
    try:
        request: Any = parse(kind, data)
        if kind is FeedbackRequest:
            return
        wanted = understand(
            AskedRequest(request, CHAT_FORM),
            wishes_of({}, request.pointsman),
            "r-1",
            "team",
            CATALOG,
            CATALOG.retired,
            len(data),
        )
    except Problem as problem:
        _require(400 <= problem.status < 500, "not the client's fault")
        json.dumps(problem.error, ensure_ascii=False, allow_nan=False).encode()
        return
    json.dumps(
        [wanted.chat, wanted.parameters, portable(wanted.chat)], ensure_ascii=False, allow_nan=False
    ).encode()
    if wanted.submitted is not None:
        read(Submitted, to_json(wanted.submitted))


def topic(rng: random.Random) -> None:
    """A record of `prompts`: a message that can go on, or a `ContractError` that quotes nothing."""
    data: bytes | None = encoded(some(rng.choice((PROMPT, RECORD)), rng), rng)
    if rng.random() < 0.02:
        data = rng.choice((None, b"", b"\x00\x00\x00\x00\x07{}", b"\xff\xfe{", b"\x1f\x8b"))
    time = rng.choice((0, -1, 1, 2**62, -(2**62), 1_700_000_000_000))
    record = ConsumerRecord(
        "prompts", 0, 7, time, 0, b"k", data, None, 0, 0, (("traceparent", None),)
    )
    try:
        message = receive(data, "prompts-0-7", time_of(record), KafkaSettings().name(REPLIES))
    except ContractError as error:
        _require(len(str(error)) < 3000, "the error quotes")
        return
    again = read(Submitted, to_json(message))
    _require(
        again.asked() == read(Submitted, to_json(again)).asked(), "not the same question any more"
    )
    json.dumps(message.chat(), ensure_ascii=False, allow_nan=False).encode()
    _require(message.context_tokens() > 0, "no room")
    _require(
        message.submitted_at is not None
        and abs((message.submitted_at - datetime.now(UTC)).days) < 90_000,
        "a time like no other",
    )
    str(message.key, "utf-8")


def _require(holds: bool, what: str) -> None:
    if not holds:
        raise AssertionError(what)


READERS: dict[str, Callable[[random.Random], None]] = {
    "provider": provider,
    "anthropic": anthropic,
    "protocols": protocols,
    "http": http,
    "topic": topic,
}


def case(reader: str, number: int) -> None:
    """One case, the same each time."""
    READERS[reader](random.Random(f"{reader} {number}"))
