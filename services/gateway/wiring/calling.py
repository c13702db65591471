"""The models of the catalogue, as the gateway asks them."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import Any

from services.gateway.settings import GatewaySettings
from shared.adapters.catalog import CurrentCatalog
from shared.adapters.errors import ModelUnreachable, Trouble
from shared.adapters.llm.chat import LLMSettings
from shared.adapters.llm.providers import Providers, StreamingModel
from shared.catalog.models import Catalog
from shared.contracts.answers import Answer
from shared.contracts.errors import ModelUnavailable


def _unavailable(error: ModelUnreachable) -> ModelUnavailable:
    return ModelUnavailable(
        str(error),
        error.status,
        error.said,
        late=error.trouble is Trouble.late,
        retry_after_s=error.retry_after_s,
    )


@dataclass(frozen=True, slots=True)
class _Talking:
    """A model that is answering, as the gateway knows it."""

    talking: StreamingModel

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
        self._providers = providers
        self._catalog = catalog

    @asynccontextmanager
    async def open(
        self,
        model: str,
        chat: Sequence[Mapping[str, Any]],
        parameters: Mapping[str, Any],
        within_s: float,
        silence_s: float,
    ) -> AsyncGenerator[_Talking, None]:
        async with AsyncExitStack() as stack:
            try:
                talking = await stack.enter_async_context(
                    self._providers.open(model, chat, parameters, within_s, silence_s)
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

    async def embed(
        self, model: str, body: Mapping[str, Any], within_s: float
    ) -> tuple[dict[str, Any], float]:
        try:
            return await self._providers.embed(model, body, within_s)
        except ModelUnreachable as error:
            raise _unavailable(error) from None

    def left_out(
        self, model: str, turns: Sequence[Mapping[str, Any]], parameters: Mapping[str, Any]
    ) -> tuple[str, ...]:
        return self._providers.left_out(model, turns, parameters)

    def native(self, model: str) -> bool:
        return self._providers.native(model)

    def expected_cost_usd(self, model: str, prompt_tokens: float, answer_tokens: float) -> float:
        return self._catalog().model(model).price.cost_usd(prompt_tokens, answer_tokens)


@asynccontextmanager
async def calling(
    catalog: CurrentCatalog, settings: GatewaySettings
) -> AsyncGenerator[Calling, None]:
    """The providers, with as many calls under way as there may be requests, unless the environment
    says otherwise."""
    providers = Providers(catalog, LLMSettings().with_room(settings.max_requests))
    try:
        yield Calling(providers, catalog)
    finally:
        await providers.close()
