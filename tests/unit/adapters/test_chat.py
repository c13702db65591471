"""The language model client: time limits, retries that honour Retry-After, a breaker, and errors
that quote nothing."""

import asyncio
import json
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import pytest

from shared.adapters.errors import ModelUnreachable
from shared.adapters.llm.breaker import Breaker
from shared.adapters.llm.chat import Chat, LLMSettings, retry_after
from shared.adapters.llm.client import open_chat
from shared.adapters.llm.providers import Providers
from shared.adapters.telemetry import REGISTRY
from shared.catalog.models import CatalogError, load

SECRET = "tell-nobody-4711"
KEY = "sk-canary-0815"
GOOD = {
    "model": "m-1",
    "choices": [{"message": {"content": "Translate a notice."}}],
    "usage": {"prompt_tokens": 9, "completion_tokens": 3, "cost": 0.0002},
}


def client(answer: Callable[[httpx.Request], Any], **settings: Any) -> Chat:
    return Chat(
        LLMSettings(api_key=KEY, base_url="http://llm.test/v1", **settings),
        httpx.MockTransport(answer),
    )


async def ask(chat: Chat, within_s: float = 5.0) -> Any:
    try:
        return await chat.complete(
            "m", [{"role": "user", "content": SECRET}], max_tokens=20, within_s=within_s
        )
    finally:
        await chat.close()


async def test_an_answer_brings_text_model_tokens_and_the_providers_own_cost() -> None:
    seen: list[httpx.Request] = []

    def answer(request: httpx.Request) -> httpx.Response:
        seen.append(request)
        return httpx.Response(200, json=GOOD)

    got = await ask(client(answer))
    assert (got.text, got.model, got.cost_usd, got.prompt_tokens, got.simulated) == (
        "Translate a notice.",
        "m-1",
        0.0002,
        9,
        False,
    )
    assert seen[0].url == "http://llm.test/v1/chat/completions"
    assert seen[0].headers["authorization"] == f"Bearer {KEY}"
    assert json.loads(seen[0].content)["temperature"] == 0


@pytest.mark.parametrize("stream", [False, True])
async def test_each_try_of_a_call_has_the_same_name_and_says_nothing_of_the_request(
    stream: bool,
) -> None:
    seen: list[str | None] = []

    def answer(request: httpx.Request) -> httpx.Response:
        seen.append(request.headers.get("idempotency-key"))
        return httpx.Response(503) if len(seen) == 1 else httpx.Response(200, json=GOOD)

    chat = client(answer)
    for once in ("customer-7\0m", "customer-7\0m", "customer-8\0m", ""):
        await chat.complete(
            "m", [{"role": "user", "content": SECRET}], within_s=5, stream=stream, once=once
        )
    await chat.close()
    assert seen[0] is not None
    assert seen[0] == seen[1] == seen[2] != seen[3]
    assert seen[4] is None
    assert "customer" not in seen[0]


@pytest.mark.slow
async def test_a_stream_that_is_cut_off_is_asked_for_again_since_nobody_has_seen_it() -> None:
    words = [{"choices": [{"delta": {"content": text}}]} for text in ("Translate", " a notice.")]
    last = {
        "choices": [{"delta": {}, "finish_reason": "stop"}],
        "usage": {"prompt_tokens": 9, "completion_tokens": 3, "cost": 0.0002},
    }
    names: list[str] = []

    def answer(request: httpx.Request) -> httpx.Response:
        names.append(request.headers["idempotency-key"])
        chunks = [*words, last] if len(names) == 2 else words[:1]
        body = b"".join(b"data: " + json.dumps(chunk).encode() + b"\n\n" for chunk in chunks)
        return httpx.Response(200, content=body, headers={"content-type": "text/event-stream"})

    chat = client(answer)
    got = await chat.complete(
        "m", [{"role": "user", "content": SECRET}], within_s=5, stream=True, once="r-1"
    )
    await chat.close()
    assert got.text == "Translate a notice.", "nothing of the first try is left in it"
    assert len(names) == 2
    assert len(set(names)) == 1


