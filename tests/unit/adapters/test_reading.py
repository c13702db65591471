"""The tolerant reader: real shapes, and every mutation of them that hypothesis finds, give an
answer or `ModelUnreachable`."""

import copy
import json
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shared.adapters.errors import ModelUnreachable, Trouble
from shared.adapters.llm import reading
from shared.adapters.llm.reading import Events, Reader, usage, without_thinking

USAGE = {
    "prompt_tokens": 5,
    "completion_tokens": 9,
    "total_tokens": 14,
    "cost": 0.002,
    "prompt_tokens_details": {"cached_tokens": 2},
}
CALL = {
    "index": 0,
    "id": "call_1",
    "type": "function",
    "function": {"name": "look", "arguments": '{"a": 1}'},
}
WHOLE = {
    "id": "x",
    "object": "chat.completion",
    "created": 1,
    "model": "m",
    "choices": [
        {
            "index": 0,
            "message": {"role": "assistant", "content": "Paris", "tool_calls": [CALL]},
            "finish_reason": "stop",
        }
    ],
    "usage": USAGE,
}


def chunk(delta: Any, finish: str | None = None, **more: Any) -> dict[str, Any]:
    return {"id": "x", "object": "chat.completion.chunk", "created": 1, "model": "m"} | {
        "choices": [{"index": 0, "delta": delta, "finish_reason": finish}],
        **more,
    }


CHUNKS = [
    chunk({"role": "assistant", "content": ""}),
    chunk({"content": "Pa"}),
    chunk({"content": "ris", "tool_calls": [CALL]}),
    chunk({"tool_calls": [{"index": 0, "function": {"arguments": " "}}]}),
    chunk({}, "stop"),
    {"id": "x", "choices": [], "usage": USAGE},
]


def events(*values: Any, end: str = "\n") -> bytes:
    return "".join(
        f"data: {value if isinstance(value, str) else json.dumps(value)}{end}{end}"
        for value in values
    ).encode("utf-8", "replace")


def read(data: bytes, *, cuts: tuple[int, ...] = ()) -> tuple[Reader, list[dict[str, Any]]]:
    reader = Reader()
    edges = [0, *sorted(min(cut, len(data)) for cut in cuts), len(data)]
    chunks = [one for a, b in pairwise(edges) for one in reader.feed(data[a:b])]
    return reader, [*chunks, *reader.end()]


def words(data: bytes, **how: Any) -> str:
    return str(read(data, **how)[0].answer()["choices"][0]["message"]["content"])


# lines and events


@pytest.mark.parametrize("end", ["\n", "\r", "\r\n"])
def test_a_stream_says_the_same_wherever_its_bytes_are_split_and_however_its_lines_end(
    end: str,
) -> None:
    data = b"\xef\xbb\xbf: a comment" + end.encode() + events(*CHUNKS, "[DONE]", end=end)
    for cut in range(len(data)):
        reader, _ = read(data, cuts=(cut,))
        choice = reader.answer()["choices"][0]
        assert choice["message"]["content"] == "Paris"
        assert choice["message"]["tool_calls"][0]["function"] == {
            "name": "look",
            "arguments": '{"a": 1} ',
        }
        assert reader.answer()["usage"] == USAGE


@pytest.mark.parametrize(
    "sign", ["\u2028", "\u2029", "\u0085", "\x0b", "\x0c", "\x1c", "\x1d", "\x1e"]
)
def test_a_line_ends_at_cr_and_lf_and_nowhere_else(sign: str) -> None:
    data = events(
        json.dumps(chunk({"content": f"one{sign}two"}), ensure_ascii=False),
        chunk({}, "stop"),
        "[DONE]",
    )
    assert words(data) == f"one{sign}two"


def test_the_lines_of_an_event_are_one_text_and_a_last_event_needs_no_empty_line() -> None:
    text = json.dumps(chunk({"content": "Paris"}, "stop"), indent=1)
    data = "".join(f"data: {line}\n" for line in text.split("\n")).encode()
    assert words(data) == "Paris"
    assert words(data.rstrip(b"\n")) == "Paris"
    assert words(b"data:" + json.dumps(chunk({"content": "Paris"}, "stop")).encode()) == "Paris"


