"""One request at an endpoint: who asks, what comes, how it is answered."""

from __future__ import annotations

import asyncio
import re
import time
import uuid
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Protocol

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.types import ASGIApp, Message, Receive, Send
from starlette.types import Scope as ASGIScope

from services.gateway import FLOW
from services.gateway.forms import AnswerEvents, Form
from services.gateway.forms.chat import CHAT, as_event
from services.gateway.requests import Problem
from services.gateway.settings import GatewaySettings
from services.gateway.wiring.admission import (
    CODINGS,
    ConcurrencyLimit,
    Gone,
    busy,
    client_left,
    read_body,
)
from shared.adapters import tracing
from shared.adapters.http import bearer, who
from shared.adapters.keys import Key, Keys, Refused
from shared.adapters.redis.rates import RateLimits
from shared.adapters.telemetry import DOOR, TelemetrySettings, log, where
from shared.contracts.scopes import Scope

TAKEN_AS_JSON = frozenset({"", "application/x-www-form-urlencoded"})
"""What programs send that do not say what they send; curl does."""
ANSWERED = (
    "/v1/chat/completions",
    "/v1/messages",
    "/v1/responses",
    "/v1/completions",
    "/v1/embeddings",
    "/v1/route",
    "/v1/feedback",
    "/v1/models",
)


async def _not_there(_request: Request, _error: Exception) -> Response:
    there = f"there are {', '.join(ANSWERED)}"
    return _problem(
        Problem(
            404, f"there is nothing here; {there}; GET /docs says what there is", code="not_found"
        )
    )


async def _not_so(request: Request, error: Exception) -> Response:
    allowed = getattr(error, "headers", None) or {}
    text = f"{request.method} is not allowed here; see GET /docs"
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
    form: Form = CHAT
    """How it is answered, and told of errors."""
    status: int = 0
    events: AnswerEvents | None = None
    """What says a streamed answer, once it has begun."""

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

    async def pass_on(self, data: bytes, *, last: bool = False) -> None:
        """Send a piece of a stream."""
        await self.send({"type": "http.response.body", "body": data, "more_body": not last})

    def waiting(self, every_s: float) -> KeepingAlive:
        """Keep the connection alive from now on, where that is wanted."""
        return KeepingAlive(asyncio.create_task(self._keep_alive(every_s)) if every_s > 0 else None)

    async def _keep_alive(self, every_s: float) -> None:
        while True:
            await asyncio.sleep(every_s)
            if not self.status:
                await self.begin({})
            await self.pass_on(b": waiting for a model\n\n")


@dataclass(slots=True)
class KeepingAlive:
    """Comments that go out while nothing else does."""

    task: asyncio.Task[None] | None

    async def end(self) -> None:
        """Nothing more; a piece that is going out goes out whole."""
        if self.task is not None:
            self.task.cancel()
            with suppress(asyncio.CancelledError):
                await self.task
            self.task = None


async def hears_nothing() -> Message:
    raise AssertionError("a JSON response listens to nothing")


TRACED = frozenset(
    {"chat", "messages", "responses", "completions", "embeddings", "route", "feedback"}
)
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
    form: Form = CHAT

    async def __call__(self, scope: ASGIScope, receive: Receive, send: Send) -> None:
        request = Request(scope)
        call = HttpCall(
            request,
            NOBODY,
            b"",
            send,
            f"{self.form.prefix}{uuid.uuid4().hex}",
            time.monotonic(),
            self.form,
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
            trouble = "an internal error; the log has it under this request id"
            await self._refuse(
                call, Problem(500, trouble, kind="server_error", code="internal_error")
            )
        DOOR.labels(FLOW.name, self.name, str(call.status)).inc()

    async def _refuse(self, call: HttpCall, problem: Problem) -> None:
        if call.status:
            with suppress(Exception):  # the stream has begun
                broken = (call.events or Unsaid(call)).broken(problem)
                await call.pass_on(broken, last=True)
        else:
            said = self.form.problem(problem, call.request_id)
            await call.say(problem.status, said, problem.headers)

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
        if coding not in CODINGS:
            raise Problem(
                415,
                f"content-encoding {coding[:40]} is not read here; send it plain, or as gzip, br "
                "or zstd",
                code="unsupported_media_type",
            )
        sent = call.request.headers
        kind = sent.get("content-type", "").split(";")[0].strip().lower()
        # A page of a foreign site can't send JSON without being asked first; another kind it can,
        # and its browser says so. curl sends another kind unless it is told.
        by_page = "origin" in sent or "sec-fetch-site" in sent
        if kind != "application/json" and (by_page or kind not in TAKEN_AS_JSON):
            raise Problem(415, "send content-type: application/json", code="unsupported_media_type")
        with gateway.room.place() as place:
            limit = gateway.settings.max_body_bytes
            call.body = await read_body(
                receive, place, limit, call.request.headers.get("content-length")
            )
            call.body = CODINGS[coding](call.body, place, limit)
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


@dataclass(frozen=True, slots=True)
class Unsaid:
    """A stream that ends before any model has begun it: only comments have gone out."""

    call: HttpCall

    def broken(self, problem: Problem) -> bytes:
        """An error event."""
        said = self.call.form.problem(problem, self.call.request_id)
        return as_event(said, "error" if "type" in said else "")


def meant(path: str) -> str:
    """The path that a client means whose base URL ends in /v1 twice, or not at all."""
    bare = DOUBLED.sub("/", path)
    return f"/v1{bare}" if any(f"/v1{bare}".startswith(one) for one in ANSWERED) else path


@dataclass(frozen=True, slots=True)
class MeantPaths:
    """Leads requests to the path that they mean."""

    app: ASGIApp

    async def __call__(self, scope: ASGIScope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            path = scope["path"] if scope["path"] == "/" else scope["path"].rstrip("/")
            scope = {**scope, "path": meant(path)}
        await self.app(scope, receive, send)


DOUBLED = re.compile(r"^(?:/+v1)*/+")
NOBODY = Key(name="nobody", sha256="0" * 64, scopes=frozenset())
ANSWERS_TO_STRAYS: dict[Any, Any] = {404: _not_there, 405: _not_so}
"""What clients hear who ask for a path or a method that there is not."""
