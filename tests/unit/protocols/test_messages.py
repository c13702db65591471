"""Anthropic's form and the inner form: there and back is the same, and a stream joined together
equals the whole answer."""

from __future__ import annotations

import base64
import json
import zlib
from typing import Any

import pytest
from conversations import chats, completions, streamed
from hypothesis import given
from hypothesis import strategies as st

from shared.contracts.needs import fitting
from shared.protocols import KEEPSAKE, NATIVE, plain, plain_turns
from shared.protocols.keepsake import opened, whole_details
from shared.protocols.messages.answered import MessageChunks, completion_of
from shared.protocols.messages.answers import MessageEvents, answer_of, error_of
from shared.protocols.messages.asked import _is_strict, parameters_of, turns_of
from shared.protocols.messages.asking import request_of, unspoken
from shared.protocols.portable import history, portable
from shared.routing.deciding.abilities import Abilities

TOOL = {
    "name": "edit",
    "description": "Edit a file.",
    "input_schema": {"type": "object", "properties": {"path": {"type": "string"}}},
}
THOUGHT = {"type": "thinking", "thinking": "Hm.", "signature": "c2lnbmVk"}
ASKED: dict[str, Any] = {
    "model": "auto",
    "max_tokens": 1000,
    "system": [{"type": "text", "text": "Be brief.", "cache_control": {"type": "ephemeral"}}],
    "tools": [TOOL, {"type": "web_search_20250305", "name": "web_search"}],
    "tool_choice": {"type": "any", "disable_parallel_tool_use": True},
    "thinking": {"type": "enabled", "budget_tokens": 10_000},
    "stop_sequences": ["END"],
    "top_k": 5,
    "metadata": {"user_id": "u"},
    "messages": [
        {
            "role": "user",
            "content": [
                {"type": "text", "text": "Look at both."},
                {
                    "type": "image",
                    "source": {"type": "base64", "media_type": "image/png", "data": "AAAA"},
                },
                {
                    "type": "document",
                    "title": "Plan",
                    "source": {"type": "url", "url": "https://example.org/plan.pdf"},
                },
            ],
        },
        {
            "role": "assistant",
            "content": [
                THOUGHT,
                {"type": "text", "text": "I edit."},
                {"type": "tool_use", "id": "toolu_1", "name": "edit", "input": {"path": "a"}},
                {"type": "tool_use", "id": "toolu_2", "name": "edit", "input": {"path": "b"}},
            ],
        },
        {
            "role": "user",
            "content": [
                {"type": "tool_result", "tool_use_id": "toolu_1", "content": "done"},
                {
                    "type": "tool_result",
                    "tool_use_id": "toolu_2",
                    "is_error": True,
                    "content": [{"type": "text", "text": "no such file"}],
                },
                {"type": "text", "text": "Go on."},
            ],
        },
    ],
}


def test_a_request_becomes_a_chat_and_what_has_no_place_is_named() -> None:
    left_out: set[str] = set()
    turns = plain_turns(turns_of(ASKED, left_out))
    parameters = plain(parameters_of(ASKED, left_out))
    assert [turn["role"] for turn in turns] == [
        "system",
        "user",
        "assistant",
        "tool",
        "tool",
        "user",
    ]
    assert turns[0]["content"] == [
        {"type": "text", "text": "Be brief.", "cache_control": {"type": "ephemeral"}}
    ]
    assert [part["type"] for part in turns[1]["content"]] == ["text", "image_url", "file"]
    assert turns[1]["content"][1]["image_url"] == {"url": "data:image/png;base64,AAAA"}
    assert turns[2]["content"] == "I edit."
    assert "thinking_blocks" not in turns[2], "Anthropic's thoughts are for Anthropic's models"
    assert [call["function"]["arguments"] for call in turns[2]["tool_calls"]] == [
        '{"path":"a"}',
        '{"path":"b"}',
    ]
    assert turns[4] == {
        "role": "tool",
        "tool_call_id": "toolu_2",
        "content": "Error: no such file",
    }
    assert turns[5] == {"role": "user", "content": "Go on."}
    assert parameters["tools"] == [
        {
            "type": "function",
            "function": {
                "name": "edit",
                "description": "Edit a file.",
                "parameters": TOOL["input_schema"],
            },
        }
    ]
    assert parameters["tool_choice"] == "required"
    assert parameters["parallel_tool_calls"] is False
    assert parameters["reasoning_effort"] == "medium"
    assert (parameters["max_tokens"], parameters["stop"]) == (1000, ["END"])
    assert left_out == {"tool web_search_20250305", "top_k", "metadata"}


