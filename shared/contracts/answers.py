"""Answers of models, and what they took."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import Field

from shared.contracts.base import NonNegative, Part, Probability


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

    @property
    def in_words(self) -> bool:
        """Whether its text is all of it: it calls no tool."""
        message = self.message or {}
        return not (message.get("tool_calls") or message.get("function_call"))


class FailedCall(Part):
    """A model that was asked and gave no usable answer."""

    model: str
    error: str


def one_text(parameters: Mapping[str, Any]) -> bool:
    """Whether the answer to a request with these parameters is one text, which is what a cascade
    can assess."""
    return in_words(parameters) and "response_format" not in parameters


def in_words(parameters: Mapping[str, Any]) -> bool:
    """Whether the answer to a request with these parameters is words alone, of any form, which is
    what a judge can compare."""
    asked = parameters.keys() & {"tools", "functions", "modalities"}
    return not asked and parameters.get("n") in (None, 1)


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


class Conflict(Exception):
    """What is remembered under a request id is the answer to another question."""


def answer_name(request_id: str, model: str, asked: str = "") -> str:
    """Names a model's answer to a request for good; `asked` is a digest of the question, where two
    may come under one id."""
    return "\0".join((request_id, model, asked) if asked else (request_id, model))