def test_events_that_no_empty_line_parts_are_read_line_by_line() -> None:
    data = (
        b"".join(b"data: " + json.dumps(one).encode() + b"\n" for one in CHUNKS) + b"data: [DONE]\n"
    )
    assert words(data) == "Paris"


@given(st.binary(max_size=200), st.lists(st.integers(0, 200), max_size=5))
def test_events_do_not_depend_on_where_bytes_are_split(data: bytes, cuts: list[int]) -> None:
    def all_of(parts: list[bytes]) -> list[tuple[str, list[bytes]]]:
        found = Events()
        return [event for part in parts for event in found.feed(part)] + found.end()

    edges = [0, *sorted(min(cut, len(data)) for cut in cuts), len(data)]
    assert all_of([data[a:b] for a, b in pairwise(edges)]) == all_of([data])


# errors inside a 200


@pytest.mark.parametrize(
    "broken",
    [
        events({"id": "x", "choices": [], "error": {"code": 502, "message": "down"}}, "[DONE]"),
        events({"error": {"code": 502, "message": "down"}}),
        events(chunk({"content": ""}) | {"error": {"code": 502, "message": "down"}}),
        events(
            {
                "choices": [
                    {
                        "index": 0,
                        "delta": {},
                        "error": {"code": 502, "message": "down"},
                        "finish_reason": "error",
                    }
                ]
            }
        ),
        b'event: error\ndata: {"error": {"code": 502, "message": "down"}}\n\n',
        b'event: error\ndata: {"code": 502, "message": "down"}\n\n',
        json.dumps({"error": {"code": 502, "message": "down"}}).encode(),
        json.dumps({"choices": [{"error": {"code": 502, "message": "down"}}]}).encode(),
        json.dumps({"object": "error", "code": 502, "message": "down"}).encode(),
        json.dumps(WHOLE | {"error": {"code": "502", "message": "down"}}).encode(),
    ],
)
def test_an_error_inside_a_200_is_an_error_with_the_providers_code_and_words(broken: bytes) -> None:
    with pytest.raises(ModelUnreachable, match=r"with an error \(code 502\)") as caught:
        read(broken)
    assert (caught.value.trouble, caught.value.status) == (Trouble.failed, 502)
    assert caught.value.said is not None
    assert caught.value.said["message"] == "down"
    assert "down" not in str(caught.value), "what goes into logs quotes nothing"


@pytest.mark.parametrize(
    ("broken", "trouble"),
    [
        (events(chunk({}, "error")), Trouble.failed),
        (events("[DONE]"), Trouble.failed),
        (events({"choices": []}, "[DONE]"), Trouble.failed),
        (events(chunk({"role": "assistant"}), "[DONE]"), Trouble.failed),
        (events({"choices": []}), Trouble.unreadable),
        (b"event: error\ndata: it broke\n\n", Trouble.failed),
        (events(chunk({"content": "two words"})), Trouble.cut_off),
        (b"<html>", Trouble.unreadable),
        (b"\xef\xbb\xbf  <!doctype html>", Trouble.unreadable),
        (b"", Trouble.unreadable),
        (b"[]", Trouble.unreadable),
        (b"upstream timed out", Trouble.unreadable),
        (b'{"choices": []}', Trouble.unreadable),
        (b'{"choices": [null]}', Trouble.unreadable),
        (b'{"choices": {}}', Trouble.unreadable),
        (b'{"choices": [{"message": null}]}', Trouble.unreadable),
        (b'{"a":' * 5000, Trouble.unreadable),
        (b"[" * 100_000, Trouble.unreadable),
        (
            b'{"choices": [{"message": {"content": "x"}}], "x": ' + b"[" * 200 + b"]" * 200 + b"}",
            Trouble.unreadable,
        ),
    ],
)
def test_what_is_no_answer_never_counts_as_one(broken: bytes, trouble: Trouble) -> None:
    with pytest.raises(ModelUnreachable) as caught:
        read(broken)
    assert caught.value.trouble is trouble


