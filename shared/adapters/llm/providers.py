"""Every model of the catalogue, by its own name, whichever provider it comes from.

`POINTSMAN_LLM_*` is the provider `default`. Others stand in the YAML file that
`POINTSMAN_LLM_PROVIDERS` names: `name: {base_url: …, api: openai, key_env: NAME_OF_A_VARIABLE,
concurrency: 8}`; a model of the catalogue says which it belongs to. A server that needs no key has
no `key_env`.
"""

from __future__ import annotations

import os
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Annotated, Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, SecretStr, ValidationError, field_validator

from shared.adapters.errors import ModelUnreachable, Trouble
from shared.adapters.llm.chat import Chat, ChatAnswer, LLMSettings
from shared.adapters.llm.client import open_chat
from shared.adapters.llm.port import AnswerStream, ChatModel
from shared.adapters.llm.reading import usage, without_thinking
from shared.adapters.llm.simulated import World
from shared.adapters.llm.wire import ANTHROPIC, OPENAI, WIRES
from shared.catalog.models import Catalog, CatalogError, Model, Price
from shared.contracts.answers import Answer
from shared.contracts.needs import fitting

DEFAULT = "default"
NOT_PASSED = frozenset({"model", "messages", "stream", "stream_options"})
"""What stands in a call of its own, or is ours."""


class Provider(BaseModel):
    """One further provider."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    base_url: str
    key_env: str | None = None
    """The variable that holds its key. None: it needs none."""
    concurrency: Annotated[int, Field(ge=1)] | None = None
    """None: as many as of the default provider."""
    api: str = OPENAI
    """The API that it speaks."""

    @field_validator("api")
    @classmethod
    def _known(cls, api: str) -> str:
        if api not in WIRES:
            raise ValueError(f"there is {', '.join(WIRES)}")
        return api


class Providers:
    """Clients of all providers. `catalog` is asked each time, since models come and go. Close
    it."""

    def __init__(
        self,
        catalog: Callable[[], Catalog],
        settings: LLMSettings | None = None,
        world: World | None = None,
    ) -> None:
        self._catalog = catalog
        self._settings = settings or LLMSettings()
        self._chats: dict[str, ChatModel] = {DEFAULT: open_chat(self._settings, world)}
        self._apis = {DEFAULT: OPENAI if self._settings.simulated else self._settings.api}
        if self._settings.simulated and self._settings.providers is not None:
            raise CatalogError(
                "POINTSMAN_LLM_PROVIDERS names providers, but without a key of the default one all "
                "language models are simulated; set POINTSMAN_LLM_API_KEY, or "
                "POINTSMAN_LLM_BASE_URL to a server that needs none"
            )
        if self._settings.simulated:
            return
        for name, provider in further(self._settings).items():
            key = os.environ.get(provider.key_env, "") if provider.key_env else ""
            if provider.key_env and not key:
                raise CatalogError(
                    f"provider {name} takes its key from {provider.key_env}, which is not set"
                )
            access = {
                "api_key": SecretStr(key),
                "base_url": provider.base_url,
                "api": provider.api,
                "concurrency": provider.concurrency or self._settings.concurrency,
            }
            self._chats[name] = Chat(self._settings.model_copy(update=access))
            self._apis[name] = provider.api

    async def ask(
        self,
        name: str,
        messages: Sequence[Mapping[str, Any]],
        parameters: Mapping[str, Any],
        within_s: float,
        *,
        stream: bool = False,
        once: str = "",
    ) -> Answer:
        """Ask the model called `name`; `once` as in `Chat.complete`. Raises `ModelUnreachable`."""
        model, chat, provider = self._find(name)
        got = await chat.complete(
            model.id_at(provider),
            messages,
            within_s=within_s,
            parameters=_passed(parameters, model),
            stream=stream,
            once=once,
        )
        return answered(model, provider, got)

    async def whole(
        self,
        name: str,
        messages: Sequence[Mapping[str, Any]],
        parameters: Mapping[str, Any],
        within_s: float,
    ) -> tuple[Answer, Mapping[str, Any]]:
        """Ask the model called `name`, and have the API's whole answer too, as it came. Raises
        `ModelUnreachable`."""
        model, chat, provider = self._find(name)
        got = await chat.complete(
            model.id_at(provider),
            messages,
            within_s=within_s,
            parameters=_passed(parameters, model),
        )
        return answered(model, provider, got), got.body

    @asynccontextmanager
    async def open(
        self,
        name: str,
        messages: Sequence[Mapping[str, Any]],
        parameters: Mapping[str, Any],
        within_s: float,
        silence_s: float | None = None,
    ) -> AsyncGenerator[StreamingModel, None]:
        """Ask the model called `name` and take its answer as it comes. Raises `ModelUnreachable`,
        before the block or in it."""
        model, chat, provider = self._find(name)
        async with chat.open(
            model.id_at(provider),
            messages,
            within_s=within_s,
            parameters=_passed(parameters, model),
            silence_s=silence_s,
        ) as words:
            yield StreamingModel(words, lambda: answered(model, provider, words.answer()))

    async def embed(
        self, name: str, body: Mapping[str, Any], within_s: float
    ) -> tuple[dict[str, Any], float]:
        """Have the model called `name` embed texts, in the form of OpenAI's API, and what that
        cost, in USD. Raises `ModelUnreachable`."""
        model, chat, provider = self._find(name)
        came = await chat.embed(model.id_at(provider), body, within_s)
        took = usage(came.get("usage"))
        priced = model.price.cost_usd(took.prompt_tokens or 0, 0)
        return came, priced if took.cost_usd is None else took.cost_usd

    def left_out(
        self, name: str, turns: Sequence[Mapping[str, Any]], parameters: Mapping[str, Any]
    ) -> tuple[str, ...]:
        """What of a chat does not reach the model called `name`, or not as it is."""
        model, chat, _ = self._find(name)
        fit, changed = fitting(parameters, model.abilities)
        return (*changed, *chat.unspoken(turns, fit))

    def native(self, name: str) -> bool:
        """Whether the model called `name` gets what came in Anthropic's form as it came."""
        model = self._catalog().models.get(name)
        return model is not None and self._apis.get(self._at(model)) == ANTHROPIC

    def helper(self, name: str) -> tuple[ChatModel, str, Price | None]:
        """Whom to ask for ourselves: a model by its name in the catalogue or a provider's id, and
        what it costs; any other id belongs to the default provider."""
        try:
            model = self._catalog().model(name)
        except CatalogError:
            return self._chats[DEFAULT], name, None
        provider = self._at(model)
        return self._chats[provider], model.id_at(provider), model.price

    def _at(self, model: Model) -> str:
        return model.provider if model.provider in self._chats else DEFAULT

    def _find(self, name: str) -> tuple[Model, ChatModel, str]:
        model = self._catalog().models.get(name)
        if model is None:
            raise ModelUnreachable(
                f"the catalogue has no model {name}, so nobody knows where to ask it",
                Trouble.unsent,
            )
        if model.provider not in self._chats and not self._settings.simulated:
            text = (
                f"no provider {model.provider} is configured; name it in the file of "
                "POINTSMAN_LLM_PROVIDERS"
            )
            raise ModelUnreachable(text, Trouble.unsent)
        provider = self._at(model)
        return model, self._chats[provider], provider

    async def close(self) -> None:
        for chat in self._chats.values():
            await chat.close()


