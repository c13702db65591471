"""The gateway as agents meet it: Anthropic's and OpenAI's own packages, in all three protocols,
with models of both kinds behind it."""

from __future__ import annotations

import base64
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import anthropic
import cramjam
import openai
import pytest
import yaml
from conftest import Pipeline, eventually
from doors import PROMPT, Door, gateway, opened, wired

from shared.adapters.kafka.client import read_all
from shared.adapters.llm.scripted import Reply, Script
from shared.catalog.models import DEFAULT
from shared.contracts.messages import Completed, read
from shared.contracts.topics import COMPLETIONS

CLAUDE, OTHER = "claude-haiku-5.5", "gpt-5.6-luna"
"""One behind Anthropic's own protocol, one behind OpenAI's."""
TOOL = {
    "name": "edit",
    "description": "Edit a file.",
    "input_schema": {"type": "object", "properties": {"path": {"type": "string"}}},
}
FUNCTION = {
    "type": "function",
    "function": {"name": "edit", "description": "Edit.", "parameters": TOOL["input_schema"]},
}


@pytest.fixture(scope="module")
async def door(pipeline: Pipeline, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Door]:
    folder = tmp_path_factory.mktemp("protocols")
    catalog = yaml.safe_load(DEFAULT.read_text())
    catalog["models"][CLAUDE] |= {"provider": "anthropic", "ids": {"anthropic": "claude-native"}}
    catalog["models"]["small-embedding"] = {
        "openrouter": "openai/small-embedding",
        "kind": "embedding",
        "price": {"input": 0.02, "output": 0.0},
        "context_tokens": 8191,
        "latency_s": 0.2,
        "as_of": "2026-11-26",
        "source": "a test",
    }
    (folder / "models.yaml").write_text(yaml.safe_dump(catalog))
    providers = folder / "providers.yaml"
    providers.write_text("{}")
    environment = {
        "POINTSMAN_GATEWAY_CATALOG": str(folder / "models.yaml"),
        "POINTSMAN_LLM_PROVIDERS": str(providers),
        "POINTSMAN_GATEWAY_ALIASES": '{"claude-opus-of-tomorrow": "auto"}',
        "CLAUDE_KEY": "anthropic-secret",
    }
    from provider import provider

    async with provider() as native:
        fields = {"base_url": native.base_url, "api": "anthropic", "key_env": "CLAUDE_KEY"}
        providers.write_text(yaml.safe_dump({"anthropic": fields}))
        async with opened(pipeline, folder, environment) as made:
            made.native = native  # type: ignore[attr-defined]
            yield made


@pytest.fixture(autouse=True)
def _calm(door: Door) -> None:
    for one in (door.provider, door.native):  # type: ignore[attr-defined]
        one.broken.clear()
        one.asked.clear()
        one.headers.clear()
        one.script = None
    door.provider.slow_s, door.provider.words = 0.0, 5


def native(door: Door) -> Any:
    return door.native  # type: ignore[attr-defined]


async def test_anthropics_package_is_answered_by_the_selected_model(door: Door) -> None:
    async with door.anthropic() as client:
        raw = await client.messages.with_raw_response.create(
            model="auto:economy",
            max_tokens=100,
            system="Be brief.",
            messages=[{"role": "user", "content": PROMPT}],
        )
    message = await raw.parse()
    name = raw.headers["x-pointsman-model"]
    assert message.model == name
    assert message.id == raw.headers["x-pointsman-request-id"]
    assert message.id.startswith("msg_")
    assert message.stop_reason == "end_turn"
    assert message.usage.cost == float(raw.headers["x-pointsman-cost-usd"])  # type: ignore[attr-defined]
    assert raw.headers["x-pointsman-cluster"].startswith("c")
    asked = (native(door) if name == CLAUDE else door.provider).asked[-1]
    assert asked["max_tokens"] == 100

    async def learnt() -> Completed | None:
        found = [read(Completed, r.value) for r in await read_all(door.pipeline.kafka, COMPLETIONS)]
        return next((m for m in found if m.request_id == message.id), None)

    await eventually(learnt)
    completed = await learnt()
    assert completed is not None
    assert "anthropic" not in json.dumps(completed.chat()) + json.dumps(completed.parameters)


