"""A language model API of the tests' own: it answers what it is told to, and remembers what it was
asked."""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

from services.commands.simulate import Scripted
from shared.adapters.llm.scripted import Script


@dataclass
class Provider:
    """`asked` are the bodies of all calls; `broken` maps a model to the error it gives; `slow_s` is
    waited between words."""

    asked: list[dict[str, Any]] = field(default_factory=list)
    headers: list[dict[str, str]] = field(default_factory=list)
    broken: dict[str, tuple[int, dict[str, Any]]] = field(default_factory=dict)
    slow_s: float = 0.0
    words: int = 5
    cancelled: int = 0
    open: int = 0
    base_url: str = ""
    script: Script | None = None
    """What is answered instead, byte by byte."""

    async def complete(self, request: Request) -> Response:
        body = json.loads(await request.body())
        self.asked.append(body)
        self.headers.append(dict(request.headers))
        if self.script is not None:
            return Scripted(self.script.reply(body))
        if body["model"] in self.broken:
            status, error = self.broken[body["model"]]
            return JSONResponse({"error": error}, status)
        said = f"echo {body['messages'][-1].get('content')}"
        usage = {"prompt_tokens": 7, "completion_tokens": 5, "total_tokens": 12, "cost": 0.25}
        if body.get("stream"):
            return StreamingResponse(self._stream(said, usage), media_type="text/event-stream")
        await asyncio.sleep(self.slow_s)
        choices = [
            {
                "index": i,
                "message": {"role": "assistant", "content": said},
                "finish_reason": "stop",
                "logprobs": None,
            }
            for i in range(min(body.get("n") or 1, 3))
        ]
        if isinstance(body.get("tools"), list) and body["tools"]:
            call = {
                "id": "call_1",
                "type": "function",
                "function": {"name": body["tools"][0]["function"]["name"], "arguments": '{"x": 1}'},
            }
            choices = [
                {
                    "index": 0,
                    "message": {"role": "assistant", "content": None, "tool_calls": [call]},
                    "finish_reason": "tool_calls",
                }
            ]
        answer = {
            "id": "up-1",
            "object": "chat.completion",
            "created": 1,
            "model": body["model"],
            "system_fingerprint": "fp",
            "usage": usage,
        }
        return JSONResponse(answer | {"choices": choices})

    async def message(self, request: Request) -> Response:
        """Anthropic's API: it thinks, and answers with what it was asked last."""
        body = json.loads(await request.body())
        self.asked.append(body)
        self.headers.append(dict(request.headers))
        if body["model"] in self.broken:
            status, error = self.broken[body["model"]]
            return JSONResponse({"type": "error", "error": error}, status)
        thought = {"type": "thinking", "thinking": "Hm.", "signature": "signed-by-claude"}
        last = body["messages"][-1]["content"]
        words = last if isinstance(last, str) else json.dumps(last)
        text = {"type": "text", "text": f"echo {words}"}
        usage = {
            "input_tokens": 3,
            "cache_read_input_tokens": 4,
            "cache_creation_input_tokens": 2,
            "output_tokens": 5,
        }
        message = {"id": "msg_up", "type": "message", "role": "assistant", "model": body["model"]}
        end = {"stop_reason": "end_turn", "stop_sequence": None}
        if not body.get("stream"):
            return JSONResponse(message | end | {"content": [thought, text], "usage": usage})
        start = message | {"content": [], "stop_reason": None, "stop_sequence": None}
        blocks: list[tuple[dict[str, Any], list[dict[str, Any]]]] = [
            (
                {"type": "thinking", "thinking": "", "signature": ""},
                [
                    {"type": "thinking_delta", "thinking": "Hm."},
                    {"type": "signature_delta", "signature": "signed-by-claude"},
                ],
            ),
            (
                {"type": "text", "text": ""},
                [{"type": "text_delta", "text": w} for w in (text["text"][:4], text["text"][4:])],
            ),
        ]
        events: list[dict[str, Any]] = [
            {"type": "message_start", "message": start | {"usage": usage | {"output_tokens": 1}}},
            {"type": "ping"},
        ]
        for index, (block, deltas) in enumerate(blocks):
            events.append({"type": "content_block_start", "index": index, "content_block": block})
            events += [
                {"type": "content_block_delta", "index": index, "delta": one} for one in deltas
            ]
            events.append({"type": "content_block_stop", "index": index})
        events.append({"type": "message_delta", "delta": end, "usage": {"output_tokens": 5}})
        events.append({"type": "message_stop"})
        said = "".join(f"event: {e['type']}\ndata: {json.dumps(e)}\n\n" for e in events)
        return Response(said, media_type="text/event-stream")

    async def embed(self, request: Request) -> Response:
        """OpenAI's embeddings."""
        body = json.loads(await request.body())
        self.asked.append(body)
        texts = [body["input"]] if isinstance(body["input"], str) else body["input"]
        data = [
            {"object": "embedding", "index": i, "embedding": [float(len(text)), 1.0]}
            for i, text in enumerate(texts)
        ]
        usage = {"prompt_tokens": 1_000_000, "total_tokens": 1_000_000}
        return JSONResponse({"object": "list", "data": data, "model": "up", "usage": usage})

    async def _stream(self, said: str, usage: dict[str, Any]) -> AsyncIterator[bytes]:
        def event(choices: list[dict[str, Any]], **more: Any) -> bytes:
            return (
                "data: "
                f"{json.dumps({'id': 'up-1', 'object': 'chat.completion.chunk', 'created': 1, 'model': 'x', 'choices': choices, **more})}\n\n"
            ).encode()

        self.open += 1
        try:
            for word in [*said.split(" "), *(f"w{i}" for i in range(self.words))]:
                yield event([{"index": 0, "delta": {"content": word + " "}, "finish_reason": None}])
                await asyncio.sleep(self.slow_s)
            yield event([{"index": 0, "delta": {}, "finish_reason": "stop"}])
            yield event([], usage=usage)
            yield b"data: [DONE]\n\n"
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
        finally:
            self.open -= 1


@asynccontextmanager
async def provider() -> AsyncIterator[Provider]:
    """Served on loopback while the block runs."""
    made = Provider()
    application = Starlette(
        routes=[
            Route("/v1/chat/completions", made.complete, methods=["POST"]),
            Route("/v1/messages", made.message, methods=["POST"]),
            Route("/v1/embeddings", made.embed, methods=["POST"]),
        ]
    )
    server = uvicorn.Server(
        uvicorn.Config(
            application, log_config=None, lifespan="off", timeout_graceful_shutdown=1, ws="none"
        )
    )
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen(2048)
        made.base_url = f"http://127.0.0.1:{listening.getsockname()[1]}/v1"
        server.install_signal_handlers = lambda: None  # type: ignore[method-assign,attr-defined]
        task = asyncio.create_task(server._serve([listening]))
        try:
            yield made
        finally:
            server.should_exit = True
            await task
