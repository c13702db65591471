"""What the endpoints do, and all that they share."""

from __future__ import annotations

import asyncio
import difflib
import time
from collections.abc import AsyncGenerator, Coroutine
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass, field, replace
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from services.gateway import FLOW, billing, documented
from services.gateway.answering import (
    Answering,
    AnswerUnderWay,
    Models,
    ask_streamed,
    ask_whole,
    left_out,
)
from services.gateway.billing import completed, expected_usd, explained
from services.gateway.choice import Assess, Choice, Unrouted, choose, timing
from services.gateway.fallback import Fallback
from services.gateway.forms import Form
from services.gateway.forms.chat import decision_asked
from services.gateway.forms.messages import counted
from services.gateway.forms.responses import RESPONSES, ResponsesRequest
from services.gateway.hot_path import HotPath
from services.gateway.remembered import AnsweredAt, KeptResponse
from services.gateway.requests import FeedbackRequest, Problem, parse, wishes_of
from services.gateway.settings import GatewaySettings
from services.gateway.understanding import AskedRequest, UnderstoodRequest, resolved, understand
from services.gateway.wiring.admission import ConcurrencyLimit
from services.gateway.wiring.calling import calling
from services.gateway.wiring.encoding import OwnEncoder
from services.gateway.wiring.responses import SESSION, KeptResponses
from services.gateway.wiring.serving import HandleCall, HttpCall, hears_nothing
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
from shared.adapters.redis.budget import Reservation
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
from shared.contracts.wishes import Constraints, Profile