@pytest.mark.parametrize("stream", [False, True])
async def test_a_model_of_anthropics_gets_a_request_of_anthropics_as_it_came(
    door: Door, stream: bool
) -> None:
    sent: dict[str, Any] = {
        "max_tokens": 2000,
        "thinking": {"type": "enabled", "budget_tokens": 1024},
        "metadata": {"user_id": "u"},
        "extra_body": {"top_k": 3},
        "tools": [{**TOOL, "cache_control": {"type": "ephemeral"}}],
        "messages": [{"role": "user", "content": [{"type": "text", "text": "Look."}]}],
    }
    async with door.anthropic() as client:
        if stream:
            async with client.messages.stream(
                model=CLAUDE, extra_headers={"anthropic-beta": "a,b"}, **sent
            ) as events:
                message = await events.get_final_message()
            headers = events.response.headers
        else:
            raw = await client.messages.with_raw_response.create(
                model=CLAUDE, extra_headers={"anthropic-beta": "a,b"}, **sent
            )
            message, headers = await raw.parse(), raw.headers
    asked = native(door).asked[-1]
    more = sent.pop("extra_body")
    expected = sent | more | {"model": "claude-native"}
    assert asked == expected | ({"stream": True} if stream else {})
    assert native(door).headers[-1]["x-api-key"] == "anthropic-secret"
    assert native(door).headers[-1]["anthropic-beta"] == "a,b"
    assert "x-pointsman-left-out" not in headers
    thought, text = message.content
    assert thought.signature == "signed-by-claude"  # type: ignore[union-attr]
    assert text.text.startswith("echo")  # type: ignore[union-attr]
    assert message.model == CLAUDE
    assert message.id == headers["x-pointsman-request-id"]
    assert (message.usage.input_tokens, message.usage.cache_read_input_tokens) == (3, 4)
    assert stream or message.usage.cost == pytest.approx(  # type: ignore[attr-defined]
        (3 * 0.1 + 4 * 0.01 + 2 * 0.125 + 5 * 0.5) / 1e6
    )


async def test_another_model_gets_it_translated_and_what_did_not_reach_it_is_named(
    door: Door,
) -> None:
    async with door.anthropic() as client:
        raw = await client.messages.with_raw_response.create(
            model=OTHER,
            max_tokens=100,
            extra_body={"top_k": 3},
            tools=[TOOL],  # type: ignore[list-item]
            messages=[{"role": "user", "content": "Edit a."}],
        )
    message = await raw.parse()
    asked = door.provider.asked[-1]
    assert asked["messages"] == [{"role": "user", "content": "Edit a."}]
    assert asked["tools"][0]["function"]["parameters"] == TOOL["input_schema"]
    assert "top_k" not in asked
    assert "anthropic" not in asked
    assert raw.headers["x-pointsman-left-out"] == "top_k"
    assert message.stop_reason == "tool_use"
    (call,) = message.content
    assert (call.name, call.input) == ("edit", {"x": 1})  # type: ignore[union-attr]


async def test_a_stream_in_anthropics_form_from_a_model_of_another(door: Door) -> None:
    asked: Any = {
        "model": OTHER,
        "max_tokens": 100,
        "messages": [{"role": "user", "content": PROMPT}],
    }
    async with door.anthropic() as client:
        async with client.messages.stream(**asked) as stream:
            words = [text async for text in stream.text_stream]
            message = await stream.get_final_message()
        raw = [event async for event in await client.messages.create(stream=True, **asked)]
    assert "".join(words).startswith(f"echo {PROMPT}")
    assert len(words) > 5
    assert message.stop_reason == "end_turn"
    assert raw[-2].usage.cost == 0.25  # type: ignore[union-attr]
    assert raw[-1].type == "message_stop"
    assert (message.usage.input_tokens, message.usage.output_tokens) == (7, 5)


