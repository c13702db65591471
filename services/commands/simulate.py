"""`pointsman simulate`: simulated language models over HTTP, in the form of OpenAI's API. A test
double with known truth."""

from __future__ import annotations

import asyncio
import json
from contextlib import suppress
from pathlib import Path
from typing import Any

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from services.screen import out
from shared.adapters.http import listening
from shared.adapters.llm import scripted
from shared.adapters.llm.simulated import World, streamed

SETTABLE = ("judge_accuracy", "judge_pull", "judge_ties", "judge_garbage", "time_scale")


def application(world: World) -> Starlette:
    """The API of `world`, and `/simulation`, which tells and changes what is true."""

    async def complete(request: Request) -> Response:
        try:
            body = json.loads(await request.body())
            if not isinstance(body.get("messages"), list):
                raise TypeError
        except (ValueError, TypeError, AttributeError):
            return JSONResponse(
                {
                    "error": {
                        "message": "simulated: no chat with messages",
                        "type": "invalid_request_error",
                    }
                },
                400,
            )
        status, value = world.respond(body)
        if status != 200:
            return JSONResponse(value, status)
        latency = value["simulated"]["latency_s"] * world.time_scale
        if body.get("stream"):
            return StreamingResponse(streamed(value, latency), media_type="text/event-stream")
        await asyncio.sleep(latency)
        return JSONResponse(value)

    async def models(_request: Request) -> Response:
        data = [
            {"id": m.openrouter, "object": "model", "owned_by": "simulated"}
            for m in world.catalog.models.values()
        ]
        return JSONResponse({"object": "list", "data": data})

    async def simulation(request: Request) -> Response:
        if request.method == "POST":
            try:
                change = json.loads(await request.body())
                world.shifts |= {str(k): float(v) for k, v in change.pop("shifts", {}).items()}
                world.errors |= {str(k): float(v) for k, v in change.pop("errors", {}).items()}
                for name in SETTABLE:
                    if name in change:
                        setattr(world, name, float(change.pop(name)))
                if change:
                    raise ValueError
            except (ValueError, TypeError, AttributeError):
                return JSONResponse(
                    {"error": f"POST shifts, errors, {', '.join(SETTABLE)} as numbers"}, 400
                )
        facts: dict[str, Any] = {"seed": world.seed, "shifts": world.shifts, "errors": world.errors}
        facts |= {name: getattr(world, name) for name in SETTABLE}
        return JSONResponse(facts | {"calls": dict(world.calls), "billed_usd": world.billed_usd})

    return Starlette(
        routes=[
            Route("/v1/chat/completions", complete, methods=["POST"]),
            Route("/v1/models", models),
            Route("/simulation", simulation, methods=["GET", "POST"]),
        ]
    )


class Scripted(Response):
    """A reply as the script has it; one that is cut ends without its end, so that the server closes
    the connection."""

    def __init__(self, reply: scripted.Reply) -> None:
        super().__init__()
        self._reply = reply

    async def __call__(self, _scope: Scope, _receive: Receive, send: Send) -> None:
        headers = {"content-type": self._reply.kind()} | self._reply.named()
        raw = [(name.encode("latin-1"), value.encode("latin-1")) for name, value in headers.items()]
        await send({"type": "http.response.start", "status": self._reply.status, "headers": raw})
        async for part in self._reply.content():
            await send({"type": "http.response.body", "body": part, "more_body": True})
        if not self._reply.cut:
            await send({"type": "http.response.body", "body": b"", "more_body": False})


def following(script: scripted.Script) -> Starlette:
    """The API that the script describes, and `/asked`, which tells the requests that came."""

    async def complete(request: Request) -> Response:
        try:
            body = json.loads(await request.body())
            return Scripted(script.reply(dict(body)))
        except (ValueError, TypeError):
            return JSONResponse(
                {
                    "error": {
                        "message": "scripted: not a JSON object",
                        "type": "invalid_request_error",
                    }
                },
                400,
            )

    return Starlette(
        routes=[
            Route("/v1/chat/completions", complete, methods=["POST"]),
            Route("/asked", lambda _request: JSONResponse(script.asked)),
        ]
    )


def simulate(host: str, port: int, seed: int, time_scale: float, script: Path | None = None) -> int:
    """Serve until Ctrl-C. Returns the exit code. Raises `ScriptInvalid`, or `PortTaken`."""
    where = f"http://{host}:{port}"
    if script is None:
        api = application(World(seed=seed, time_scale=time_scale))
        level = "warning"
        what = (
            f"[yellow]SIMULATED[/] language models at {where}/v1 (seed {seed}); what is true: "
            f"{where}/simulation"
        )
        key = "simulated"
    else:
        api = following(scripted.load(script))
        level = "critical"
        what = (
            f"[yellow]SCRIPTED[/] answers from {script} at {where}/v1; what was asked: "
            f"{where}/asked"
        )
        key = "scripted"
    with (
        listening("simulation", host, port, "choose another with --port") as door,
        suppress(KeyboardInterrupt),
    ):
        out.print(
            f"{what}\nuse them with POINTSMAN_LLM_BASE_URL={where}/v1 POINTSMAN_LLM_API_KEY={key}",
            soft_wrap=True,
        )
        uvicorn.Server(uvicorn.Config(api, log_level=level)).run(sockets=[door])
    return 0
