"""What the stages add to a message, and what a sender may ask for."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import Annotated, Any, Literal, NamedTuple

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict, Field, model_validator

from shared.contracts.vector import Vector, unpack
from shared.routing.deciding.rates import MOST_S, MOST_USD, Goal, Rates, Weights
from shared.routing.deciding.selection import Limits, Prediction, share_of
from shared.routing.deciding.table import Encoder, RoutingTable, Text
from shared.routing.errors import TableInvalid

NonNegative = Annotated[float, Field(ge=0)]
Positive = Annotated[float, Field(gt=0, le=1e9)]
Probability = Annotated[float, Field(ge=0, le=1)]


class Part(BaseModel):
    """Strict and frozen. A field that a newer service has added passes an older one by, so that
    they can be upgraded one by one."""

    model_config = ConfigDict(
        frozen=True, strict=True, extra="ignore", use_attribute_docstrings=True, allow_inf_nan=False
    )


class Asked(Part):
    """What a sender asks for. A misspelt field is an error: a limit that is silently ignored costs
    money."""

    model_config = ConfigDict(extra="forbid")


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
    """A goal: to spend at most so many USD on 1,000 prompts, for the most success."""
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

    def limits(self, context_tokens: int) -> Limits:
        """As the arithmetic takes them, for a prompt that needs about so many tokens."""
        return Limits(
            self.max_cost_usd,
            self.max_latency_s,
            self.allow,
            self.deny,
            max(self.context_tokens, context_tokens),
        )


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


class EncoderRef(Part):
    """The space an embedding lies in."""

    id: str
    revision: str
    dimension: Annotated[int, Field(ge=1)]
    pooling: str
    quantization: str

    @classmethod
    def of(cls, encoder: Encoder) -> EncoderRef:
        return cls(
            id=encoder.id,
            revision=encoder.revision,
            dimension=encoder.dimension,
            pooling=encoder.pooling,
            quantization=encoder.quantization,
        )

    def encoder(self) -> Encoder:
        return Encoder(self.id, self.revision, self.dimension, self.pooling, self.quantization)


class Source(StrEnum):
    """Who wrote a task description."""

    llm = "llm"
    """A language model, just now."""
    cache = "cache"
    """A language model, before: for the same prompt, or, where the description is `foreseen`, for
    others like it."""
    local = "local"
    """The extractive rules, without a language model."""
    prompt = "prompt"
    """Nobody: it is the prompt itself (POINTSMAN_DESCRIBER_BACKEND=prompt)."""


class Foreseen(Part):
    """Where the description that was not asked for would lie
    (`shared.routing.learning.foresight`)."""

    vector: Vector
    encoder: EncoderRef
    agreement: Probability
    """Share of the descriptions it might get by which the same models are selected."""


class Description(Part):
    """The task description: one sentence naming the task, not its content."""

    text: Annotated[str, Field(min_length=1)]
    source: Source
    model: str | None = None
    """The language model that wrote it, if one did."""
    simulated: bool = False
    """True if that language model was simulated."""
    fallback: str | None = None
    """Why the language model did not write it, when it should have."""
    foreseen: Foreseen | None = None
    """Its point, where it was foreseen and the language model not asked; `text` is then the nearest
    cluster's label."""
    latency_s: NonNegative
    cost_usd: NonNegative

    @property
    def origin(self) -> str:
        """Who wrote it, as people and metrics are told: `source`, or foreseen."""
        return "foreseen" if self.foreseen is not None else self.source.value


class Embedding(Part):
    """The task description as a point, with the space it lies in."""

    vector: Vector
    encoder: EncoderRef
    latency_s: NonNegative
    """Seconds in the encoder, of the batch it was in."""
    batch: Annotated[int, Field(ge=1)]
    """Texts encoded together with it, itself counted."""
    form: Vector | None = None
    """The form of the prompt itself: how long it is and what it is made of
    (`shared.routing.deciding.form`)."""

    text: Text = "description"
    """What was embedded."""
    views: tuple[Vector, ...] = ()
    """The text without its edges (`shared.routing.deciding.views`), where POINTSMAN_EMBEDDER_GUARD
    asks for it and enough is left."""

    def features(self, view: int | None = None) -> npt.NDArray[np.float32]:
        """(dimension,) or, with the form behind it, (dimension + form.SIZE,) float32: what a
        table's points are made of."""
        vector = unpack(self.vector if view is None else self.views[view])
        return vector if self.form is None else np.concatenate([vector, unpack(self.form)])


class TableRef(Part):
    """One version of the routing table. Versions are ordered by epoch, then by sequence."""

    epoch: Annotated[int, Field(ge=0)]
    sequence: Annotated[int, Field(ge=0)]
    digest: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]

    @property
    def version(self) -> tuple[int, int]:
        return self.epoch, self.sequence

    def __str__(self) -> str:
        return f"{self.epoch}.{self.sequence}"


