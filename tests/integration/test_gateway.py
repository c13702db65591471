"""The gateway as its clients meet it: OpenAI's own package, curl, and a provider that remembers
what it was asked."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import openai
import pytest
from conftest import Pipeline, eventually
from doors import PROMPT, Door, gateway, opened, wired
from markupsafe import escape

from services.gateway.samples import SAMPLES, filled
from shared.adapters.kafka.client import read_all
from shared.adapters.keys import new, write
from shared.catalog import models
from shared.contracts.evaluations import Evaluated
from shared.contracts.messages import Completed, read
from shared.contracts.scopes import Scope
from shared.contracts.spending import Spent
from shared.contracts.topics import COMPLETIONS, EVALUATIONS, SPENDING
from shared.routing.deciding.abilities import Ability

CATALOG = models.load()


@pytest.fixture(scope="module")
async def door(pipeline: Pipeline, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Door]:
    async with opened(pipeline, tmp_path_factory.mktemp("keys")) as made:
        yield made


@pytest.fixture(autouse=True)
def _calm(door: Door) -> None:
    door.provider.broken.clear()
    door.provider.asked.clear()
    door.provider.slow_s, door.provider.words = 0.0, 5


async def test_the_openai_package_is_answered_by_the_selected_model(door: Door) -> None:
    async with door.openai() as client:
        raw = await client.chat.completions.with_raw_response.create(
            model="auto:economy",
            messages=[{"role": "user", "content": PROMPT}],
            temperature=0.3,
            seed=7,
            stop=["X"],
        )
    answer = raw.parse()
    name = raw.headers["x-pointsman-model"]
    assert answer.model == name
    assert answer.choices[0].message.content == f"echo {PROMPT}"
    assert answer.usage.cost == 0.25  # type: ignore[union-attr]
    assert answer.id == raw.headers["x-pointsman-request-id"]
    assert raw.headers["x-pointsman-cost-usd"] == "0.25000000"
    assert raw.headers["x-pointsman-cluster"].startswith("c")
    assert raw.headers["x-pointsman-table"].count(".") == 1
    assert 0.5 <= float(raw.headers["x-pointsman-confidence"]) <= 1
    assert "x-pointsman-default" not in raw.headers
    asked = door.provider.asked[-1]
    assert asked["model"] == CATALOG.models[name].openrouter
    assert (asked["seed"], asked["stop"]) == (7, ["X"])
    # a model that takes its own temperature alone does not get another, and a header says so
    can = CATALOG.models[name].can
    sampling = can is None or Ability.sampling in can
    assert asked.get("temperature") == (0.3 if sampling else None)
    assert ("temperature" in raw.headers.get("x-pointsman-left-out", "")) != sampling
    assert "pointsman" not in asked
    assert door.provider.headers[-1]["authorization"] == "Bearer provider-secret"

    async def learnt() -> Completed | None:
        found = [read(Completed, r.value) for r in await read_all(door.pipeline.kafka, COMPLETIONS)]
        return next((m for m in found if m.request_id == answer.id), None)

    await eventually(learnt)
    message = await learnt()
    assert message is not None
    assert message.completion.answers[0].model == name
    assert message.parameters == {"temperature": 0.3, "seed": 7, "stop": ["X"]}


async def test_a_stream_has_the_real_model_and_its_cost_in_the_last_chunk_and_ends_with_done(
    door: Door,
) -> None:
    async with door.openai() as client:
        for options, own in (({}, False), ({"stream_options": {"include_usage": True}}, True)):
            stream = await client.chat.completions.create(
                model="auto", messages=[{"role": "user", "content": PROMPT}], stream=True, **options
            )  # type: ignore[call-overload]
            chunks = [chunk async for chunk in stream]
            assert "".join(
                c.choices[0].delta.content or "" for c in chunks if c.choices
            ).startswith(f"echo {PROMPT}")
            assert {c.model for c in chunks} == {stream.response.headers["x-pointsman-model"]}
            assert {c.id for c in chunks} == {stream.response.headers["x-pointsman-request-id"]}
            assert chunks[-1].usage.cost == 0.25
            assert (not chunks[-1].choices) is own
            assert all(c.choices for c in chunks[:-1])
            assert all(c.usage is None for c in chunks[:-1])
    async with door.http() as http:
        body = {"messages": [{"role": "user", "content": PROMPT}], "stream": True}
        said = (await http.post("/v1/chat/completions", json=body)).text
    assert said.endswith("data: [DONE]\n\n")


async def test_plain_curl(door: Door) -> None:
    run = await asyncio.create_subprocess_exec(
        *(
            "curl",
            "-sS",
            "-i",
            f"{door.address}/v1/chat/completions",
            "-H",
            f"Authorization: Bearer {door.keys['team']}",
        ),
        *(
            "-H",
            "content-type: application/json",
            "-d",
            json.dumps({"model": "auto", "messages": [{"role": "user", "content": PROMPT}]}),
        ),
        stdout=asyncio.subprocess.PIPE,
    )
    said = (await run.communicate())[0].decode()
    assert said.startswith("HTTP/1.1 200")
    assert "x-pointsman-model: " in said


async def test_tools_response_format_and_several_answers_pass_through(door: Door) -> None:
    tool: Any = {
        "type": "function",
        "function": {"name": "weather", "parameters": {"type": "object"}},
    }
    async with door.openai() as client:
        answer = await client.chat.completions.create(
            model="auto", messages=[{"role": "user", "content": PROMPT}], tools=[tool]
        )
    assert answer.choices[0].message.tool_calls[0].function.name == "weather"  # type: ignore[index,union-attr]
    assert answer.choices[0].finish_reason == "tool_calls"
    got = await door.chat(
        n=2, response_format={"type": "json_object"}, user="u", made_up={"a": [1]}
    )
    assert [c["index"] for c in got.json()["choices"]] == [0, 1]
    assert got.json()["system_fingerprint"] == "fp"
    assert got.json()["choices"][0]["logprobs"] is None
    asked = door.provider.asked[-1]
    assert (asked["n"], asked["response_format"], asked["user"], asked["made_up"]) == (
        2,
        {"type": "json_object"},
        "u",
        {"a": [1]},
    )
    parts = [
        {"type": "text", "text": PROMPT},
        {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}},
    ]
    await door.chat(messages=[{"role": "user", "content": parts}])
    assert door.provider.asked[-1]["messages"] == [{"role": "user", "content": parts}]


async def test_a_named_model_is_asked_without_routing(door: Door) -> None:
    got = await door.chat(model="gpt-5.6-luna")
    assert got.json()["model"] == got.headers["x-pointsman-model"] == "gpt-5.6-luna"
    assert "x-pointsman-table" not in got.headers
    completed = [
        read(Completed, record.value).request_id
        for record in await read_all(door.pipeline.kafka, COMPLETIONS)
    ]
    assert got.headers["x-pointsman-request-id"] not in completed
    missing = await door.chat(model="gpt-99")
    assert missing.status_code == 404
    assert missing.json()["error"]["code"] == "model_not_found"


async def test_what_the_sender_cares_about_by_body_header_and_dial(door: Door) -> None:
    async with door.http() as http:

        async def weights(body: dict[str, Any], **headers: str) -> dict[str, float]:
            got = await http.post(
                "/v1/route",
                json={"prompt": PROMPT} | body,
                headers={k.replace("_", "-"): v for k, v in headers.items()},
            )
            assert got.status_code == 200, got.text
            found: dict[str, float] = got.json()["decision"]["preferences"]
            return found

        assert (await weights({"pointsman": {"profile": "quality"}}))["performance"] == 1
        assert (await weights({"pointsman": {"cost_quality_tradeoff": 3}}))[
            "cost"
        ] == pytest.approx(0.3)
        assert (await weights({}, x_pointsman_cost_quality_tradeoff="10"))["cost"] == 1
        assert (await weights({}, x_pointsman_preferences="performance=1,cost=1,latency=2"))[
            "latency"
        ] == 0.5
        assert (
            await weights({"pointsman": {"profile": "quality"}}, x_pointsman_profile="economy")
        )["performance"] == 1, "the body wins"
        assert (await weights({"model": "auto:fast"}))["latency"] == 0.6
        costs = []
        for dial in range(0, 11, 2):
            got = (
                await http.post(
                    "/v1/route",
                    json={"prompt": PROMPT, "pointsman": {"cost_quality_tradeoff": dial}},
                )
            ).json()
            costs.append(got["decision"]["candidates"][0]["cost_usd"])
        assert costs == sorted(costs, reverse=True)
        assert costs[0] > costs[-1]
        only = await http.post(
            "/v1/route",
            json={"prompt": PROMPT},
            headers={"x-pointsman-allow": "gpt-5.6, gpt-5.6-luna"},
        )
        assert {c["model"] for c in only.json()["decision"]["candidates"]} <= {
            "gpt-5.6",
            "gpt-5.6-luna",
        }
        wrong = await http.post(
            "/v1/route", json={"prompt": PROMPT}, headers={"x-pointsman-preferences": "speed"}
        )
        assert wrong.status_code == 400
        assert "usd_per_point=0.1" in wrong.json()["error"]["message"]

        async def rates(body: dict[str, Any], **headers: str) -> dict[str, float]:
            got = await http.post(
                "/v1/route",
                json={"prompt": PROMPT} | body,
                headers={k.replace("_", "-"): v for k, v in headers.items()},
            )
            assert got.status_code == 200, got.text
            found: dict[str, float] = got.json()["decision"]["rates"]
            return found

        assert await rates({"pointsman": {"preferences": {"usd_per_point": 0.3}}}) == {
            "usd_per_point": 0.3,
            "s_per_point": 30_000,
        }
        assert (await rates({}, x_pointsman_preferences="usd_per_point=0.3,s_per_point=60"))[
            "s_per_point"
        ] == 60
        assert (await rates({"pointsman": {"preferences": {"keep": 0.95}}}))["keep"] == 0.95
        assert (await rates({}, x_pointsman_preferences="spend_usd_per_1000=2"))[
            "spend_usd_per_1000"
        ] == 2
        both = await http.post(
            "/v1/route",
            json={
                "prompt": PROMPT,
                "pointsman": {"preferences": {"keep": 0.9, "usd_per_point": 1}},
            },
        )
        assert "give one of usd_per_point and keep" in both.json()["error"]["message"]
    none = await door.chat(pointsman={"constraints": {"max_cost_usd": 0}})
    assert none.status_code == 400
    assert none.json()["error"]["code"] == "no_eligible_model"


async def test_the_next_turn_is_decided_with_what_is_known_of_the_conversation(door: Door) -> None:
    first: list[dict[str, Any]] = [{"role": "user", "content": PROMPT + " Thank you!"}]
    begun = await door.chat(model="auto:balanced", messages=first)
    mine = begun.headers["x-pointsman-model"]
    said = begun.json()["choices"][0]["message"]["content"]
    more = [
        *first,
        {"role": "assistant", "content": said},
        {"role": "user", "content": "Now shorter"},
    ]

    async def second() -> httpx.Response | None:
        got = await door.chat(model="auto:balanced", messages=more)
        return got if got.headers["x-pointsman-model"] == mine else None

    await eventually(second)
    got = await second()
    assert got is not None

    async def learnt() -> Completed | None:
        found = [read(Completed, r.value) for r in await read_all(door.pipeline.kafka, COMPLETIONS)]
        return next((m for m in found if m.request_id == got.json()["id"]), None)

    await eventually(learnt)
    message = await learnt()
    assert message is not None
    assert message.conversation is not None
    assert message.conversation.cached_tokens == {mine: 12}, "as the provider counted them"
    assert sum(message.conversation.tasks.values()) > 0
    spent = {c.model: c.switching_cost_usd for c in message.decision.candidates}
    assert spent.pop(mine) == 0
    assert min(spent.values()) > 0


async def test_the_next_in_line_answers_before_the_first_token_and_errors_are_openai_s(
    door: Door,
) -> None:
    order = [
        c["model"]
        for c in (await _route(door, {"prompt": PROMPT, "model": "auto:quality"}))["decision"][
            "candidates"
        ]
    ]
    ids = [CATALOG.models[name].openrouter for name in order]
    door.provider.broken[ids[0]] = (401, {"message": "bad key of ours"})
    for stream in (False, True):
        got = await door.chat(model="auto:quality", stream=stream)
        assert got.status_code == 200
        assert got.headers["x-pointsman-model"] == order[1]
    door.provider.broken = dict.fromkeys(ids, (401, {"message": "bad key of ours"}))
    down = await door.chat(model="auto:quality")
    assert down.status_code == 502
    assert "bad key of ours" not in down.text, (
        "what is between us and the provider is not the client's business"
    )
    door.provider.broken = dict.fromkeys(
        ids, (400, {"message": "max_tokens is too large: 9", "param": "max_tokens", "code": "bad"})
    )
    async with door.openai() as client:
        with pytest.raises(openai.BadRequestError) as wrong:
            await client.chat.completions.create(
                model="auto:quality", messages=[{"role": "user", "content": PROMPT}], max_tokens=9
            )
    assert wrong.value.param == "max_tokens"
    assert "too large" in str(wrong.value)


async def _route(door: Door, body: dict[str, Any]) -> dict[str, Any]:
    async with door.http() as http:
        got = await http.post("/v1/route", json=body)
        assert got.status_code == 200, got.text
        found: dict[str, Any] = got.json()
        return found


async def test_when_the_client_leaves_the_model_is_not_paid_to_go_on(door: Door) -> None:
    door.provider.slow_s, door.provider.words = 0.05, 400
    cancelled = door.provider.cancelled
    async with door.http() as http:
        body = {"messages": [{"role": "user", "content": PROMPT}], "stream": True}
        async with http.stream("POST", "/v1/chat/completions", json=body) as got:
            request_id = got.headers["x-pointsman-request-id"]
            async for _line in got.aiter_lines():
                break
    await eventually(lambda: door.provider.cancelled == cancelled + 1, 5)
    assert door.provider.open == 0

    async def billed() -> bool:
        bills = [read(Spent, r.value) for r in await read_all(door.pipeline.kafka, SPENDING)]
        return any(b.request_id == request_id and b.expected for b in bills)

    await eventually(billed)


async def test_several_gateways_each_get_their_own_answers(door: Door) -> None:
    async with gateway(wired(door.provider, door.file)) as (second, _log):
        addresses = [door.address, second]

        async def one(i: int) -> None:
            async with httpx.AsyncClient(
                headers={"authorization": f"Bearer {door.keys['team']}"}, timeout=30
            ) as http:
                prompt = f"Translate number {i} into French, and nothing else than this number."
                body = {"messages": [{"role": "user", "content": prompt}], "stream": bool(i % 2)}
                got = await http.post(f"{addresses[i % 3 % 2]}/v1/chat/completions", json=body)
                assert got.status_code == 200
                assert "x-pointsman-default" not in got.headers
                if i % 2:
                    words = [
                        json.loads(x[6:]) for x in got.text.splitlines() if x.startswith("data: {")
                    ]
                    said = "".join(c["choices"][0]["delta"].get("content") or "" for c in words)
                else:
                    said = got.json()["choices"][0]["message"]["content"]
                assert said.startswith(f"echo {prompt}")

        await asyncio.gather(*(one(i) for i in range(60)))


async def test_without_the_hot_path_the_default_model_answers_in_time(door: Door) -> None:
    """A gateway on topics of its own, where nobody describes."""
    environment = wired(door.provider, door.file) | {
        "POINTSMAN_GATEWAY_DESCRIBE_S": "0.5",
        "POINTSMAN_GATEWAY_DEFAULTS": '{"economy": "deepseek-v4-pro"}',
        "POINTSMAN_KAFKA_TOPIC_PREFIX": door.pipeline.kafka.topic_prefix + "silent.",
        "POINTSMAN_REDIS_KEY_PREFIX": "silent",
    }
    from shared.adapters.kafka.client import create_topics
    from shared.adapters.kafka.settings import KafkaSettings

    await create_topics(KafkaSettings(topic_prefix=environment["POINTSMAN_KAFKA_TOPIC_PREFIX"]))
    async with (
        gateway(environment) as (address, _log),
        httpx.AsyncClient(
            base_url=address, headers={"authorization": f"Bearer {door.keys['team']}"}
        ) as http,
    ):
        for i in range(4):
            body = {"model": "auto:economy", "messages": [{"role": "user", "content": PROMPT}]}
            async with asyncio.timeout(5):
                got = await http.post("/v1/chat/completions", json=body)
            assert got.status_code == 200
            assert got.headers["x-pointsman-model"] == "deepseek-v4-pro"
            assert got.headers["x-pointsman-default"] == (
                "no description within 0.5 s"
                if i < 3
                else "routing gave no decisions recently, so the gateway does not wait for it now"
            )
        quality = await http.post(
            "/v1/chat/completions",
            json={"model": "auto:quality", "messages": [{"role": "user", "content": PROMPT}]},
        )
        assert quality.headers["x-pointsman-model"] != "deepseek-v4-pro"
        denied = {
            "pointsman": {"constraints": {"allow": ["gpt-5.6"]}},
            "messages": [{"role": "user", "content": PROMPT}],
        }
        assert (await http.post("/v1/chat/completions", json=denied)).headers[
            "x-pointsman-model"
        ] == "gpt-5.6"
        assert (await http.post("/v1/route", json={"prompt": PROMPT})).status_code == 503
        ready = await http.get("/readyz")
        assert ready.status_code == 200
        assert ready.json()["degraded"] is True
        assert ready.json()["decisions_come"] is False
        assert (await http.get("/healthz")).status_code == 200


async def test_keys_are_asked_for_and_say_what_they_may(door: Door) -> None:
    async with httpx.AsyncClient(base_url=door.address) as http:
        for headers in ({}, {"authorization": "Bearer pm-wrong"}, {"authorization": "Basic x"}):
            got = await http.post(
                "/v1/chat/completions",
                json={"messages": [{"role": "user", "content": PROMPT}]},
                headers=headers,
            )
            assert got.status_code == 401
            assert got.json()["error"]["code"] == "invalid_api_key"
            assert got.headers["www-authenticate"] == "Bearer"
        assert (await http.get("/v1/models")).status_code == 401
        assert (
            await http.get("/metrics", headers={"authorization": f"Bearer {door.keys['team']}"})
        ).status_code == 403
        assert (
            "pointsman_http_requests"
            in (
                await http.get("/metrics", headers={"authorization": f"Bearer {door.keys['boss']}"})
            ).text
        )
    got = await door.chat("router")
    assert got.status_code == 403
    assert "may not complete" in got.json()["error"]["message"]
    assert all(key not in door.file.read_text() for key in door.keys.values())
    assert not any(key in text for key in (*door.keys.values(), PROMPT) for _, _, text in door.log)


async def test_rate_and_budget_are_held_before_the_call(door: Door) -> None:
    codes = [(await door.chat("hasty")).status_code for _ in range(4)]
    assert codes[:2] == [200, 200]
    assert codes[2:] == [429, 429]
    late = await door.chat("hasty")
    assert 1 <= int(late.headers["retry-after"]) <= 31
    asked = len(door.provider.asked)
    codes = []
    for _ in range(5):
        codes.append((await door.chat("poor")).status_code)
        await asyncio.sleep(0.1)  # the bill of 0.25 USD is settled when the answer is out
    assert codes[:3] == [200, 200, 200]
    assert codes[3:] == [429, 429], "three bills of 0.25 USD are more than 0.6 USD a day"
    assert len(door.provider.asked) == asked + 3
    refused = await door.chat("poor")
    assert refused.json()["error"]["code"] == "insufficient_quota"


async def test_a_thumb_is_weak_evidence_and_only_on_one_s_own_answers(door: Door) -> None:
    answer = (await door.chat()).json()
    async with door.http() as http:

        async def there() -> bool:
            got = await http.post(
                "/v1/feedback", json={"request_id": answer["id"], "thumb": "down"}
            )
            return got.status_code == 200

        await eventually(there, 5)
        assert (
            await http.post("/v1/feedback", json={"request_id": "chatcmpl-none", "thumb": "up"})
        ).status_code == 404
        assert (
            await http.post("/v1/feedback", json={"request_id": answer["id"], "thumb": "sideways"})
        ).status_code == 400
    async with door.http("poor") as http:
        assert (
            await http.post("/v1/feedback", json={"request_id": answer["id"], "thumb": "up"})
        ).status_code == 404

    async def said() -> bool:
        found = [read(Evaluated, r.value) for r in await read_all(door.pipeline.kafka, EVALUATIONS)]
        mine = [e for e in found if e.request_id == answer["id"]]
        return (
            bool(mine)
            and mine[0].rater.name == "team"
            and mine[0].rater.kind == "feedback"
            and mine[0].embedding is not None
        )

    await eventually(said)


async def test_a_chat_that_is_too_long_for_a_topic_is_routed_by_its_task(door: Door) -> None:
    long = [{"role": "system", "content": "y" * 400_000}, {"role": "user", "content": PROMPT}]
    got = await door.chat(messages=long)
    assert got.status_code == 200
    assert "x-pointsman-cluster" in got.headers
    assert len(door.provider.asked[-1]["messages"][0]["content"]) == 400_000
    assert CATALOG.models[got.json()["model"]].context_tokens >= 100_000
    huge = await door.chat(messages=[{"role": "user", "content": "z" * 9_000_000}])
    assert huge.status_code == 413


async def test_too_much_at_once_is_turned_away_and_the_rest_is_served(door: Door) -> None:
    door.provider.slow_s = 0.5
    few = wired(door.provider, door.file) | {"POINTSMAN_GATEWAY_MAX_REQUESTS": "5"}
    async with gateway(few) as (address, _log), door.http() as http:
        body = {"model": "gpt-5.6-luna", "messages": [{"role": "user", "content": PROMPT}]}
        got = await asyncio.gather(
            *(http.post(f"{address}/v1/chat/completions", json=body) for _ in range(20))
        )
    codes = [g.status_code for g in got]
    assert codes.count(200) == 5
    assert codes.count(429) == 15
    assert all(g.headers["retry-after"] for g in got if g.status_code == 429)


async def test_wrong_requests_are_named_in_openai_s_form(door: Door) -> None:
    wrong: list[tuple[dict[str, Any], str]] = [
        ({"messages": []}, "messages"),
        ({"messages": [{"content": "x"}]}, "messages.0.role"),
        ({"pointsman": {"profile": "best"}}, "pointsman.profile"),
        ({"pointsman": {"constraints": {"max_cost": 1}}}, "pointsman.constraints.max_cost"),
        ({"pointsman": {"profile": "fast", "cost_quality_tradeoff": 3}}, "pointsman"),
    ]
    for body, param in wrong:
        got = await door.chat(**body)
        assert got.status_code == 400, body
        assert got.json()["error"]["param"] == param
        assert got.json()["error"]["type"] == "invalid_request_error"
    async with door.http() as http:
        assert (
            await http.post(
                "/v1/chat/completions", content=b"{", headers={"content-type": "application/json"}
            )
        ).status_code == 400
        assert (
            await http.post(
                "/v1/chat/completions", content=b"{}", headers={"content-type": "text/plain"}
            )
        ).status_code == 415
        assert (await http.get("/v1/chat/completions")).status_code == 405
        assert (await http.get("/nowhere")).json()["error"]["code"] == "not_found"
        page = await http.get("/docs")
        assert "cost_quality_tradeoff" in page.text
        ids = [m["id"] for m in (await http.get("/v1/models")).json()["data"]]
        assert {"auto", "auto:economy", "gpt-5.6"} <= set(ids)


async def test_schemathesis_finds_no_server_error(door: Door) -> None:
    run = await asyncio.create_subprocess_exec(
        *(
            sys.executable,
            "-m",
            "schemathesis.cli",
            "run",
            f"{door.address}/openapi.json",
            "--checks",
            "not_a_server_error",
        ),
        *(
            "--header",
            f"Authorization: Bearer {door.keys['boss']}",
            "--max-examples",
            "25",
            "--phases",
            "examples,coverage,fuzzing",
        ),
        *("--suppress-health-check", "all", "--no-color", "--seed", "1"),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    said = (await run.communicate())[0].decode()
    assert run.returncode == 0, said[-4000:]
    assert "Tested: 15" in said


async def test_a_program_that_knows_only_openais_environment_needs_no_change(door: Door) -> None:
    """The README's own lines."""
    readme = (Path(__file__).parents[2] / "README.md").read_text()
    program = readme.split("python -c '", 1)[1].split("'\n", 1)[0]
    environment = {
        **os.environ,
        "OPENAI_BASE_URL": f"{door.address}/v1",
        "OPENAI_API_KEY": door.keys["team"],
    }
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-c",
        program,
        env=environment,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    said, wrong = await asyncio.wait_for(process.communicate(), 60)
    assert process.returncode == 0, wrong.decode()
    assert said.decode().strip() in CATALOG.models
    assert len(door.provider.asked) == 1


