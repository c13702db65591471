"""The outside as the dispatcher uses it: the models of the catalogue."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from services.dispatcher.dispatch import Call, Refused
from shared.adapters.errors import ModelUnreachable
from shared.adapters.llm.providers import Providers
from shared.adapters.telemetry import SPENT
from shared.contracts.parts import Answer


def calling(providers: Providers) -> Call:
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
            raise Refused(str(error)) from None
        SPENT.labels("dispatcher", model).inc(answer.cost_usd)
        return answer

    return call
