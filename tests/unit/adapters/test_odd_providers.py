"""What providers do that OpenAI does not, through the client, by a scripted provider; rows are
those of public bug reports."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from shared.adapters.errors import ModelUnreachable, Trouble
from shared.adapters.llm.chat import Chat, LLMSettings
from shared.adapters.llm.providers import answered
from shared.adapters.llm.scripted import USUAL, Reply, Script, ScriptInvalid, load, transport
from shared.catalog import models

MODEL = models.load().model("gpt-5.6")
CHAT = [{"role": "user", "content": "Capital of France?"}]


def said(text: str, **usage: Any) -> dict[str, Any]:
    choice = {
        "index": 0,
        "message": {"role": "assistant", "content": text},
        "finish_reason": "stop",
    }
    return {"id": "x", "model": "m", "choices": [choice]} | ({"usage": usage} if usage else {})


def delta(content: Any, finish: str | None = None) -> dict[str, Any]:
    return {
        "id": "x",
        "choices": [
            {"index": 0, "delta": {"content": content} if content else {}, "finish_reason": finish}
        ],
    }


STOP = delta(None, "stop")


@asynccontextmanager
async def api(
    *replies: Reply | dict[str, Any], **settings: Any
) -> AsyncIterator[tuple[Chat, Script]]:
    script = Script(
        replies=tuple(
            Reply.model_validate(reply) if isinstance(reply, dict) else reply for reply in replies
        )
    )
    chat = Chat(
        LLMSettings(api_key="k", base_url="http://llm.test/v1", **settings), transport(script)
    )
    try:
        yield chat, script
    finally:
        await chat.close()


async def taken(chat: Chat, parameters: dict[str, Any] | None = None) -> tuple[str, str | None]:
    """The words of a stream, and what broke it, if something did."""
    words, broken = "", None
    try:
        async with chat.open("m", CHAT, within_s=5, parameters=parameters or {}) as talking:
            async for chunk in talking:
                words += "".join(
                    choice["delta"].get("content") or "" for choice in chunk["choices"]
                )
    except ModelUnreachable as error:
        broken = error.trouble.value
    return words, broken


async def test_a_stream_with_odd_line_ends_is_taken_and_its_model_stays_open() -> None:
    raw = json.dumps(delta("one\u2028two"), ensure_ascii=False)
    odd = Reply(events=(raw, STOP, "[DONE]"))
    async with api(odd) as (chat, _):
        for _ in range(6):
            assert await taken(chat) == ("one\u2028two", None)
        assert chat.allows("m")


async def test_an_error_before_the_first_word_is_raised_before_the_block_and_is_not_asked_for_again() -> (
    None
):
    begun = {
        "id": "x",
        "choices": [
            {"index": 0, "delta": {"role": "assistant", "content": ""}, "finish_reason": None}
        ],
    }
    async with api({"events": [begun, {"error": {"code": 502, "message": "down"}}, "[DONE]"]}) as (
        chat,
        script,
    ):
        with pytest.raises(ModelUnreachable) as caught:
            async with chat.open("m", CHAT, within_s=5, parameters={}):
                raise AssertionError("nothing was said, so another model can be asked")
        assert (caught.value.trouble, len(script.asked)) == (Trouble.failed, 1)


@pytest.mark.parametrize(
    ("after", "trouble"),
    [
        (
            {"events": [delta("two "), {"error": {"code": 502, "message": "down"}}, "[DONE]"]},
            "failed",
        ),
        ({"events": [delta("two ")], "cut": True}, "away"),
        ({"events": [delta("two ")]}, "cut_off"),
        ({"events": [delta("two "), "{"]}, "unreadable"),
        (
            {"chunks": [f"data: {json.dumps(delta('two '))}\n\n", "event: error\ndata: no\n\n"]},
            "failed",
        ),
    ],
)
async def test_what_breaks_after_the_first_word_is_raised_while_words_are_taken(
    after: dict[str, Any], trouble: str
) -> None:
    async with api(after, breaker_failures=2) as (chat, script):
        assert await taken(chat) == ("two ", trouble)
        assert len(script.asked) == 1
        await taken(chat)
        assert not chat.allows("m"), "the model's own failure counts"


async def test_what_goes_wrong_where_words_are_used_is_not_the_models_fault() -> None:
    async def stumble(chat: Chat, error: Exception) -> None:
        async with chat.open("m", CHAT, within_s=5, parameters={}) as talking:
            async for _ in talking:
                raise error

    async with api({"events": [delta("two "), STOP, "[DONE]"]}, breaker_failures=1) as (chat, _):
        for error in (ValueError("ours"), TypeError("ours"), TimeoutError(), OSError()):
            with pytest.raises(type(error)):
                await stumble(chat, error)
        assert chat.allows("m")


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), {"deep": [float("-inf")]}, object()])
async def test_a_request_that_can_not_be_written_is_refused_before_the_breaker_hears_of_it(
    bad: Any,
) -> None:
    async with api(breaker_failures=1) as (chat, script):
        with pytest.raises(ModelUnreachable) as caught:
            await chat.complete("m", CHAT, within_s=5, parameters={"x": bad})
        assert (caught.value.trouble, caught.value.status, script.asked) == (
            Trouble.unsent,
            400,
            [],
        )
        assert chat.allows("m")


@pytest.mark.parametrize("status", [400, 404, 413, 422])
async def test_a_refusal_that_is_about_the_request_does_not_close_the_model(status: int) -> None:
    async with api(
        {"status": status, "body": {"error": {"message": "no"}}}, breaker_failures=1
    ) as (chat, _):
        with pytest.raises(ModelUnreachable):
            await chat.complete("m", CHAT, within_s=5)
        assert chat.allows("m")


REFUSED = {
    "error": {
        "message": "Unsupported parameter: 'max_tokens'",
        "param": "max_tokens",
        "code": "unsupported_parameter",
    }
}
DETAIL = {"detail": [{"type": "extra_forbidden", "loc": ["body", "stream_options"]}]}


async def test_what_a_model_refuses_is_left_out_once_and_for_all() -> None:
    cold = {
        "error": {
            "message": "temperature: only the default (1) value is supported",
            "param": "temperature",
        }
    }
    async with api(
        {"has": ["max_tokens"], "status": 400, "body": REFUSED},
        {"has": ["temperature"], "status": 400, "body": cold},
    ) as (
        chat,
        script,
    ):
        for _ in range(2):
            assert (await chat.complete("m", CHAT, max_tokens=50, within_s=5)).text == USUAL
        tried = [sorted(body.keys() - {"model", "messages"}) for body in script.asked]
        assert tried == [
            ["max_tokens", "temperature"],
            ["max_completion_tokens", "temperature"],
            *2 * [["max_completion_tokens"]],
        ]
        assert script.asked[-1]["max_completion_tokens"] == 50


async def test_a_field_that_is_refused_as_if_the_server_had_failed_is_left_out_too() -> None:
    """As llama-cpp-python's server (0.3.36) says it of a JSON schema."""
    said = (
        "1 validation error:\n  {'type': 'literal_error', 'loc': ('body', 'response_format', "
        "'type')}"
    )
    refused = {
        "error": {"message": said, "type": "internal_server_error", "param": None, "code": None}
    }
    async with api({"has": ["response_format"], "status": 500, "body": refused}) as (chat, script):
        parameters = {"response_format": {"type": "json_schema"}, "seed": 1}
        for _ in range(2):
            got = await chat.complete(
                "m",
                CHAT,
                within_s=5,
                parameters=parameters,
                optional=frozenset({"response_format", "seed"}),
            )
            assert got.text == USUAL
        assert ["response_format" in body for body in script.asked] == [True, False, False]
        assert all("seed" in body for body in script.asked)


