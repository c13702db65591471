"""SIMULATED language models over HTTP that fail as real ones do, and know what they have billed.

A call with an `Idempotency-Key` is billed once: asked again, the same answer comes, as from a
provider that supports it."""

from __future__ import annotations

import asyncio
import json
import random
import threading
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

from shared.adapters.llm.simulated import World, streamed


@dataclass
class FaultyModels:
    """Shares of calls that fail, each in its way. Set them while it runs."""

    world: World = field(default_factory=World)
    too_many: float = 0.0
    """HTTP 429."""
    broken: float = 0.0
    """HTTP 500 to 504."""
    silent: float = 0.0
    """No answer at all until the caller hangs up."""
    cut: float = 0.0
    """A stream that ends in the middle."""
    base_url: str = ""
    tries: Counter[str] = field(default_factory=Counter)
    """Calls by Idempotency-Key ("": without), failed ones included; the dispatcher streams, and a
    judge that asks the same does not."""
    billed: Counter[str] = field(default_factory=Counter)
    """Answers that were made and charged, by Idempotency-Key."""
    repeated: int = 0
    """Calls that were answered with what had been answered before, for nothing."""
    _answers: dict[str, tuple[int, dict[str, Any]]] = field(default_factory=dict)
    _random: random.Random = field(default_factory=lambda: random.Random(0))

    def calm(self) -> None:
        self.too_many = self.broken = self.silent = self.cut = 0.0

    async def complete(self, request: Request) -> Response:
        body = json.loads(await request.body())
        name = request.headers.get("idempotency-key", "")
        self.tries[f"{name} streamed" if body.get("stream") else name] += 1
        drawn = self._random.random()
        for share, fail in (
            (self.too_many, self._too_many),
            (self.broken, self._broken),
            (self.silent, self._silent),
        ):
            if drawn < share:
                return await fail()
            drawn -= share
        if name in self._answers:
            self.repeated += 1
            status, value = self._answers[name]
        else:
            status, value = self.world.respond(body)
            if status == 200:
                self.billed[name] += 1
                if name:
                    self._answers[name] = status, value
        if status != 200 or not body.get("stream"):
            await asyncio.sleep(self._latency(value))
            return JSONResponse(value, status)
        chunks = streamed(value, self._latency(value))
        return StreamingResponse(
            self._cut(chunks) if drawn < self.cut else chunks, media_type="text/event-stream"
        )

    def _latency(self, value: dict[str, Any]) -> float:
        return float(value.get("simulated", {}).get("latency_s", 0.0)) * self.world.time_scale

    async def _too_many(self) -> Response:
        return JSONResponse(
            {"error": {"message": "simulated: slow down"}}, 429, headers={"retry-after": "0.2"}
        )

    async def _broken(self) -> Response:
        return JSONResponse(
            {"error": {"message": "simulated failure"}}, self._random.choice([500, 502, 503, 504])
        )

    async def _silent(self) -> Response:
        await asyncio.sleep(3600)
        raise AssertionError("the caller waits longer than an hour")

    async def _cut(self, chunks: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
        sent = 0
        async for chunk in chunks:
            if sent == 2:
                return  # no finish_reason, no [DONE]
            sent += 1
            yield chunk


@contextmanager
def serving(models: FaultyModels) -> Iterator[FaultyModels]:
    """Serve it on loopback, from a thread of its own."""
    app = Starlette(routes=[Route("/v1/chat/completions", models.complete, methods=["POST"])])
    server = uvicorn.Server(
        uvicorn.Config(app, port=0, log_level="critical", timeout_graceful_shutdown=1)
    )
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    while not server.started:
        threading.Event().wait(0.02)
    models.base_url = f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}/v1"
    try:
        yield models
    finally:
        server.should_exit = True
        thread.join(5)
