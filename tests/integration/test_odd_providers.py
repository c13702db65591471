"""What providers, clients and senders really do, through the gateway and by the topic: the rows of
public bug reports."""

from __future__ import annotations

import asyncio
import gzip
import json
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import openai
import pytest
from conftest import Pipeline, eventually, running_pipeline
from provider import Provider, provider
from support import submitted

from services.describer.describe import describe
from services.describer.settings import DescriberSettings
from services.describer.wiring.describing import asking as describer_asking
from services.judge import verdict
from services.judge.settings import JudgeSettings
from services.judge.wiring import asking as judge_asking
from services.local.supervise import Supervisor
from shared.adapters.kafka.client import read_all
from shared.adapters.keys import new, write
from shared.adapters.llm.chat import LLMSettings
from shared.adapters.llm.scripted import Reply, Script
from shared.adapters.redis.client import RedisSettings
from shared.catalog import models
from shared.contracts.messages import Completed, read
from shared.contracts.places import Source
from shared.contracts.scopes import Scope
from shared.contracts.spending import Spent
from shared.contracts.topics import COMPLETIONS, DEAD_LETTERS, SPENDING

CATALOG = models.load()
PROMPT = "Translate this notice into French: the library is closed on Monday."
SECOND = "The second model answers."


def delta(content: Any, finish: str | None = None) -> dict[str, Any]:
    choice = {"index": 0, "delta": {"content": content} if content else {}, "finish_reason": finish}
    return {
        "id": "x",
        "object": "chat.completion.chunk",
        "created": 1,
        "model": "m",
        "choices": [choice],
    }


def said(content: Any, **more: Any) -> dict[str, Any]:
    choice = {
        "index": 0,
        "message": {"role": "assistant", "content": content},
        "finish_reason": "stop",
    } | more.pop("choice", {})
    return {
        "id": "x",
        "object": "chat.completion",
        "created": 1,
        "model": "m",
        "choices": [choice],
    } | more


STOP = delta(None, "stop")


def script(*replies: dict[str, Any]) -> Script:
    return Script(replies=tuple(Reply.model_validate(reply) for reply in replies))


@dataclass
class House:
    """A gateway and a dispatcher whose provider follows a script."""

    pipeline: Pipeline
    provider: Provider
    keys: dict[str, str]
    address: str
    log: list[tuple[str, str, str]]

    async def chat(self, who: str = "team", **body: Any) -> httpx.Response:
        async with self.http(who) as http:
            return await http.post(
                "/v1/chat/completions",
                json={"messages": [{"role": "user", "content": PROMPT}]} | body,
            )

    def http(self, who: str = "team") -> httpx.AsyncClient:
        return httpx.AsyncClient(
            base_url=self.address, headers={"authorization": f"Bearer {self.keys[who]}"}, timeout=60
        )

    async def streamed(self, **body: Any) -> tuple[str, str | None, str | None]:
        """By OpenAI's own package: the words, the type of the error that broke them, and how they
        ended."""
        words, finish = "", None
        async with openai.AsyncOpenAI(
            base_url=f"{self.address}/v1", api_key=self.keys["team"], max_retries=0
        ) as client:
            try:
                stream = await client.chat.completions.create(
                    **{"messages": [{"role": "user", "content": PROMPT}], "stream": True} | body
                )  # type: ignore[call-overload]
                async for chunk in stream:
                    for choice in chunk.choices:
                        words += choice.delta.content or ""
                        finish = choice.finish_reason or finish
            except openai.APIError as error:
                return words, str(error.type), finish
        return words, None, finish

    async def completed(self, request_id: str) -> Completed:
        async def there() -> Completed | None:
            found = [
                read(Completed, r.value) for r in await read_all(self.pipeline.kafka, COMPLETIONS)
            ]
            return next((m for m in found if m.request_id == request_id), None)

        await eventually(there, 30)
        message = await there()
        assert message is not None
        return message


