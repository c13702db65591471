"""The outside as the dispatcher uses it: the models of the catalogue, answers that were given, and
what tells whether an answer is good enough."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

from services.dispatcher import FLOW
from services.dispatcher.dispatch import Answers, AskModel, AssessAnswer, dispatch
from services.dispatcher.settings import DispatcherSettings
from shared.adapters.catalog import CurrentCatalog
from shared.adapters.errors import ModelUnreachable
from shared.adapters.kafka.settings import KafkaSettings
from shared.adapters.llm.chat import LLMSettings
from shared.adapters.llm.providers import Providers
from shared.adapters.onnx.assessing import Assessor
from shared.adapters.redis.answers import RedisAnswers
from shared.adapters.redis.client import RedisSettings
from shared.adapters.tables import Tables
from shared.adapters.telemetry import CASCADES, COMPLETIONS, SPENT, log
from shared.contracts.answers import Answer
from shared.contracts.errors import ModelUnavailable
from shared.contracts.messages import Completed, Decided

MOST_COMPARED = 8
"""Models that answer one prompt at once, as a rule: where a sender wants models compared."""


class Dispatching:
    """Dispatches batches. What is not given is made when it starts."""

    def __init__(
        self,
        settings: DispatcherSettings,
        call: AskModel | None,
        answers: Answers | None,
        assess: AssessAnswer | None,
    ) -> None:
        self._settings = settings
        self._call = call
        self._answers = answers
        self._assess = assess

    @asynccontextmanager
    async def running(self) -> AsyncGenerator[None, None]:
        """With models to ask."""
        settings = self._settings
        async with AsyncExitStack() as stack:
            if self._call is None:
                llm = LLMSettings().with_room(settings.workers * MOST_COMPARED)
                providers = Providers(CurrentCatalog(settings.catalog), llm)
                stack.push_async_callback(providers.close)
                self._call = calling(providers)
            if self._answers is None:
                remembered = RedisAnswers(RedisSettings())
                stack.push_async_callback(remembered.close)
                self._answers = remembered
            if settings.cascade and self._assess is None:
                tables = Tables(FLOW.name, KafkaSettings(), RedisSettings())
                assessor = Assessor(tables, settings.encoder_dir, settings.variant)
                await stack.enter_async_context(assessor.running())
                self._assess = assessor
            yield

    async def work(self, batch: Sequence[Decided]) -> Sequence[Completed | tuple[()] | Exception]:
        """Dispatch a batch, and count the results."""
        call = self._call
        answers = self._answers
        assert call is not None, "use it inside running()"
        assert answers is not None, "use it inside running()"
        results = await asyncio.gather(
            *(dispatch(message, self._settings, call, answers, self._assess) for message in batch)
        )
        for result in results:
            if isinstance(result, Completed):
                count(result)
        return results


def count(message: Completed) -> None:
    """What operators see of a completion."""
    completion = message.completion
    COMPLETIONS.labels(completion.status).inc()
    if completion.conflict:
        log.warning(
            "a request id came again with another question, which was asked too",
            request_id=message.request_id,
        )
    if completion.cascade is not None:
        CASCADES.labels("escalated" if completion.cascade.escalated else "accepted").inc()


def calling(providers: Providers) -> AskModel:
    """The models of the catalogue, as the dispatcher asks them."""

    async def call(
        model: str,
        messages: Sequence[Mapping[str, Any]],
        parameters: Mapping[str, Any],
        within_s: float,
        once: str,
    ) -> Answer:
        try:
            answer = await providers.ask(
                model, messages, parameters, within_s, stream=True, once=once
            )
        except ModelUnreachable as error:
            raise ModelUnavailable(str(error)) from None
        SPENT.labels(FLOW.name, model).inc(answer.cost_usd)
        return answer

    return call