def test_a_model_of_the_same_protocol_gets_the_request_as_it_came() -> None:
    left_out: set[str] = set()
    turns, parameters = turns_of(ASKED, left_out), parameters_of(ASKED, left_out)
    assert request_of("claude", turns, parameters) == ASKED | {"model": "claude"}


def test_foreign_turns_lose_their_signatures_and_keep_all_else() -> None:
    """Another model of Anthropic's gets the blocks as they came; one of another maker a chat whose
    ids all take."""
    turns, parameters = turns_of(ASKED, set()), parameters_of(ASKED, set())
    foreign = history(turns, lambda _turn: False)
    request = request_of("claude", foreign, parameters)
    said = ASKED["messages"][1]
    assert request["messages"] == [
        ASKED["messages"][0],
        said | {"content": said["content"][1:]},
        ASKED["messages"][2],
    ]
    chat = plain_turns(foreign)
    ids = [call["id"] for call in chat[2]["tool_calls"]]
    assert all(len(one) == 9 for one in ids)
    assert [turn["tool_call_id"] for turn in chat[3:5]] == ids


def test_ids_that_anthropic_refuses_are_renamed_in_call_and_result() -> None:
    body = json.loads(json.dumps(ASKED).replace("toolu_1", "functions.edit:0"))
    request = request_of("claude", turns_of(body, set()), parameters_of(body, set()))
    name = request["messages"][1]["content"][2]["id"]
    assert name != "functions.edit:0"
    assert request["messages"][2]["content"][0]["tool_use_id"] == name


def test_a_system_message_in_the_middle_stays_where_it_is() -> None:
    body = ASKED | {
        "messages": [
            {"role": "user", "content": "Hi"},
            {"role": "assistant", "content": "Hello"},
            {"role": "system", "content": "In French."},
            {"role": "user", "content": "Bye"},
        ]
    }
    turns, parameters = turns_of(body, set()), parameters_of(body, set())
    assert request_of("claude", turns, parameters)["messages"] == body["messages"]
    assert [turn["role"] for turn in turns] == ["system", "user", "assistant", "system", "user"]


def test_what_a_model_does_not_take_is_fitted_on_the_way_as_it_came_too() -> None:
    body = ASKED | {
        "max_tokens": 128_000,
        "thinking": {"type": "enabled", "budget_tokens": 100_000},
        "output_config": {"effort": "max"},
    }
    turns, parameters = turns_of(body, set()), parameters_of(body, set())
    fit, changed = fitting(parameters, Abilities(largest_output=64_000, efforts=("low", "high")))
    assert set(changed) == {"max_tokens", "reasoning_effort"}
    request = request_of("claude", turns, fit)
    assert request["max_tokens"] == 64_000
    assert request["thinking"]["budget_tokens"] == 63_999
    assert request["output_config"]["effort"] == "high"