async def test_a_stream_goes_without_options_where_they_are_refused() -> None:
    async with api({"has": ["stream_options"], "status": 422, "body": DETAIL}) as (chat, script):
        for _ in range(2):
            assert await taken(chat) == (USUAL, None)
        assert [body.get("stream_options") is not None for body in script.asked] == [
            True,
            False,
            False,
        ]


async def test_what_the_sender_asked_for_is_never_left_out_in_silence() -> None:
    refused = {"error": {"message": "temperature must be 1", "param": "temperature"}}
    async with api({"has": ["temperature"], "status": 400, "body": refused}) as (chat, script):
        with pytest.raises(ModelUnreachable) as caught:
            await chat.complete("m", CHAT, within_s=5, parameters={"temperature": 0.3})
        assert caught.value.said == refused["error"]
        assert len(script.asked) == 1


async def test_a_developer_is_called_system_where_the_role_is_refused() -> None:
    refused = {
        "error": {
            "message": "messages[0].role: unknown variant `developer`, expected one of `system`, "
            "`user`"
        }
    }
    async with api({"times": 1, "status": 400, "body": refused}) as (chat, script):
        turns = [{"role": "developer", "content": "Be brief."}, *CHAT]
        assert (await chat.complete("m", turns, within_s=5, parameters={})).text == USUAL
        assert [body["messages"][0]["role"] for body in script.asked] == ["developer", "system"]