@pytest.mark.slow
async def test_what_passes_is_tried_again_and_retry_after_is_waited_for() -> None:
    times: list[float] = []

    def answer(request: httpx.Request) -> httpx.Response:
        times.append(asyncio.get_running_loop().time())
        if len(times) == 1:
            return httpx.Response(429, headers={"retry-after": "0.4"})
        if len(times) == 2:
            raise httpx.ConnectError("reset")
        return httpx.Response(200, json=GOOD)

    assert (await ask(client(answer))).text
    assert len(times) == 3
    assert times[1] - times[0] >= 0.4


@pytest.mark.parametrize(
    ("status", "words"),
    [(401, "POINTSMAN_LLM_API_KEY"), (402, "credit"), (404, "model's name"), (400, "HTTP 400")],
)
async def test_what_can_not_pass_is_asked_once_and_the_error_quotes_neither_prompt_nor_key(
    status: int, words: str
) -> None:
    calls = []

    def answer(request: httpx.Request) -> httpx.Response:
        calls.append(1)
        return httpx.Response(status, json={"error": SECRET})

    with pytest.raises(ModelUnreachable, match=words) as caught:
        await ask(client(answer))
    assert len(calls) == 1
    assert SECRET not in str(caught.value)
    assert KEY not in str(caught.value)


async def test_the_time_limit_covers_hanging_servers() -> None:
    async def hang(request: httpx.Request) -> httpx.Response:
        await asyncio.sleep(60)
        raise AssertionError

    with pytest.raises(ModelUnreachable, match=r"no answer within 0\.2 s"):
        await ask(client(hang), within_s=0.2)


@pytest.mark.parametrize(("asked_s", "within_s"), [("3600", 60), ("60", 600), ("2", 0.5)])
async def test_an_api_that_asks_for_a_longer_rest_is_left_alone_at_once_and_what_it_asked_for_is_known(
    asked_s: str, within_s: float
) -> None:
    calls = []

    def answer(request: httpx.Request) -> httpx.Response:
        calls.append(1)
        return httpx.Response(429, headers={"retry-after": asked_s})

    began = time.monotonic()
    with pytest.raises(ModelUnreachable, match="HTTP 429") as caught:
        await ask(client(answer), within_s=within_s)
    assert time.monotonic() - began < 5, "the figure of the test is a minute; nobody waits for it"
    assert (len(calls), caught.value.status, caught.value.retry_after_s) == (1, 429, float(asked_s))


@pytest.mark.parametrize(
    "body", [b"", b"[]", b'{"choices": []}', b'{"choices": [{"message": null}]}', b"<html>"]
)
async def test_an_answer_of_another_form_is_an_error(body: bytes) -> None:
    with pytest.raises(ModelUnreachable):
        await ask(client(lambda r: httpx.Response(200, content=body)))


async def test_no_more_calls_than_the_limit_are_under_way() -> None:
    now = most = 0

    async def answer(request: httpx.Request) -> httpx.Response:
        nonlocal now, most
        now += 1
        most = max(most, now)
        await asyncio.sleep(0.02)
        now -= 1
        return httpx.Response(200, json=GOOD)

    chat = client(answer, concurrency=3)
    await asyncio.gather(*(chat.complete("m", [], max_tokens=1, within_s=5) for _ in range(12)))
    await chat.close()
    assert most == 3


async def test_after_failures_in_a_row_nobody_asks_until_the_rest_is_over() -> None:
    calls = 0

    def answer(request: httpx.Request) -> httpx.Response:
        nonlocal calls
        calls += 1
        return httpx.Response(500) if calls <= 2 else httpx.Response(200, json=GOOD)

    chat = client(answer, attempts=1, breaker_failures=2, breaker_rest_s=0.2)
    for words in ("HTTP 500", "HTTP 500", "calls in a row failed"):
        with pytest.raises(ModelUnreachable, match=words):
            await chat.complete("m", [], max_tokens=1, within_s=1)
    assert calls == 2
    await asyncio.sleep(0.25)
    assert (await chat.complete("m", [], max_tokens=1, within_s=1)).text
    await chat.close()