async def test_chat_and_responses_reach_a_model_of_anthropics(door: Door) -> None:
    async with door.openai() as client:
        answer = await client.chat.completions.create(
            model=CLAUDE,
            messages=[
                {"role": "system", "content": "Be brief."},
                {"role": "user", "content": "Hi"},
            ],
            tools=[FUNCTION],  # type: ignore[list-item]
            seed=3,
        )
        asked = native(door).asked[-1]
        assert asked["system"] == "Be brief."
        assert asked["messages"] == [{"role": "user", "content": "Hi"}]
        assert asked["tools"][0]["input_schema"] == TOOL["input_schema"]
        assert "seed" not in asked
        assert answer.choices[0].message.content == "echo Hi"
        assert answer.usage.prompt_tokens == 9  # type: ignore[union-attr]
        assert "anthropic" not in answer.model_dump_json()
        raw = await client.chat.completions.with_raw_response.create(
            model=CLAUDE, messages=[{"role": "user", "content": "Hi"}], seed=3
        )
        assert raw.headers["x-pointsman-left-out"] == "seed"
        stream = await client.chat.completions.create(
            model=CLAUDE, messages=[{"role": "user", "content": "Hi"}], stream=True
        )
        chunks = [chunk async for chunk in stream]
        assert "".join(c.choices[0].delta.content or "" for c in chunks) == "echo Hi"
        assert chunks[-1].usage.cost > 0  # type: ignore[union-attr]
        response = await client.responses.create(model=CLAUDE, input="Hi")
        assert response.output_text == "echo Hi"
        assert response.output[0].type == "reasoning"


async def test_the_responses_api_whole_streamed_and_gone_on_from(door: Door) -> None:
    async with door.openai() as client:
        first = await client.responses.create(
            model="auto", instructions="Be brief.", input=PROMPT, extra_body={"pointsman": {}}
        )
        assert first.output_text == f"echo {PROMPT}"
        assert first.status == "completed"
        assert first.id.startswith("resp_")
        assert first.usage.cost > 0  # type: ignore[union-attr]
        stream = await client.responses.create(
            model="auto", input="And now in German.", previous_response_id=first.id, stream=True
        )
        events = [event async for event in stream]
        assert [e.sequence_number for e in events] == [*range(len(events))]
        assert events[-1].type == "response.completed"
        second = events[-1].response
        assert second.output_text.startswith("echo")
        assert second.previous_response_id == first.id
        turns = door.provider.asked[-1]["messages"] or native(door).asked[-1]["messages"]
        assert [turn["role"] for turn in turns] == ["user", "assistant", "user"]

        async def kept() -> openai.types.responses.Response | None:
            try:
                return await client.responses.retrieve(second.id)
            except openai.NotFoundError:
                return None

        await eventually(kept)
        again = await kept()
        assert again is not None
        assert again.output_text == second.output_text
        item = {"type": "item_reference", "id": first.output[-1].id}
        referred = await client.responses.create(
            model=OTHER,
            input=[
                {"role": "user", "content": "Before"},
                item,
                {"role": "user", "content": "And?"},
            ],
        )
        assert referred.status == "completed"
        said = door.provider.asked[-1]["messages"][1]
        assert (said["role"], said["content"]) == ("assistant", f"echo {PROMPT}")
        with pytest.raises(openai.BadRequestError, match="no response 'resp_unknown'"):
            await client.responses.create(
                model=OTHER,
                input=[item | {"id": "msg_unknown"}],  # type: ignore[list-item]
            )
        await client.responses.delete(second.id)
        with pytest.raises(openai.NotFoundError):
            await client.responses.retrieve(second.id)
        with pytest.raises(openai.BadRequestError) as missing:
            await client.responses.create(
                model="auto", input="More.", previous_response_id=second.id
            )
        assert missing.value.code == "previous_response_not_found"
        unkept = await client.responses.create(model="auto", input=PROMPT, store=False)
        with pytest.raises(openai.NotFoundError):
            await client.responses.retrieve(unkept.id)
    async with door.http("boss") as http:
        assert (await http.get(f"/v1/responses/{first.id}")).status_code == 200
    async with door.http("hasty") as http:
        assert (await http.get(f"/v1/responses/{first.id}")).status_code == 404