async def test_a_refusal_that_another_dialect_does_not_repair_ends_and_is_not_remembered() -> None:
    everything = {
        "error": {"message": "no max_tokens, no temperature, no stream_options, no developer"}
    }
    async with api({"times": 4, "status": 400, "body": everything}) as (chat, script):
        with pytest.raises(ModelUnreachable):
            await chat.complete("m", CHAT, max_tokens=50, within_s=5, stream=True)
        assert len(script.asked) == 3
        await chat.complete("m", CHAT, max_tokens=50, within_s=5)
        assert script.asked[-2]["max_tokens"] == 50


@pytest.mark.parametrize("kind", ["application/json", "text/plain", "text/event-stream", ""])
async def test_the_form_is_known_by_its_bytes_and_not_by_the_content_type(kind: str) -> None:
    stream = (
        "".join(f"data: {json.dumps(one)}\n\n" for one in (delta("Paris"), STOP))
        + "data: [DONE]\n\n"
    )
    for body in (stream, json.dumps(said("Paris"))):
        async with api({"headers": {"content-type": kind}, "body": body}) as (chat, _):
            assert await taken(chat) == ("Paris", None)
            assert (await chat.complete("m", CHAT, within_s=5)).text == "Paris"


@pytest.mark.parametrize(
    ("status", "body"),
    [
        (
            422,
            {
                "error": {
                    "message": "1 validation error for ChatCompletionRequest\nstream_options\n  "
                    "Extra inputs are not permitted"
                }
            },
        ),
        (400, {"error": {"message": "unknown field streamOptions"}}),
        (400, {"message": "Stream options are not supported"}),
        (404, {"error": {"message": "No endpoints found that support stream_options"}}),
        (200, {"error": {"message": "stream_options: not permitted", "code": 400}}),
        (400, [{"error": {"message": "stream_options?"}}]),
        (422, "stream_options: extra fields not permitted"),
    ],
)
async def test_a_refusal_is_understood_however_it_is_written(status: int, body: Any) -> None:
    async with api({"has": ["stream_options"], "status": status, "body": body}) as (chat, script):
        assert await taken(chat) == (USUAL, None)
        assert len(script.asked) == 2


async def test_a_model_that_may_not_stream_is_asked_for_the_whole() -> None:
    refused = {
        "error": {
            "message": "Your organization must be verified to stream this model.",
            "param": "stream",
            "code": "unsupported_value",
        }
    }
    async with api({"has": ["stream"], "status": 400, "body": refused}) as (chat, script):
        assert (await chat.complete("m", CHAT, within_s=5, stream=True)).text == USUAL
        assert await taken(chat) == (USUAL, None)
        assert ["stream" in body for body in script.asked] == [True, False, False]


async def test_the_newer_name_of_a_limit_is_put_in_the_older_one_where_it_is_not_known() -> None:
    unknown = {"detail": [{"type": "extra_forbidden", "loc": ["body", "max_completion_tokens"]}]}
    async with api({"has": ["max_completion_tokens"], "status": 422, "body": unknown}) as (
        chat,
        script,
    ):
        await chat.complete("m", CHAT, within_s=5, parameters={"max_completion_tokens": 7})
        assert script.asked[-1]["max_tokens"] == 7


async def test_a_senders_limit_that_is_too_large_is_refused_and_not_lost_under_another_name() -> (
    None
):
    large = {
        "error": {
            "message": "max_tokens is too large: 999999",
            "param": "max_tokens",
            "code": "invalid_value",
        }
    }
    async with api({"has": ["max_tokens"], "status": 400, "body": large}) as (chat, script):
        with pytest.raises(ModelUnreachable):
            await chat.complete("m", CHAT, within_s=5, parameters={"max_tokens": 999999})
        assert len(script.asked) == 1