def test_the_words_of_an_error_about_keys_and_accounts_stay_here() -> None:
    for code in (401, 402, 403, 429):
        with pytest.raises(ModelUnreachable) as caught:
            read(
                json.dumps(
                    {"error": {"code": code, "message": "account org-1 has no credit"}}
                ).encode()
            )
        assert caught.value.said is None


def test_what_came_before_an_error_was_handed_on() -> None:
    data = events(
        chunk({"content": "two "}),
        {"error": {"message": "down"}},
        chunk({"content": "never"}, "stop"),
    )
    chunks = Reader().feed(data)
    assert next(chunks)["choices"][0]["delta"]["content"] == "two "
    with pytest.raises(ModelUnreachable):
        next(chunks)


@pytest.mark.parametrize(
    "after",
    [
        {"detail": "boom"},
        {"code": 500, "message": "boom"},
        {"success": False, "errors": [{"message": "boom"}]},
        chunk({}, "ERROR"),
        chunk({}, "network_error"),
        chunk({}, "abort"),
        chunk({}, "insufficient_system_resource"),
        {
            "choices": [
                {"index": 0, "delta": {}, "finish_reason": "stop", "native_finish_reason": "error"}
            ]
        },
    ],
)
def test_trouble_that_does_not_call_itself_an_error_is_still_one(
    after: dict[str, Any],
) -> None:
    with pytest.raises(ModelUnreachable) as caught:
        read(events(chunk({"content": "Par"}), after, "[DONE]"))
    assert caught.value.trouble is Trouble.failed
    if "choices" not in after:
        with pytest.raises(ModelUnreachable):
            read(json.dumps(after).encode())


def test_llama_cpps_error_line_is_an_error() -> None:
    with pytest.raises(ModelUnreachable) as caught:
        read(
            events(chunk({"content": "Par"}))
            + b'error: {"code": 500, "message": "boom"}\n\n'
            + b"data: [DONE]\n\n"
        )
    assert caught.value.trouble is Trouble.failed


@pytest.mark.parametrize(
    "error",
    [None, "", {}, {"code": 0, "message": ""}, {"code": None, "message": None}, {"code": "0"}],
)
def test_an_error_that_says_nothing_is_none(error: Any) -> None:
    assert words(json.dumps(WHOLE | {"error": error}).encode()) == "Paris"


@pytest.mark.parametrize(
    "error",
    [
        {"type": "invalid_request_error", "code": "context_length_exceeded"},
        {"code": "content_filter"},
        {"code": 400},
        {"code": 403, "message": "flagged"},
    ],
)
def test_an_error_of_the_request_says_nothing_of_the_model(error: dict[str, Any]) -> None:
    with pytest.raises(ModelUnreachable) as caught:
        read(json.dumps({"error": error}).encode())
    assert caught.value.of_the_request


def test_a_filter_that_leaves_nothing_is_an_answer_that_says_so() -> None:
    reader, _ = read(b'{"choices": [{"index": 0, "finish_reason": "content_filter"}]}')
    assert reader.answer()["choices"][0]["finish_reason"] == "content_filter"


@pytest.mark.parametrize("between", ["null", "[]", "ping", "42", '"x"'])
def test_what_keeps_a_connection_alive_costs_nothing(between: str) -> None:
    assert words(events(CHUNKS[1], between, *CHUNKS[2:], "[DONE]")) == "Paris"


@pytest.mark.parametrize(
    "after",
    ["null", '"[DONE]"', "[done]", "DONE", '{"usage": {"prompt_to', json.dumps({"error": "late"})],
)
def test_nothing_that_comes_after_the_end_costs_the_answer(after: str) -> None:
    assert words(events(*CHUNKS[:5], after)) == "Paris"


def test_bytes_before_the_first_event_do_not_matter() -> None:
    for before in (b"\n" * 500, b"\xef\xbb\xbf", b"\xef\xbb\xbf \r\n"):
        data = before + events(*CHUNKS, "[DONE]")
        for cut in range(len(before) + 2):
            assert words(data, cuts=(cut,)) == "Paris"