async def test_a_function_is_called_and_its_output_goes_back(door: Door) -> None:
    tool = {"type": "function", "name": "edit", "parameters": TOOL["input_schema"], "strict": False}
    async with door.openai() as client:
        asked = await client.responses.create(model=OTHER, input="Edit a.", tools=[tool])  # type: ignore[list-item]
        (call,) = [item for item in asked.output if item.type == "function_call"]
        assert json.loads(call.arguments) == {"x": 1}
        output = {"type": "function_call_output", "call_id": call.call_id, "output": "done"}
        await client.responses.create(
            model=OTHER,
            previous_response_id=asked.id,
            input=[output],  # type: ignore[list-item]
        )
    turns = door.provider.asked[-1]["messages"]
    assert [turn["role"] for turn in turns] == ["user", "assistant", "tool"]
    assert turns[1]["tool_calls"][0]["id"] == turns[2]["tool_call_id"] == call.call_id


async def test_signatures_go_only_to_whom_they_belong_when_the_model_changes(door: Door) -> None:
    """A conversation in Anthropic's form, whose second turn another model answers."""
    talk: list[Any] = [{"role": "user", "content": "Look at the file a."}]
    async with door.anthropic() as client:

        async def turn(model: str, more: str | None = None) -> Any:
            if more:
                talk.append({"role": "user", "content": more})
            message = await client.messages.create(
                model=model,
                max_tokens=2000,
                messages=talk,
                thinking={"type": "enabled", "budget_tokens": 1024},
            )
            talk.append({"role": "assistant", "content": [b.model_dump() for b in message.content]})
            return message

        await turn(CLAUDE)
        await turn(OTHER, "Now the file b.")
        asked = door.provider.asked[-1]["messages"]
        assert [t["role"] for t in asked] == ["user", "assistant", "user"]
        assert "signed-by-claude" not in json.dumps(asked)
        await turn(CLAUDE, "Now the file c.")
        asked = native(door).asked[-1]["messages"]
        assert asked[1]["content"] == talk[1]["content"], "its own turn is as it was"
        assert [type(t["content"]) for t in asked] == [str, list, str, list, str]
        assert json.dumps(asked).count("signed-by-claude") == 1


async def test_errors_come_in_the_form_of_the_protocol(door: Door) -> None:
    door.provider.broken[door_id(OTHER)] = (400, {"message": "no such thing", "code": "x"})
    native(door).broken["claude-native"] = (529, {"type": "overloaded_error", "message": "busy"})
    async with door.anthropic() as client:
        with pytest.raises(anthropic.BadRequestError, match="no such thing") as refused:
            await client.messages.create(
                model=OTHER, max_tokens=5, messages=[{"role": "user", "content": "Hi"}]
            )
        assert refused.value.body["error"]["type"] == "invalid_request_error"  # type: ignore[index,call-overload]
        with pytest.raises(anthropic.NotFoundError):
            await client.messages.create(
                model="gpt-99", max_tokens=5, messages=[{"role": "user", "content": "Hi"}]
            )
        with pytest.raises(anthropic.InternalServerError):
            await client.messages.create(
                model=CLAUDE, max_tokens=5, messages=[{"role": "user", "content": "Hi"}]
            )
    async with anthropic.AsyncAnthropic(
        base_url=door.address, api_key="wrong", max_retries=0
    ) as stranger:
        with pytest.raises(anthropic.AuthenticationError):
            await stranger.messages.create(
                model=OTHER, max_tokens=5, messages=[{"role": "user", "content": "Hi"}]
            )
    async with door.openai() as client:
        with pytest.raises(openai.BadRequestError, match="while you wait"):
            await client.responses.create(model=OTHER, input="Hi", background=True)


