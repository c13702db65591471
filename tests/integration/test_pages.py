"""The commands that README and docs show are run, and print what the pages say.

Figures and models differ from run to run. So a line of output is compared by its first word, and a
line of JSON by its keys. Where the page shows a model's name, any model's name will do.
"""

from __future__ import annotations

import asyncio
import gzip
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import pytest_asyncio
import yaml
from blocks import blocks
from conftest import running_up, without_settings

from shared.catalog import models

ROOT = Path(__file__).parents[2]
MODELS = set(models.load().models)
RUN_WITHIN_S = 180
ELSEWHERE = {
    "pip install": "the environment of the tests has it",
    "pointsman rank": "takes minutes; test_commands.py ranks fewer prompts",
    "pointsman simulate --script": "runs until Ctrl-C; the test below starts it",
    "curl -s localhost:8089": "asks that one; the test below does",
}
"""Commands that are not run here, by how they begin, and why."""
KCAT = """
import argparse, asyncio, os, sys
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer

options = argparse.ArgumentParser()
for flag in ("-P", "-C", "-e"):
    options.add_argument(flag, action="store_true")
for flag in ("-b", "-t", "-o"):
    options.add_argument(flag)
options = options.parse_args()


async def main():
    if options.P:
        async with AIOKafkaProducer(bootstrap_servers=options.b) as producer:
            for line in sys.stdin.buffer.read().splitlines():
                await producer.send_and_wait(options.t, line)
        return
    async with AIOKafkaConsumer(options.t, bootstrap_servers=options.b) as consumer:
        parts = consumer.assignment()
        begin, end = await consumer.beginning_offsets(parts), await consumer.end_offsets(parts)
        for part in parts:
            at = max(begin[part], end[part] + int(options.o))
            consumer.seek(part, at)
            while at < end[part]:
                print((await consumer.getone(part)).value.decode(), flush=True)
                at += 1


asyncio.run(main())
"""
"""A STAND-IN for kcat, where it is not installed: the options that the pages use."""


@dataclass(frozen=True)
class Step:
    """A command of a page, and the lines that it shows after it."""

    command: str
    shown: tuple[str, ...]


