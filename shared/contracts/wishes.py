"""What a sender wants: the turns of a chat, a profile, preferences, constraints, copies."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, model_validator

from shared.contracts.base import Asked, NonNegative, Part, Positive, Probability
from shared.routing.deciding.abilities import Needs
from shared.routing.deciding.rates import MOST_S, MOST_USD, Goal, Rates, Weights
from shared.routing.deciding.selection import Limits

PROFILES_VARIABLE = "POINTSMAN_PROFILES"
"""The setting that says what profiles mean; describer, selector and gateway read the same one."""


class Profile(StrEnum):
    """A named set of preferences."""

    quality = "quality"
    balanced = "balanced"
    economy = "economy"
    fast = "fast"


class Preferences(Asked):
    """What the sender cares about: exchange rates, or a goal, or, as older senders have it, three
    weights.

    A point of success is a whole one: from an answer that surely fails to one that surely succeeds.
    """

    usd_per_point: Positive | None = None
    """What a point of success is worth, in USD. At 0.1 an answer that succeeds 0.03 more often may
    cost 0.003 USD more."""
    s_per_point: Positive | None = None
    """What it is worth in seconds. At 100 that answer may take 3 seconds longer. Left out: waiting
    is no matter."""
    keep: Annotated[float, Field(gt=0, le=1)] | None = None
    """A goal: to keep this part of the best model's success, at the least cost. 0.97 keeps 97%."""
    spend_usd_per_1000: Positive | None = None
    """A goal: to spend at most this many USD on 1,000 prompts, for the most success."""
    performance: NonNegative = 0.0
    """A weight, the older form. Only the ratio of the three weights matters."""
    cost: NonNegative = 0.0
    latency: NonNegative = 0.0

    @model_validator(mode="after")
    def _one_form(self) -> Preferences:
        total = self.performance + self.cost + self.latency
        goals = [
            name
            for name in ("usd_per_point", "keep", "spend_usd_per_1000")
            if getattr(self, name) is not None
        ]
        if len(goals) > 1:
            raise ValueError(
                f"give one of {' and '.join(goals)}: each says how much success is worth"
            )
        if (goals or self.s_per_point is not None) and total > 0:
            raise ValueError(
                "give either weights or what a point of success is worth, and not both"
            )
        if not goals and self.s_per_point is None and not 0 < total < float("inf"):
            raise ValueError(
                "at least one weight must be above 0, or one of usd_per_point, s_per_point, keep, "
                "spend_usd_per_1000"
            )
        return self

    def wanted(self) -> Rates | Goal:
        """As the arithmetic takes them."""
        seconds = MOST_S if self.s_per_point is None else min(self.s_per_point, MOST_S)
        if self.keep is not None or self.spend_usd_per_1000 is not None:
            spend = None if self.spend_usd_per_1000 is None else self.spend_usd_per_1000 / 1000
            return Goal(self.keep, spend, seconds)
        if self.usd_per_point is not None or self.s_per_point is not None:
            return Rates(
                MOST_USD if self.usd_per_point is None else min(self.usd_per_point, MOST_USD),
                seconds,
            )
        return Weights(self.performance, self.cost, self.latency).rates()


class RatesUsed(Part):
    """What a point of success was worth in a decision."""

    usd_per_point: Positive
    s_per_point: Positive
    keep: Probability | None = None
    """The goal that the rates were found for, if there was one."""
    spend_usd_per_1000: Positive | None = None

    def goal(self) -> Goal | None:
        """The goal as the arithmetic takes it."""
        if self.keep is None and self.spend_usd_per_1000 is None:
            return None
        return Goal(
            self.keep,
            None if self.spend_usd_per_1000 is None else self.spend_usd_per_1000 / 1000,
            self.s_per_point,
        )


class Constraints(Asked):
    """Hard limits. A model that breaks one is not eligible, however good it is."""

    max_cost_usd: NonNegative | None = None
    """Expected cost of one answer, in USD."""
    max_latency_s: NonNegative | None = None
    """Expected seconds until the whole answer is there."""
    allow: frozenset[str] | None = None
    """Only these models, by their names in the catalogue."""
    deny: frozenset[str] = frozenset()
    """None of these models."""
    context_tokens: Annotated[int, Field(ge=0)] = 0
    """Tokens the model must be able to read. What the prompt itself needs is seen to without
    asking."""

    def limits(self, needs: Needs) -> Limits:
        """As the arithmetic takes them, for a request with these needs."""
        return Limits(self.max_cost_usd, self.max_latency_s, self.allow, self.deny, needs)


Tokens = Annotated[int, Field(ge=0, le=100_000_000)]


class ConversationSoFar(Asked):
    """What is known of the turns before: what they have cost to read, and what they were about."""

    tokens: Tokens | None = None
    """Tokens of all turns, where the message does not show them all."""
    cached_tokens: dict[str, Tokens] = Field(default={}, max_length=64)
    """Of those, what the providers of these models have in their caches."""
    tasks: dict[str, NonNegative] = Field(default={}, max_length=64)
    """Clusters of the turns before, with weights beside the 1 of this turn."""


class ReplyTo(Asked):
    """Where a copy of the decision goes: a partition of the topic `replies`."""

    topic: Annotated[str, Field(min_length=1, max_length=249)]
    partition: Annotated[int, Field(ge=0)]
    described: bool = False
    """Whether the description is copied too: it says that a decision is near."""


class ChatMessage(BaseModel):
    """One turn of a conversation, as OpenAI's chat API has it; fields of other kinds pass
    through."""

    model_config = ConfigDict(
        frozen=True, strict=True, extra="allow", use_attribute_docstrings=True
    )

    role: Annotated[str, Field(min_length=1, max_length=32)]
    content: str | list[dict[str, Any]] | None = None

    def text(self) -> str:
        """The words of this turn; parts that are no text are left out."""
        if isinstance(self.content, str):
            return self.content
        parts = (part.get("text") for part in self.content or ())
        return "\n".join(part for part in parts if isinstance(part, str))