def test_a_whole_message_at_the_end_is_not_said_twice() -> None:
    last = {
        "object": "chat.completion",
        "choices": [{"index": 0, "message": {"content": "Paris"}, "finish_reason": "stop"}],
    }
    reader, chunks = read(events(chunk({"content": "Paris"}), last, "[DONE]"))
    assert reader.answer()["choices"][0]["message"]["content"] == "Paris"
    assert "".join(one["choices"][0]["delta"].get("content") or "" for one in chunks) == "Paris"


def test_every_choice_and_every_kind_of_answer_is_kept() -> None:
    two = [
        {"choices": [{"index": i, "delta": {"content": f"{i}"}, "finish_reason": None}]}
        for i in (0, 1)
    ]
    ends = [{"choices": [{"index": i, "delta": {}, "finish_reason": "stop"}]} for i in (0, 1)]
    both = read(events(*two, *ends, "[DONE]"))[0].answer()["choices"]
    assert [(c["index"], c["message"]["content"], c["finish_reason"]) for c in both] == [
        (0, "0", "stop"),
        (1, "1", "stop"),
    ]
    assert words(events(two[1], ends[1], "[DONE]")) == "1", "whatever its index"
    assert (
        words(
            events(
                {"choices": [{"index": 0, "text": "Paris"}]},
                {"choices": [{"index": 0, "text": "", "finish_reason": "stop"}]},
            )
        )
        == "Paris"
    )
    assert words(b'{"choices": [{"text": "Paris", "finish_reason": "stop"}]}') == "Paris"
    call = [
        chunk({"function_call": {"name": "look", "arguments": '{"a"'}}),
        chunk({"function_call": {"arguments": ": 1}"}}),
        STOPPED,
    ]
    assert read(events(*call))[0].answer()["choices"][0]["message"]["function_call"] == {
        "name": "look",
        "arguments": '{"a": 1}',
    }
    picture = {"type": "image_url", "image_url": {"url": "data:,"}}
    assert read(events(chunk({"images": [picture]}), "[DONE]"))[0].answer()["choices"][0][
        "message"
    ]["images"] == [picture]
    spoken = [
        chunk({"audio": {"id": "a", "data": "AA"}}),
        chunk({"audio": {"id": "a", "data": "BB", "transcript": "hi"}}),
        STOPPED,
    ]
    assert read(events(*spoken))[0].answer()["choices"][0]["message"]["audio"] == {
        "id": "a",
        "data": "AABB",
        "transcript": "hi",
    }


STOPPED = chunk({}, "stop")


def calls_of(*parts: dict[str, Any]) -> list[tuple[str, str, str]]:
    reader, _ = read(
        events(
            *(chunk({"tool_calls": [part]}) for part in parts), chunk({}, "tool_calls"), "[DONE]"
        )
    )
    calls = reader.answer()["choices"][0]["message"]["tool_calls"]
    return [(call["id"], call["function"]["name"], call["function"]["arguments"]) for call in calls]


def test_parallel_tool_calls_stay_apart_however_they_are_counted() -> None:
    def part(name: str | None, arguments: str, **more: Any) -> dict[str, Any]:
        return {
            **more,
            "function": {"arguments": arguments} | ({} if name is None else {"name": name}),
        }

    gemini = (
        part("weather", '{"c": 1}', index=0, id="a"),
        part("time", '{"d": 2}', index=0, id="b"),
    )
    assert calls_of(*gemini) == [("a", "weather", '{"c": 1}'), ("b", "time", '{"d": 2}')]
    alike = (
        part("weather", '{"c": 1}', index=0, id="a"),
        part("weather", '{"c": 2}', index=0, id="b"),
    )
    assert calls_of(*alike) == [("a", "weather", '{"c": 1}'), ("b", "weather", '{"c": 2}')]
    assert calls_of(part("weather", '{"c"', id="a"), part("", ": 1}"), part("", "")) == [
        ("a", "weather", '{"c": 1}')
    ]
    assert calls_of(part("weather", '{"c"'), part("weather", ": 1}"), part("weather", "{}")) == [
        ("call_0", "weather", '{"c": 1}'),
        ("call_1", "weather", "{}"),
    ]
    assert calls_of({"id": "a", "name": "weather", "arguments": "{}"}) == [("a", "weather", "{}")]
    by_index = {
        "0": {"id": "a", "function": {"name": "f", "arguments": "{}"}},
        "1": {"id": "b", "function": {"name": "g", "arguments": "{}"}},
    }
    whole = json.loads(json.dumps(WHOLE))
    whole["choices"][0]["message"]["tool_calls"] = by_index
    assert [
        call["id"]
        for call in read(json.dumps(whole).encode())[0].answer()["choices"][0]["message"][
            "tool_calls"
        ]
    ] == ["a", "b"]