def door_id(name: str) -> str:
    models: dict[str, Any] = yaml.safe_load(DEFAULT.read_text())["models"]
    found: str = models[name]["openrouter"]
    return found


def begun(text: str) -> dict[str, Any]:
    choice = {"index": 0, "delta": {"content": text}, "finish_reason": None}
    return {"id": "x", "object": "chat.completion.chunk", "model": "m", "choices": [choice]}


async def test_a_stream_that_breaks_off_raises_in_every_clients_library(door: Door) -> None:
    broken = Reply(events=(begun("half"),), cut=True)
    door.provider.script = Script(replies=(broken,))
    user: Any = [{"role": "user", "content": "Hi"}]
    async with door.openai() as client:
        with pytest.raises(openai.APIError):
            async for _ in await client.chat.completions.create(
                model=OTHER, messages=user, stream=True
            ):
                pass
        with pytest.raises(openai.APIError):
            async for _ in await client.responses.create(model=OTHER, input="Hi", stream=True):
                pass
    async with door.anthropic() as other:
        with pytest.raises(anthropic.APIStatusError):
            async for _ in await other.messages.create(
                model=OTHER, max_tokens=5, messages=user, stream=True
            ):
                pass


async def test_tokens_are_counted_and_models_listed_for_both(door: Door) -> None:
    async with door.anthropic() as client:
        few = await client.messages.count_tokens(
            model="auto", messages=[{"role": "user", "content": "Hi"}]
        )
        more = await client.messages.count_tokens(
            model="auto",
            messages=[{"role": "user", "content": "Hi"}],
            tools=[TOOL],  # type: ignore[list-item]
        )
        assert 0 < few.input_tokens < more.input_tokens
        listed = [model.id async for model in client.models.list()]
    assert {"auto", "auto:economy", CLAUDE, OTHER} <= set(listed)
    async with door.openai() as client2:
        assert listed == [model.id async for model in client2.models.list()]


async def test_embeddings_of_the_own_encoder_and_of_a_provider(door: Door) -> None:
    async with door.openai() as client:
        got = await client.embeddings.create(model="int8", input=["a cat", "a dog"])
        assert len(got.data) == 2
        assert len(got.data[0].embedding) == 384
        assert sum(x * x for x in got.data[0].embedding) == pytest.approx(1.0, abs=0.01)
        plain = await client.embeddings.create(model="int8", input="a cat", encoding_format="float")
        assert plain.data[0].embedding == pytest.approx(got.data[0].embedding, abs=0.05)
        raw = await client.embeddings.with_raw_response.create(
            model="small-embedding", input="four", encoding_format="float", dimensions=2
        )
        assert raw.parse().data[0].embedding == [4.0, 1.0]
        assert float(raw.headers["x-pointsman-cost-usd"]) == pytest.approx(0.02)
        assert door.provider.asked[-1]["dimensions"] == 2
        assert door.provider.asked[-1]["model"] == "openai/small-embedding"
        with pytest.raises(openai.NotFoundError, match="there is int8, small-embedding"):
            await client.embeddings.create(model="gpt-5.6-luna", input="a")
        with pytest.raises(openai.BadRequestError, match="it embeds"):
            await client.chat.completions.create(
                model="small-embedding", messages=[{"role": "user", "content": "Hi"}]
            )


async def test_old_completions_and_names_that_mean_auto(door: Door) -> None:
    async with door.openai() as client:
        old = await client.completions.create(model="auto", prompt=PROMPT, max_tokens=9)
        assert old.choices[0].text == f"echo {PROMPT}"
        stream = await client.completions.create(model="auto", prompt=PROMPT, stream=True)
        text = "".join([chunk.choices[0].text async for chunk in stream])
        assert text.startswith(f"echo {PROMPT}")
    async with door.anthropic() as claude:
        message = await claude.messages.create(
            model="claude-opus-of-tomorrow",
            max_tokens=5,
            messages=[{"role": "user", "content": PROMPT}],
        )
    assert message.model != "claude-opus-of-tomorrow"