@pytest.mark.parametrize(
    ("chat", "sent", "unsaid"),
    [
        ({"reasoning_effort": "none"}, {"thinking": None}, ()),
        (
            {"reasoning_effort": "low", "temperature": 0.2},
            {"thinking": {"type": "adaptive"}, "temperature": None},
            ("temperature",),
        ),
        (
            {"tools": [{"type": "function", "function": {"name": "f"}}], "tool_choice": "none"}
            | {"parallel_tool_calls": False},
            {"tool_choice": {"type": "none"}},
            (),
        ),
        ({"seed": 3, "n": 2}, {"seed": None}, ("seed", "n")),
        ({"max_tokens": 7}, {"max_tokens": 7}, ()),
        ({"temperature": 0.2, "top_p": 0.9}, {"temperature": 0.2, "top_p": None}, ("top_p",)),
        ({"top_p": 0.9, "top_k": 4}, {"top_p": 0.9, "top_k": 4}, ()),
        ({"service_tier": "default"}, {"service_tier": "standard_only"}, ()),
        ({"service_tier": "priority"}, {"service_tier": None}, ("service_tier",)),
    ],
)
def test_a_chat_becomes_what_anthropic_takes(
    chat: dict[str, Any], sent: dict[str, Any], unsaid: tuple[str, ...]
) -> None:
    turns = [{"role": "user", "content": "Hi"}]
    request = request_of("m", turns, chat)
    assert {name: request.get(name) for name in sent} == sent
    assert unspoken(turns, chat) == unsaid