# contents


@pytest.mark.parametrize(
    ("content", "text"),
    [
        ("Paris", "Paris"),
        (
            [
                {"type": "thinking", "thinking": [{"type": "text", "text": "hm"}]},
                {"type": "text", "text": "Paris"},
            ],
            "Paris",
        ),
        (
            [{"type": "reasoning", "text": "hm"}, {"type": "output_text", "text": "Par"}, "is"],
            "Paris",
        ),
        ({"type": "text", "text": "Paris"}, "Paris"),
        ({"type": "text", "text": {"value": "Paris"}}, "Paris"),
        (42, "42"),
        ([None, 3, {"type": "image_url"}], ""),
        (None, ""),
    ],
)
def test_parts_become_their_words_and_thoughts_are_left_out(content: Any, text: str) -> None:
    value = copy.deepcopy(WHOLE)
    value["choices"][0]["message"]["content"] = content
    assert (
        read(json.dumps(value).encode())[0].answer()["choices"][0]["message"]["content"] or ""
    ) == text
    assert words(events(chunk({"content": content}), chunk({}, "stop"), "[DONE]")) == text


def test_a_letter_whose_halves_came_in_two_chunks_is_whole_and_a_half_alone_is_replaced() -> None:
    assert (
        words(
            events(
                chunk({"content": "ok \ud83d"}),
                chunk({"content": "\ude00"}),
                chunk({}, "stop"),
                "[DONE]",
            )
        )
        == "ok 😀"
    )
    assert (
        words(events(chunk({"content": "ok \ud83d"}), chunk({"content": " no"}), chunk({}, "stop")))
        == "ok \ufffd no"
    )
    assert words(events(chunk({"content": "ok \ude00"}), chunk({}, "stop"))) == "ok \ufffd"
    assert words(b'{"choices": [{"message": {"content": "ok \\ud83d"}}]}') == "ok \ufffd"
    for chunks in (
        read(
            events(
                chunk({"content": "\ud83d", "\ud83d": "\ude00"}, "stop", **{"\ud800": ["\ud800"]})
            )
        )[1],
    ):
        json.dumps(chunks, ensure_ascii=False).encode()


def test_a_half_letter_at_the_very_end_is_kept_too() -> None:
    reader, chunks = read(events(chunk({"content": "ok \ud83d"}), chunk({}, "stop"), "[DONE]"))
    assert reader.answer()["choices"][0]["message"]["content"] == "ok \ufffd"
    assert "".join(one["choices"][0]["delta"].get("content") or "" for one in chunks) == "ok \ufffd"


@pytest.mark.parametrize("index", [None, "0", 0, 10**9, -1, 1e308, "seven", [], True])
def test_a_tool_call_needs_no_sound_index(index: Any) -> None:
    parts = [
        {
            "index": index,
            "id": "call_9",
            "type": "function",
            "function": {"name": "look", "arguments": '{"a"'},
        },
        {"index": index, "id": "call_9", "function": {"arguments": ": 1}"}},
    ]
    reader, _ = read(
        events(
            *(chunk({"tool_calls": [part]}) for part in parts), chunk({}, "tool_calls"), "[DONE]"
        )
    )
    calls = reader.answer()["choices"][0]["message"]["tool_calls"]
    assert [(call["id"], call["function"]) for call in calls] == [
        ("call_9", {"name": "look", "arguments": '{"a": 1}'})
    ]


