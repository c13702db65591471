"""The Responses API's form and the inner form."""

from __future__ import annotations

import json
from typing import Any

import pytest
from conversations import chats, completions, streamed
from hypothesis import given
from hypothesis import strategies as st

from shared.protocols import AUTHOR
from shared.protocols.responses.answers import ResponseEvents, response_id, response_of, visible
from shared.protocols.responses.asked import items_of, parameters_of, turns_of

PATCH = {
    "type": "custom",
    "name": "apply_patch",
    "description": "Patch files.",
    "format": {"type": "grammar", "syntax": "lark", "definition": "start: patch"},
}
ASKED: dict[str, Any] = {
    "model": "auto",
    "instructions": "Be brief.",
    "max_output_tokens": 1000,
    "reasoning": {"effort": "high", "summary": "auto"},
    "text": {
        "verbosity": "low",
        "format": {
            "type": "json_schema",
            "name": "plan",
            "strict": True,
            "schema": {"type": "object"},
        },
    },
    "tools": [
        {"type": "function", "name": "shell", "parameters": {"type": "object"}, "strict": False},
        PATCH,
        {"type": "web_search"},
    ],
    "tool_choice": {"type": "function", "name": "shell"},
    "truncation": "auto",
    "input": [
        {"role": "developer", "content": "In French."},
        {
            "role": "user",
            "content": [
                {"type": "input_text", "text": "Look."},
                {"type": "input_image", "image_url": "data:image/png;base64,AAAA", "detail": "low"},
                {"type": "input_file", "file_id": "file_1"},
            ],
        },
        {
            "type": "message",
            "role": "assistant",
            "content": [{"type": "output_text", "text": "I patch.", "annotations": []}],
        },
        {"type": "function_call", "call_id": "c1", "name": "shell", "arguments": '{"cmd":"ls"}'},
        {"type": "custom_tool_call", "call_id": "c2", "name": "apply_patch", "input": "*** a"},
        {"type": "function_call_output", "call_id": "c1", "output": "a b"},
        {
            "type": "custom_tool_call_output",
            "call_id": "c2",
            "output": [{"type": "input_text", "text": "done"}],
        },
        {"type": "web_search_call", "id": "ws_1", "status": "completed"},
    ],
}


def test_a_request_becomes_a_chat_and_what_has_no_place_is_named() -> None:
    left_out: set[str] = set()
    turns = turns_of(items_of(ASKED["input"]), ASKED["instructions"], left_out)
    parameters = parameters_of(ASKED, left_out)
    assert [turn["role"] for turn in turns] == [
        "system",
        "developer",
        "user",
        "assistant",
        "tool",
        "tool",
    ]
    assert turns[2]["content"][1] == {
        "type": "image_url",
        "image_url": {"url": "data:image/png;base64,AAAA", "detail": "low"},
    }
    assert turns[3]["content"] == "I patch."
    assert [(c["id"], c["function"]["arguments"]) for c in turns[3]["tool_calls"]] == [
        ("c1", '{"cmd":"ls"}'),
        ("c2", '{"input":"*** a"}'),
    ]
    assert [turn["content"] for turn in turns[4:]] == ["a b", "done"]
    assert [tool["function"]["name"] for tool in parameters["tools"]] == ["shell", "apply_patch"]
    assert "start: patch" in parameters["tools"][1]["function"]["description"]
    assert parameters["tool_choice"] == {"type": "function", "function": {"name": "shell"}}
    assert parameters["response_format"]["json_schema"]["name"] == "plan"
    assert (parameters["reasoning_effort"], parameters["verbosity"]) == ("high", "low")
    assert parameters["max_tokens"] == 1000
    assert left_out == {"input_file by id", "tool web_search", "web_search_call"}
    assert parameters_of(ASKED | {"safety_identifier": "x"}, left_out)
    assert "safety_identifier" in left_out


@given(chats())
def test_a_chat_written_as_items_is_the_same_chat(chat: dict[str, Any]) -> None:
    assert turns_of(items(chat["messages"]), None, set()) == [
        turn | ({"content": turn["content"] or ""} if "tool_calls" not in turn else {})
        for turn in chat["messages"]
    ]


