"""Wiring of the gateway."""

from __future__ import annotations

import asyncio
import json
import time
import uuid
import zlib
from collections.abc import (
    AsyncGenerator,
    AsyncIterator,
    Awaitable,
    Callable,
    Coroutine,
    Mapping,
    Sequence,
)
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import Any, Self

from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, Response
from starlette.routing import Route
from starlette.types import Message, Receive, Scope, Send

from services.gateway import FLOW, documented
from services.gateway import chat as work
from services.gateway.chat import Choice, Unavailable, Unrouted, choose
from services.gateway.remembered import Place
from services.gateway.replies import HotPath
from services.gateway.requests import (
    ChatRequest,
    FeedbackRequest,
    Problem,
    RouteRequest,
    Wanted,
    parse,
    understand,
    wishes_of,
)
from services.gateway.settings import GatewaySettings
from shared.adapters import tracing
from shared.adapters.catalog import CurrentCatalog
from shared.adapters.errors import AdapterError, ModelUnreachable, Trouble
from shared.adapters.http import Door, bearer, metrics, who
from shared.adapters.kafka.client import read_one, require_topics
from shared.adapters.kafka.replies import Replies
from shared.adapters.kafka.settings import KafkaSettings
from shared.adapters.keys import Key, Keys, Refused
from shared.adapters.keys import Scope as May
from shared.adapters.llm.breaker import Breaker
from shared.adapters.llm.chat import LLMSettings
from shared.adapters.llm.providers import Providers, Talking
from shared.adapters.onnx.assessing import Assessor
from shared.adapters.redis.cache import TextCache
from shared.adapters.redis.client import RedisSettings
from shared.adapters.redis.purses import Purses
from shared.adapters.redis.rates import Rates
from shared.adapters.tables import Tables
from shared.adapters.telemetry import (
    DEFAULTED,
    DOOR,
    DOOR_SECONDS,
    IN_FLIGHT,
    SPENT,
    TelemetrySettings,
    log,
    where,
)
from shared.catalog.models import Catalog, CatalogError
from shared.contracts.errors import InvalidMessage
from shared.contracts.flow import RedisKeys
from shared.contracts.messages import Completed, read, to_json
from shared.contracts.opinions import thumbed
from shared.contracts.parts import Answer, Profile
from shared.contracts.topics import COMPLETIONS, EVALUATIONS, SPENDING

NAME = FLOW.name
ANSWERED = ("/v1/chat/completions", "/v1/route", "/v1/feedback", "/v1/models")
FOR_PAGES: dict[str, Any] = {
    "allow_methods": ["GET", "POST"],
    "allow_headers": ["*"],
    "expose_headers": [*documented.ANSWER_HEADERS, "retry-after"],
    "max_age": 600,
}
"""What pages of `origins` may do."""
SILENCES, REST_S = 3, 5.0
"""After so many requests in a row without a decision the hot path is not waited for, for so many
seconds."""


def build(settings: GatewaySettings | None = None, models: work.Models | None = None) -> Door:
    """The gateway as an application and where it is served; tests pass their own models."""
    settings = settings or GatewaySettings()
    gateway = Gateway(settings, models)
    routes = [
        Route(
            "/v1/chat/completions",
            Endpoint(gateway, "chat", May.complete, gateway.complete),
            methods=["POST"],
        ),
        Route("/v1/route", Endpoint(gateway, "route", May.route, gateway.route), methods=["POST"]),
        Route(
            "/v1/feedback",
            Endpoint(gateway, "feedback", May.complete, gateway.feedback),
            methods=["POST"],
        ),
        Route(
            "/v1/models", Endpoint(gateway, "models", None, gateway.list_models), methods=["GET"]
        ),
        Route(
            "/v1/models/{name:path}",
            Endpoint(gateway, "models", None, gateway.show_model),
            methods=["GET"],
        ),
        Route(
            "/metrics", Endpoint(gateway, "metrics", May.admin, gateway.metrics), methods=["GET"]
        ),
        Route("/healthz", lambda _request: JSONResponse({"status": "alive"})),
        Route("/readyz", gateway.ready),
        Route("/openapi.json", lambda _request: JSONResponse(documented.openapi())),
        Route("/docs", lambda _request: HTMLResponse(documented.page())),
        Route("/", lambda _request: HTMLResponse(documented.page())),
    ]
    handlers: Any = {404: _not_there, 405: _not_so}
    pages = (
        [Middleware(CORSMiddleware, allow_origins=settings.origins, **FOR_PAGES)]
        if settings.origins
        else []
    )
    application = Starlette(
        routes=routes,
        middleware=pages,
        lifespan=lambda _app: gateway.running(),
        exception_handlers=handlers,
    )
    return Door(NAME, application, settings.host, settings.port, "POINTSMAN_GATEWAY_")


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
class Call:
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
        await rendered(self.request.scope, _nothing, self.send)

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