PICTURE = "data:image/png;base64," + base64.b64encode(b"png").decode()


async def test_a_picture_is_never_sent_to_a_model_that_can_not_see(door: Door) -> None:
    async with door.anthropic() as client:
        source = {"type": "base64", "media_type": "image/png", "data": "AAAA"}
        parts: Any = [{"type": "image", "source": source}]
        for content in (parts, [*parts, {"type": "text", "text": PROMPT}]):
            raw = await client.messages.with_raw_response.create(
                model="auto:economy", max_tokens=9, messages=[{"role": "user", "content": content}]
            )
            assert "x-pointsman-default" not in raw.headers
            catalog = yaml.safe_load(DEFAULT.read_text())["models"]
            assert "image" in catalog[raw.headers["x-pointsman-model"]]["can"]
    async with door.http() as http:
        message = {
            "role": "user",
            "content": [{"type": "image_url", "image_url": {"url": PICTURE}}],
        }
        got = await http.post("/v1/route", json={"messages": [message]})
        blind = {"model": "deepseek-v4-pro", "reason": "reads no images"}
        assert blind in got.json()["decision"]["ruled_out"]


@pytest.mark.parametrize("coding", ["gzip", "br", "zstd"])
async def test_packed_bodies_are_unpacked_within_a_bound(door: Door, coding: str) -> None:
    pack = {
        "gzip": cramjam.gzip.compress,
        "br": cramjam.brotli.compress,
        "zstd": cramjam.zstd.compress,
    }[coding]
    body = {"model": OTHER, "messages": [{"role": "user", "content": "Hi"}]}
    headers = {"content-encoding": coding, "content-type": "application/json"}
    async with door.http() as http:

        async def send(value: bytes) -> tuple[int, Any]:
            got = await http.post("/v1/chat/completions", content=value, headers=headers)
            return got.status_code, got.json()

        packed = bytes(pack(json.dumps(body).encode()))
        assert (await send(packed))[0] == 200
        assert (await send(bytes(pack(b" " * 50_000_000))))[0] == 413
        assert (await send(packed[:-3]))[0] in (400, 413)
        assert (await send(b"nothing of the kind"))[0] in (400, 413)
        headers["content-encoding"] = "lz4"
        status, error = await send(packed)
        assert status == 415
        assert "zstd" in error["error"]["message"]


@pytest.mark.parametrize(
    "path", ["/chat/completions", "/v1/v1/chat/completions", "/v1/chat/completions/"]
)
async def test_a_path_is_answered_as_what_it_means(door: Door, path: str) -> None:
    async with door.http() as http:
        body = {"model": OTHER, "messages": [{"role": "user", "content": "Hi"}]}
        assert (await http.post(path, json=body)).status_code == 200


async def test_a_silent_model_is_left_for_the_next_and_comments_keep_the_client(
    door: Door, tmp_path: Path
) -> None:
    environment = wired(door.provider, door.file) | {
        "POINTSMAN_GATEWAY_SILENCE_S": "1",
        "POINTSMAN_GATEWAY_KEEP_ALIVE_S": "0.2",
    }
    silent = Reply(events=(begun("late"),), wait_s=30)
    first = Reply(events=(begun("late"), begun("later")), pause_s=30)
    async with gateway(environment) as (address, _), door.http() as http:
        url = f"{address}/v1/chat/completions"
        body = {"model": "auto", "messages": [{"role": "user", "content": PROMPT}], "stream": True}
        door.provider.script = Script(replies=(silent.model_copy(update={"times": 1}),))
        said = (await http.post(url, json=body)).text
        assert said.startswith(": waiting for a model\n\n")
        assert said.endswith("data: [DONE]\n\n")
        assert len({asked["model"] for asked in door.provider.asked}) == 2
        door.provider.script = Script(replies=(first,))
        broken = (await http.post(url, json=body)).text
        assert "said nothing for 1 s" in broken
        assert "[DONE]" not in broken
        door.provider.script = Script(replies=(silent,))
        none = (await http.post(url, json=body)).text
        assert "no model answered" in none
