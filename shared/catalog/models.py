"""The models that may be selected: what they can take, and what they cost."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from datetime import date
from pathlib import Path
from typing import Annotated, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from shared.routing.deciding.abilities import Abilities, Ability

DEFAULT = Path(__file__).parent / "models.yaml"


class CatalogError(Exception):
    """A catalogue that can't be read, or a name that is not in it. The text says what to do."""


class LongPrice(BaseModel):
    """What a longer prompt costs, in USD per million tokens. None: as a shorter one."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", use_attribute_docstrings=True, allow_inf_nan=False
    )

    above_tokens: Annotated[int, Field(ge=1)]
    """Prompts of more tokens cost this, from the first token on."""
    input: Annotated[float, Field(ge=0)]
    output: Annotated[float, Field(ge=0)]
    cached_input: Annotated[float, Field(ge=0)] | None = None
    cache_write: Annotated[float, Field(ge=0)] | None = None


class Price(BaseModel):
    """USD per million tokens."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", use_attribute_docstrings=True, allow_inf_nan=False
    )

    input: Annotated[float, Field(ge=0)]
    output: Annotated[float, Field(ge=0)]
    cached_input: Annotated[float, Field(ge=0)] | None = None
    """Of what the provider has in its cache. None: a tenth of `input`, as OpenAI, Anthropic and
    Google had it in 2026."""
    cache_write: Annotated[float, Field(ge=0)] | None = None
    """Of what the provider puts into its cache. None: as `input`."""
    image: Annotated[float, Field(ge=0)] | None = None
    """USD of one picture in the prompt, where it is not billed by its tokens."""
    long: LongPrice | None = None
    """What longer prompts cost, where that is another price."""

    @property
    def cached(self) -> float:
        """USD per million tokens that the provider has in its cache."""
        return 0.1 * self.input if self.cached_input is None else self.cached_input

    def cost_usd(
        self,
        prompt_tokens: float,
        completion_tokens: float,
        cached_tokens: float = 0.0,
        written_tokens: float = 0.0,
    ) -> float:
        """Of one answer; `cached_tokens`, read from the provider's cache, and `written_tokens`,
        put into it, are among the prompt's."""
        price = self.of(prompt_tokens)
        written = price.input if price.cache_write is None else price.cache_write
        return (
            price.input * (prompt_tokens - cached_tokens - written_tokens)
            + price.cached * cached_tokens
            + written * written_tokens
            + price.output * completion_tokens
        ) / 1e6

    def saved_usd(self, cached_tokens: float) -> float:
        """What a prompt costs less because the provider has this many of its tokens cached."""
        price = self.of(cached_tokens)
        return max(0.0, price.input - price.cached) * cached_tokens / 1e6

    def of(self, prompt_tokens: float) -> Price:
        """The price of a prompt of that length."""
        if self.long is None or prompt_tokens <= self.long.above_tokens:
            return self
        return Price(**self.long.model_dump(exclude={"above_tokens"}, exclude_none=True))


class Model(BaseModel):
    """One model as the catalogue knows it."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    name: str
    openrouter: str
    """Its id at OpenRouter, and wherever `ids` has no other."""
    ids: Mapping[str, str] = {}
    """Its id at other providers, by the provider's name."""
    price: Price
    context_tokens: Annotated[int, Field(ge=1)]
    """Tokens of prompt and answer together."""
    largest_output: Annotated[int, Field(ge=1)] | None = None
    """Tokens of its longest answer. None: nobody says."""
    can: frozenset[Ability] | None = None
    """What it can do beside reading and writing text. None: nobody says, so nothing is kept from
    it."""
    efforts: tuple[str, ...] = ()
    """How long it can be told to think: values of `reasoning_effort`."""
    kind: Literal["chat", "embedding"] = "chat"
    """What it makes: answers, or embeddings (`POST /v1/embeddings`), which are never routed."""
    latency_s: Annotated[float, Field(ge=0)]
    """A guess to start from, until it has been measured."""
    as_of: date
    """The day the price was true."""
    source: str
    provider: str = "default"
    """Where it is asked: `default` is the API of POINTSMAN_LLM_*."""

    @property
    def abilities(self) -> Abilities:
        """What it can take."""
        return Abilities(
            self.context_tokens,
            math.inf if self.largest_output is None else self.largest_output,
            self.can,
            self.efforts,
        )

    def id_at(self, provider: str) -> str:
        """What a provider calls it."""
        return self.ids.get(provider, self.openrouter)


class Catalog(BaseModel):
    """Models by name, and named groups of them."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    models: Mapping[str, Model]
    profiles: Mapping[str, tuple[str, ...]]
    retired: frozenset[str] = frozenset()
    """Models that are not selected any more, whatever the rankings say. They may be missing from
    `models`."""

    @model_validator(mode="after")
    def _profiles_name_models(self) -> Catalog:
        for profile, names in self.profiles.items():
            if missing := [n for n in names if n not in self.models]:
                raise ValueError(
                    f"profile {profile} names {', '.join(missing)}, which the catalogue does not "
                    "have"
                )
        return self

    def model(self, name: str) -> Model:
        """The model called `name`, by its own name or a provider's id. Raises `CatalogError`."""
        match = self.models.get(name) or next(
            (m for m in self.models.values() if name in (m.openrouter, *m.ids.values())), None
        )
        if match is None:
            raise CatalogError(
                f"the catalogue has no model {name}; it has {', '.join(sorted(self.models))}"
            )
        return match

    def strangers(self, names: Iterable[str]) -> tuple[str, ...]:
        """Those of `names` that it does not have, so that nobody can call them."""
        return tuple(name for name in names if name not in self.models)

    def profile(self, name: str) -> tuple[Model, ...]:
        """The models of a profile, in its order. Raises `CatalogError`."""
        if name not in self.profiles:
            raise CatalogError(
                f"the catalogue has no profile {name}; it has {', '.join(sorted(self.profiles))}"
            )
        return tuple(self.models[n] for n in self.profiles[name])


def load(path: Path | None = None) -> Catalog:
    """Read a catalogue; None is the one that comes with Pointsman. Raises `CatalogError`."""
    path = path or DEFAULT
    try:
        text = path.read_text()
    except OSError as error:
        raise CatalogError(f"the catalogue {path} can't be read: {error.strerror}") from None
    return read(text, str(path))


def read(text: str, called: str) -> Catalog:
    """A catalogue's text, which errors call so. Raises `CatalogError`."""
    try:
        data = yaml.safe_load(text)
        models = {name: {"name": name} | fields for name, fields in data["models"].items()}
        return Catalog.model_validate(
            {
                "models": models,
                "profiles": data.get("profiles") or {},
                "retired": data.get("retired") or (),
            }
        )
    except ValidationError as error:
        first = error.errors()[0]
        raise CatalogError(
            f"the catalogue {called} is wrong at {'.'.join(map(str, first['loc'])) or 'the top'}: "
            f"{first['msg']}"
        ) from None
    except (yaml.YAMLError, TypeError, KeyError, AttributeError) as error:
        raise CatalogError(
            f"the catalogue {called} is not in the form of models.yaml: {type(error).__name__}"
        ) from None