@pytest.mark.parametrize(
    ("status", "body"),
    [
        (403, {"error": {"message": "requires moderation", "metadata": {"flagged_input": "x"}}}),
        (424, {"error": {"message": "no"}}),
        (500, {"error": {"type": "exceed_context_size_error", "message": "too long"}}),
        (200, {"error": {"type": "invalid_request_error", "code": "context_length_exceeded"}}),
    ],
)
async def test_what_one_request_does_wrong_closes_the_model_for_nobody(
    status: int, body: Any
) -> None:
    async with api({"status": status, "body": body}, breaker_failures=1) as (chat, script):
        with pytest.raises(ModelUnreachable):
            await chat.complete("m", CHAT, within_s=5)
        assert chat.allows("m")
        assert len(script.asked) == 1, "and it is not asked again"


@pytest.mark.parametrize(
    "value",
    ["Mon, 01 Jan 99999999999999999999 00:00:00 GMT", "Thu, 99 Foo 2026", "1e400", "-5", "nan"],
)
async def test_a_retry_after_that_means_nothing_is_none(value: str) -> None:
    async with api({"status": 429, "headers": {"retry-after": value}}, attempts=1) as (chat, _):
        with pytest.raises(ModelUnreachable) as caught:
            await chat.complete("m", CHAT, within_s=5)
        assert caught.value.retry_after_s is None


async def test_a_model_that_rests_since_it_had_no_room_says_so() -> None:
    async with api({"status": 429, "headers": {"retry-after": "60"}}, breaker_failures=2) as (
        chat,
        script,
    ):
        found = []
        for _ in range(3):
            with pytest.raises(ModelUnreachable) as caught:
                await chat.complete("m", CHAT, within_s=5)
            found.append(
                (caught.value.trouble, caught.value.status, caught.value.retry_after_s is not None)
            )
        assert found == [
            (Trouble.refused, 429, True),
            (Trouble.resting, 429, True),
            (Trouble.resting, 429, True),
        ]
        assert len(script.asked) == 1
    async with api({"status": 429}, breaker_failures=2, attempts=1) as (chat, script):
        for _ in range(3):
            with pytest.raises(ModelUnreachable) as caught:
                await chat.complete("m", CHAT, within_s=5)
            assert caught.value.status == 429
        assert len(script.asked) == 2
    short = {"status": 429, "headers": {"retry-after": "60"}, "times": 1}
    async with api(short, breaker_rest_s=0.1) as (chat, script):
        with pytest.raises(ModelUnreachable):
            await chat.complete("m", CHAT, within_s=5)
        await asyncio.sleep(0.15)
        assert (await chat.complete("m", CHAT, within_s=5)).text == USUAL, (
            "no longer than a breaker rests"
        )


async def test_a_good_answer_after_a_failed_try_is_no_failure_though_the_client_leaves() -> None:
    async with api(
        {"status": 503, "times": 1}, {"events": [delta("two "), STOP]}, breaker_failures=1
    ) as (chat, _):
        async with chat.open("m", CHAT, within_s=5, parameters={}) as talking:
            async for _ in talking:
                break
        assert chat.allows("m")


async def test_the_end_of_the_connection_after_the_end_of_the_answer_costs_nothing() -> None:
    async with api({"events": [delta("Paris"), STOP], "cut": True}) as (chat, script):
        assert (await chat.complete("m", CHAT, within_s=5, stream=True)).text == "Paris"
        assert await taken(chat) == ("Paris", None)
        assert len(script.asked) == 2
        assert chat.allows("m")


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ([{"error": {"message": "too long"}}], "too long"),
        ({"object": "error", "message": "too long", "code": 400}, "too long"),
        ({"error": "too long"}, "too long"),
        ({"detail": "too long"}, "too long"),
        ("too long", "too long"),
    ],
)
async def test_a_refusal_in_any_form_is_told_to_the_requester(body: Any, words: str) -> None:
    async with api({"status": 400, "body": body}) as (chat, _):
        with pytest.raises(ModelUnreachable) as caught:
            await chat.complete("m", CHAT, within_s=5)
        assert caught.value.said is not None
        assert caught.value.said["message"] == words
        assert caught.value.status == 400