class ClusterWeight(Part):
    """One cluster of an assignment."""

    id: str
    label: str
    weight: Probability
    distance: NonNegative


class Predicted(Part):
    """How probably one model succeeds."""

    model: str
    probability: Probability
    spread: NonNegative
    """Standard deviation within the committee that predicts."""


class Place(Part):
    """Up to `top_p` clusters, nearest first; the weights sum to 1."""

    clusters: Annotated[tuple[ClusterWeight, ...], Field(min_length=1)]
    novel: bool
    predicted: tuple[Predicted, ...] = ()
    """How probably each model of the table succeeds, where the table has a predictor."""

    def prediction(self, table: RoutingTable, share: float | None = None) -> Prediction | None:
        """For `select`; `share` replaces the table's own. Raises `TableInvalid` if the table is not
        the one that predicted."""
        if not self.predicted or (table.estimator is None and table.predictor is None):
            return None
        if tuple(p.model for p in self.predicted) != table.models:
            raise TableInvalid(
                f"the prediction was made for other models than those of table {table.digest[:12]}"
            )
        used = share_of(table, share)
        probability, spread = (
            np.array(v)
            for v in ([p.probability for p in self.predicted], [p.spread for p in self.predicted])
        )
        return Prediction(probability, spread, used) if used > 0 else None


class Assigned(Place):
    """Where a prompt lies in one routing table."""

    table: TableRef
    views: tuple[Place, ...] = ()
    """Where its views lie, one for each of the embedding's."""


class CandidateScore(Part):
    """One eligible model with everything its utility is made of: utility = gain - cost_penalty -
    latency_penalty - caution."""

    model: str
    utility: float
    """In points of success."""
    success: Probability
    """Expected score of its answer; where rankings come from votes, its probability of winning
    against the reference model (0.5)."""
    success_low: Probability
    success_high: Probability
    """The 95% interval."""
    cost_usd: NonNegative
    latency_s: NonNegative
    gain: NonNegative
    """The success. Of a table of format 1: the win rate against the best, scaled over the eligible
    models and weighed."""
    cost_penalty: NonNegative
    latency_penalty: NonNegative
    caution: NonNegative = 0.0
    """Points that its success is taken to be lower, since too little is known of it yet."""
    predicted: Probability | None = None
    """Success as the table's predictor has it, where there is one."""
    performance: Probability = 0.0
    """The same as `success`, with its interval: services of the version before read it under this
    name."""
    performance_low: Probability = 0.0
    performance_high: Probability = 0.0

    @model_validator(mode="before")
    @classmethod
    def _older(cls, data: Any) -> Any:
        if isinstance(data, dict) and "success" not in data:
            return data | {
                f"success{end}": data[f"performance{end}"]
                for end in ("", "_low", "_high")
                if f"performance{end}" in data
            }
        return data


class RuledOut(Part):
    """A model that a constraint made ineligible."""

    model: str
    reason: str


class CascadePlan(Part):
    """What would be worth more than any model alone: ask `first`, and `then` only where its answer
    is not good enough.

    Who asks models may follow it or not (POINTSMAN_DISPATCHER_CASCADE, POINTSMAN_GATEWAY_CASCADE).
    """

    first: str
    then: str
    accept_at: float
    """The first answer is accepted if it is good with this probability or more."""
    success: Probability
    """Expected score of the answer that is given in the end."""
    cost_usd: NonNegative
    """Expected cost of all answers."""
    latency_s: NonNegative
    escalated: Probability
    """How probably the second is asked."""
    gain: NonNegative
    """Points of utility beyond the best model alone."""


class Decision(Part):
    """The selected model and why; or no model, and the constraints that left none."""

    status: Literal["decided", "no_eligible_model"]
    model: str | None = None
    """Its name in the catalogue."""
    runner_up: str | None = None
    confidence: Probability
    """Probability that the winner's utility is really above the runner-up's."""
    candidates: tuple[CandidateScore, ...]
    """Best first; the order in which to fall back."""
    ruled_out: tuple[RuledOut, ...]
    preferences: Preferences
    """The weights that the rates stand for, summing to 1: what tables of format 1 are decided by,
    and older services read."""
    rates: RatesUsed | None = None
    """What a point of success was worth. None: decided by a service of the version before."""
    single: str | None = None
    """The best model where one answers all prompts, which goals are measured by. None: the table
    does not say."""
    cascade: CascadePlan | None = None
    """A cheaper way than `model`, where the table knows one."""
    predictor_share: Probability = 0.0
    """The predictor's part of the success; the clusters' rankings have the rest."""
    why: str
    table: TableRef
    simulated_rankings: bool
    """True if the table's rankings come from simulated outcomes."""