def test_a_half_open_breaker_lets_one_try() -> None:
    now = [0.0]
    breaker = Breaker(1, 10, clock=lambda: now[0])
    early, late = breaker.turn(), breaker.turn()
    assert early is not None
    assert late is not None
    early.failed()
    assert breaker.turn() is None
    now[0] = 11
    trial = breaker.turn()
    assert trial is not None
    assert breaker.turn() is None, "the one that may try is under way"
    late.abandoned()
    late.failed()
    late.succeeded()
    assert breaker.turn() is None, "a call from before does not decide"
    assert breaker.rests_for_s() == 0
    trial.failed()
    assert breaker.turn() is None
    now[0] = 22
    again = breaker.turn()
    assert again is not None
    again.succeeded()
    assert breaker.turn() is not None
    assert breaker.turn() is not None


def test_retry_after_is_seconds_or_a_date() -> None:
    now = datetime(2026, 11, 23, 12, tzinfo=UTC)
    assert retry_after("2.5", now) == 2.5
    assert retry_after("Mon, 23 Nov 2026 12:00:07 GMT", now) == 7
    for nothing in (None, "", "soon", "-3", "Mon, 23 Nov 2020 12:00:00 GMT", "inf"):
        assert retry_after(nothing, now) is None


async def test_without_a_key_the_model_is_simulated_and_says_so() -> None:
    chat = open_chat(LLMSettings(api_key=""))
    got = await chat.complete(
        "m",
        [
            {
                "role": "user",
                "content": "BEGIN 1\nTranslate this notice into French: we are closed today\nEND 1",
            }
        ],
        max_tokens=20,
        within_s=2,
    )
    await chat.close()
    assert got.simulated
    assert got.model == "simulated-describer"
    assert got.text == "Translate this notice into French"


async def test_a_refused_key_is_told_to_the_log_once_a_minute_and_counted(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    told: list[dict[str, Any]] = []
    monkeypatch.setattr(
        "shared.adapters.llm.chat.log.warning",
        lambda text, **more: told.append({"t": text, **more}),
    )
    before = failures("m", "401")
    chat = client(lambda _: httpx.Response(401, json={"error": {"message": SECRET}}))
    for _ in range(3):
        with pytest.raises(ModelUnreachable):
            await chat.complete("m", [{"role": "user", "content": SECRET}], within_s=5)
    await chat.close()
    assert failures("m", "401") == before + 3
    (line,) = told
    assert line["model"] == "m"
    assert "POINTSMAN_LLM_API_KEY" in line["error"]
    assert SECRET not in str(line)


async def test_what_is_wrong_with_a_request_is_not_told_to_the_operator(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    told: list[str] = []
    monkeypatch.setattr("shared.adapters.llm.chat.log.warning", lambda text, **_: told.append(text))
    with pytest.raises(ModelUnreachable):
        await ask(client(lambda _: httpx.Response(413, json={"error": {"message": "too long"}})))
    assert told == []


def failures(model: str, why: str) -> float:
    labels = {"model": model, "why": why}
    return REGISTRY.get_sample_value("pointsman_model_failures_total", labels) or 0.0


def test_providers_without_a_key_of_the_default_one_are_an_error(tmp_path: Path) -> None:
    file = tmp_path / "providers.yaml"
    file.write_text("mine: {base_url: http://localhost:1/v1}\n")
    with pytest.raises(CatalogError, match="POINTSMAN_LLM_API_KEY"):
        Providers(lambda: load(None), LLMSettings(providers=file))


def test_room_for_calls_is_what_a_service_works_on_unless_it_is_set(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv("POINTSMAN_LLM_CONCURRENCY", raising=False)
    assert LLMSettings().with_room(32).concurrency == 32
    monkeypatch.setenv("POINTSMAN_LLM_CONCURRENCY", "4")
    assert LLMSettings().with_room(32).concurrency == 4