@pytest.mark.parametrize(
    ("usage", "prompt", "completion"),
    [
        ({"prompt_tokens": 0, "completion_tokens": 0, "total_tokens": 0}, 5, 240),
        ({"prompt_tokens": 10}, 10, 240),
        ({"prompt_tokens": 10, "completion_tokens": None}, 10, 240),
        ({"completion_tokens": 300}, 5, 300),
    ],
)
async def test_the_half_of_usage_that_is_missing_is_estimated(
    usage: dict[str, Any], prompt: int, completion: int
) -> None:
    async with api({"body": said("word " * 240, **usage)}) as (chat, _):
        got = await chat.complete("m", CHAT, within_s=5)
        assert got.estimated
        assert prompt <= got.prompt_tokens <= prompt + 15
        assert completion <= got.completion_tokens <= completion + 120


# what it costs

LONG = "word " * 240


@pytest.mark.parametrize(
    ("usage", "cost", "source"),
    [
        (
            {"prompt_tokens": 5, "completion_tokens": 9, "cost": {"total_cost": 0.007}},
            0.007,
            "provider",
        ),
        (
            {
                "cost": 0,
                "is_byok": True,
                "cost_details": {"upstream_inference_cost": 0.036},
                "prompt_tokens": 9000,
            },
            0.036,
            "provider",
        ),
        (
            {"prompt_tokens": 1000, "completion_tokens": 100, "cost": 0},
            MODEL.price.cost_usd(1000, 100),
            "catalogue",
        ),
        (
            {"prompt_tokens": 1000, "completion_tokens": 100, "cost": -3},
            MODEL.price.cost_usd(1000, 100),
            "catalogue",
        ),
        (
            {"prompt_tokens": 1000, "completion_tokens": 100},
            MODEL.price.cost_usd(1000, 100),
            "catalogue",
        ),
    ],
)
@pytest.mark.parametrize("stream", [False, True])
async def test_what_an_answer_costs(
    usage: dict[str, Any], cost: float, source: str, stream: bool
) -> None:
    async with api({"body": said("Paris", **usage)}) as (chat, _):
        answer = answered(
            MODEL, "default", await chat.complete("m", CHAT, within_s=5, stream=stream)
        )
        assert (answer.cost_usd, answer.cost_source, answer.estimated) == (
            pytest.approx(cost),
            source,
            False,
        )


@pytest.mark.parametrize(
    "usage",
    [{}, {"usage": None}, {"usage": []}, {"usage": {"prompt_tokens": "seven"}}, {"usage": "none"}],
)
async def test_without_usage_the_tokens_are_estimated_and_said_to_be(usage: dict[str, Any]) -> None:
    async with api({"body": said(LONG) | usage}) as (chat, _):
        answer = answered(MODEL, "default", await chat.complete("m", CHAT, within_s=5))
        assert 200 <= answer.completion_tokens <= 400
        assert answer.estimated
        assert answer.cost_usd == pytest.approx(
            MODEL.price.cost_usd(answer.prompt_tokens, answer.completion_tokens)
        )
        assert answer.cost_usd > 0


async def test_cached_tokens_cost_a_tenth() -> None:
    sonnet = models.load().model("claude-sonnet-5.5")
    usage = {
        "prompt_tokens": 26000,
        "completion_tokens": 10,
        "prompt_tokens_details": {"cached_tokens": 24500},
    }
    async with api({"body": said("Paris", **usage)}) as (chat, _):
        answer = answered(sonnet, "default", await chat.complete("m", CHAT, within_s=5))
        assert answer.cost_usd == pytest.approx((1500 * 2 + 24500 * 0.1 + 10 * 10) / 1e6)


# scripts


def test_a_script_says_where_it_is_wrong(tmp_path: Path) -> None:
    file = tmp_path / "script.yaml"
    for text, words in (
        ("replies: [{statu: 500}]", "replies.0.statu"),
        ("replies: [", "not YAML at line 1"),
        ("[]", "wrong at the top"),
    ):
        file.write_text(text)
        with pytest.raises(ScriptInvalid, match=words):
            load(file)
    with pytest.raises(ScriptInvalid, match="can't be read"):
        load(tmp_path / "none.yaml")
    file.write_text(
        'replies:\n  - {model: m, times: 1, status: 503}\n  - {body: !!binary "/9g="}\n'
    )
    script = load(file)
    assert [script.reply({"model": name}).status for name in ("m", "m", "x")] == [503, 200, 200]
    assert script.reply({}).parts() == [b"\xff\xd8"]