async def test_the_examples_of_the_docs_run(pipeline: Pipeline, tmp_path: Path) -> None:
    """With SIMULATED models; those in Node run in `make test-clients`."""
    key, kept = new("reader", frozenset({Scope.complete}), None, None)
    write(tmp_path / "keys.yaml", (kept,))
    async with gateway({"POINTSMAN_KEYS_FILE": str(tmp_path / "keys.yaml")}) as (address, _):
        async with httpx.AsyncClient(base_url=address) as http:
            page = (await http.get("/docs")).text
        for sample in SAMPLES:
            text = filled(sample.text, address, "YOUR_KEY")
            assert str(escape(text)) in page, sample.title
            if sample.language != "javascript":
                await _runs(sample.language, text.replace("YOUR_KEY", key), sample.title)


async def _runs(language: str, text: str, title: str) -> None:
    command = [sys.executable] if language == "python" else ["bash"]
    process = await asyncio.create_subprocess_exec(
        *command, "-c", text, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
    )
    async with asyncio.timeout(60):
        said, wrong = await process.communicate()
    assert process.returncode == 0, (title, wrong.decode())
    assert said.strip(), title
    assert b'"error"' not in said, (title, said)


async def test_models_that_nobody_knows_are_refused_in_limits(door: Door) -> None:
    for which in ("allow", "deny"):
        got = await door.chat(pointsman={"constraints": {which: ["gpt-5.6-lunar"]}})
        assert got.status_code == 400
        assert got.json()["error"]["param"] == f"pointsman.constraints.{which}"
        assert "did you mean gpt-5.6-luna?" in got.json()["error"]["message"]
    got = await door.chat(pointsman={"constraints": {"allow": ["openai/gpt-5.6-luna"]}})
    assert got.status_code == 200, "a provider's name of a model is as good"
    assert got.headers["x-pointsman-model"] == "gpt-5.6-luna"