def items(turns: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """What a client of the Responses API would send for a chat."""
    made: list[dict[str, Any]] = []
    for turn in turns:
        if turn["role"] == "tool":
            call = {"call_id": turn["tool_call_id"], "output": turn["content"]}
            made.append({"type": "function_call_output", **call})
            continue
        if turn["content"]:
            content = turn["content"]
            if isinstance(content, list):
                content = [
                    {"type": "input_text", "text": part["text"]}
                    if part["type"] == "text"
                    else {"type": "input_image", "image_url": part["image_url"]["url"]}
                    for part in content
                ]
            made.append({"role": turn["role"], "content": content})
        made += [
            {"type": "function_call", "call_id": call["id"], **call["function"]}
            for call in turn.get("tool_calls", ())
        ]
    return made


@given(completions(), st.data())
def test_a_stream_joined_together_equals_the_whole_answer(
    completion: dict[str, Any], data: st.DataObject
) -> None:
    made = ResponseEvents("resp_1", "m", {"tools": []})
    events = [event for chunk in streamed(completion, data) for event in made.take(chunk)]
    assert [event["sequence_number"] for event in events] == [*range(len(events))]
    whole = response_of(completion | {"id": "resp_1", "model": "m"}, {"tools": []})
    times = {"created_at", "completed_at"}
    last = events[-1]["response"]
    assert {n: v for n, v in last.items() if n not in times} == {
        n: v for n, v in whole.items() if n not in times
    }
    assert followed(events) == last["output"]


def followed(events: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """What a client makes of the events, in the order that OpenAI's servers have."""
    assert [event["type"] for event in events[:2]] == ["response.created", "response.in_progress"]
    output: list[dict[str, Any]] = []
    texts: dict[str, str] = {}
    for event in events[2:-1]:
        kind = event["type"]
        if kind == "response.output_item.added":
            assert event["output_index"] == len(output)
            output.append(event["item"])
        elif kind in ("response.output_text.delta", "response.function_call_arguments.delta"):
            assert output[event["output_index"]]["id"] == event["item_id"]
            texts[event["item_id"]] = texts.get(event["item_id"], "") + event["delta"]
        elif kind == "response.output_text.done":
            assert event["text"] == texts.get(event["item_id"], "")
        elif kind == "response.function_call_arguments.done":
            assert event["arguments"] == texts.get(event["item_id"], "")
        elif kind == "response.output_item.done":
            output[event["output_index"]] = event["item"]
    return output


def test_a_custom_tools_call_is_a_text_again() -> None:
    call = {
        "id": "c1",
        "type": "function",
        "function": {"name": "apply_patch", "arguments": '{"input": "*** Begin"}'},
    }
    said = {"role": "assistant", "content": None, "tool_calls": [call]}
    choice = {"index": 0, "message": said, "finish_reason": "tool_calls"}
    completion = {"id": "resp_1", "model": "m", "choices": [choice], "usage": {}}
    (item,) = response_of(completion, {"tools": [PATCH]})["output"]
    assert (item["type"], item["call_id"], item["input"]) == (
        "custom_tool_call",
        "c1",
        "*** Begin",
    )
    assert "arguments" not in item


def test_thoughts_are_a_summary_and_what_the_model_wants_back_is_encrypted() -> None:
    said = {
        "role": "assistant",
        "content": "4",
        "reasoning_content": "Two and two.",
        "reasoning_details": [{"type": "reasoning.encrypted", "data": "x"}],
    }
    choice = {"index": 0, "message": said, "finish_reason": "stop"}
    response = response_of({"id": "resp_1", "model": "m", "choices": [choice], "usage": {}}, {})
    thought, message = response["output"]
    assert thought["summary"] == [{"type": "summary_text", "text": "Two and two."}]
    assert message["content"][0]["text"] == "4"
    (turn,) = turns_of(response["output"], None, set())
    assert turn["reasoning_details"] == said["reasoning_details"]
    assert turn["reasoning_content"] == "Two and two."
    shown = visible(response["output"], ())
    assert "encrypted_content" not in json.dumps(shown)
    assert "encrypted_content" in json.dumps(
        visible([*shown[1:], thought], ["reasoning.encrypted_content"])
    )


@pytest.mark.parametrize(
    ("finish", "status", "reason"),
    [
        ("stop", "completed", None),
        ("length", "incomplete", "max_output_tokens"),
        ("content_filter", "incomplete", "content_filter"),
    ],
)
def test_an_answer_that_is_not_whole_says_so(finish: str, status: str, reason: str | None) -> None:
    choice = {"index": 0, "message": {"content": "a"}, "finish_reason": finish}
    got = response_of({"id": "resp_1", "model": "m", "choices": [choice], "usage": {}}, {})
    assert got["status"] == status
    assert (got["incomplete_details"] or {}).get("reason") == reason


def test_a_stream_that_breaks_off_ends_with_its_failure() -> None:
    made = ResponseEvents("resp_1", "m", {})
    chunk = {"choices": [{"index": 0, "delta": {"content": "a"}, "finish_reason": None}]}
    begun = [*made.take(chunk)]
    failed, error = made.failed("upstream_error", "it broke off")
    assert failed["response"]["status"] == "failed"
    assert error["sequence_number"] == len(begun) + 1
    assert (error["type"], error["message"]) == ("error", "it broke off")


def chunk(finish: str | None = None, **delta: Any) -> dict[str, Any]:
    return {"choices": [{"index": 0, "delta": delta, "finish_reason": finish}]}


def call(index: int, name: str, **extras: Any) -> dict[str, Any]:
    function = {"name": name, "arguments": "{}"}
    return {
        "index": index,
        "id": f"call_{index}",
        "type": "function",
        "function": function,
        **extras,
    }


def signed(text: str) -> dict[str, Any]:
    return {"extra_content": {"google": {"thought_signature": text}}}


def test_what_comes_late_is_not_lost() -> None:
    """Words after a call, a signature after words, a second thought."""
    made = ResponseEvents("resp_1", "m", {})
    first = {"type": "thinking", "thinking": "a", "signature": "s1"}
    second = {"type": "thinking", "thinking": "b", "signature": "s2"}
    chunks = [
        chunk(reasoning_content="a"),
        chunk(thinking_blocks=[first]),
        chunk(content="One."),
        chunk(reasoning_content="b"),
        chunk(thinking_blocks=[second]),
        chunk(tool_calls=[call(0, "f", **signed("x"))]),
        chunk(tool_calls=[call(1, "g", **signed("y"))]),
        chunk(content="Two."),
        chunk("tool_calls"),
    ]
    events = [event for one in chunks for event in made.take(one)]
    output = events[-1]["response"]["output"]
    assert followed(events) == output
    kinds = [item["type"] for item in output]
    assert kinds.count("message") == 2
    assert [i["content"][0]["text"] for i in output if i["type"] == "message"] == ["One.", "Two."]
    turns = turns_of(output, None, set())
    said: dict[str, Any] = {"thinking_blocks": [], "calls": {}}
    for turn in turns:
        said["thinking_blocks"] += turn.get("thinking_blocks", [])
        said["calls"] |= {c["id"]: c.get("extra_content") for c in turn.get("tool_calls", ())}
    assert said["thinking_blocks"] == [first, second]
    assert said["calls"] == {
        "call_0": signed("x")["extra_content"],
        "call_1": signed("y")["extra_content"],
    }


def test_a_keepsake_ends_with_its_turn() -> None:
    """Three models in a loop of calls: each gets its own thoughts back and no other's."""
    items: list[dict[str, Any]] = []
    for number, model in enumerate(("claude", "gpt", "glm")):
        said: dict[str, Any] = {"tool_calls": [call(0, "f") | {"id": f"c{number}"}]}
        if model != "gpt":
            said["thinking_blocks"] = [{"type": "thinking", "signature": model}]
        choice = {"index": 0, "message": said, "finish_reason": "tool_calls"}
        completion = {"id": "resp_1", "model": model, "choices": [choice], "usage": {}}
        items += response_of(completion, {})["output"]
        items.append({"type": "function_call_output", "call_id": f"c{number}", "output": "x"})
    turns = [turn for turn in turns_of(items, None, set()) if turn["role"] == "assistant"]
    assert [turn.get(AUTHOR) for turn in turns] == ["claude", None, "glm"]
    assert [turn.get("thinking_blocks", [{}])[0].get("signature") for turn in turns] == [
        "claude",
        None,
        "glm",
    ]


def test_pictures_of_tools_stand_behind_all_their_outputs() -> None:
    picture = {"type": "input_image", "image_url": "data:image/png;base64,AAAA"}
    items = [
        {"type": "function_call", "call_id": "a", "name": "f", "arguments": "{}"},
        {"type": "function_call", "call_id": "b", "name": "f", "arguments": "{}"},
        {"type": "function_call_output", "call_id": "a", "output": [picture]},
        {"type": "function_call_output", "call_id": "b", "output": "x"},
    ]
    turns = turns_of(items, None, set())
    assert [turn["role"] for turn in turns] == ["assistant", "tool", "tool", "user"]


def test_an_items_id_names_its_response() -> None:
    name = "resp_" + "0123456789abcdef" * 2
    choice = {"index": 0, "message": {"content": "a"}, "finish_reason": "stop"}
    (item,) = response_of({"id": name, "model": "m", "choices": [choice], "usage": {}}, {})[
        "output"
    ]
    assert response_id(item["id"]) == name