@dataclass(frozen=True, slots=True)
class StreamingModel:
    """A model that is answering."""

    chunks: AnswerStream
    answer: Callable[[], Answer]
    """What it has answered; call it when the chunks have ended."""


def answered(model: Model, provider: str, got: ChatAnswer) -> Answer:
    """The answer with what it took."""
    cost, source = cost_of(got, model.price)
    return Answer(
        model=model.name,
        text=got.text,
        message=got.message,
        finish_reason=got.finish_reason,
        provider="simulated" if got.simulated else provider,
        simulated=got.simulated,
        prompt_tokens=got.prompt_tokens,
        completion_tokens=got.completion_tokens,
        cost_usd=cost,
        cost_source=source,
        estimated=got.estimated and source == "catalogue",
        first_token_s=got.first_token_s,
        latency_s=got.latency_s,
    )


@dataclass(frozen=True, slots=True)
class Said:
    """What a model said that is asked for ourselves, its thoughts left out, and what that cost."""

    text: str
    finish_reason: str | None
    model: str
    simulated: bool
    cost_usd: float


def said(got: ChatAnswer, price: Price | None) -> Said:
    """The answer of a describer or judge model."""
    return Said(
        without_thinking(got.text),
        got.finish_reason,
        got.model,
        got.simulated,
        cost_of(got, price)[0],
    )


def cost_of(got: ChatAnswer, price: Price | None) -> tuple[float, Literal["provider", "catalogue"]]:
    """USD, and whose figure that is: the provider's own, else the price's.

    A provider that says 0 of a model that has a price does not know it: gateways say so of keys
    that are not theirs.
    """
    priced = (
        0.0
        if price is None or got.simulated
        else price.cost_usd(
            got.prompt_tokens, got.completion_tokens, got.cached_tokens, got.written_tokens
        )
    )
    if got.cost_usd is None or (got.cost_usd == 0 and priced > 0):
        return priced, "catalogue"
    return got.cost_usd, "provider"


def _passed(parameters: Mapping[str, Any], model: Model) -> dict[str, Any]:
    """What goes to the API beside the messages, as the model takes it."""
    passed = {name: value for name, value in parameters.items() if name not in NOT_PASSED}
    fit, _ = fitting(passed, model.abilities)
    return fit


def further(settings: LLMSettings) -> dict[str, Provider]:
    """The providers of the settings' file. Raises `CatalogError`."""
    if settings.providers is None:
        return {}
    try:
        data = yaml.safe_load(settings.providers.read_text()) or {}
        return {str(name): Provider.model_validate(fields) for name, fields in data.items()}
    except OSError as error:
        raise CatalogError(
            f"the file of providers {settings.providers} can't be read: {error.strerror}"
        ) from None
    except (yaml.YAMLError, ValidationError, AttributeError) as error:
        raise CatalogError(
            f"the file of providers {settings.providers} is wrong: {type(error).__name__}; see "
            "providers.py"
        ) from None
