"""One request at an endpoint: who asks, what comes, how it is answered."""

from __future__ import annotations

import asyncio
import json
import time
import uuid
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Protocol

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.types import Message, Receive, Send
from starlette.types import Scope as ASGIScope

from services.gateway import FLOW
from services.gateway.requests import Problem
from services.gateway.settings import GatewaySettings
from services.gateway.wiring.admission import (
    ConcurrencyLimit,
    Gone,
    busy,
    client_left,
    read_body,
    unzipped,
)
from shared.adapters import tracing
from shared.adapters.http import bearer, who
from shared.adapters.keys import Key, Keys, Refused
from shared.adapters.redis.rates import RateLimits
from shared.adapters.telemetry import DOOR, TelemetrySettings, log, where
from shared.contracts.scopes import Scope

ANSWERED = ("/v1/chat/completions", "/v1/route", "/v1/feedback", "/v1/models")


async def _not_there(request: Request, _error: Exception) -> Response:
    meant = next(
        (
            path
            for path in ANSWERED
            if request.url.path.rstrip("/").endswith(path.removeprefix("/v1"))
        ),
        None,
    )
    there = (
        f"did you mean {meant}? A client's base URL ends in /v1"
        if meant
        else f"there are {', '.join(ANSWERED)}"
    )
    return _problem(
        Problem(
            404, f"there is nothing here; {there}; GET /docs says what there is", code="not_found"
        )
    )


async def _not_so(request: Request, error: Exception) -> Response:
    allowed = getattr(error, "headers", None) or {}
    text = f"{request.method} is not taken here; GET /docs says what is"
    return _problem(Problem(405, text, code="method_not_allowed", headers=allowed))


def _problem(problem: Problem) -> Response:
    return JSONResponse({"error": problem.error}, problem.status, problem.headers)


@dataclass(slots=True)
class HttpCall:
    """One request at an endpoint, and how to answer it."""

    request: Request
    key: Key
    body: bytes
    send: Send
    request_id: str
    began: float
    status: int = 0

    async def say(
        self, status: int, body: Mapping[str, Any], headers: Mapping[str, str] | None = None
    ) -> None:
        """Answer with JSON."""
        given = {"x-pointsman-request-id": self.request_id} | dict(headers or {})
        rendered = JSONResponse(dict(body), status, given)
        self.status = status
        await rendered(self.request.scope, hears_nothing, self.send)

    async def begin(self, headers: Mapping[str, str]) -> None:
        """Begin a stream of events."""
        given = {
            "content-type": "text/event-stream; charset=utf-8",
            "cache-control": "no-cache",
            "x-accel-buffering": "no",
        }
        given |= {"x-pointsman-request-id": self.request_id} | dict(headers)
        raw = [
            (name.encode("latin-1"), value.encode("latin-1", "replace"))
            for name, value in given.items()
        ]
        self.status = 200
        await self.send({"type": "http.response.start", "status": 200, "headers": raw})

    async def event(self, data: Mapping[str, Any] | str, *, last: bool = False) -> None:
        text = (
            data
            if isinstance(data, str)
            else json.dumps(data, ensure_ascii=False, separators=(",", ":"))
        )
        await self.send(
            {
                "type": "http.response.body",
                "body": f"data: {text}\n\n".encode(),
                "more_body": not last,
            }
        )


async def hears_nothing() -> Message:
    raise AssertionError("a JSON response listens to nothing")


ID_PREFIX = {"chat": "chatcmpl"}
"""As OpenAI's ids begin."""
TRACED = frozenset({"chat", "route", "feedback"})
HandleCall = Callable[[HttpCall], Awaitable[None]]
"""What an endpoint does with a call."""


class Shared(Protocol):
    """What all endpoints are admitted by."""

    settings: GatewaySettings
    telemetry: TelemetrySettings
    keys: Keys
    rates: RateLimits
    room: ConcurrencyLimit


