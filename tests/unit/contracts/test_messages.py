"""Messages: what is enough, what is refused and how, and that nothing is lost between the
stages."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support import described, embedded, placed, submitted, table, wish

from services.selector.decide import decide
from shared.contracts.errors import InvalidMessage
from shared.contracts.messages import (
    MAX_MESSAGE_BYTES,
    MAX_PROMPT_BYTES,
    Decided,
    Described,
    Embedded,
    Placed,
    Submitted,
    read,
    to_json,
    unknown_fields,
)

SECRET = "tell-nobody-4711"
text = st.text(min_size=1, max_size=200).filter(lambda s: s.strip())
preferences = st.fixed_dictionaries(
    {"performance": st.floats(0.1, 5), "cost": st.floats(0, 5), "latency": st.floats(0, 5)}
)
constraints = st.fixed_dictionaries(
    {},
    optional={
        "max_cost_usd": st.floats(0, 10),
        "max_latency_s": st.floats(0, 100),
        "allow": st.lists(text, unique=True),
        "context_tokens": st.integers(0, 10**6),
    },
)
prompts = st.fixed_dictionaries(
    {"prompt": text},
    optional={
        "request_id": st.text(max_size=200),
        "session_id": st.text(min_size=1, max_size=200),
        "constraints": constraints,
        "preferences": preferences,
        "metadata": st.dictionaries(st.text(max_size=20), st.text(max_size=20), max_size=5),
        "reply_to": st.fixed_dictionaries(
            {"topic": st.text(min_size=1, max_size=50), "partition": st.integers(0, 500)}
        ),
    },
)


def test_a_prompt_alone_is_enough() -> None:
    message = read(Submitted, b'{"prompt": "Translate this."}')
    assert message.task_text() == "Translate this."
    assert message.schema_version == 1


def test_a_chat_is_taken_and_its_last_user_message_poses_the_task() -> None:
    chat = [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "Hello"},
        {"role": "assistant", "content": "Hi", "tool_calls": []},
        {
            "role": "user",
            "content": [
                {"type": "text", "text": "Fix my"},
                {"type": "image_url", "image_url": {"url": "x"}},
                {"type": "text", "text": "SQL"},
            ],
        },
    ]
    message = read(Submitted, json.dumps({"messages": chat}).encode())
    assert message.task_text() == "Hello\n\nFix my\nSQL", (
        "a short one is read with what came before"
    )
    again = json.loads(to_json(message))["messages"]
    assert again[2]["tool_calls"] == [], "fields of other kinds pass through"


@given(prompts)
def test_what_is_written_is_what_is_read(value: dict[str, object]) -> None:
    message = read(Submitted, json.dumps(value).encode())
    assert read(Submitted, to_json(message)) == message


def test_every_stage_keeps_what_it_received() -> None:
    tab = table()
    stages: list[tuple[type[Submitted], Submitted]] = [
        (Described, described()),
        (Embedded, embedded()),
        (Placed, placed(tab)),
        (Decided, decide(placed(tab), tab, {}, wish())),
    ]
    before = submitted()
    for kind, message in stages:
        again = read(kind, to_json(message))
        assert again == message
        for name in type(before).model_fields:
            assert getattr(again, name) == getattr(before, name), name
        before = again


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (b"", "empty"),
        (b"\xef\xbb\xbf", "empty"),
        (None, "empty"),
        (SECRET.encode(), "not JSON"),
        (b'{"prompt": "\xff' + SECRET.encode() + b'"}', "not JSON in UTF-8"),
        (f'["{SECRET}"]'.encode(), "object"),
        (b"{}", "either prompt or messages"),
        (
            json.dumps(
                {"prompt": SECRET, "messages": [{"role": "user", "content": SECRET}]}
            ).encode(),
            "not both",
        ),
        (b'{"prompt": "  "}', "prompt is empty"),
        (b'{"messages": [{"role": "assistant", "content": "x"}]}', "nothing in messages"),
        (json.dumps({"prompt": SECRET, "schema_version": 99}).encode(), "reads 1; upgrade"),
        (json.dumps({"prompt": SECRET, "preferences": {"cost": -1}}).encode(), "preferences.cost"),
        (
            json.dumps({"prompt": SECRET, "preferences": {"performance": 0}}).encode(),
            "at least one weight",
        ),
        (
            json.dumps({"prompt": SECRET, "preferences": {"cost": 1}, "profile": "fast"}).encode(),
            "not both",
        ),
        (b'{"prompt": "x", "preferences": {"cost": NaN}}', "finite"),
        (b'{"prompt": "x", "preferences": {"cost": 1e999}}', "finite"),
        (
            json.dumps({"prompt": SECRET, "constraints": {"max_cost": 1}}).encode(),
            "constraints.max_cost: there is no such field",
        ),
        (json.dumps({"prompt": SECRET, "profile": SECRET}).encode(), "'quality', 'balanced'"),
        (json.dumps({"prompt": 7}).encode(), "prompt"),
        (
            json.dumps({"prompt": "x" * (MAX_PROMPT_BYTES + 1)}).encode(),
            f"{MAX_PROMPT_BYTES + 1} bytes",
        ),
        (b" " * (MAX_MESSAGE_BYTES + 1), "at most"),
        (json.dumps({"prompt": SECRET, "request_id": "x" * 201}).encode(), "request_id"),
        (json.dumps({"prompt": SECRET, "submitted_at": "yesterday"}).encode(), "submitted_at"),
    ],
)
def test_bad_input_is_refused_with_a_reason_that_never_quotes_it(
    value: bytes | None, words: str
) -> None:
    with pytest.raises(InvalidMessage) as caught:
        read(Submitted, value)
    assert words in str(caught.value)
    assert SECRET not in str(caught.value)
    assert len(str(caught.value)) < 500


def test_the_limit_is_in_bytes_and_takes_exactly_that_many() -> None:
    read(
        Submitted,
        json.dumps({"prompt": "ä" * (MAX_PROMPT_BYTES // 2)}, ensure_ascii=False).encode(),
    )
    with pytest.raises(InvalidMessage, match="bytes"):
        read(
            Submitted,
            json.dumps({"prompt": "ä" * (MAX_PROMPT_BYTES // 2 + 1)}, ensure_ascii=False).encode(),
        )


def test_unknown_fields_are_kept_out_and_named() -> None:
    value = b'{"prompt": "x", "preferrences": {}, "user": 1}'
    assert unknown_fields(Submitted, value) == ("preferrences", "user")
    assert b"user" not in to_json(read(Submitted, value))


def test_a_vector_must_be_base64_of_float32() -> None:
    good = json.loads(to_json(embedded()))
    for bad in ("!!!", "AAA=", "", 7):
        value = {**good, "embedding": {**good["embedding"], "vector": bad}}
        with pytest.raises(InvalidMessage, match=r"embedding\.vector"):
            read(Embedded, json.dumps(value).encode())


def test_the_key_is_the_session_where_order_matters() -> None:
    assert submitted().key == b"r-1"
    assert submitted(session_id="s-9").key == b"s-9"