def test_an_id_and_a_name_that_every_chunk_repeats_come_once() -> None:
    """As llama-cpp-python's server (0.3.36) streams a tool call."""
    parts = [
        {
            "index": 0,
            "id": "call_1",
            "type": "function",
            "function": {"name": "look", "arguments": text},
        }
        for text in ("{", '"a": 1', "}")
    ]
    reader, chunks = read(
        events(
            *(chunk({"role": None, "content": None, "tool_calls": [part]}) for part in parts),
            chunk({}, "tool_calls"),
            "[DONE]",
        )
    )
    assert reader.answer()["choices"][0]["message"]["tool_calls"] == [
        {"type": "function", "id": "call_1", "function": {"name": "look", "arguments": '{"a": 1}'}}
    ]
    said = [
        one["choices"][0]["delta"]["tool_calls"][0]
        for one in chunks
        if "tool_calls" in one["choices"][0]["delta"]
    ]
    assert ["id" in call for call in said] == [True, False, False]
    assert ["name" in call["function"] for call in said] == [True, False, False]


def test_two_tool_calls_without_an_index_are_two() -> None:
    parts = [
        {"id": "a", "function": {"name": "one", "arguments": "{"}},
        {"function": {"arguments": "}"}},
        {"id": "b", "function": {"name": "two", "arguments": {"x": 1}}},
    ]
    reader, _ = read(
        events(*(chunk({"tool_calls": [part]}) for part in parts), chunk({}, "tool_calls"))
    )
    calls = reader.answer()["choices"][0]["message"]["tool_calls"]
    assert [(c["id"], c["function"]["name"], c["function"]["arguments"]) for c in calls] == [
        ("a", "one", "{}"),
        ("b", "two", '{"x": 1}'),
    ]


def test_a_whole_answer_to_a_stream_and_a_stream_to_a_whole_one_are_read_alike() -> None:
    for data in (
        json.dumps(WHOLE).encode(),
        b"\n " + json.dumps(WHOLE).encode(),
        events(*CHUNKS, "[DONE]"),
    ):
        assert words(data) == "Paris"


def test_numbers_that_are_not_finite_are_null() -> None:
    for bad in ("-Infinity", "NaN", "1e999", "1" * 400):
        value = (
            '{"choices": [{"message": {"content": "hi"}, "logprobs": {"content": '
            f'[{{"logprob": {bad}}}]}}}}]}}'
        )
        reader, chunks = read(value.encode())
        assert reader.answer()["choices"][0]["logprobs"]["content"][0]["logprob"] is None
        json.dumps(chunks, allow_nan=False)


@pytest.mark.parametrize(
    ("said", "left"),
    [
        ("<think>\nhm\n</think>\nWrite a short poem.", "Write a short poem."),
        ("hm\n</think>\nWrite a short poem.", "Write a short poem."),
        ("<THINK>a</THINK><think>b</think>Write.", "Write."),
        ("<think>\nOkay", ""),
        ("[THINK]hm[/THINK]Write.", "Write."),
        ("◁think▷hm◁/think▷Write.", "Write."),
        ("<seed:think>hm</seed:think>Write.", "Write."),
        ("<analysis>hm</analysis>\nWrite.", "Write."),
        ("<scratchpad>hm", ""),
        ("<|begin_of_thought|>hm<|end_of_thought|>Write.", "Write."),
        (
            "<|channel|>analysis<|message|>hm<|end|><|start|>assistant<|channel|>final<|message|>Write.",
            "Write.",
        ),
        ("Thinking...\nhm\n...done thinking.\n\nWrite.", "Write."),
        ("a <b> c", "a <b> c"),
    ],
)
def test_thinking_aloud_is_left_out(said: str, left: str) -> None:
    assert without_thinking(said) == left


# usage


