"""Packages and agents of others, unchanged, through the gateway on a real Kafka: `make
test-clients`.

What answers is SCRIPTED (`stand_in`). Each agent edits a file in two steps; the model that answered
the first step is unwell at the second, so that another goes on in the middle of the conversation.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
import uvicorn
import yaml
from conftest import Pipeline
from doors import gateway
from stand_in import TEXTS, StandIn

from services.gateway.samples import SAMPLES, CodeSample, filled
from services.workbench.clients import GatewayAddress, clients
from shared.adapters.keys import new, write
from shared.catalog.models import DEFAULT
from shared.contracts.scopes import Scope

pytestmark = pytest.mark.clients
ROOT = Path(__file__).parents[2]
HERE = ROOT / "tests" / "clients"
NODE = ROOT / ".clients"
PYTHON = ROOT / ".clients" / "venv" / "bin" / "python"
WITHIN_S = 120


@dataclass
class House:
    address: str
    key: str
    model: StandIn


@asynccontextmanager
async def served(model: StandIn) -> AsyncIterator[str]:
    config = uvicorn.Config(
        model.application(), log_config=None, lifespan="off", timeout_graceful_shutdown=1
    )
    server = uvicorn.Server(config)
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen(100)
        server.install_signal_handlers = lambda: None  # type: ignore[method-assign,attr-defined]
        task = asyncio.create_task(server._serve([listening]))
        try:
            yield f"http://127.0.0.1:{listening.getsockname()[1]}/v1"
        finally:
            server.should_exit = True
            await task


@pytest.fixture
async def house(pipeline: Pipeline, tmp_path: Path) -> AsyncIterator[House]:
    """Models of Claude's behind Anthropic's protocol, the others behind OpenAI's."""
    key, kept = new("agent", frozenset({Scope.complete}), None, None)
    write(tmp_path / "keys.yaml", (kept,))
    catalog = yaml.safe_load(DEFAULT.read_text())
    for name, fields in catalog["models"].items():
        if name.startswith("claude"):
            fields["provider"] = "anthropic"
    (tmp_path / "models.yaml").write_text(yaml.safe_dump(catalog))
    model = StandIn()
    async with served(model) as base_url:
        native = {"anthropic": {"base_url": base_url, "api": "anthropic", "key_env": "CLAUDE_KEY"}}
        (tmp_path / "providers.yaml").write_text(yaml.safe_dump(native))
        environment = {
            "POINTSMAN_LLM_BASE_URL": base_url,
            "POINTSMAN_LLM_API_KEY": "scripted",
            "POINTSMAN_LLM_PROVIDERS": str(tmp_path / "providers.yaml"),
            "POINTSMAN_LLM_ATTEMPTS": "1",
            "POINTSMAN_GATEWAY_MODELS": "7",
            "POINTSMAN_GATEWAY_CATALOG": str(tmp_path / "models.yaml"),
            "POINTSMAN_GATEWAY_DEADLINE_S": "5",
            "POINTSMAN_KEYS_FILE": str(tmp_path / "keys.yaml"),
            "CLAUDE_KEY": "scripted",
        }
        async with gateway(environment) as (address, _):
            yield House(address, key, model)


