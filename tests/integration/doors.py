"""The gateway with its keys and a provider of the tests' own."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import anthropic
import httpx
import openai
from conftest import Pipeline
from provider import Provider, provider

from services.local.supervise import Supervisor
from shared.adapters.keys import new, write
from shared.contracts.scopes import Scope

PROMPT = "Translate this notice into French: the library is closed on Monday."


@dataclass
class Door:
    pipeline: Pipeline
    provider: Provider
    keys: dict[str, str]
    file: Path
    address: str
    log: list[tuple[str, str, str]]

    def http(self, who: str = "team") -> httpx.AsyncClient:
        return httpx.AsyncClient(
            base_url=self.address, headers={"authorization": f"Bearer {self.keys[who]}"}, timeout=30
        )

    @asynccontextmanager
    async def openai(self) -> AsyncIterator[openai.AsyncOpenAI]:
        async with openai.AsyncOpenAI(
            base_url=f"{self.address}/v1", api_key=self.keys["team"], max_retries=0
        ) as client:
            yield client

    @asynccontextmanager
    async def anthropic(self) -> AsyncIterator[anthropic.AsyncAnthropic]:
        async with anthropic.AsyncAnthropic(
            base_url=self.address, api_key=self.keys["team"], max_retries=0
        ) as client:
            yield client

    async def chat(self, who: str = "team", **body: Any) -> httpx.Response:
        async with self.http(who) as http:
            return await http.post(
                "/v1/chat/completions",
                json={"messages": [{"role": "user", "content": PROMPT}]} | body,
            )


@asynccontextmanager
async def gateway(
    environment: dict[str, str],
) -> AsyncIterator[tuple[str, list[tuple[str, str, str]]]]:
    log: list[tuple[str, str, str]] = []
    async with Supervisor(
        ("gateway",),
        {"POINTSMAN_GATEWAY_PORT": "0"} | environment,
        lambda *entry: log.append(entry),
    ) as running:
        await running.ready(30)
        yield running.addresses["gateway"], log


def wired(provider: Provider, file: Path) -> dict[str, str]:
    there = {
        "POINTSMAN_LLM_BASE_URL": provider.base_url,
        "POINTSMAN_LLM_API_KEY": "provider-secret",
        "POINTSMAN_KEYS_FILE": str(file),
    }
    return there | {"POINTSMAN_GATEWAY_DEADLINE_S": "5"}  # tests do not time


@asynccontextmanager
async def opened(
    pipeline: Pipeline, folder: Path, environment: dict[str, str] | None = None
) -> AsyncIterator[Door]:
    """A gateway or console with keys of all kinds."""
    file = folder / "keys.yaml"
    kinds: dict[str, tuple[frozenset[Scope], int | None, float | None]] = {
        "team": (frozenset({Scope.complete, Scope.route}), None, None),
        "router": (frozenset({Scope.route}), None, None),
        "hasty": (frozenset({Scope.route, Scope.complete}), 2, None),
        "poor": (frozenset({Scope.complete}), None, 0.6),
        "boss": (frozenset({Scope.admin}), None, None),
    }
    made = {name: new(name, scopes, rate, usd) for name, (scopes, rate, usd) in kinds.items()}
    write(file, tuple(key for _, key in made.values()))
    async with (
        provider() as upstream,
        gateway(wired(upstream, file) | (environment or {})) as (address, log),
    ):
        clear = {name: text for name, (text, _) in made.items()}
        yield Door(pipeline, upstream, clear, file, address, log)