def test_texts_without_words_do_not_reach_anthropic() -> None:
    call = {"id": "c", "type": "function", "function": {"name": "f", "arguments": "{}"}}
    turns = [
        {"role": "system", "content": " \n"},
        {
            "role": "user",
            "content": [{"type": "text", "text": " "}, {"type": "text", "text": "Hi"}],
        },
        {"role": "assistant", "content": "\n\n", "tool_calls": [call]},
    ]
    request = request_of("m", turns, {})
    assert "system" not in request
    assert request["messages"][0] == {"role": "user", "content": "Hi"}
    assert [block["type"] for block in request["messages"][1]["content"]] == ["tool_use"]
    blank = [{"type": "text", "text": "\n\n"}, {"type": "text", "text": "So"}]
    body = {
        "messages": [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": blank}]
    }
    came = request_of("m", turns_of(body, set()), parameters_of(body, set()))
    assert came["messages"][1]["content"] == blank[1:]


def test_a_conversation_that_marks_what_to_cache_gets_no_fifth_mark() -> None:
    turns: list[dict[str, Any]] = [
        {"role": "user", "content": [{"type": "text", "text": "Hi"}]},
        {"role": "assistant", "content": "Hello"},
        {"role": "user", "content": "Go on"},
    ]
    assert "cache_control" in request_of("m", turns, {})
    mark = {"cache_control": {"type": "ephemeral"}}
    turns[0]["content"][0] |= mark
    schema = {"type": "object", "properties": mark}
    tools = [{"type": "function", "function": {"name": "f", "parameters": schema}} | mark]
    assert "cache_control" in request_of("m", turns, {"tools": tools})
    turns[0]["content"] += [{"type": "text", "text": "there"} | mark] * 2
    assert "cache_control" not in request_of("m", turns, {"tools": tools})


@pytest.mark.parametrize(
    ("required", "more", "strict"),
    [
        (["a", "b"], False, True),
        (["a"], False, False),
        (["a", "b"], True, False),
        (True, False, False),
        ([["a"]], False, False),
    ],
)
def test_a_schema_is_strict_where_openai_takes_it_so(
    required: Any, more: bool, strict: bool
) -> None:
    schema = {
        "type": "object",
        "properties": {"a": {"type": "string"}, "b": {"type": "array", "items": {}}},
        "required": required,
        "additionalProperties": more,
    }
    wanted = {"output_config": {"format": {"type": "json_schema", "schema": schema}}}
    tool = {"name": "f", "input_schema": schema, "strict": True}
    parameters = parameters_of(ASKED | wanted | {"tools": [tool]}, set())
    assert parameters["response_format"]["json_schema"]["strict"] is strict
    assert _is_strict({"type": "object"}) is False
    assert parameters["tools"][0]["function"]["strict"] is strict


def test_tiers_of_service_have_other_names() -> None:
    for named, other in (("auto", "auto"), ("standard_only", "default")):
        parameters = parameters_of(ASKED | {"service_tier": named}, set())
        assert parameters["service_tier"] == other


def test_a_document_that_is_no_address_is_its_bytes() -> None:
    for data, source in (
        ("JVBERi0x", {"type": "base64", "media_type": "application/pdf", "data": "JVBERi0x"}),
        ("https://a.example/b.pdf", {"type": "url", "url": "https://a.example/b.pdf"}),
        ("HTTPS://a.example/b.pdf", {"type": "url", "url": "HTTPS://a.example/b.pdf"}),
    ):
        file = {"type": "file", "file": {"filename": "b.pdf", "file_data": data}}
        request = request_of("m", [{"role": "user", "content": [file]}], {})
        assert request["messages"][0]["content"][0]["source"] == source


def test_content_that_anthropic_has_no_place_for_is_named() -> None:
    sound = {"type": "input_audio", "input_audio": {"data": "A", "format": "wav"}}
    file = {"type": "file", "file": {"file_id": "f"}}
    turns = [{"role": "user", "content": [{"type": "text", "text": "Hi"}, sound, file]}]
    assert unspoken(turns, {}) == ("input_audio", "file")
    assert request_of("m", turns, {})["messages"] == [{"role": "user", "content": "Hi"}]
    alone = request_of("m", [{"role": "system", "content": "Greet me."}], {})
    assert alone["messages"] == [{"role": "user", "content": "Greet me."}]


@given(chats())
def test_a_chat_through_anthropics_form_and_back_is_the_same(chat: dict[str, Any]) -> None:
    parameters = {name: value for name, value in chat.items() if name != "messages"}
    request = request_of("m", chat["messages"], parameters)
    left_out: set[str] = set()
    assert plain_turns(turns_of(request, left_out)) == portable_ids(chat["messages"])
    back = plain(parameters_of(request, left_out))
    assert back == {"max_tokens": 8192} | parameters
    assert not left_out
    assert not unspoken(chat["messages"], parameters)


def portable_ids(turns: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return turns  # the strategies make ids that Anthropic takes


@given(chats())
def test_a_portable_history_goes_through_as_well(chat: dict[str, Any]) -> None:
    turns = portable(chat["messages"])
    request = request_of("m", turns, {})
    assert plain_turns(turns_of(request, set())) == turns


@given(completions())
def test_an_answer_through_anthropics_form_and_back_is_the_same(
    completion: dict[str, Any],
) -> None:
    message = answer_of(completion, thoughts=False)
    back = completion_of(message)
    assert back["choices"] == completion["choices"]
    for name in ("prompt_tokens", "completion_tokens"):
        assert back["usage"][name] == completion["usage"][name]


@given(completions(), st.data())
def test_a_stream_joined_together_equals_the_whole_answer(
    completion: dict[str, Any], data: st.DataObject
) -> None:
    made = MessageEvents("msg_1", "m", 7, thoughts=True)
    events = [event for chunk in streamed(completion, data) for event in made.take(chunk)]
    whole = answer_of(completion | {"id": "msg_1", "model": "m"}, thoughts=True)
    assert joined(events) == {name: whole[name] for name in ("content", "stop_reason", "usage")}


@given(completions(), st.data())
def test_a_stream_through_anthropics_form_and_back_is_the_same(
    completion: dict[str, Any], data: st.DataObject
) -> None:
    made = MessageEvents("msg_1", "m", 7, thoughts=True)
    heard = MessageChunks()
    said: dict[str, Any] = {"content": "", "calls": {}, "finish": None}
    for chunk in streamed(completion, data):
        for event in made.take(chunk):
            back = heard.take(event)
            for choice in (back or {}).get("choices", ()):
                said["content"] += choice["delta"].get("content") or ""
                said["finish"] = choice["finish_reason"] or said["finish"]
                for call in choice["delta"].get("tool_calls") or ():
                    known = said["calls"].setdefault(call["index"], ["", "", ""])
                    known[0] += call.get("id") or ""
                    known[1] += call["function"].get("name") or ""
                    known[2] += call["function"].get("arguments") or ""
    assert heard.ended
    message = completion["choices"][0]["message"]
    assert said["content"] == message["content"]
    assert said["finish"] == completion["choices"][0]["finish_reason"]
    assert [*said["calls"].values()] == [
        [call["id"], call["function"]["name"], call["function"]["arguments"]]
        for call in message.get("tool_calls", ())
    ]


def joined(events: list[dict[str, Any]]) -> dict[str, Any]:
    """What a client of Anthropic's makes of a stream."""
    blocks: list[dict[str, Any]] = []
    open_block = None
    end: dict[str, Any] = {}
    assert events[0]["type"] == "message_start"
    assert events[-1]["type"] == "message_stop"
    for event in events[1:-1]:
        if event["type"] == "content_block_start":
            assert open_block is None
            assert event["index"] == len(blocks)
            open_block = dict(event["content_block"])
            blocks.append(open_block)
            arguments = ""
        elif event["type"] == "content_block_delta":
            assert open_block is not None
            assert event["index"] == len(blocks) - 1
            delta = event["delta"]
            if delta["type"] == "text_delta":
                open_block["text"] += delta["text"]
            elif delta["type"] == "thinking_delta":
                open_block["thinking"] += delta["thinking"]
            elif delta["type"] == "signature_delta":
                open_block["signature"] += delta["signature"]
            else:
                arguments += delta["partial_json"]
        elif event["type"] == "content_block_stop":
            assert open_block is not None
            if open_block["type"] == "tool_use":
                open_block["input"] = json.loads(arguments)
            open_block = None
        else:
            assert event["type"] == "message_delta"
            end = {"stop_reason": event["delta"]["stop_reason"], "usage": event["usage"]}
    assert open_block is None
    return {"content": blocks, **end}


def test_calls_whose_parts_arrive_in_turn_become_one_block_each() -> None:
    def part(index: int, **fields: Any) -> dict[str, Any]:
        delta = {"tool_calls": [{"index": index, **fields}]}
        return {"choices": [{"index": 0, "delta": delta, "finish_reason": None}]}

    chunks = [
        part(0, id="a", function={"name": "f", "arguments": '{"x"'}),
        part(1, id="b", function={"name": "g", "arguments": "{"}),
        part(0, function={"arguments": ":1}"}),
        part(1, function={"arguments": '"y":2}'}),
        {"choices": [{"index": 0, "delta": {}, "finish_reason": "tool_calls"}], "usage": {}},
    ]
    made = MessageEvents("msg_1", "m", 0, thoughts=False)
    found = joined([event for chunk in chunks for event in made.take(chunk)])
    assert [(b["id"], b["name"], b["input"]) for b in found["content"]] == [
        ("a", "f", {"x": 1}),
        ("b", "g", {"y": 2}),
    ]
    assert found["stop_reason"] == "tool_use"


EXTRA = {"google": {"thought_signature": "abc"}}


@pytest.mark.parametrize("thoughts", [True, False])
def test_what_a_model_wants_back_travels_through_a_client_of_anthropics(thoughts: bool) -> None:
    """Gemini refuses a call without its signature, DeepSeek one without its thoughts."""
    call = {
        "id": "call_1",
        "type": "function",
        "function": {"name": "f", "arguments": "{}"},
        "extra_content": EXTRA,
    }
    details = [{"type": "reasoning.encrypted", "data": "xyz"}]
    said = {
        "role": "assistant",
        "content": "",
        "reasoning_content": "Let me see.",
        "reasoning_details": details,
        "tool_calls": [call],
    }
    completion = {
        "id": "msg_1",
        "model": "gemini",
        "choices": [{"index": 0, "message": said, "finish_reason": "tool_calls"}],
        "usage": {},
    }
    message = answer_of(completion, thoughts=thoughts)
    thought = message["content"][0]
    assert thought["type"] == ("thinking" if thoughts else "redacted_thinking")
    assert (thought.get("thinking") == "Let me see.") is thoughts
    asked = {
        "messages": [
            {"role": "user", "content": "Look."},
            {"role": "assistant", "content": message["content"]},
        ]
    }
    turn = plain_turns(turns_of(asked, set()))[1]
    assert turn["reasoning_details"] == details
    assert turn["reasoning_content"] == "Let me see."
    assert turn["tool_calls"] == [call]


def test_a_forged_or_broken_keepsake_is_none() -> None:
    for text in ("pointsman.", "pointsman.%%%", "pointsman.eJw=", "c2ln", None, 7):
        assert opened(text) is None
    bomb = zlib.compress(json.dumps({"reasoning_content": "a" * 4_000_000}).encode())
    assert len(bomb) < 5000
    assert opened(KEEPSAKE + base64.urlsafe_b64encode(bomb).decode()) is None


def test_pieces_of_reasoning_details_become_whole_again() -> None:
    pieces = [
        {"type": "reasoning.text", "index": 0, "text": "a", "format": "x"},
        {"type": "reasoning.text", "index": 0, "text": "b"},
        {"type": "reasoning.text", "index": 0, "signature": "s"},
        {"type": "reasoning.encrypted", "index": 1, "data": "d"},
        {"type": "reasoning.summary", "summary": "whole"},
        {"type": "reasoning.summary", "summary": "another"},
    ]
    assert whole_details(pieces) == [
        {"type": "reasoning.text", "index": 0, "text": "ab", "format": "x", "signature": "s"},
        {"type": "reasoning.encrypted", "index": 1, "data": "d"},
        {"type": "reasoning.summary", "summary": "whole"},
        {"type": "reasoning.summary", "summary": "another"},
    ]


def test_anthropics_own_answer_goes_through_as_it_came_under_our_name() -> None:
    events: list[dict[str, Any]] = [
        {
            "type": "message_start",
            "message": {"id": "x", "model": "claude-1", "usage": {"input_tokens": 5}},
        },
        {"type": "ping"},
        {"type": "content_block_start", "index": 0, "content_block": {"type": "server_tool_use"}},
        {"type": "content_block_stop", "index": 0},
        {
            "type": "message_delta",
            "delta": {"stop_reason": "end_turn"},
            "usage": {"output_tokens": 3, "server_tool_use": {"web_search_requests": 1}},
        },
        {"type": "message_stop"},
    ]
    heard = MessageChunks()
    made = MessageEvents("msg_1", "claude", 7, thoughts=False)
    got: list[dict[str, Any]] = []
    for event in events:
        if (chunk := heard.take(event)) is not None:
            assert chunk[NATIVE] == [event]
            usage = {"usage": chunk["usage"] | {"cost": 0.5}} if "usage" in chunk else {}
            got += made.take(chunk | usage)
    assert [event["type"] for event in got] == [event["type"] for event in events]
    assert got[0]["message"]["id"] == "msg_1"
    assert got[0]["message"]["model"] == "claude"
    assert got[2] == events[2]
    assert got[4]["usage"]["server_tool_use"] == {"web_search_requests": 1}
    assert (got[4]["usage"]["input_tokens"], got[4]["usage"]["cost"]) == (5, 0.5)


def test_an_error_has_anthropics_form() -> None:
    assert error_of(429, "slow down", "msg_1") == {
        "type": "error",
        "error": {"type": "rate_limit_error", "message": "slow down"},
        "request_id": "msg_1",
    }
    assert error_of(502, "away", "msg_1")["error"]["type"] == "api_error"
    assert error_of(415, "odd", "msg_1")["error"]["type"] == "invalid_request_error"