async def run(*command: str, folder: Path, **environment: str) -> str:
    """What a program says. Fails where it fails."""
    kept = {
        name: os.environ[name]
        for name in ("PATH", "LANG", "NODE_EXTRA_CA_CERTS")
        if name in os.environ
    }
    process = await asyncio.create_subprocess_exec(
        *command,
        cwd=folder,
        env=kept | {"HOME": str(folder), "NO_PROXY": "127.0.0.1"} | environment,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    try:
        async with asyncio.timeout(WITHIN_S):
            said = (await process.communicate())[0].decode()
    except TimeoutError:
        process.kill()
        said = (await process.communicate())[0].decode()
        raise AssertionError(f"not done within {WITHIN_S} s; it said: {said[-3000:]}") from None
    assert process.returncode == 0, said[-3000:]
    return said


@pytest.mark.parametrize("model", ["auto:economy", "claude-haiku-5.5", "gpt-5.6-luna"])
@pytest.mark.parametrize("script", ["node_openai.mjs", "node_anthropic.mjs", "node_ai_sdk.mjs"])
async def test_packages_for_node(house: House, script: str, model: str, tmp_path: Path) -> None:
    shutil.copy(HERE / script, NODE / script)
    said = await run("node", str(NODE / script), folder=tmp_path, MODEL=model, **places(house))
    assert "ok" in said


@pytest.mark.parametrize("model", ["auto:economy", "claude-haiku-5.5", "gpt-5.6-luna"])
async def test_langchain_and_litellm(house: House, model: str, tmp_path: Path) -> None:
    script = str(HERE / "python_others.py")
    said = await run(str(PYTHON), script, folder=tmp_path, MODEL=model, **places(house))
    assert said.count("ok") == 5


def places(house: House) -> dict[str, str]:
    return {
        "OPENAI_BASE_URL": f"{house.address}/v1",
        "OPENAI_API_KEY": house.key,
        "ANTHROPIC_BASE_URL": house.address,
        "ANTHROPIC_API_KEY": house.key,
    }


ASKED = "Write a short note into note.txt, read it again, and improve it."
AGENTS = {
    "claude-code": ("claude", "-p", ASKED, "--dangerously-skip-permissions"),
    "codex": (
        "codex",
        "exec",
        "--skip-git-repo-check",
        "--dangerously-bypass-approvals-and-sandbox",
        ASKED,
    ),
    "opencode": ("opencode", "run", ASKED),
}


@pytest.mark.parametrize(
    "sample", [s for s in SAMPLES if s.language == "javascript"], ids=lambda s: s.title
)
async def test_the_examples_of_the_docs_in_node_run(
    pipeline: Pipeline, tmp_path: Path, sample: CodeSample
) -> None:
    key, kept = new("reader", frozenset({Scope.complete}), None, None)
    write(tmp_path / "keys.yaml", (kept,))
    program = NODE / f"sample-{abs(hash(sample.title))}.mjs"
    async with gateway({"POINTSMAN_KEYS_FILE": str(tmp_path / "keys.yaml")}) as (address, _):
        program.write_text(filled(sample.text, address, key))
        try:
            assert (await run("node", str(program), folder=tmp_path)).strip()
        finally:
            program.unlink()


@pytest.mark.parametrize("name", AGENTS)
async def test_an_agent_edits_a_file_while_the_model_changes(
    house: House, name: str, tmp_path: Path
) -> None:
    """Set up by what `pointsman connect` writes."""
    home = tmp_path / "home"
    home.mkdir()
    client = clients(home)[name]
    assert client.file is not None
    assert client.merged is not None
    client.file.parent.mkdir(parents=True)
    client.file.write_text(client.merged("", GatewayAddress(house.address, house.key)))
    house.model.unwell = {
        model["openrouter"] for model in yaml.safe_load(DEFAULT.read_text())["models"].values()
    }
    program, *arguments = AGENTS[name]
    said = await run(
        str(NODE / "node_modules" / ".bin" / program),
        *arguments,
        folder=home,
        POINTSMAN_API_KEY=house.key,
        IS_SANDBOX="1",
        DISABLE_TELEMETRY="1",
        DISABLE_AUTOUPDATER="1",
        CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC="1",
        OPENCODE_DISABLE_AUTOUPDATE="1",
        OPENCODE_DISABLE_MODELS_FETCH="1",
    )
    steps = [who for who, what in house.model.log if what != "says"]
    assert len(steps) == 2, (house.model.log, said[-2000:])
    assert steps[0] != steps[1], "another model goes on"
    assert (home / "note.txt").read_text() == TEXTS[1]
    assert "SCRIPTED" in said