@pytest.mark.parametrize(
    ("value", "cost"),
    [
        ({"cost": 0.007}, 0.007),
        ({"cost": "0.007"}, 0.007),
        ({"cost": {"total_cost": 0.007}}, 0.007),
        ({"cost": 0, "is_byok": True, "cost_details": {"upstream_inference_cost": 0.036}}, 0.036),
        (
            {"cost": 0.001, "is_byok": True, "cost_details": {"upstream_inference_cost": 0.036}},
            0.037,
        ),
        ({"cost": 0, "is_byok": True}, None),
        ({"cost": 0, "cost_details": {"upstream_inference_cost": 0.036}}, 0.036),
        ({"cost": 0}, 0.0),
        ({"cost": "free"}, None),
        ({"cost": True}, None),
        ({"cost": -0.1}, None),
        ({"cost": float("nan")}, None),
        ({"cost": 10**400}, None),
        ({"cost": [1]}, None),
        ({"cost": {"total_cost": {}}, "cost_details": 3}, None),
        ([], None),
        (None, None),
    ],
)
def test_a_cost_is_the_providers_figure_if_it_can_be_one(value: Any, cost: float | None) -> None:
    found = usage(value).cost_usd
    assert (found is None and cost is None) or found == pytest.approx(cost)


def test_usage_that_comes_in_halves_is_put_together() -> None:
    first, last = (
        {"choices": [], "usage": {"prompt_tokens": 2600}},
        {"choices": [], "usage": {"completion_tokens": 300, "prompt_tokens": 0}},
    )
    told = usage(read(events(first, *CHUNKS[:5], last, "[DONE]"))[0].answer()["usage"])
    assert (told.prompt_tokens, told.completion_tokens) == (2600, 300)
    inside = {
        "choices": [
            {
                "index": 0,
                "delta": {},
                "finish_reason": "stop",
                "usage": {"prompt_tokens": 7, "completion_tokens": 8},
            }
        ]
    }
    told = usage(read(events(CHUNKS[1], inside, "[DONE]"))[0].answer()["usage"])
    assert (told.prompt_tokens, told.completion_tokens) == (7, 8)


def test_what_is_counted_beside_is_counted() -> None:
    thought = {
        "prompt_tokens": 10,
        "completion_tokens": 20,
        "total_tokens": 1530,
        "completion_tokens_details": {"reasoning_tokens": 1500},
    }
    assert usage(thought).completion_tokens == 1520
    beside = usage(
        {"prompt_tokens": 1500, "cache_read_input_tokens": 24500, "completion_tokens": 1}
    )
    assert (beside.prompt_tokens, beside.cached_tokens) == (26000, 24500)
    assert usage({"prompt_tokens": 100, "cached_tokens": 60}).cached_tokens == 60
    assert usage({"cost": {"total": 0.5}}).cost_usd == 0.5


def test_tokens_are_read_from_every_dialect_and_never_cost_the_answer() -> None:
    told = usage({"prompt_tokens": "7", "completion_tokens": 3.0})
    assert (told.prompt_tokens, told.completion_tokens) == (7, 3)
    told = usage(
        {
            "input_tokens": 10,
            "cache_read_input_tokens": 90,
            "cache_creation_input_tokens": 5,
            "output_tokens": 4,
        }
    )
    assert (told.prompt_tokens, told.completion_tokens, told.cached_tokens) == (105, 4, 90)
    told = usage({"prompt_tokens": 100, "prompt_cache_hit_tokens": 60})
    assert told.cached_tokens == 60
    told = usage({"prompt_tokens": "seven", "completion_tokens": [], "prompt_tokens_details": 3})
    assert (told.prompt_tokens, told.completion_tokens, told.cached_tokens) == (None, None, 0)


# mutations

LEAVES: st.SearchStrategy[Any] = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(10**30), 10**30),
    st.floats(),
    st.text(st.characters(), max_size=8),
    st.sampled_from(
        [
            "error",
            "[DONE]",
            "\ud83d",
            "\ude00",
            "assistant",
            "call_1",
            "stop",
            -1,
            0,
            1,
            10**9,
            1e308,
            "<think>",
        ]
    ),
    st.sampled_from(
        [[], {}, [None], [[]], {"error": "x"}, {"type": "text", "text": "t"}, {"total_cost": 1}]
    ),
)


