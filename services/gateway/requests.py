"""What a client may send, and what is wrong with it."""

from __future__ import annotations

import codecs
import difflib
from collections.abc import Callable, Mapping
from typing import Annotated, Any, Literal, Self, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from shared.contracts.base import Asked
from shared.contracts.messages import describe_error
from shared.contracts.plain import unfit, unfit_in_chat
from shared.contracts.wishes import ChatMessage, Constraints, Preferences, Profile

AUTO = "auto"
M = TypeVar("M", bound=BaseModel)


class Problem(Exception):
    """What goes back instead of an answer; each form has a way of its own to say it."""

    def __init__(
        self,
        status: int,
        message: str,
        *,
        kind: str = "invalid_request_error",
        code: str | None = None,
        param: str | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.headers = dict(headers or {})
        self.error = {"message": message, "type": kind, "param": param, "code": code}


class RequestWishes(Asked):
    """What the sender cares about: one of profile, preferences and cost_quality_tradeoff, and hard
    limits."""

    profile: Profile | None = None
    preferences: Preferences | None = None
    cost_quality_tradeoff: Annotated[float, Field(ge=0, le=10)] | None = None
    """A dial: 0 is the best model whatever it costs, 10 the cheapest, as OpenRouter's auto router
    has it."""
    constraints: Constraints = Constraints()
    session_id: Annotated[str, Field(min_length=1, max_length=200)] | None = None
    """Names the conversation. Without it a conversation is known by how it begins."""

    @model_validator(mode="after")
    def _one_wish(self) -> RequestWishes:
        if (
            sum(
                wish is not None
                for wish in (self.profile, self.preferences, self.cost_quality_tradeoff)
            )
            > 1
        ):
            raise ValueError("give one of profile, preferences and cost_quality_tradeoff")
        return self

    def stated(self) -> Preferences | None:
        """The preferences, stated or by the dial."""
        if self.cost_quality_tradeoff is None:
            return self.preferences
        return Preferences(
            performance=1 - self.cost_quality_tradeoff / 10, cost=self.cost_quality_tradeoff / 10
        )


class ChatRequest(BaseModel):
    """A chat completion as OpenAI's API takes it. Fields that are not named here go to the model
    untouched."""

    model_config = ConfigDict(
        frozen=True, strict=True, extra="allow", use_attribute_docstrings=True, allow_inf_nan=False
    )

    model: Annotated[str, Field(min_length=1, max_length=200)] = AUTO
    """`auto`, `auto:PROFILE`, or a model of `GET /v1/models`, which is then asked without
    routing."""
    messages: Annotated[tuple[ChatMessage, ...], Field(min_length=1, max_length=2000)]
    stream: bool | None = None
    stream_options: dict[str, Any] | None = None
    pointsman: RequestWishes = RequestWishes()

    def parameters(self) -> dict[str, Any]:
        """What goes to the model beside the messages, untouched."""
        return dict(self.model_extra or {})


class RouteRequest(BaseModel):
    """A prompt or a chat that is to be decided and not answered. What else a chat completion has is
    passed over."""

    model_config = ConfigDict(
        frozen=True, strict=True, extra="allow", use_attribute_docstrings=True, allow_inf_nan=False
    )

    model: Annotated[str, Field(min_length=1, max_length=200)] = AUTO
    """`auto` or `auto:PROFILE`."""
    prompt: str | None = None
    messages: Annotated[tuple[ChatMessage, ...], Field(min_length=1, max_length=2000)] | None = None
    pointsman: RequestWishes = RequestWishes()

    @model_validator(mode="after")
    def _in_their_place(self) -> Self:
        """What the topic takes beside the prompt has its place under `pointsman` here, and must not
        be passed over."""
        if misplaced := sorted((self.model_extra or {}).keys() & RequestWishes.model_fields.keys()):
            raise ValueError(
                f'{", ".join(misplaced)}: goes into "pointsman", as in {{"prompt": "…", '
                '"pointsman": {"profile": "fast"}}'
            )
        return self


class FeedbackRequest(BaseModel):
    """A thumb on an answer."""

    model_config = ConfigDict(
        frozen=True, strict=True, extra="forbid", use_attribute_docstrings=True
    )

    request_id: Annotated[str, Field(min_length=1, max_length=200)]
    """The answer's `id`."""
    thumb: Literal["up", "down"]
    better: Annotated[str, Field(min_length=1, max_length=200)] | None = None
    """The model that it is compared with; by default the next in line."""


def parse(model: type[BaseModel], value: bytes) -> Any:
    """A body as `model`. Raises `Problem`."""
    value = value.removeprefix(codecs.BOM_UTF8)
    return _fit(lambda: model.model_validate_json(value or b"null"))


def valid(model: type[M], fields: Mapping[str, Any]) -> M:
    """Fields that were made of a body, as `model`. Raises `Problem`."""
    parsed: M = _fit(lambda: model.model_validate(fields, strict=False))
    return parsed


def _fit(make: Callable[[], Any]) -> Any:
    try:
        parsed = make()
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False, include_context=False)[0]
        param = ".".join(str(part)[:40] for part in first["loc"]) or None
        raise Problem(400, describe_error(error), param=param) from None
    fields = {name: getattr(parsed, name) for name in parsed.model_fields_set}
    misfit = unfit_in_chat(fields.pop("messages", None)) or unfit(fields, "")
    if misfit is not None:
        raise Problem(400, str(misfit), param=misfit.place)
    return parsed


