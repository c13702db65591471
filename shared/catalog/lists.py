"""Public lists of models with their prices, read into one form: OpenRouter's (GET /api/v1/models)
and LiteLLM's (model_prices_and_context_window.json).

A list knows more models than a catalogue, and other names for them. A figure that a list does not
give stays what it was.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date
from typing import Any

from shared.catalog.models import CatalogError, Model, Price
from shared.routing.deciding.abilities import Ability

LATENCY_S = 5.0
"""A guess for a new model, until it has been measured."""
MILLION = 1e6
LONGER = re.compile(r"input_cost_per_token_above_(\d+)k_tokens")
"""LiteLLM's field of what longer prompts cost."""
SUPPORTS: Mapping[str, Ability] = {
    "supports_vision": Ability.image,
    "supports_audio_input": Ability.audio,
    "supports_video_input": Ability.video,
    "supports_pdf_input": Ability.document,
    "supports_function_calling": Ability.tools,
    "supports_parallel_function_calling": Ability.parallel_tools,
    "supports_response_schema": Ability.structured_output,
    "supports_reasoning": Ability.reasoning,
    "supports_audio_output": Ability.audio_output,
}
"""LiteLLM's fields."""
EFFORTS: Mapping[str, str] = {
    "supports_none_reasoning_effort": "none",
    "supports_minimal_reasoning_effort": "minimal",
    "supports_xhigh_reasoning_effort": "xhigh",
    "supports_max_reasoning_effort": "max",
}
"""LiteLLM's fields of efforts beside low, medium and high."""
INPUTS: Mapping[str, Ability] = {
    "image": Ability.image,
    "audio": Ability.audio,
    "video": Ability.video,
    "file": Ability.document,
}
OUTPUTS: Mapping[str, Ability] = {"image": Ability.image_output, "audio": Ability.audio_output}
"""OpenRouter's modalities."""
PARAMETERS: Mapping[str, Ability] = {
    "tools": Ability.tools,
    "response_format": Ability.json,
    "structured_outputs": Ability.structured_output,
    "reasoning": Ability.reasoning,
    "temperature": Ability.sampling,
}
"""OpenRouter's supported parameters."""


@dataclass(frozen=True, slots=True)
class Entry:
    """What a list says of one model; None where it says nothing."""

    name: str
    """Its id in the list."""
    source: str
    """Which list."""
    price: Mapping[str, Any]
    """By the names of `Price`, USD per million tokens."""
    context_tokens: int | None
    largest_output: int | None
    can: frozenset[Ability]
    efforts: tuple[str, ...]
    kind: str

    def _fields(self, today: date) -> dict[str, Any]:
        fields: dict[str, Any] = {
            "can": self.can,
            "kind": self.kind,
            "as_of": today,
            "source": f"{self.source}, {self.name}",
        }
        for name in ("context_tokens", "largest_output", "efforts"):
            if value := getattr(self, name):
                fields[name] = value
        return fields

    def applied_to(self, model: Model, today: date) -> Model:
        """A model of the catalogue with what the list says of it."""
        said = {name: usd for name, usd in self.price.items() if usd is not None}
        price = Price.model_validate(model.price.model_dump() | said)
        return model.model_copy(update=self._fields(today) | {"price": price})

    def as_model(self, today: date) -> Model:
        """A new model. Raises `CatalogError` where the list does not say enough."""
        if self.price.get("input") is None or self.context_tokens is None:
            raise CatalogError(f"the list gives no price or context length of {self.name}")
        said = {name: usd for name, usd in self.price.items() if usd is not None}
        return Model.model_validate(
            {
                "name": self.name.rpartition("/")[2],
                "openrouter": self.name,
                "price": {"output": 0.0} | said,
                "latency_s": LATENCY_S,
            }
            | self._fields(today)
        )


@dataclass(frozen=True, slots=True)
class ModelList:
    """A list, by the names that its models have there."""

    entries: Mapping[str, Entry]
    _plain: Mapping[str, Entry] = field(default_factory=dict)

    def find(self, *names: str) -> Entry | None:
        """The first of these names that the list has, however the makers write it."""
        for name in names:
            entry = self.entries.get(name) or self._plain.get(plain_name(name))
            if entry is not None:
                return entry
        return None


def plain_name(name: str) -> str:
    """A model's name without its maker, and with dashes alone: `anthropic/claude-haiku-4.5` and
    `claude-haiku-4-5` are one."""
    return re.sub(r"[._]", "-", name.rpartition("/")[2]).lower()


