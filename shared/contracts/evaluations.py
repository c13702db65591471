"""The message on `evaluations`: one rater's votes on two models' answers to one prompt.

A record without a value says: forget what you know of the request that its key names (`pointsman
forget`).
"""

from __future__ import annotations

import hashlib
from typing import Annotated, Literal, Self

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, model_validator

from shared.contracts.base import NonNegative, Part
from shared.contracts.places import Embedding
from shared.contracts.raters import Abstained, Rater, Votes

ModelName = Annotated[str, Field(min_length=1, max_length=200)]


class Shown(Part):
    """One of the two answers: what it took, and its words where they are kept for people to
    rate."""

    model: str
    cost_usd: NonNegative
    latency_s: NonNegative
    prompt_tokens: Annotated[int, Field(ge=0)] = 0
    """0: not known."""
    completion_tokens: Annotated[int, Field(ge=0)] = 0
    cost_source: Literal["provider", "catalogue"] = "provider"
    text: str | None = None


class Evaluated(BaseModel):
    """A comparison's votes. The same rater's second vote on the same pair replaces the first: it
    has the same id.

    Judges and people write the same message. Only `request_id`, `first`, `second`, `rater` and
    `votes` are required. A request without an embedding must have had one before."""

    model_config = ConfigDict(
        frozen=True, strict=True, extra="ignore", use_attribute_docstrings=True, allow_inf_nan=False
    )

    schema_version: Literal[1] = 1
    request_id: Annotated[str, Field(min_length=1, max_length=200)]
    first: ModelName
    """By name in the catalogue; `first` comes before `second` in the alphabet."""
    second: ModelName
    rater: Rater
    votes: Votes
    at: AwareDatetime | None = None
    """If left out: the time of the Kafka record."""
    description: str = ""
    embedding: Embedding | None = None
    prompt: str | None = None
    """Kept for people to rate (POINTSMAN_JUDGE_KEEP_TEXTS)."""
    answers: Annotated[tuple[Shown, ...], Field(max_length=2)] = ()
    study: str | None = None
    """The study it belongs to, if it was asked for by `pointsman rank`."""
    cost_usd: NonNegative = 0.0
    """What the votes and the answers called only for them cost."""
    abstained: Abstained = Abstained()
    """The abstentions, by why."""

    @model_validator(mode="after")
    def _in_order(self) -> Self:
        if self.first >= self.second:
            raise ValueError("first and second are two models, in the order of the alphabet")
        return self

    def span_attributes(self) -> dict[str, str | bool | float]:
        """What a trace may say of it, without its words."""
        return {
            "pointsman.request_id": self.request_id,
            "pointsman.evaluation_id": self.evaluation_id,
            "pointsman.rater.kind": self.rater.kind.value,
            "pointsman.rater.name": self.rater.name,
            "pointsman.first": self.first,
            "pointsman.second": self.second,
            "pointsman.cost_usd": self.cost_usd,
        }

    @property
    def evaluation_id(self) -> str:
        """Deterministic, so that a repeated evaluation counts once: request, pair of models,
        rater."""
        named = "\0".join(
            (self.request_id, self.first, self.second, self.rater.kind.value, self.rater.name)
        )
        return hashlib.sha256(named.encode()).hexdigest()[:32]

    @property
    def comparison_id(self) -> str:
        """The pair of answers, for every rater."""
        return hashlib.sha256(
            "\0".join((self.request_id, self.first, self.second)).encode()
        ).hexdigest()[:32]

    @property
    def key(self) -> bytes:
        return self.request_id.encode()