@dataclass(slots=True)
class Endpoint:
    """Admits a request, reads it, has it worked on; a client that leaves takes its work along."""

    gateway: Shared
    name: str
    needs: Scope | None
    work: HandleCall

    async def __call__(self, scope: ASGIScope, receive: Receive, send: Send) -> None:
        request = Request(scope)
        call = HttpCall(
            request,
            NOBODY,
            b"",
            send,
            f"{ID_PREFIX.get(self.name, self.name)}-{uuid.uuid4().hex}",
            time.monotonic(),
        )
        traced = tracing.live()
        if traced is None or self.name not in TRACED:
            await self._serve(call, receive)
            return
        with traced.serving(f"{request.method} {request.url.path}", request.headers) as span:
            await self._serve(call, receive)
            span.note(request_id=call.request_id, status=call.status, key=call.key.name)

    async def _serve(self, call: HttpCall, receive: Receive) -> None:
        try:
            await self._answer(call, receive)
        except Problem as problem:
            await self._refuse(call, problem)
        except Gone:
            call.status = 499
        except Exception as error:
            log.error(
                "a request failed",
                endpoint=self.name,
                request_id=call.request_id,
                error=where(error, self.gateway.telemetry),
            )
            trouble = "something went wrong here, and it is in the log under this request id"
            await self._refuse(
                call, Problem(500, trouble, kind="server_error", code="internal_error")
            )
        DOOR.labels(FLOW.name, self.name, str(call.status)).inc()

    async def _refuse(self, call: HttpCall, problem: Problem) -> None:
        if call.status:
            with suppress(Exception):
                await call.event(
                    {"error": problem.error}, last=True
                )  # the stream has begun; a client knows an error by its key
        else:
            await call.say(problem.status, {"error": problem.error}, problem.headers)

    async def _answer(self, call: HttpCall, receive: Receive) -> None:
        gateway = self.gateway
        try:
            call.key = who(call.request, gateway.keys, bearer(call.request.headers))
        except Refused as error:
            headers = {"www-authenticate": "Bearer"}
            raise Problem(
                401,
                str(error),
                kind="authentication_error",
                code="invalid_api_key",
                headers=headers,
            ) from None
        if self.needs is not None and not call.key.may(self.needs):
            raise Problem(
                403,
                f"this key may not {self.needs.value}; it may {', '.join(sorted(call.key.scopes))}",
                kind="permission_error",
            )
        if call.key.requests_per_minute is not None:
            wait = await gateway.rates.take(call.key.name, call.key.requests_per_minute)
            if wait > 0:
                raise busy(
                    f"this key may ask {call.key.requests_per_minute} times a minute",
                    wait,
                    "rate_limit_exceeded",
                )
        if call.request.method != "POST":
            await self.work(call)
            return
        coding = call.request.headers.get("content-encoding", "identity").strip().lower()
        if coding not in ("", "identity", "gzip", "x-gzip"):
            raise Problem(
                415,
                f"content-encoding {coding[:40]} is not read here; send it plain, or gzip",
                code="unsupported_media_type",
            )
        kind = call.request.headers.get("content-type", "").split(";")[0].strip().lower()
        if (
            kind != "application/json"
        ):  # a page of a foreign site can't send this kind without being asked first
            raise Problem(415, "send content-type: application/json", code="unsupported_media_type")
        with gateway.room.place() as place:
            call.body = await read_body(
                receive,
                place,
                gateway.settings.max_body_bytes,
                call.request.headers.get("content-length"),
            )
            if coding.endswith("gzip"):
                call.body = unzipped(call.body, place, gateway.settings.max_body_bytes)
            await self._work_or_leave(call, receive)

    async def _work_or_leave(self, call: HttpCall, receive: Receive) -> None:
        working = asyncio.ensure_future(self.work(call))
        leaving = asyncio.create_task(client_left(receive))
        try:
            await asyncio.wait({working, leaving}, return_when=asyncio.FIRST_COMPLETED)
            if not working.done():
                working.cancel()
                with suppress(asyncio.CancelledError):
                    await working
                raise Gone
            working.result()
        finally:
            leaving.cancel()
            if not working.done():
                working.cancel()


NOBODY = Key(name="nobody", sha256="0" * 64, scopes=frozenset())
ANSWERS_TO_STRAYS: dict[Any, Any] = {404: _not_there, 405: _not_so}
"""What clients hear who ask for a path or a method that there is not."""