def read(text: str, source: str) -> ModelList:
    """A list in either form; `source` is what it is called. Raises `CatalogError`."""
    try:
        data = json.loads(text)
    except ValueError:
        raise CatalogError("the list is not JSON") from None
    if isinstance(data, dict) and isinstance(data.get("data"), list):
        entries = [_openrouter(row, source) for row in data["data"] if isinstance(row, dict)]
    elif isinstance(data, dict):
        entries = [_litellm(n, row, source) for n, row in data.items() if isinstance(row, dict)]
    else:
        entries = []
    known = [entry for entry in entries if entry is not None]
    if not known:
        raise CatalogError(
            "the list is in neither form: OpenRouter's /api/v1/models, or LiteLLM's "
            "model_prices_and_context_window.json"
        )
    plain: dict[str, Entry] = {}
    for entry in sorted(known, key=lambda e: e.name.count("/"), reverse=True):
        plain[plain_name(entry.name)] = entry  # the name without a reseller's counts
    return ModelList({entry.name: entry for entry in known}, plain)


def _usd(value: Any) -> float | None:
    """A price per token as one per million; None for what is none."""
    try:
        usd = float(value) * MILLION
    except (TypeError, ValueError):
        return None
    return round(usd, 9) if 0 <= usd < math.inf else None


def _tokens(value: Any) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) and value > 0 else None


def _litellm(name: str, row: Mapping[str, Any], source: str) -> Entry | None:
    kind = {"chat": "chat", "responses": "chat", "embedding": "embedding"}.get(row.get("mode", ""))
    if kind is None:
        return None
    can = {ability for name, ability in SUPPORTS.items() if row.get(name) is True}
    fixed = Ability.reasoning in can and row.get("litellm_provider") == "openai"
    if row.get("supports_sampling_params", not fixed) is not False:
        can.add(Ability.sampling)  # OpenAI's reasoning models take the default temperature alone
    efforts: tuple[str, ...] = ()
    if Ability.reasoning in can:
        more = {effort for name, effort in EFFORTS.items() if row.get(name) is True}
        order = ("none", "minimal", "low", "medium", "high", "xhigh", "max")
        efforts = tuple(e for e in order if e in more | {"low", "medium", "high"})
    if Ability.tools in can and row.get("supports_parallel_function_calling") is None:
        can.add(Ability.parallel_tools)  # the list says it of those that can't
    price = {
        "input": _usd(row.get("input_cost_per_token")),
        "output": _usd(row.get("output_cost_per_token")),
        "cached_input": _usd(row.get("cache_read_input_token_cost")),
        "cache_write": _usd(row.get("cache_creation_input_token_cost")) or None,
        "long": _long(row),
    }
    return Entry(
        name,
        source,
        price,
        _tokens(row.get("max_input_tokens")) or _tokens(row.get("max_tokens")),
        _tokens(row.get("max_output_tokens")) if kind == "chat" else None,
        frozenset(can),
        efforts,
        kind,
    )


def _long(row: Mapping[str, Any]) -> dict[str, Any] | None:
    """What longer prompts cost, from fields such as `input_cost_per_token_above_200k_tokens`."""
    above = [int(m[1]) for name in row if (m := LONGER.fullmatch(name))]
    if not above:
        return None
    suffix = f"_above_{min(above)}k_tokens"
    price = {
        "input": _usd(row.get(f"input_cost_per_token{suffix}")),
        "output": _usd(row.get(f"output_cost_per_token{suffix}")),
        "cached_input": _usd(row.get(f"cache_read_input_token_cost{suffix}")),
        "cache_write": _usd(row.get(f"cache_creation_input_token_cost{suffix}")),
    }
    if price["input"] is None or price["output"] is None:
        return None
    said = {name: usd for name, usd in price.items() if usd is not None}
    return {"above_tokens": 1000 * min(above)} | said


def _openrouter(row: Mapping[str, Any], source: str) -> Entry | None:
    name = row.get("id")
    prices = row.get("pricing")
    if not isinstance(name, str) or not isinstance(prices, Mapping):
        return None
    shape = row.get("architecture") or {}
    supported = row.get("supported_parameters") or ()
    can = {INPUTS[m] for m in shape.get("input_modalities") or () if m in INPUTS}
    can |= {OUTPUTS[m] for m in shape.get("output_modalities") or () if m in OUTPUTS}
    can |= {PARAMETERS[p] for p in supported if p in PARAMETERS}
    if Ability.tools in can:
        can.add(Ability.parallel_tools)
    image = prices.get("image")
    price = {
        "input": _usd(prices.get("prompt")),
        "output": _usd(prices.get("completion")),
        "cached_input": _usd(prices.get("input_cache_read")),
        "cache_write": _usd(prices.get("input_cache_write")) or None,
        "image": None if not (usd := _usd(image)) else usd / MILLION,
    }
    provider = row.get("top_provider") or {}
    return Entry(
        name,
        source,
        price,
        _tokens(row.get("context_length")) or _tokens(provider.get("context_length")),
        _tokens(provider.get("max_completion_tokens")),
        frozenset(can),
        (),
        "chat",
    )
