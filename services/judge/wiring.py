"""The outside as the judge uses it: models, judge models, prices, and what was spent."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass
from datetime import datetime

from services.judge import FLOW, verdict
from services.judge.attendance import Attendance
from services.judge.judge import PAIRS_AT_ONCE, AskInShadow, AskJudge, chosen_once, judge
from services.judge.sample import Sampler
from services.judge.settings import JudgeSettings
from shared.adapters.catalog import CurrentCatalog
from shared.adapters.errors import ModelUnreachable
from shared.adapters.kafka.client import each
from shared.adapters.kafka.settings import KafkaSettings
from shared.adapters.llm.chat import LLMSettings
from shared.adapters.llm.providers import Providers, Said, said
from shared.adapters.llm.simulated import JUDGE
from shared.adapters.redis.answers import RedisAnswers
from shared.adapters.redis.budget import DailyBudget
from shared.adapters.redis.cache import TextCache
from shared.adapters.redis.client import RedisSettings
from shared.adapters.tables import Tables
from shared.adapters.telemetry import ABSTAINED, JUDGED, SPENT, STOPPED, VOTES, log
from shared.catalog.estimates import ANSWER_TOKENS, PROMPT_TOKENS
from shared.catalog.models import Catalog, Price
from shared.contracts.answers import Answer, Conflict, answer_name
from shared.contracts.errors import InvalidMessage, ModelUnavailable
from shared.contracts.evaluations import Evaluated
from shared.contracts.flow import RedisKeys
from shared.contracts.messages import Completed, read
from shared.contracts.raters import RaterKind, Votes
from shared.contracts.topics import EVALUATIONS

REMEMBER_S = 24 * 3600


def effective(settings: JudgeSettings) -> JudgeSettings:
    """The settings with available judge models: without a key, SIMULATED ones."""
    if not LLMSettings().simulated:
        return settings
    simulated = tuple(f"{JUDGE}-{i + 1}" for i in range(len(settings.models)))
    return settings.model_copy(update={"models": simulated})


class Judging:
    """Has completions judged."""

    def __init__(self, settings: JudgeSettings) -> None:
        self._settings = settings
        self._kafka = KafkaSettings()
        self._redis = RedisSettings()
        self._catalog = CurrentCatalog(settings.catalog)
        self._catalog().profile(settings.profile)  # an unknown one ends the start
        self._sampler = Sampler(settings)
        self._attendance = Attendance(settings.rest_s)
        self._tables = Tables(FLOW.name, self._kafka, self._redis)
        self._budget = DailyBudget(
            self._redis,
            RedisKeys.judge_budget,
            settings.budget_usd_per_day,
            lambda day: spent_since(self._kafka, day),
        )
        self._remembered = TextCache(self._redis, RedisKeys.judged, REMEMBER_S)
        self._ask_model: AskInShadow | None = None
        self._ask_judge: AskJudge | None = None

    @asynccontextmanager
    async def running(self) -> AsyncGenerator[None, None]:
        """With models, judge models, the routing table and the budget."""
        async with AsyncExitStack() as stack:
            await stack.enter_async_context(self._tables.running())
            await stack.enter_async_context(self._budget.running())
            models = asking(self._settings, self._catalog, LLMSettings(), self._redis)
            self._ask_model, self._ask_judge = await stack.enter_async_context(models)
            stack.push_async_callback(self._remembered.close)
            yield

    async def work(self, batch: Sequence[Completed]) -> Sequence[list[Evaluated] | Exception]:
        """Judge a batch, and count the results."""
        return await asyncio.gather(*(self._judge(message) for message in batch))

    async def _judge(self, message: Completed) -> list[Evaluated]:
        assert self._ask_model is not None, "use it inside running()"
        assert self._ask_judge is not None, "use it inside running()"
        _, table = await self._tables.current()
        costs = challengers(self._catalog(), self._settings.profile)
        pairs = await chosen_once(
            message, lambda: self._sampler.choose(message, table, costs), self._remembered
        )
        if not pairs:
            return []
        evaluations = await judge(
            message,
            pairs,
            self._settings,
            self._ask_model,
            self._ask_judge,
            self._budget,
            CatalogPrices(self._catalog()),
            self._remembered,
            self._attendance,
        )
        JUDGED.labels("judged").inc(len(evaluations))
        JUDGED.labels("left out").inc(max(0, len(pairs) - len(evaluations)))
        for evaluation in evaluations:
            for kind in Votes.model_fields:
                VOTES.labels(evaluation.rater.name, kind).inc(getattr(evaluation.votes, kind))
            attend(evaluation, self._attendance)
        return evaluations


@dataclass(frozen=True, slots=True)
class CatalogPrices:
    """Bounds from the catalogue; a model without a price counts as very expensive."""

    catalog: Catalog

    def bound(self, model: str, prompt_tokens: int, completion_tokens: int) -> float:
        entry = self.catalog.models.get(model)
        return entry.price.cost_usd(prompt_tokens, completion_tokens) if entry else 1.0


def challengers(catalog: Catalog, profile: str) -> dict[str, float]:
    """The models of a profile, with what an answer of each is expected to cost, in USD."""
    pool = (
        catalog.models[name]
        for name in catalog.profiles.get(profile, ())
        if name not in catalog.retired
    )
    return {m.name: m.price.cost_usd(PROMPT_TOKENS, ANSWER_TOKENS) for m in pool}


@asynccontextmanager
async def asking(
    settings: JudgeSettings, catalog: Callable[[], Catalog], llm: LLMSettings, redis: RedisSettings
) -> AsyncGenerator[tuple[AskInShadow, AskJudge], None]:
    """The models of the catalogue and the judge models, as the judge asks them."""
    at_once = settings.workers * PAIRS_AT_ONCE * 2 * settings.orders
    providers = Providers(catalog, llm.with_room(at_once))
    answers = RedisAnswers(redis)

    async def ask_model(message: Completed, model: str) -> Answer:
        asked = message.asked()
        with suppress(Conflict):
            if (remembered := await answers.get(message.request_id, model, asked)) is not None:
                return remembered
        once = answer_name(message.request_id, model, asked)
        try:
            answer = await providers.ask(
                model, message.chat(), message.parameters, settings.call_s, once=once
            )
        except ModelUnreachable as error:
            raise ModelUnavailable(str(error)) from None
        SPENT.labels(FLOW.name, model).inc(answer.cost_usd)
        await answers.put(message.request_id, answer, asked, REMEMBER_S)
        return answer

    price = Price(input=settings.price_input, output=settings.price_output)

    async def ask_judge(model: str, messages: list[dict[str, str]], turn: int, once: str) -> Said:
        wanted = {"response_format": verdict.FORMAT, "seed": turn}
        judge, name, _ = providers.helper(model)
        try:
            got = await judge.complete(
                name,
                messages,
                within_s=settings.call_s,
                max_tokens=settings.max_tokens,
                parameters=wanted,
                optional=verdict.OPTIONAL,
                once=once,
            )
        except ModelUnreachable as error:
            raise ModelUnavailable(str(error)) from None
        judged = said(got, price)
        SPENT.labels(FLOW.name, model).inc(judged.cost_usd)
        return judged

    try:
        yield ask_model, ask_judge
    finally:
        await providers.close()
        await answers.close()


def attend(evaluation: Evaluated, attendance: Attendance) -> None:
    """Take note of votes that could not be read, and name a judge model that is not asked any
    more."""
    name = evaluation.rater.name
    abstained = evaluation.abstained.reasons()
    for reason, count in abstained.items():
        ABSTAINED.labels(name, reason).inc(count)
    if abstained:
        log.info(
            "votes that could not be read",
            judge=name,
            request_id=evaluation.request_id,
            cost_usd=evaluation.cost_usd,
            **abstained,
        )
    if attendance.note(name, evaluation.votes.cast, evaluation.abstained.paid):
        log.error(
            "a judge model rests: most of its votes can't be read",
            judge=name,
            rest_s=attendance.rest_s,
        )
    STOPPED.labels(name).set(not attendance.votes(name))


async def spent_since(kafka: KafkaSettings, begin: datetime) -> float:
    """What judges have spent since then, by the evaluations they have published."""
    paid: dict[str, float] = {}
    async for record in each(kafka, EVALUATIONS, begin):
        try:
            evaluation = read(Evaluated, record.value)
        except InvalidMessage:
            continue
        if evaluation.rater.kind is RaterKind.judge:
            paid[evaluation.evaluation_id] = (
                evaluation.cost_usd
            )  # one that came twice was paid once
    return sum(paid.values())
