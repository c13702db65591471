"""What the endpoints do, and all that they share."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, Coroutine
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from services.gateway import FLOW, billing, documented
from services.gateway.answering import Answering, Models, ask_streamed, ask_whole
from services.gateway.billing import KeyBudget, completed, expected_usd, explained
from services.gateway.choice import Assess, Choice, Unrouted, choose, timing
from services.gateway.fallback import Fallback
from services.gateway.hot_path import HotPath
from services.gateway.remembered import AnsweredAt
from services.gateway.requests import (
    ChatRequest,
    FeedbackRequest,
    Problem,
    RouteRequest,
    UnderstoodRequest,
    parse,
    understand,
    wishes_of,
)
from services.gateway.settings import GatewaySettings
from services.gateway.wiring.admission import ConcurrencyLimit
from services.gateway.wiring.calling import calling
from services.gateway.wiring.serving import HttpCall, hears_nothing
from shared.adapters import tracing
from shared.adapters.catalog import CurrentCatalog
from shared.adapters.errors import AdapterError
from shared.adapters.http import metrics
from shared.adapters.kafka.client import read_one, require_topics
from shared.adapters.kafka.replies import Replies
from shared.adapters.kafka.settings import KafkaSettings
from shared.adapters.keys import Key, Keys
from shared.adapters.llm.breaker import Breaker
from shared.adapters.onnx.assessing import Assessor
from shared.adapters.redis.cache import TextCache
from shared.adapters.redis.client import RedisSettings
from shared.adapters.redis.purses import KeyBudgets
from shared.adapters.redis.rates import RateLimits
from shared.adapters.tables import Tables
from shared.adapters.telemetry import DEFAULTED, DOOR_SECONDS, SPENT, TelemetrySettings, log, where
from shared.catalog.models import CatalogError
from shared.contracts.errors import InvalidMessage
from shared.contracts.flow import RedisKeys
from shared.contracts.messages import Completed, read, to_json
from shared.contracts.opinions import thumbed
from shared.contracts.scopes import Scope
from shared.contracts.topics import COMPLETIONS, EVALUATIONS, SPENDING
from shared.contracts.wishes import Profile

SILENCES, REST_S = 3, 5.0
"""After so many requests in a row without a decision the hot path is not waited for, for so many
seconds."""


@dataclass
class Gateway:
    """All that the endpoints share. Use inside `running`."""

    settings: GatewaySettings
    given: Models | None = None
    kafka: KafkaSettings = field(default_factory=KafkaSettings)
    redis: RedisSettings = field(default_factory=RedisSettings)
    telemetry: TelemetrySettings = field(default_factory=TelemetrySettings)

    def __post_init__(self) -> None:
        self.keys = Keys()
        self.catalog = CurrentCatalog(self.settings.catalog)
        self.room = ConcurrencyLimit(self.settings.max_requests, self.settings.max_bytes)
        self.models: Models
        self._later: set[asyncio.Task[None]] = set()

    @asynccontextmanager
    async def running(self) -> AsyncGenerator[None, None]:
        """With everything that the endpoints need."""
        settings = self.settings
        redis = self.redis
        async with AsyncExitStack() as stack:
            await require_topics(self.kafka, FLOW.topics)
            self.rates = RateLimits(redis)
            self.purses = KeyBudgets(self.kafka, redis)
            stack.push_async_callback(self.rates.close)
            self.conversations = TextCache(redis, RedisKeys.conversation, settings.conversation_s)
            self.places = TextCache(redis, RedisKeys.answered, settings.feedback_s)
            stack.push_async_callback(self.conversations.close)
            stack.push_async_callback(self.places.close)
            budgets = [
                (k.name, k.usd_per_day) for k in self.keys.all() if k.usd_per_day is not None
            ]
            await stack.enter_async_context(self.purses.running(budgets))
            tables = Tables(FLOW.name, self.kafka, redis)
            self.assess: Assess | None = None
            if settings.cascade == "off":
                await stack.enter_async_context(tables.running())
            else:
                self.assess = assessor = Assessor(tables, settings.encoder_dir, settings.variant)
                await stack.enter_async_context(assessor.running())
            self.replies = Replies(self.kafka)
            await stack.enter_async_context(self.replies.running())
            self.rest = Breaker(SILENCES, REST_S)
            self.router = HotPath(
                self.replies,
                self.rest,
                Fallback(tables.at_hand, self.catalog, self.catalog.gone, settings),
                settings,
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

    def _understand(self, call: HttpCall, request: ChatRequest | RouteRequest) -> UnderstoodRequest:
        wishes = wishes_of(call.request.headers, request.pointsman)
        if wishes.profile is None and wishes.stated() is None and request.model == "auto":
            preferences = call.key.preferences
            wishes = wishes.model_copy(
                update={"preferences": preferences}
                if preferences
                else {"profile": self.settings.default_profile}
            )
        gone = self.catalog.gone()
        return understand(
            request, wishes, call.request_id, call.key.name, self.catalog(), gone, len(call.body)
        )

    async def complete(self, call: HttpCall) -> None:
        """Answer a chat."""
        wanted = self._understand(call, parse(ChatRequest, call.body))
        choice = await choose(
            wanted, self.router, self.conversations, self.settings, call.key.name, self.assess
        )
        DOOR_SECONDS.labels(FLOW.name, "decision").observe(time.monotonic() - call.began)
        if choice.no_decision is not None:
            DEFAULTED.labels(choice.no_decision.value).inc()
        expected = expected_usd(wanted, choice, self.models)
        purse: KeyBudget | None = None
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
        answerings: list[Answering] = []
        try:
            await (self._stream if wanted.stream else self._whole)(call, wanted, choice, answerings)
        finally:
            self._record(wanted, choice, answerings, call.key, expected, purse)

    async def _whole(
        self, call: HttpCall, wanted: UnderstoodRequest, choice: Choice, answerings: list[Answering]
    ) -> None:
        done, body = await ask_whole(
            wanted, choice, self.models, self.settings.answer_s, self.assess
        )
        answerings.append(done)
        headers = (
            choice.headers(done.model)
            | done.headers()
            | {"x-pointsman-cost-usd": f"{done.cost_usd:.8f}"}
        )
        await call.say(200, body, headers)

    async def _stream(
        self, call: HttpCall, wanted: UnderstoodRequest, choice: Choice, answerings: list[Answering]
    ) -> None:
        async with ask_streamed(
            wanted, choice, self.models, self.settings.answer_s, self.assess
        ) as speaking:
            answerings.append(speaking.told)
            await call.begin(choice.headers(speaking.told.model) | speaking.told.headers())
            first = True
            async for chunk in speaking.chunks():
                await call.event(chunk)
                if first:
                    DOOR_SECONDS.labels(FLOW.name, "first_token").observe(
                        time.monotonic() - call.began
                    )
                    first = False
            await call.event("[DONE]", last=True)

    def _record(
        self,
        wanted: UnderstoodRequest,
        choice: Choice,
        answerings: list[Answering],
        key: Key,
        expected: float,
        purse: KeyBudget | None,
    ) -> None:
        """Leave behind what is to be learnt and what is to be paid; also when the client has
        left."""
        if not answerings:
            if purse is not None:
                self.later(purse.settle(expected, 0.0))
            return
        bill = billing.bill(wanted, answerings[0], key.name, expected)
        SPENT.labels(FLOW.name, bill.model).inc(bill.cost_usd)
        if purse is not None:
            self.later(purse.settle(expected, bill.cost_usd))
        self.later(self.replies.publish(SPENDING, to_json(bill), bill.key))
        if (
            (conversation := choice.conversation) is not None
            and answerings[0].answer is not None
            and answerings[0].model != choice.order[0]
        ):
            self.later(conversation.keep(self.conversations, answerings[0].model))
        if choice.decided is not None and wanted.whole and answerings[0].answer is not None:
            self.later(self._completed(completed(choice.decided, answerings[0]), key))

    async def _completed(self, message: Completed, key: Key) -> None:
        async def there(partition: int, offset: int) -> None:
            place = AnsweredAt(partition=partition, offset=offset, key=key.name)
            await place.keep(self.places, message.request_id)

        if (traced := tracing.live()) is not None:
            traced.tell(message)
        await self.replies.publish(COMPLETIONS, to_json(message), message.key, there)

    # the rest

    async def route(self, call: HttpCall) -> None:
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
        await call.say(200, explained(decided), {"server-timing": timing(time.monotonic() - began)})

    async def feedback(self, call: HttpCall) -> None:
        """Take a thumb on an answer as weak evidence."""
        wanted: FeedbackRequest = parse(FeedbackRequest, call.body)
        missing = Problem(
            404,
            f"no answer {wanted.request_id[:80]!r} of this key is known; it may be too old",
            code="not_found",
            param="request_id",
        )
        place = await AnsweredAt.recall(self.places, wanted.request_id)
        if place is None or (place.key != call.key.name and not call.key.may(Scope.admin)):
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
        catalog = self.catalog()
        gone = self.catalog.gone()
        rows: list[dict[str, Any]] = [
            {"id": name, "object": "model", "created": 0, "owned_by": "pointsman"}
            for name in ("auto", *(f"auto:{p}" for p in Profile))
        ]
        return rows + [
            documented.model(model) for model in catalog.models.values() if model.name not in gone
        ]

    async def list_models(self, call: HttpCall) -> None:
        """The profiles and the models."""
        await call.say(200, {"object": "list", "data": self._listed()})

    async def show_model(self, call: HttpCall) -> None:
        """One of them, by its name or its provider's."""
        name = call.request.path_params["name"]
        with suppress(CatalogError):
            name = self.catalog().model(name).name
        row = next((row for row in self._listed() if row["id"] == name), None)
        if row is None:
            text = f"there is no model {name[:80]!r}; GET /v1/models lists them"
            raise Problem(404, text, code="model_not_found", param="model")
        await call.say(200, row)

    async def metrics(self, call: HttpCall) -> None:
        """Prometheus's text."""
        body, headers = metrics()
        call.status = 200
        await Response(body, headers=headers)(call.request.scope, hears_nothing, call.send)

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