class Answer(Part):
    """What one model answered, and what it took."""

    model: str
    """Its name in the catalogue."""
    text: str
    message: dict[str, Any] | None = None
    """The provider's message, where it holds more than text (tool calls, refusals)."""
    finish_reason: str | None = None
    provider: str
    simulated: bool = False
    prompt_tokens: Annotated[int, Field(ge=0)]
    completion_tokens: Annotated[int, Field(ge=0)]
    cost_usd: NonNegative
    cost_source: Literal["provider", "catalogue"]
    """Whose figure the cost is: the provider's own, or tokens times the catalogue's price."""
    estimated: bool = False
    """Whether the tokens, and so the cost, were estimated from the texts, since the provider gave
    no usage."""
    first_token_s: NonNegative | None = None
    """Seconds until the first token, where the answer was streamed."""
    latency_s: NonNegative
    """Seconds until the whole answer was there."""


class FailedCall(Part):
    """A model that was asked and gave no usable answer."""

    model: str
    error: str


def one_text(parameters: Mapping[str, Any]) -> bool:
    """Whether the answer to a request with these parameters is one text, which is what a cascade
    can assess."""
    return not parameters.keys() & {
        "tools",
        "functions",
        "response_format",
        "modalities",
    } and parameters.get("n") in (None, 1)


class Assessed(Part):
    """How a cascade went."""

    first: str
    """Who was asked first."""
    good: Probability | None = None
    """How probably its answer was good enough. None: it could not be told."""
    escalated: bool
    """Whether another was asked instead."""


class Completion(Part):
    """The answer, or answers where the sender wants models compared; and the calls that failed on
    the way."""

    status: Literal["answered", "failed"]
    answers: tuple[Answer, ...] = ()
    """The first is the sender's answer."""
    cascade: Assessed | None = None
    """How a cascade went, where one was followed; an answer that was not good enough stands behind
    the sender's."""
    failed: tuple[FailedCall, ...] = ()
    repeated: bool = False
    """True if the answer was there already under this request id: nothing was paid twice."""
    conflict: bool = False
    """True if another question has been answered under this request id. The answers are to the
    question that stands here."""


class RaterKind(StrEnum):
    """Who votes."""

    judge = "judge"
    """A language model."""
    human = "human"
    """A person who saw both answers and no names."""
    feedback = "feedback"
    """A sender's thumb up or down on one answer: weak evidence."""


class Voter(NamedTuple):
    """Whose votes are counted together: each judge's own; those of people, and thumbs, by kind."""

    kind: RaterKind
    name: str
    """Empty for those that are counted together."""

    @classmethod
    def of(cls, kind: RaterKind, name: str) -> Voter:
        return cls(kind, name if kind is RaterKind.judge else "")

    def __str__(self) -> str:
        return f"{self.kind.value}:{self.name}"


class Abstention(StrEnum):
    """Why a judge's vote could not be read as one."""

    failed = "failed"
    """The call failed."""
    cut_off = "cut_off"
    """The answer reached its limit of tokens before the vote: a reasoning model that needs more of
    them."""
    empty = "empty"
    unreadable = "unreadable"
    """There was an answer, and no vote in it, or votes for several sides."""


class Rater(Part):
    """One rater. People are named by what they call themselves."""

    kind: RaterKind
    name: Annotated[str, Field(min_length=1, max_length=100)]
    simulated: bool = False


Count = Annotated[int, Field(ge=0, le=1000)]


class Abstained(Part):
    """How many votes could not be read, by why (`Abstention`)."""

    failed: Count = 0
    cut_off: Count = 0
    empty: Count = 0
    unreadable: Count = 0

    def reasons(self) -> dict[str, int]:
        """Those that there were."""
        return {name: count for name in Abstention if (count := getattr(self, name))}

    @property
    def paid(self) -> int:
        """Those of calls that did not fail."""
        return self.cut_off + self.empty + self.unreadable


class Votes(Part):
    """One rater's votes on one pair of answers. `straight`: the first model's answer was shown
    first; `turned`: the second's was."""

    straight_first: Count = 0
    """Votes for the answer in first position, while that was the first model's."""
    straight_second: Count = 0
    turned_first: Count = 0
    """Votes for the answer in first position, while that was the second model's."""
    turned_second: Count = 0
    ties: Count = 0
    abstentions: Count = 0
    """Votes that could not be read as one, and calls that failed."""

    @property
    def lead(self) -> int:
        """Votes for the first model less those for the second."""
        return self.straight_first + self.turned_second - self.straight_second - self.turned_first

    def counts(self) -> tuple[float, float, float, float]:
        """As `shared.routing.learning.votes.Ballots` takes them."""
        return (self.straight_first, self.straight_second, self.turned_first, self.turned_second)


class Conflict(Exception):
    """What is remembered under a request id is the answer to another question."""


def answer_name(request_id: str, model: str, asked: str = "") -> str:
    """Names a model's answer to a request for good; `asked` is a digest of the question, where two
    may come under one id."""
    return "\0".join((request_id, model, asked) if asked else (request_id, model))
