"""How many tokens a text is taken to have, and what a request needs beside the user's words."""

import json
import random
from typing import Any

import pytest
from support import described, embedded, model_of, placed, table, wish

from services.selector.decide import decide
from shared.contracts.messages import Submitted, read
from shared.contracts.tokens import IMAGE, tokens_in, tokens_of_chat
from shared.protocols.portable import portable

SMALL = 4096


@pytest.mark.parametrize(
    ("text", "least", "most"),
    [
        ("", 0, 0),
        ("a", 1, 1),
        (
            "The quick brown fox jumps over the lazy dog. " * 100,
            900,
            1500,
        ),  # 1,000 by OpenAI's cl100k
        ("word " * 240, 240, 360),
        ("".join(random.Random(0).choices("0123456789abcdef", k=12_000)), 6_000, 12_000),
        ("税" * 4_000, 4_000, 6_000),
        ("Кошка сидит на окне. " * 100, 600, 1_200),
        ("🎉" * 100, 150, 300),
        (json.dumps({"a": [1, 2, 3], "b": "text"}) * 100, 900, 2_000),
        ("\ud83d", 1, 2),
    ],
)
def test_tokens_follow_the_script(text: str, least: int, most: int) -> None:
    assert least <= tokens_in(text) <= most


TOOL = {
    "type": "function",
    "function": {"name": "f", "description": "word " * 400, "parameters": {}},
}
CALL = {
    "id": "c",
    "type": "function",
    "function": {"name": "f", "arguments": json.dumps({"x": "word " * 12_000})},
}


@pytest.mark.parametrize(
    "fields",
    [
        {"prompt": "What is this?", "parameters": {"tools": [TOOL] * 40}},
        {
            "prompt": "What is this? "
            + "".join(random.Random(0).choices("0123456789abcdef", k=12_000))
        },
        {"prompt": "税" * 4_000},
        {"prompt": "word " * 2_500, "parameters": {"max_tokens": 2_000}},
        {
            "messages": [
                {"role": "user", "content": "Go on."},
                {"role": "assistant", "tool_calls": [CALL]},
            ]
        },
        {
            "messages": [
                {
                    "role": "user",
                    "content": [
                        {"type": "text", "text": "Both"},
                        *[{"type": "image_url", "image_url": {}}] * 5,
                    ],
                }
            ]
        },
    ],
)
def test_a_model_that_can_not_hold_the_whole_request_is_ruled_out(fields: dict[str, Any]) -> None:
    message = read(Submitted, json.dumps({"request_id": "r", **fields}).encode())
    tab = table()
    ready = placed(tab, embedded(described(message)))
    ruled = decide(
        ready, tab, {"small": model_of("small", SMALL), "middle": model_of("middle")}, wish()
    ).decision.ruled_out
    assert [r.model for r in ruled] == ["small"]
    assert message.context_tokens() > SMALL


def test_a_picture_counts_as_one_however_long_its_address_is() -> None:
    address = {"url": "data:image/png;base64," + "A" * 300_000}
    chat = [
        {
            "role": "user",
            "content": [
                {"type": "text", "text": "What is it?"},
                {"type": "image_url", "image_url": address},
            ],
        }
    ]
    assert IMAGE < tokens_of_chat(chat) < IMAGE + 20


@pytest.mark.parametrize(
    ("messages", "task"),
    [
        ([("system", "Greet me.")], "Greet me."),
        ([("developer", "Greet me."), ("user", "")], "Greet me."),
        (
            [
                ("system", "Be brief."),
                ("user", "Translate this notice into French, and do it well, please: closed."),
            ],
            "Translate",
        ),
        ([("system", "Be brief."), ("user", "Go")], "Go"),
    ],
)
def test_the_task_is_the_users_or_else_what_the_system_says(
    messages: list[tuple[str, str]], task: str
) -> None:
    value = {"messages": [{"role": role, "content": content} for role, content in messages]}
    assert read(Submitted, json.dumps(value).encode()).task_text().startswith(task)


def test_null_content_beside_tool_calls_outlives_the_topics() -> None:
    chat = [
        {"role": "user", "content": "Look"},
        {"role": "assistant", "content": None, "tool_calls": [CALL], "refusal": None},
    ]
    message = read(Submitted, json.dumps({"messages": chat}).encode())
    assert message.chat()[1]["content"] is None
    later = read(Submitted, message.model_dump_json(exclude_none=True).encode())
    assert later.chat()[1]["content"] is None
    assert later.chat()[1]["tool_calls"] == [CALL]
    assert (
        later.asked() == read(Submitted, later.model_dump_json(exclude_none=True).encode()).asked()
    )


def test_a_portable_history_has_ids_that_all_take_and_nobodys_thoughts() -> None:
    call = {
        "id": "call_0123456789abcdef",
        "type": "function",
        "function": {"name": "f", "arguments": "{}"},
        "extra_content": {"s": 1},
    }
    chat = [
        {"role": "user", "content": "Look"},
        {
            "role": "assistant",
            "content": None,
            "tool_calls": [call],
            "reasoning_details": [{"signature": "x"}],
            "reasoning": "hm",
        },
        {"role": "tool", "tool_call_id": "call_0123456789abcdef", "content": "seen"},
        {
            "role": "assistant",
            "content": [{"type": "thinking", "thinking": "hm"}, {"type": "text", "text": "So."}],
        },
        {"role": "assistant", "content": [{"type": "thinking", "thinking": "hm"}]},
        {"role": "tool", "tool_call_id": "abc123XYZ", "content": "kept"},
    ]
    before = json.dumps(chat)
    made = portable(chat)
    assert json.dumps(chat) == before, "the chat itself stays as it came"
    name = made[1]["tool_calls"][0]["id"]
    assert (len(name), name.isalnum(), made[2]["tool_call_id"]) == (9, True, name)
    assert made[1] == {
        "role": "assistant",
        "content": None,
        "tool_calls": [{"id": name, "type": "function", "function": call["function"]}],
    }
    assert made[3]["content"] == [{"type": "text", "text": "So."}]
    assert made[4]["content"] == ""
    assert made[5]["tool_call_id"] == "abc123XYZ"
    assert made == portable(made), "once is enough"