async def test_what_does_not_say_what_it_is_is_json_unless_a_page_sends_it(door: Door) -> None:
    body = json.dumps({"messages": [{"role": "user", "content": PROMPT}]}).encode()
    form = {"content-type": "application/x-www-form-urlencoded"}
    async with door.http() as http:
        assert (await http.post("/v1/chat/completions", content=body)).status_code == 200
        taken = await http.post("/v1/chat/completions", content=body, headers=form)
        assert taken.status_code == 200
        for page in ({"origin": "https://elsewhere.example"}, {"sec-fetch-site": "cross-site"}):
            refused = await http.post("/v1/chat/completions", content=body, headers=form | page)
            assert refused.status_code == 415


async def test_models_are_those_that_can_be_chosen(door: Door) -> None:
    async with door.http() as http:
        listed = {m["id"] for m in (await http.get("/v1/models")).json()["data"]}
        assert {"auto", "gpt-5.6-luna"} <= listed
        assert "claude-2" not in listed
        assert (await http.get("/v1/models/claude-2")).status_code == 200, "it can be asked by name"


async def test_what_looks_like_ours_and_is_not_is_refused(door: Door) -> None:
    async with door.http() as http:
        body = {"messages": [{"role": "user", "content": PROMPT}]}
        misspelt = {"x-pointsman-profil": "economy"}
        got = await http.post("/v1/chat/completions", json=body, headers=misspelt)
        assert got.status_code == 400
        assert "did you mean x-pointsman-profile?" in got.json()["error"]["message"]
        sent_back = {"x-pointsman-request-id": "chatcmpl-1", "x-pointsman-model": "gpt-5.6"}
        taken = await http.post("/v1/chat/completions", json=body, headers=sent_back)
        assert taken.status_code == 200
    got = await door.chat(model="gpt-5.6-lunar")
    assert got.status_code == 404
    assert "did you mean gpt-5.6-luna?" in got.json()["error"]["message"]
    denied = await door.chat(model="gpt-5.6", pointsman={"constraints": {"deny": ["gpt-5.6"]}})
    assert denied.status_code == 400
    assert denied.json()["error"]["param"] == "pointsman.constraints"