def steps(page: str) -> list[Step]:
    """The commands of a page's console blocks."""
    found = []
    for block in blocks((ROOT / page).read_text(), "console"):
        for part in re.split(r"(?m)^\$ ", block.rstrip("\n"))[1:]:
            lines = part.split("\n")
            count = 1
            while lines[count - 1].endswith("\\") or "\n".join(lines[:count]).count("'") % 2:
                count += 1
            found.append(Step("\n".join(lines[:count]), tuple(lines[count:])))
    return found


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def reader(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[dict[str, str]]:
    """`pointsman up` on embedded servers; how commands find it, as environment variables."""
    home = tmp_path_factory.mktemp("home")
    tools = home / "tools"
    tools.mkdir()
    if shutil.which("kcat") is None:
        (tools / "kcat").write_text(f"#!{sys.executable}\n{KCAT}")
        (tools / "kcat").chmod(0o755)
    (tools / "pointsman").write_text(f'#!/bin/sh\nexec {sys.executable} -m services "$@"\n')
    (tools / "pointsman").chmod(0o755)
    environment = without_settings() | {
        "PATH": f"{tools}:{Path(sys.executable).parent}:{os.environ['PATH']}",
        "PYTHONPATH": str(ROOT),
        "HOME": str(home),
        "XDG_RUNTIME_DIR": str(home),
        "POINTSMAN_GATEWAY_PORT": "0",
        "POINTSMAN_CONSOLE_PORT": "0",
    }
    async with running_up(environment) as (_, said):
        kafka = re.search(r"Kafka +(\S+)", said)
        gateway = re.search(r"OPENAI_BASE_URL=(\S+)/v1", said)
        assert kafka, said
        assert gateway, said
        yield environment | {"KAFKA": kafka.group(1), "GATEWAY": gateway.group(1)}


def placed(text: str, where: dict[str, str]) -> str:
    """A page's text with the addresses of this installation."""
    return text.replace("http://127.0.0.1:8787", where["GATEWAY"]).replace(
        "localhost:29092", where["KAFKA"]
    )


def first_word(line: str) -> str:
    """What a line of output is recognised by."""
    words = line.split()
    return re.split(r"[\d:…]", words[0])[0] if words else ""


def check(step: Step, printed: str) -> None:
    """Whether a command printed what its page shows."""
    seen = {first_word(line) for line in printed.splitlines()}
    keys = [set(json.loads(line)) for line in printed.splitlines() if line.startswith("{")]
    for line in step.shown:
        word = first_word(line)
        if word in MODELS or re.split(r"[\s(]", line.strip())[0] in MODELS:
            assert re.search("|".join(map(re.escape, MODELS)), printed), (step, printed)
        elif line.startswith("{"):
            assert set(json.loads(line)) in keys, (step, printed)
        elif word:
            assert word in seen, (step, line, printed)


def data(folder: Path) -> None:
    """A small outcome matrix under the name that the pages use. SYNTHETIC."""
    rows = [
        {
            "prompt": f"{'Translate' if i % 2 else 'Add'} number {i}",
            "scores": {"a": float(i % 2), "b": float(i % 3 > 0)},
        }
        for i in range(120)
    ]
    text = "\n".join(map(json.dumps, rows))
    (folder / "llmrouter_outcomes.jsonl.gz").write_bytes(gzip.compress(text.encode()))
    (folder / "llmrouter_prices.json").write_text('{"prices": {"a": 0.2, "b": 3}}')


@pytest.mark.parametrize(
    "page",
    [
        "README.md",
        *("docs/getting-started.md", "docs/gateway.md", "docs/producers.md"),
        *("docs/evaluate.md", "docs/rankings.md", "docs/providers.md"),
    ],
)
async def test_the_commands_of_a_page_print_what_it_shows(
    page: str, reader: dict[str, str], tmp_path: Path
) -> None:
    """One shell runs a page from top to bottom, as a reader would."""
    data(tmp_path)
    exports: list[str] = []
    found = steps(page)
    assert found
    for step in found:
        if any(step.command.startswith(skipped) for skipped in ELSEWHERE):
            continue
        command = placed(step.command, reader)
        if command.startswith("export "):
            exports.append(command)
            continue
        # a decision takes a moment, which a reader takes, too
        attempts = 20 if command.startswith("kcat -C") else 1
        for _ in range(attempts):
            printed = await run("; ".join([*exports, command]), reader, tmp_path)
            if printed.strip():
                break
            await asyncio.sleep(0.5)
        check(step, printed)


async def run(command: str, where: dict[str, str], folder: Path) -> str:
    """What a shell command prints. It must succeed."""
    environment = where | {"POINTSMAN_KAFKA_BOOTSTRAP_SERVERS": where["KAFKA"]}
    process = await asyncio.create_subprocess_exec(
        *("bash", "-o", "pipefail", "-c", command),
        cwd=folder,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    out, err = await asyncio.wait_for(process.communicate(), RUN_WITHIN_S)
    assert process.returncode == 0, (command, err.decode(), out.decode())
    return out.decode()


async def test_the_python_of_producers_prints_a_model(reader: dict[str, str]) -> None:
    (program,) = blocks((ROOT / "docs/producers.md").read_text(), "python")
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", placed(program, reader)),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    out, err = await asyncio.wait_for(process.communicate(), 60)
    assert process.returncode == 0, err.decode()
    assert out.decode().strip() in MODELS


async def test_the_script_of_providers_is_served_as_shown(tmp_path: Path) -> None:
    page = (ROOT / "docs/providers.md").read_text()
    (script,) = [text for text in blocks(page, "yaml") if "replies:" in text]
    (tmp_path / "odd.yaml").write_text(script)
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "services", "simulate", "--script", "odd.yaml", "--port", "8089"),
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )
    try:
        assert process.stdout is not None
        async with asyncio.timeout(30):
            assert b"SCRIPTED answers from odd.yaml" in await process.stdout.readline()
        (asked,) = [s for s in steps("docs/providers.md") if s.command.startswith("curl")]
        printed = await run(
            f"for i in 1 2 3 4 5; do {asked.command} && break; sleep 0.5; done",
            {**os.environ, "KAFKA": ""},
            tmp_path,
        )
        assert [line for line in printed.splitlines() if line] == [
            line for line in asked.shown if line
        ]
    finally:
        process.terminate()
        await process.wait()


def test_the_services_that_the_pages_name_to_docker_compose_exist() -> None:
    """Not every test run has an engine, so only the names are checked."""
    services = yaml.safe_load((ROOT / "docker-compose.yml").read_text())["services"]
    text = "".join(page.read_text() for page in [ROOT / "README.md", *ROOT.glob("docs/*.md")])
    named = set(re.findall(r"docker compose run --rm (?:-\S+ )*([a-z]+)", text))
    assert named >= {"cli", "keys"}
    assert named <= set(services)