async def _nothing() -> Message:
    raise AssertionError("a JSON response listens to nothing")


ID_PREFIX = {"chat": "chatcmpl"}
TRACED = frozenset({"chat", "route", "feedback"})
"""As OpenAI's ids begin."""


class Gone(Exception):
    """The client has left."""


@dataclass(slots=True)
class Endpoint:
    """Admits a request, reads it, has it worked on; a client that leaves takes its work along."""

    gateway: Gateway
    name: str
    needs: May | None
    work: Callable[[Call], Awaitable[None]]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        request = Request(scope)
        call = Call(
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

    async def _serve(self, call: Call, receive: Receive) -> None:
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
        DOOR.labels(NAME, self.name, str(call.status)).inc()

    async def _refuse(self, call: Call, problem: Problem) -> None:
        if call.status:
            with suppress(Exception):
                await call.event(
                    {"error": problem.error}, last=True
                )  # the stream has begun; a client knows an error by its key
        else:
            await call.say(problem.status, {"error": problem.error}, problem.headers)

    async def _answer(self, call: Call, receive: Receive) -> None:
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
            call.body = await _read(
                receive,
                place,
                gateway.settings.max_body_bytes,
                call.request.headers.get("content-length"),
            )
            if coding.endswith("gzip"):
                call.body = _unzipped(call.body, place, gateway.settings.max_body_bytes)
            await self._work_or_leave(call, receive)

    async def _work_or_leave(self, call: Call, receive: Receive) -> None:
        working = asyncio.ensure_future(self.work(call))
        leaving = asyncio.create_task(_left(receive))
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


async def _left(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


async def _read(receive: Receive, slot: Slot, limit: int, length: str | None) -> bytes:
    too_much = Problem(
        413, f"the request is too large; at most {limit} bytes are taken", code="request_too_large"
    )
    if length is not None and length.isdigit() and int(length) > limit:
        raise too_much
    parts: list[bytes] = []
    size = 0
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise Gone
        size += len(part := message.get("body", b""))
        if size > limit:
            raise too_much
        slot.take(len(part))
        parts.append(part)
        if not message.get("more_body"):
            return b"".join(parts)


def _unzipped(body: bytes, slot: Slot, limit: int) -> bytes:
    """What was sent as gzip, of no more than `limit` bytes."""
    reading = zlib.decompressobj(wbits=31)
    try:
        found = reading.decompress(body, limit + 1)
    except zlib.error:
        raise Problem(400, "the body is not gzip, though content-encoding says so") from None
    if len(found) > limit:
        raise Problem(
            413,
            f"the request is too large unpacked; at most {limit} bytes are taken",
            code="request_too_large",
        )
    if not reading.eof or reading.unused_data:
        raise Problem(400, "the body is not one whole gzip member, though content-encoding says so")
    slot.take(len(found))
    return found


def busy(text: str, wait_s: float, code: str) -> Problem:
    """429, with when to come again."""
    return Problem(
        429,
        text,
        kind="rate_limit_error",
        code=code,
        headers={"retry-after": str(max(1, round(wait_s + 0.5)))},
    )


@dataclass(slots=True)
class Room:
    """How much may be under way: requests, and bytes of them."""

    most: int
    most_bytes: int
    requests: int = 0
    bytes: int = 0

    def place(self) -> Slot:
        """A place for one request. Raises `Problem`."""
        if self.requests >= self.most:
            raise busy(f"{self.most} requests are under way already", 1, "too_many_requests")
        return Slot(self)


@dataclass(slots=True)
class Slot:
    room: Room
    bytes: int = 0

    def take(self, size: int) -> None:
        if self.room.bytes + size > self.room.most_bytes:
            raise busy("too much is under way already", 1, "too_many_requests")
        self.bytes += size
        self.room.bytes += size

    def __enter__(self) -> Self:
        self.room.requests += 1
        IN_FLIGHT.labels(NAME).set(self.room.requests)
        return self

    def __exit__(self, *_: object) -> None:
        self.room.requests -= 1
        self.room.bytes -= self.bytes
        IN_FLIGHT.labels(NAME).set(self.room.requests)


NOBODY = Key(name="nobody", sha256="0" * 64, scopes=frozenset())


@dataclass
class Gateway:
    """All that the endpoints share. Use inside `running`."""

    settings: GatewaySettings
    given: work.Models | None = None
    kafka: KafkaSettings = field(default_factory=KafkaSettings)
    redis: RedisSettings = field(default_factory=RedisSettings)
    telemetry: TelemetrySettings = field(default_factory=TelemetrySettings)

    def __post_init__(self) -> None:
        self.keys = Keys()
        self.catalog = CurrentCatalog(self.settings.catalog)
        self.room = Room(self.settings.max_requests, self.settings.max_bytes)
        self.models: work.Models
        self._later: set[asyncio.Task[None]] = set()

    @asynccontextmanager
    async def running(self) -> AsyncGenerator[None, None]:
        """With everything that the endpoints need."""
        settings, redis = self.settings, self.redis
        async with AsyncExitStack() as stack:
            await require_topics(self.kafka, FLOW.topics)
            self.rates, self.purses = Rates(redis), Purses(self.kafka, redis)
            stack.push_async_callback(self.rates.close)
            self.conversations = TextCache(redis, RedisKeys.conversation, settings.conversation_s)
            self.places = TextCache(redis, RedisKeys.answered, settings.feedback_s)
            stack.push_async_callback(self.conversations.close)
            stack.push_async_callback(self.places.close)
            budgets = [
                (k.name, k.usd_per_day) for k in self.keys.all() if k.usd_per_day is not None
            ]
            await stack.enter_async_context(self.purses.running(budgets))
            tables = Tables(NAME, self.kafka, redis)
            self.assess: work.Assess | None = None
            if settings.cascade == "off":
                await stack.enter_async_context(tables.running())
            else:
                self.assess = assessor = Assessor(tables, settings.encoder_dir, settings.variant)
                await stack.enter_async_context(assessor.running())
            self.replies = Replies(self.kafka)
            await stack.enter_async_context(self.replies.running())
            self.rest = Breaker(SILENCES, REST_S)
            self.router = HotPath(
                self.replies, self.rest, tables.at_hand, self.catalog, self.catalog.gone, settings
            )
            self.models = (
                self.given
                if self.given is not None
                else await stack.enter_async_context(calling(self.catalog, settings))
            )
            stack.push_async_callback(self._finish)
            yield

    async def _finish(self) -> None:
        if self._later:
            await asyncio.wait(self._later, timeout=5)

    def later(self, what: Coroutine[Any, Any, None]) -> None:
        """Have it done when the answer is out. What goes wrong is logged."""

        async def one() -> None:
            try:
                await what
            except Exception as error:
                log.warning("not recorded", error=where(error, self.telemetry))

        task = asyncio.create_task(one())
        self._later.add(task)
        task.add_done_callback(self._later.discard)

    # POST /v1/chat/completions

    def _understand(self, call: Call, request: ChatRequest | RouteRequest) -> Wanted:
        wishes = wishes_of(call.request.headers, request.pointsman)
        if wishes.profile is None and wishes.stated() is None and request.model == "auto":
            own = call.key.preferences
            wishes = wishes.model_copy(
                update={"preferences": own} if own else {"profile": self.settings.default_profile}
            )
        gone = self.catalog.gone()
        return understand(
            request, wishes, call.request_id, call.key.name, self.catalog(), gone, len(call.body)
        )

    async def complete(self, call: Call) -> None:
        """Answer a chat."""
        wanted = self._understand(call, parse(ChatRequest, call.body))
        choice = await choose(
            wanted, self.router, self.conversations, self.settings, call.key.name, self.assess
        )
        DOOR_SECONDS.labels(NAME, "decision").observe(time.monotonic() - call.began)
        if choice.no_decision is not None:
            DEFAULTED.labels(choice.no_decision.value).inc()
        expected = work.expected_usd(wanted, choice, self.models)
        purse: work.Purse | None = None
        if (cap := call.key.usd_per_day) is not None:
            purse = await self.purses.of(call.key.name, cap)
            if not await purse.reserve(expected):
                text = (
                    f"this key may spend {cap:g} USD a day, and about {expected:.6f} more is "
                    "too much today"
                )
                raise Problem(
                    429,
                    text,
                    kind="insufficient_quota",
                    code="insufficient_quota",
                    headers={"x-should-retry": "false"},
                )
        told: list[work.Told] = []
        try:
            await (self._stream if wanted.stream else self._whole)(call, wanted, choice, told)
        finally:
            self._record(wanted, choice, told, call.key, expected, purse)

    async def _whole(
        self, call: Call, wanted: Wanted, choice: Choice, told: list[work.Told]
    ) -> None:
        done, body = await work.ask_whole(
            wanted, choice, self.models, self.settings.answer_s, self.assess
        )
        told.append(done)
        headers = (
            choice.headers(done.model)
            | done.headers()
            | {"x-pointsman-cost-usd": f"{done.cost_usd:.8f}"}
        )
        await call.say(200, body, headers)

    async def _stream(
        self, call: Call, wanted: Wanted, choice: Choice, told: list[work.Told]
    ) -> None:
        async with work.ask_streamed(
            wanted, choice, self.models, self.settings.answer_s, self.assess
        ) as speaking:
            told.append(speaking.told)
            await call.begin(choice.headers(speaking.told.model) | speaking.told.headers())
            first = True
            async for chunk in speaking.chunks():
                await call.event(chunk)
                if first:
                    DOOR_SECONDS.labels(NAME, "first_token").observe(time.monotonic() - call.began)
                    first = False
            await call.event("[DONE]", last=True)

    def _record(
        self,
        wanted: Wanted,
        choice: Choice,
        told: list[work.Told],
        key: Key,
        expected: float,
        purse: work.Purse | None,
    ) -> None:
        """Leave behind what is to be learnt and what is to be paid; also when the client has
        left."""
        if not told:
            if purse is not None:
                self.later(purse.settle(expected, 0.0))
            return
        bill = work.bill(wanted, told[0], key.name, expected)
        SPENT.labels(NAME, bill.model).inc(bill.cost_usd)
        if purse is not None:
            self.later(purse.settle(expected, bill.cost_usd))
        self.later(self.replies.publish(SPENDING, to_json(bill), bill.key))
        if (
            (conversation := choice.conversation) is not None
            and told[0].answer is not None
            and told[0].model != choice.order[0]
        ):
            self.later(
                self.conversations.put(conversation.key, conversation.said_by(told[0].model))
            )
        if choice.decided is not None and wanted.whole and told[0].answer is not None:
            self.later(self._completed(work.completed(choice.decided, told[0]), key))

    async def _completed(self, message: Completed, key: Key) -> None:
        async def there(partition: int, offset: int) -> None:
            place = Place(partition=partition, offset=offset, key=key.name)
            await self.places.put(message.request_id, place.model_dump_json())

        if (traced := tracing.live()) is not None:
            traced.tell(message)
        await self.replies.publish(COMPLETIONS, to_json(message), message.key, there)

    # the rest

    async def route(self, call: Call) -> None:
        """Decide, and say why."""
        wanted = self._understand(call, parse(RouteRequest, call.body))
        if wanted.submitted is None:
            profiles = ", ".join(f"auto:{name}" for name in Profile)
            raise Problem(
                400, f"to be routed, the model is auto or one of {profiles}", param="model"
            )
        began = time.monotonic()
        try:
            decided = await self.router.route(wanted.submitted)
        except Unrouted as error:
            text = f"no decision now: {error}"
            raise Problem(
                503,
                text,
                kind="server_error",
                code="routing_unavailable",
                headers={"retry-after": "2"},
            ) from None
        await call.say(
            200, work.explained(decided), {"server-timing": work.timing(time.monotonic() - began)}
        )

    async def feedback(self, call: Call) -> None:
        """Take a thumb on an answer as weak evidence."""
        wanted: FeedbackRequest = parse(FeedbackRequest, call.body)
        missing = Problem(
            404,
            f"no answer {wanted.request_id[:80]!r} of this key is known; it may be too old",
            code="not_found",
            param="request_id",
        )
        place = Place.read(await self.places.get(wanted.request_id))
        if place is None or (place.key != call.key.name and not call.key.may(May.admin)):
            raise missing
        value = await read_one(self.kafka, COMPLETIONS, place.partition, place.offset)
        try:
            message = read(Completed, value)
        except InvalidMessage:
            raise missing from None
        if wanted.better is not None and wanted.better not in self.catalog().models:
            raise Problem(
                404,
                f"there is no model {wanted.better[:80]!r}",
                code="model_not_found",
                param="better",
            )
        try:
            evaluation = thumbed(message, wanted.thumb, wanted.better, call.key.name)
        except InvalidMessage as error:
            raise Problem(400, str(error), param="better") from None
        try:
            await self.replies.publish(EVALUATIONS, to_json(evaluation), evaluation.key)
        except AdapterError as error:
            raise Problem(
                503, str(error), kind="server_error", headers={"retry-after": "2"}
            ) from None
        said = {"object": "pointsman.feedback", "evaluation_id": evaluation.evaluation_id}
        await call.say(
            200, said | {"compared": [evaluation.first, evaluation.second], "thumb": wanted.thumb}
        )

    def _listed(self) -> list[dict[str, Any]]:
        """The profiles and the models, as OpenAI lists them."""
        catalog, gone = self.catalog(), self.catalog.gone()
        rows: list[dict[str, Any]] = [
            {"id": name, "object": "model", "created": 0, "owned_by": "pointsman"}
            for name in ("auto", *(f"auto:{p}" for p in Profile))
        ]
        return rows + [
            documented.model(model) for model in catalog.models.values() if model.name not in gone
        ]

    async def list_models(self, call: Call) -> None:
        """The profiles and the models."""
        await call.say(200, {"object": "list", "data": self._listed()})

    async def show_model(self, call: Call) -> None:
        """One of them, by its name or its provider's."""
        name = call.request.path_params["name"]
        with suppress(CatalogError):
            name = self.catalog().model(name).name
        row = next((row for row in self._listed() if row["id"] == name), None)
        if row is None:
            text = f"there is no model {name[:80]!r}; GET /v1/models lists them"
            raise Problem(404, text, code="model_not_found", param="model")
        await call.say(200, row)

    async def metrics(self, call: Call) -> None:
        """Prometheus's text."""
        body, headers = metrics()
        call.status = 200
        await Response(body, headers=headers)(call.request.scope, _nothing, call.send)

    async def ready(self, _request: Request) -> Response:
        """Whether requests are routed now. Models are named all the same while they are not."""
        parts = {
            "replies_heard": self.replies.listening.is_set(),
            "decisions_come": self.rest.would_allow(),
            "keys": bool(self.keys.all()) or self.keys.open,
        }
        return JSONResponse(
            {"ready": all(parts.values()), **parts}, 200 if all(parts.values()) else 503
        )


def _unavailable(error: ModelUnreachable) -> Unavailable:
    return Unavailable(
        str(error),
        error.status,
        error.said,
        late=error.trouble is Trouble.late,
        retry_after_s=error.retry_after_s,
    )


@dataclass(frozen=True, slots=True)
class _Talking:
    """A model that is answering, as the gateway knows it."""

    talking: Talking

    @property
    def chunks(self) -> AsyncIterator[dict[str, Any]]:
        return self._chunks()

    async def _chunks(self) -> AsyncIterator[dict[str, Any]]:
        try:
            async for chunk in self.talking.chunks:
                yield chunk
        except ModelUnreachable as error:
            raise _unavailable(error) from None

    @property
    def answer(self) -> Callable[[], Answer]:
        return self.talking.answer


class Calling:
    """The models of the catalogue, as the gateway asks them."""

    def __init__(self, providers: Providers, catalog: Callable[[], Catalog]) -> None:
        self._providers, self._catalog = providers, catalog

    @asynccontextmanager
    async def open(
        self,
        model: str,
        chat: Sequence[Mapping[str, Any]],
        parameters: Mapping[str, Any],
        within_s: float,
    ) -> AsyncGenerator[_Talking, None]:
        async with AsyncExitStack() as stack:
            try:
                talking = await stack.enter_async_context(
                    self._providers.open(model, chat, parameters, within_s)
                )
            except ModelUnreachable as error:
                raise _unavailable(error) from None
            yield _Talking(talking)

    async def whole(
        self,
        model: str,
        chat: Sequence[Mapping[str, Any]],
        parameters: Mapping[str, Any],
        within_s: float,
    ) -> tuple[Answer, Mapping[str, Any]]:
        try:
            return await self._providers.whole(model, chat, parameters, within_s)
        except ModelUnreachable as error:
            raise _unavailable(error) from None

    def expected_cost_usd(self, model: str, prompt_tokens: float, answer_tokens: float) -> float:
        return self._catalog().model(model).price.cost_usd(prompt_tokens, answer_tokens)


@asynccontextmanager
async def calling(
    catalog: CurrentCatalog, settings: GatewaySettings
) -> AsyncGenerator[Calling, None]:
    """The providers, with as many calls under way as there may be requests, unless the environment
    says otherwise."""
    llm = LLMSettings()
    if "concurrency" not in llm.model_fields_set:
        llm = llm.model_copy(update={"concurrency": settings.max_requests})
    providers = Providers(catalog, llm)
    try:
        yield Calling(providers, catalog)
    finally:
        await providers.close()