@pytest.fixture(scope="module")
async def house(
    pipeline: Pipeline, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[House]:
    file = tmp_path_factory.mktemp("keys") / "keys.yaml"
    caps = {"team": None} | {f"poor-{i}": 0.01 for i in range(6)}
    made = {
        name: new(name, frozenset({Scope.complete, Scope.route}), None, usd)
        for name, usd in caps.items()
    }
    write(file, tuple(key for _, key in made.values()))
    async with provider() as upstream, _doors(upstream, file) as (address, log):
        yield House(
            pipeline, upstream, {name: clear for name, (clear, _) in made.items()}, address, log
        )


@asynccontextmanager
async def _doors(
    upstream: Provider, file: Path
) -> AsyncIterator[tuple[str, list[tuple[str, str, str]]]]:
    log: list[tuple[str, str, str]] = []
    llm = {
        "POINTSMAN_LLM_BASE_URL": upstream.base_url,
        "POINTSMAN_LLM_API_KEY": "k",
        "POINTSMAN_LLM_BREAKER_FAILURES": "20",
        "POINTSMAN_LLM_BREAKER_REST_S": "0.2",
    }
    own = {
        "POINTSMAN_KEYS_FILE": str(file),
        "POINTSMAN_GATEWAY_DEADLINE_S": "5",
        "POINTSMAN_GATEWAY_PORT": "0",
    }
    own |= {"POINTSMAN_GATEWAY_ORIGINS": '["https://chat.example"]'}
    async with (
        Supervisor(("gateway",), llm | own, lambda *entry: log.append(entry)) as running,
        running_pipeline(("dispatcher",), **llm),
    ):
        await running.ready(30)
        yield running.addresses["gateway"], log


@pytest.fixture(autouse=True)
def _calm(house: House) -> None:
    house.provider.script = None
    house.provider.asked.clear()


GOOD = {"events": [delta(SECOND), STOP, "[DONE]"]}
BROKEN_BEFORE = {
    "an error object": {
        "events": [{"id": "x", "choices": [], "error": {"code": 502, "message": "down"}}, "[DONE]"]
    },
    "an error event": {"chunks": ['event: error\ndata: {"error": {"message": "down"}}\n\n']},
    "nothing": {"events": ["[DONE]"]},
    "no choices": {"events": [{"choices": [None]}]},
    "not JSON": {"events": ["{"]},
    "HTML": {"headers": {"content-type": "text/html"}, "body": "<html><h1>504</h1></html>"},
    "a role and an error": {
        "events": [
            delta(None) | {"choices": [{"index": 0, "delta": {"role": "assistant"}}]},
            {"error": "down"},
        ]
    },
    "cut": {"events": [], "chunks": [": wait\n\n"], "cut": True},
}


@pytest.mark.parametrize("broken", BROKEN_BEFORE.values(), ids=BROKEN_BEFORE)
async def test_before_the_first_word_the_next_model_answers_by_stream_and_by_topic(
    house: House, broken: dict[str, Any]
) -> None:
    house.provider.script = script({**broken, "times": 3 if broken.get("cut") else 1}, GOOD)
    assert await house.streamed(model="auto") == (SECOND, None, "stop")
    house.provider.script = script({**broken, "times": 3 if broken.get("cut") else 1}, GOOD)
    message = await house.completed(await house.pipeline.send({"prompt": PROMPT, "answer": True}))
    assert message.completion.answers[0].text == SECOND
    assert len(message.completion.failed) == 1


@pytest.mark.parametrize(
    "broken",
    [
        {"events": [delta("two "), {"error": {"code": 502, "message": "down"}}, "[DONE]"]},
        {"events": [delta("two ")], "cut": True},
        {"events": [delta("two ")]},
        {"events": [delta("two "), "{"]},
        {"events": [delta("two "), delta(None, "error"), "[DONE]"]},
    ],
)
async def test_after_it_the_clients_library_raises_and_nothing_broken_is_learnt(
    house: House, broken: dict[str, Any]
) -> None:
    house.provider.script = script(broken)
    before = len(await read_all(house.pipeline.kafka, COMPLETIONS))
    for _ in range(2):
        words, error, finish = await house.streamed(model="gpt-5.6")
        assert (words, error, finish) == ("two ", "upstream_error", None)
    words, error, _ = await house.streamed(model="auto")
    assert (words, error) == ("two ", "upstream_error")
    assert not [entry for entry in house.log if entry[1] == "error"], (
        "a provider's failure is no error of ours"
    )
    await asyncio.sleep(0.5)
    assert len(await read_all(house.pipeline.kafka, COMPLETIONS)) == before


ANSWERED: dict[str, tuple[dict[str, Any], str]] = {
    "lines that end oddly": (
        {"events": [json.dumps(delta("one\u2028two\x85"), ensure_ascii=False), STOP, "[DONE]"]},
        "one\u2028two\x85",
    ),
    "thinking in parts": (
        {
            "events": [
                delta([{"type": "thinking", "thinking": [{"type": "text", "text": "hm"}]}]),
                delta([{"type": "text", "text": "Paris"}]),
                STOP,
            ]
        },
        "Paris",
    ),
    "half letters": ({"events": [delta("ok \ud83d"), delta("\ude00"), STOP, "[DONE]"]}, "ok 😀"),
    "half a letter, whole": ({"body": said("ok \ud83d")}, "ok \ufffd"),
    "parts, whole": (
        {"body": said([{"type": "thinking", "thinking": "hm"}, {"type": "text", "text": "Paris"}])},
        "Paris",
    ),
    "usage of any kind": (
        {"body": said("Paris", usage={"prompt_tokens": "seven", "cost": {"total_cost": []}})},
        "Paris",
    ),
    "usage that is a list": (
        {"events": [delta("Paris"), STOP, {"choices": [], "usage": []}, "[DONE]"]},
        "Paris",
    ),
    "no finite logprob": (
        {
            "body": json.dumps(
                said(
                    "Paris",
                    choice={"logprobs": {"content": [{"token": "P", "logprob": float("-inf")}]}},
                )
            )
        },
        "Paris",
    ),
    "several lines of data": (
        {
            "chunks": [
                "".join(
                    f"data: {line}\n"
                    for line in json.dumps(delta("Paris", "stop"), indent=1).split("\n")
                )
                + "\n"
            ]
        },
        "Paris",
    ),
    "the wrong content type": ({**GOOD, "headers": {"content-type": "application/json"}}, SECOND),
}


@pytest.mark.parametrize(("reply", "text"), ANSWERED.values(), ids=ANSWERED)
async def test_no_available_answer_is_lost(house: House, reply: dict[str, Any], text: str) -> None:
    house.provider.script = script(reply)
    assert await house.streamed(model="gpt-5.6") == (text, None, "stop")
    whole = await house.chat(model="gpt-5.6")
    assert (whole.status_code, whole.json()["choices"][0]["message"]["content"]) == (200, text)
    message = await house.completed(await house.pipeline.send({"prompt": PROMPT, "answer": True}))
    assert (message.completion.answers[0].text, message.completion.failed) == (text, ())


async def test_a_model_that_asks_to_be_left_alone_is_and_what_all_ask_for_is_told(
    house: House,
) -> None:
    busy = {"status": 429, "headers": {"retry-after": "60"}, "body": {"error": {"message": "busy"}}}
    for streamed in (True, False):
        house.provider.script = script(
            {**busy, "times": 1}, {"has": ["stream"], **GOOD}, {"body": said(SECOND)}
        )
        async with asyncio.timeout(30):  # a minute was asked for
            if streamed:
                assert await house.streamed(model="auto") == (SECOND, None, "stop")
            else:
                assert (await house.chat(model="auto")).json()["choices"][0]["message"][
                    "content"
                ] == SECOND
    house.provider.script = script(busy)
    refused = await house.chat(model="gpt-5.6")
    assert (refused.status_code, refused.headers["retry-after"]) == (429, "60")
    house.provider.script = script({"body": said("Paris")})

    async def answers() -> bool:
        return (await house.chat(model="gpt-5.6")).status_code == 200

    await eventually(answers)  # it is left alone for a while, as it asked


async def test_bad_bodies_of_one_client_close_no_model_for_others(house: House) -> None:
    async with house.http() as http:
        for _ in range(25):
            bad = await http.post(
                "/v1/chat/completions",
                content=b'{"model": "gpt-5.6", "temperature": NaN, "messages": [{"role": "user", '
                b'"content": "hi"}]}',
                headers={"content-type": "application/json"},
            )
            assert (bad.status_code, bad.json()["error"]["param"]) == (400, "temperature")
    assert (await house.chat(model="gpt-5.6")).status_code == 200


SHAPES: dict[str, dict[str, Any]] = {
    "no usage": {},
    "nothing readable": {
        "usage": {"prompt_tokens": None, "completion_tokens": "many", "cost": "free"}
    },
    "zero": {"usage": {"prompt_tokens": 9000, "completion_tokens": 100, "cost": 0}},
    "byok": {
        "usage": {
            "prompt_tokens": 9,
            "cost": 0,
            "is_byok": True,
            "cost_details": {"upstream_inference_cost": 0.002},
        }
    },
    "an object": {
        "usage": {"prompt_tokens": 9, "completion_tokens": 9, "cost": {"total_cost": 0.002}}
    },
    "negative": {"usage": {"prompt_tokens": 9000, "completion_tokens": 900, "cost": -1}},
}


@pytest.mark.parametrize(("number", "shape"), list(enumerate(SHAPES.values())), ids=list(SHAPES))
async def test_a_budget_holds_whatever_the_provider_says_of_costs(
    house: House, number: int, shape: dict[str, Any]
) -> None:
    house.provider.script = script({"body": said("word " * 1000, **shape)})
    statuses = []
    for turn in range(60):
        answer = await house.chat(
            f"poor-{number}", model="gpt-5.6-terra", stream=turn % 2 == 0, max_tokens=20
        )
        statuses.append(answer.status_code)
        if answer.status_code == 429:
            break
    assert statuses[-1] == 429, "0.01 USD a day are spent in the end"
    async with asyncio.timeout(20):
        while True:
            bills = [read(Spent, r.value) for r in await read_all(house.pipeline.kafka, SPENDING)]
            spent = [bill.cost_usd for bill in bills if bill.spender == f"poor-{number}"]
            if len(spent) == len(statuses) - 1:
                break
            await asyncio.sleep(0.2)
    assert min(spent) > 0
    assert sum(spent) < 0.03, "one answer may pass the cap, and no more"


async def test_the_same_request_id_with_another_question_is_asked_and_said(house: House) -> None:
    house.provider.script = script({"body": said("Nairobi"), "times": 1}, {"body": said("A poem")})
    same = {
        "answer": True,
        "request_id": f"r-{time.time_ns()}",
        "constraints": {"allow": ["gpt-5.6-luna"]},
    }
    await house.pipeline.send({"prompt": "Capital of Kenya?", **same}, same["request_id"])
    assert (await house.completed(same["request_id"])).completion.answers[0].text == "Nairobi"
    await house.pipeline.send({"prompt": "Write a poem", **same}, same["request_id"])

    async def both() -> list[Completed]:
        found = [
            read(Completed, r.value) for r in await read_all(house.pipeline.kafka, COMPLETIONS)
        ]
        mine = [m for m in found if m.request_id == same["request_id"]]
        return mine if len(mine) == 2 else []

    await eventually(both)
    second = (await both())[1].completion
    assert (second.answers[0].text, second.repeated, second.conflict) == ("A poem", False, True)


async def test_what_comes_at_the_gateway(house: House) -> None:
    body = json.dumps(
        {"model": "gpt-5.6", "messages": [{"role": "user", "content": "hi"}]}
    ).encode()
    json_ = {"content-type": "application/json"}
    async with house.http() as http:

        async def post(
            content: bytes, path: str = "/v1/chat/completions", **headers: str
        ) -> httpx.Response:
            return await http.post(
                path,
                content=content,
                headers=json_ | {name.replace("_", "-"): v for name, v in headers.items()},
            )

        assert (await post(gzip.compress(body), content_encoding="gzip")).status_code == 200
        assert (await post(b"\xef\xbb\xbf" + body)).status_code == 200
        refused = await post(body, content_encoding="compress")
        assert (refused.status_code, "zstd" in refused.text) == (415, True)
        assert (await post(body, content_encoding="gzip")).status_code == 400
        assert (await post(gzip.compress(body)[:-9], content_encoding="gzip")).status_code == 400
        bomb = await post(gzip.compress(b" " * (200 << 20)), content_encoding="gzip")
        assert bomb.status_code == 413
        for path in ("/chat/completions", "/v1/v1/chat/completions", "//v1/chat/completions"):
            assert (await post(body, path)).status_code == 200
        assert "there are /v1" in (await post(body, "/v1/audio")).json()["error"]["message"]
        listed = {row["id"]: row for row in (await http.get("/v1/models")).json()["data"]}
        for name, row in (
            ("auto", "auto"),
            ("gpt-5.6", "gpt-5.6"),
            ("openai/gpt-5.6", "gpt-5.6"),
            ("openai%2Fgpt-5.6", "gpt-5.6"),
            ("auto:fast", "auto:fast"),
        ):
            found = await http.get(f"/v1/models/{name}")
            assert (found.status_code, found.json()) == (200, listed[row])
        assert (await http.get("/v1/models/gpt-99")).status_code == 404
        asked = await http.options(
            "/v1/chat/completions",
            headers={"origin": "https://chat.example", "access-control-request-method": "POST"},
        )
        assert asked.headers["access-control-allow-origin"] == "https://chat.example"
        foreign = await http.options(
            "/v1/chat/completions",
            headers={"origin": "https://evil.example", "access-control-request-method": "POST"},
        )
        assert "access-control-allow-origin" not in foreign.headers
    for header, value in (
        ("x-api-key", "{}"),
        ("api-key", "{}"),
        ("authorization", "{}"),
        ("authorization", "bearer {}"),
    ):
        async with httpx.AsyncClient(
            base_url=house.address, headers={header: value.format(house.keys["team"])}
        ) as http:
            assert (await http.get("/v1/models")).status_code == 200
            assert (
                await http.post("/v1/chat/completions", content=body, headers=json_)
            ).status_code == 200


async def test_without_words_the_default_model_answers(house: House) -> None:
    image = [{"type": "image_url", "image_url": {"url": "data:image/png;base64,iVBORw0KGgo="}}]
    for messages in (
        [{"role": "user", "content": ""}],
        [{"role": "assistant", "content": "x"}],
    ):
        answer = await house.chat(model="auto", messages=messages)
        assert answer.status_code == 200
        assert answer.headers["x-pointsman-default"] == "there are no words to route by"
    for messages in (
        [{"role": "system", "content": "Greet me."}],
        [{"role": "user", "content": image}],
    ):
        routed = await house.chat(model="auto", messages=messages)
        assert (routed.status_code, "x-pointsman-cluster" in routed.headers) == (200, True)


async def test_ids_that_the_next_model_refuses_are_renamed(house: House) -> None:
    refused = {"error": {"message": "Tool call id must be a-z, A-Z, 0-9 and have a length of 9"}}
    call = {
        "id": "call_0123456789abcdef",
        "type": "function",
        "function": {"name": "f", "arguments": "{}"},
    }
    turns = [
        {"role": "user", "content": PROMPT},
        {"role": "assistant", "content": None, "tool_calls": [call]},
        {"role": "tool", "tool_call_id": call["id"], "content": "seen"},
    ]
    house.provider.script = script(
        {"status": 403, "times": 1, "body": refused}, {"body": said(SECOND)}
    )
    answer = await house.chat(model="auto", messages=turns)
    assert answer.json()["choices"][0]["message"]["content"] == SECOND
    first, second = house.provider.asked
    assert first["messages"] == turns
    name = second["messages"][1]["tool_calls"][0]["id"]
    assert (len(name), second["messages"][2]["tool_call_id"]) == (9, name)


async def test_describer_and_judge_read_reasoning_models_in_any_dialect(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    refused = {
        "error": {
            "message": "Unsupported parameter",
            "param": "max_tokens",
            "code": "unsupported_parameter",
        }
    }
    cold = {
        "error": {
            "message": "Only 1 is supported",
            "param": "temperature",
            "code": "unsupported_value",
        }
    }
    formed = {"error": {"message": "response_format is not available", "param": "response_format"}}
    async with provider() as upstream:
        monkeypatch.setenv("POINTSMAN_LLM_BASE_URL", upstream.base_url)
        monkeypatch.setenv("POINTSMAN_LLM_API_KEY", "k")
        dialects = [
            {"has": [name], "status": 400, "body": body}
            for name, body in (("max_tokens", refused), ("temperature", cold))
        ]
        upstream.script = script(
            *dialects, {"body": said("<think>\nhm\n</think>\n**Task:** Write a short poem.\n")}
        )
        settings = DescriberSettings(backend="llm")
        async with describer_asking(settings) as ask:
            cache = Texts()
            for number in range(2):
                message = await describe(
                    submitted(f"Write a haiku, number {number}"), settings, ask, cache
                )
                assert (message.description.text, message.description.source) == (
                    "Write a short poem.",
                    Source.llm,
                )
            assert len(upstream.asked) == 4, "what is refused is asked for once"
            upstream.script = script(
                {"body": said("<think>\nOkay", choice={"finish_reason": "length"})}
            )
            cut = await describe(submitted("Write an ode"), settings, ask, cache)
            assert (cut.description.source, len(cache)) == (Source.local, 2), (
                "and it is not remembered"
            )
        upstream.script = script(
            {"has": ["response_format"], "status": 400, "body": formed},
            {
                "body": said(
                    '<think>first or second?</think>```json\n{"reason": "it rhymes", "better": '
                    '"First"}\n```'
                )
            },
        )
        async with judge_asking(JudgeSettings(), models.load, LLMSettings(), RedisSettings()) as (
            _,
            ask_judge,
        ):
            for turn in range(2):
                told = await ask_judge("m", [{"role": "user", "content": "which?"}], turn, "once")
                assert verdict.read(told.text, told.finish_reason) == "first"
                assert told.cost_usd > 0


class Texts(dict[str, str]):
    async def get(self, key: str) -> str | None:  # type: ignore[override]
        return super().get(key)

    async def put(self, key: str, text: str) -> None:
        self[key] = text


async def test_at_the_end_no_decision_is_a_dead_letter(house: House) -> None:
    assert await read_all(house.pipeline.kafka, DEAD_LETTERS) == []