EMBEDS = {"pointsman": {"kind": "embedding", "price": None}}
SILENCES, REST_S = 3, 5.0
"""After this many requests in a row without a decision, the gateway does not wait for the hot path
for this many seconds."""
RECORDED_WITHIN_S = (0.0, 0.1, 0.2, 0.4)
"""Waits until an answer that was just given is found."""


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
            self.responses = KeptResponses(redis, settings.responses_s)
            stack.push_async_callback(self.places.close)
            stack.push_async_callback(self.responses.close)
            self.encoders = OwnEncoder(settings.encoder_dir, settings.variant)
            stack.callback(self.encoders.close)
            budgets = [
                (k.name, k.usd_per_day) for k in self.keys.all() if k.usd_per_day is not None
            ]
            await stack.enter_async_context(self.purses.running(budgets))
            self.tables = tables = Tables(FLOW.name, self.kafka, redis)
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

    # answers, in every form

    def _understand(self, call: HttpCall, asked: AskedRequest) -> UnderstoodRequest:
        wishes = wishes_of(call.request.headers, asked.request.pointsman)
        called = resolved(asked.request.model, self.catalog(), self.settings.aliases)
        if wishes.profile is None and wishes.stated() is None and ":" not in called:
            preferences = call.key.preferences
            wishes = wishes.model_copy(
                update={"preferences": preferences}
                if preferences
                else {"profile": self.settings.default_profile}
            )
        limits = self._named(wishes.constraints)
        understood = understand(
            asked,
            wishes.model_copy(update={"constraints": limits}),
            call.request_id,
            call.key.name,
            self.catalog(),
            self.catalog.gone(),
            len(call.body),
            self.settings.aliases,
        )
        if (model := understood.model) is not None and (
            model in limits.deny or (limits.allow is not None and model not in limits.allow)
        ):
            text = f"the model {model} is asked for by name, and the constraints rule it out"
            raise Problem(400, text, param="pointsman.constraints")
        return understood

    def _named(self, limits: Constraints) -> Constraints:
        """Limits whose models have the catalogue's names. Raises `Problem` for one that nobody
        knows: a misspelt `deny` would protect from nothing."""
        if limits.allow is None and not limits.deny:
            return limits
        catalog = self.catalog()
        known = {*catalog.models, *catalog.retired, *self._ranked()}

        def named(which: str, names: frozenset[str]) -> frozenset[str]:
            found = set()
            for name in names:
                with suppress(CatalogError):
                    found.add(name if name in known else catalog.model(name).name)
                    continue
                near = difflib.get_close_matches(name, sorted(known), n=1, cutoff=0.5)
                hint = f"; did you mean {near[0]}?" if near else "; GET /v1/models lists them"
                raise Problem(
                    400,
                    f"`{which}` names {name[:80]!r}, and there is no such model{hint}",
                    code="model_not_found",
                    param=f"pointsman.constraints.{which}",
                )
            return frozenset(found)

        return limits.model_copy(
            update={
                "allow": None if limits.allow is None else named("allow", limits.allow),
                "deny": named("deny", limits.deny),
            }
        )

    def answering(self, form: Form) -> HandleCall:
        """What answers requests of a form."""

        async def answer(call: HttpCall) -> None:
            await self._answer(call, form.read(call.body, call.request.headers))

        return answer

    async def respond(self, call: HttpCall) -> None:
        """Answer in the Responses API's form, which may go on from an earlier response."""
        request: ResponsesRequest = parse(ResponsesRequest, call.body)
        before: KeptResponse | None = None
        if (name := request.previous_response_id) is not None:
            before = await self.responses.find(call, name, "previous_response_id")
        referred = await self.responses.referred(call, request)
        asked = RESPONSES.going_on(request, before.items if before else (), referred)
        if before is not None and asked.request.pointsman.session_id is None:
            first = before.response.get(SESSION) or before.response["id"]
            wishes = asked.request.pointsman.model_copy(update={"session_id": first})
            asked = replace(asked, request=asked.request.model_copy(update={"pointsman": wishes}))
        await self._answer(call, asked)

    async def _answer(self, call: HttpCall, asked: AskedRequest) -> None:
        wanted = self._understand(call, asked)
        choice = await choose(
            wanted,
            self.router,
            self.conversations,
            self.settings,
            call.key.name,
            self.assess,
            known=self.catalog().models,
        )
        DOOR_SECONDS.labels(FLOW.name, "decision").observe(time.monotonic() - call.began)
        if choice.no_decision is not None:
            DEFAULTED.labels(choice.no_decision.value).inc()
        expected = expected_usd(wanted, choice, self.models)
        held = await self.reserved(call.key, expected)
        under_way = AnswerUnderWay()
        try:
            await (self._stream if wanted.stream else self._whole)(call, wanted, choice, under_way)
        finally:
            self._record(wanted, choice, under_way.answering, call.key, expected, held)

    async def reserved(self, key: Key, expected: float) -> Reservation | None:
        """What is expected, of the key's budget where it has one. Raises `Problem`."""
        if (cap := key.usd_per_day) is None:
            return None
        purse = await self.purses.of(key.name, cap)
        if (reservation := await purse.reserve(expected)) is None:
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
        return reservation

    def _headers(
        self, wanted: UnderstoodRequest, choice: Choice, done: Answering
    ) -> dict[str, str]:
        headers = choice.headers(done.model) | done.headers()
        if names := left_out(wanted, done.model, self.models):
            headers["x-pointsman-left-out"] = ", ".join(names)
            log.info(
                "left out of a request",
                request_id=wanted.request_id,
                model=done.model,
                left_out=names,
            )
        return headers

    async def _whole(
        self, call: HttpCall, wanted: UnderstoodRequest, choice: Choice, under_way: AnswerUnderWay
    ) -> None:
        done, completion = await ask_whole(
            wanted, choice, self.models, self.settings.answer_s, under_way, self.assess
        )
        headers = self._headers(wanted, choice, done)
        body = wanted.asked.form.whole(completion, wanted)
        await self.responses.keep(wanted, call.key, completion)
        await call.say(200, body, headers | {"x-pointsman-cost-usd": f"{done.cost_usd:.8f}"})

    async def _stream(
        self, call: HttpCall, wanted: UnderstoodRequest, choice: Choice, under_way: AnswerUnderWay
    ) -> None:
        settings = self.settings
        waiting = call.waiting(settings.keep_alive_s)
        try:
            async with ask_streamed(
                wanted,
                choice,
                self.models,
                settings.answer_s,
                settings.silence_s,
                under_way,
                self.assess,
            ) as speaking:
                await waiting.end()
                call.events = wanted.asked.form.streamed(wanted, speaking.told.model)
                if not call.status:
                    await call.begin(self._headers(wanted, choice, speaking.told))
                first = True
                async for chunk in speaking.chunks():
                    if speaking.told.answer is not None:  # kept before the client can refer to it
                        await self.responses.keep(wanted, call.key, speaking.completion())
                    for event in call.events.events(chunk):
                        await call.pass_on(event)
                    if first:
                        DOOR_SECONDS.labels(FLOW.name, "first_token").observe(
                            time.monotonic() - call.began
                        )
                        first = False
                await call.pass_on(call.events.end(), last=True)
        finally:
            await waiting.end()

    async def count_tokens(self, call: HttpCall) -> None:
        """About how many tokens a request in Anthropic's form has."""
        await call.say(200, {"input_tokens": counted(call.body), "estimated": True})

    def _record(
        self,
        wanted: UnderstoodRequest,
        choice: Choice,
        answering: Answering | None,
        key: Key,
        expected: float,
        held: Reservation | None,
    ) -> None:
        """Leave behind what is to be learnt and what is to be paid; also when the client has
        left."""
        if answering is None:
            if held is not None:
                self.later(held.settle(0.0))
            return
        bill = billing.bill(wanted, answering, key.name, expected)
        SPENT.labels(FLOW.name, bill.model).inc(bill.cost_usd)
        if held is not None:
            self.later(held.settle(bill.cost_usd))
        self.later(self.replies.publish(SPENDING, to_json(bill), bill.key))
        answer = answering.answer
        if (conversation := choice.conversation) is not None and answer is not None:
            tokens = answer.prompt_tokens + answer.completion_tokens
            self.later(conversation.keep(self.conversations, answering.model, answer, tokens))
        if choice.decided is not None and wanted.whole and answer is not None:
            self.later(self._completed(completed(choice.decided, answering), key))

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
        wanted = self._understand(call, decision_asked(call.body))
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
            f"no answer {wanted.request_id[:80]!r} of this key is known that was routed; it may "
            "be too old, or its request named a model",
            code="not_found",
            param="request_id",
        )
        place = None
        for wait_s in RECORDED_WITHIN_S:  # a thumb may come before its answer has been recorded
            await asyncio.sleep(wait_s)
            if (place := await AnsweredAt.recall(self.places, wanted.request_id)) is not None:
                break
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

    def _ranked(self) -> tuple[str, ...]:
        """The models of the routing table in use."""
        at_hand = self.tables.at_hand()
        return at_hand[1].models if at_hand is not None else ()

    def _listed(self) -> list[dict[str, Any]]:
        """The profiles and the models that can be chosen, as OpenAI lists them: those of the
        routing table in use and of the profile. Any other of the catalogue answers, too, where it
        is asked for by its name."""
        catalog = self.catalog()
        gone = self.catalog.gone()
        chosen = {
            *self._ranked(),
            *catalog.profiles.get(self.settings.profile, catalog.models),
        } - gone
        rows: list[dict[str, Any]] = [
            documented.listed(name, "pointsman")
            for name in ("auto", *(f"auto:{p}" for p in Profile))
        ]
        return (
            rows
            + [documented.model(m) for m in catalog.models.values() if m.name in chosen]
            + [documented.listed(self.encoders.name, "pointsman") | EMBEDS]
        )

    async def list_models(self, call: HttpCall) -> None:
        """The profiles and the models."""
        rows = self._listed()
        ends = {"first_id": rows[0]["id"], "last_id": rows[-1]["id"], "has_more": False}
        await call.say(200, {"object": "list", "data": rows} | ends)

    async def show_model(self, call: HttpCall) -> None:
        """One of them, by its name or its provider's."""
        name = call.request.path_params["name"]
        with suppress(CatalogError):
            name = self.catalog().model(name).name
        row = next((row for row in self._listed() if row["id"] == name), None)
        if row is None and name in self.catalog().models and name not in self.catalog.gone():
            row = documented.model(self.catalog().models[name])
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
        """Whether requests are answered, and whether they are routed. Where no decision comes, the
        profile's default model answers: that is degraded, and better than nothing."""
        keys = bool(self.keys.all()) or self.keys.open
        parts = {
            "degraded": not self.routes,
            "replies_heard": self.replies.heard,
            "decisions_come": self.rest.would_allow(),
            "keys": keys,
        }
        return JSONResponse({"ready": keys, **parts}, 200 if keys else 503)

    @property
    def routes(self) -> bool:
        """Whether prompts are routed now, as far as is known."""
        return self.replies.heard and self.rest.would_allow()