def places(value: Any, way: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    below = (
        value.items()
        if isinstance(value, dict)
        else enumerate(value)
        if isinstance(value, list)
        else ()
    )
    return [way, *(place for key, child in below for place in places(child, (*way, key)))]


def put(value: Any, way: tuple[Any, ...], how: str, leaf: Any) -> Any:
    if not way:
        return leaf
    made = copy.deepcopy(value)
    at = made
    for step in way[:-1]:
        at = at[step]
    if how == "missing":
        del at[way[-1]]
    elif how == "doubled" and isinstance(at, list):
        at.insert(way[-1], copy.deepcopy(at[way[-1]]))
    else:
        at[way[-1]] = leaf
    return made


@st.composite
def mutated(draw: st.DrawFn, value: Any) -> Any:
    for _ in range(draw(st.integers(1, 3))):
        ways = places(value)
        value = put(
            value,
            draw(st.sampled_from(ways)),
            draw(st.sampled_from(["swapped", "missing", "doubled"])),
            draw(LEAVES),
        )
    return value


def sound(data: bytes, cuts: tuple[int, ...]) -> None:
    """Whatever comes is an answer that can be used and written, or `ModelUnreachable` that quotes
    nothing."""
    reader, taken = Reader(), []
    edges = [0, *sorted(min(cut, len(data)) for cut in cuts), len(data)]
    try:
        for a, b in pairwise(edges):
            taken += list(reader.feed(data[a:b]))
        taken += list(reader.end())
    except ModelUnreachable as error:
        told = (str(error), json.dumps(error.said, ensure_ascii=False).encode())
        assert len(told[0]) < 200  # either outcome is right
    else:
        answer = reader.answer()
        message = answer["choices"][0]["message"]
        assert isinstance(message["content"], str | None)
        assert all(
            isinstance(call["function"]["arguments"], str)
            for call in message.get("tool_calls", ())
            if "function" in call
        )
        told = usage(answer.get("usage"))
        assert told.cost_usd is None or told.cost_usd >= 0
        json.dumps(answer, ensure_ascii=False, allow_nan=False).encode()
    for one in taken:
        rendered = json.dumps(one, ensure_ascii=False, allow_nan=False).encode()
        assert len(rendered) <= 12 * len(data) + 4096, "no more than what came"
        for choice in one["choices"]:
            assert isinstance(choice["delta"].get("content"), str | None)
            assert all(
                0 <= call["index"] < reading.MOST_PARTS
                for call in choice["delta"].get("tool_calls", ())
            )


CUTS = st.lists(st.integers(0, 2000), max_size=4).map(tuple)


@settings(max_examples=300, deadline=None)
@given(mutated(WHOLE), CUTS)
def test_any_mutation_of_a_whole_answer_is_an_answer_or_unreachable(
    value: Any, cuts: tuple[int, ...]
) -> None:
    sound(json.dumps(value).encode(), cuts)


@settings(max_examples=300, deadline=None)
@given(mutated(CHUNKS), st.sampled_from(["\n", "\r", "\r\n"]), st.booleans(), CUTS)
@pytest.mark.slow
def test_any_mutation_of_a_stream_is_an_answer_or_unreachable(
    value: Any, end: str, done: bool, cuts: tuple[int, ...]
) -> None:
    sound(
        events(
            *(value if isinstance(value, list) else [value]), *(["[DONE]"] if done else []), end=end
        ),
        cuts,
    )


@settings(max_examples=200, deadline=None)
@given(
    st.binary(max_size=400),
    st.sampled_from([b"", b"data: ", b'data: {"choices": [', b"{", b"event: error\ndata: "]),
    CUTS,
)
def test_any_bytes_are_unreachable_or_an_answer(
    data: bytes, before: bytes, cuts: tuple[int, ...]
) -> None:
    sound(before + data, cuts)