def wishes_of(headers: Mapping[str, str], body: RequestWishes) -> RequestWishes:
    """The wishes of the body, and those of x-pointsman-* headers where the body has none. Raises
    `Problem`."""
    said: dict[str, Any] = {}
    limits: dict[str, Any] = {}
    for name in headers:
        if name.startswith(PREFIX) and name not in HELP and name not in ANSWER_HEADERS:
            near = difflib.get_close_matches(name, HELP, n=1, cutoff=0.85)
            if near:  # others may be a proxy's own, or a newer version's
                meant = f"there is no header {name[:80]}; did you mean {near[0]}?"
                raise Problem(400, meant, param=name[:80])
    for name, place, convert in HEADERS:
        if (text := headers.get(name)) is None:
            continue
        try:
            value = convert(text)
        except (ValueError, TypeError, IndexError):
            raise Problem(
                400, f"the header {name} can't be read: {HELP[name]}", param=name
            ) from None
        (limits if place in Constraints.model_fields else said)[place] = value
    if body.profile or body.preferences or body.cost_quality_tradeoff is not None:
        said = {place: value for place, value in said.items() if place == "session_id"}
    try:
        if limits:
            said["constraints"] = Constraints(
                **(limits | body.constraints.model_dump(exclude_unset=True))
            )
        return (
            body
            if not said
            else RequestWishes.model_validate(
                said | {n: getattr(body, n) for n in body.model_fields_set if n not in said}
            )
        )
    except ValidationError as error:
        raise Problem(400, f"in the x-pointsman headers: {describe_error(error)}") from None


def _preferences(text: str) -> Preferences:
    return Preferences(
        **{
            name.strip(): float(value)
            for name, value in (part.split("=", 1) for part in text.split(","))
        }
    )


def _names(text: str) -> frozenset[str]:
    return frozenset(name.strip() for name in text.split(",") if name.strip())


PREFIX = "x-pointsman-"
HEADERS: tuple[tuple[str, str, Any], ...] = (
    ("x-pointsman-profile", "profile", Profile),
    ("x-pointsman-preferences", "preferences", _preferences),
    ("x-pointsman-cost-quality-tradeoff", "cost_quality_tradeoff", float),
    ("x-pointsman-session-id", "session_id", str),
    ("x-pointsman-max-cost-usd", "max_cost_usd", float),
    ("x-pointsman-max-latency-s", "max_latency_s", float),
    ("x-pointsman-allow", "allow", _names),
    ("x-pointsman-deny", "deny", _names),
)
HELP: Mapping[str, str] = {
    "x-pointsman-profile": f"one of {', '.join(Profile)}",
    "x-pointsman-preferences": "what success is worth, usd_per_point=0.1,s_per_point=60; or a "
    "goal, keep=0.97 or spend_usd_per_1000=2",
    "x-pointsman-cost-quality-tradeoff": "a number from 0 (quality) to 10 (cost)",
    "x-pointsman-session-id": "a name of the conversation",
    "x-pointsman-max-cost-usd": "a number of USD",
    "x-pointsman-max-latency-s": "a number of seconds",
    "x-pointsman-allow": "names of models, separated by commas",
    "x-pointsman-deny": "names of models, separated by commas",
}
ANSWER_HEADERS: Mapping[str, str] = {
    "x-pointsman-model": "The model that answered",
    "x-pointsman-cluster": "The nearest task cluster",
    "x-pointsman-table": "Version of the routing table",
    "x-pointsman-confidence": "Probability that the selected model is really better than the "
    "runner-up",
    "x-pointsman-cost-usd": "What the answer cost (not of a stream, whose last chunk has it)",
    "x-pointsman-expected-cost-usd": "What it was expected to cost",
    "x-pointsman-request-id": "The request's id",
    "server-timing": "`decision;dur=`: milliseconds from publishing the prompt to having its "
    "decision",
    "x-pointsman-default": "Why the profile's default model answered, if routing was not available",
    "x-pointsman-kept": "Set when the conversation keeps its model although another would be "
    "slightly better",
    "x-pointsman-left-out": "Parts of the request that did not reach the model, or were changed",
    "x-pointsman-cascade": "If a cheaper model was asked first: `accepted` or `escalated`, that "
    "model, how probably its answer is good",
}
"""Of an answer; a program may send them back with the next request."""
