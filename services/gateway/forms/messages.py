"""Anthropic's Messages."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from services.gateway.forms.chat import as_event
from services.gateway.requests import ChatRequest, Problem, RequestWishes, parse, valid
from services.gateway.understanding import AskedRequest, UnderstoodRequest
from shared.contracts.tokens import tokens_of_chat
from shared.protocols import NATIVE, plain, plain_turns
from shared.protocols.messages.answers import MessageEvents, answer_of, error_of
from shared.protocols.messages.asked import asks_for_thoughts, parameters_of, turns_of
from shared.protocols.messages.asking import BETAS


class Message(BaseModel):
    """One turn."""

    model_config = ConfigDict(frozen=True, strict=True, extra="allow")

    role: Literal["user", "assistant", "system"]
    content: str | list[dict[str, Any]]


class MessagesRequest(BaseModel):
    """A request as Anthropic's Messages API takes it. Fields that are not named here go to a model
    of Anthropic's untouched; where another answers, a header names those that did not reach it."""

    model_config = ConfigDict(
        frozen=True, strict=True, extra="allow", use_attribute_docstrings=True, allow_inf_nan=False
    )

    model: Annotated[str, Field(min_length=1, max_length=200)]
    """`auto`, `auto:PROFILE`, or a model of `GET /v1/models`."""
    messages: Annotated[tuple[Message, ...], Field(min_length=1, max_length=10_000)]
    max_tokens: Annotated[int, Field(ge=0)] | None = None
    stream: bool | None = None
    system: str | list[dict[str, Any]] | None = None
    tools: list[dict[str, Any]] | None = None
    tool_choice: dict[str, Any] | None = None
    stop_sequences: list[str] | None = None
    temperature: float | None = None
    top_p: float | None = None
    pointsman: RequestWishes = RequestWishes()


def read(body: bytes, headers: Mapping[str, str], form: MessagesForm) -> AskedRequest:
    """A request in the inner form. Raises `Problem`."""
    request: MessagesRequest = parse(MessagesRequest, body)
    came = request.model_dump(exclude_unset=True, exclude={"pointsman"})
    left_out: set[str] = set()
    turns = turns_of(came, left_out)
    parameters = parameters_of(came, left_out)
    native = parameters.pop(NATIVE)
    if betas := headers.get("anthropic-beta"):
        native[BETAS] = betas
    chat = {
        "model": request.model,
        "messages": plain_turns(turns),
        "stream": request.stream,
        "pointsman": request.pointsman,
        **parameters,
    }
    return AskedRequest(
        valid(ChatRequest, chat),
        form,
        tuple(turns),
        {NATIVE: native},
        frozenset(left_out),
        came,
        asks_for_thoughts(came),
    )


def counted(body: bytes) -> int:
    """About how many tokens a request has. Raises `Problem`."""
    request: MessagesRequest = parse(MessagesRequest, body)
    came = request.model_dump(exclude_unset=True)
    left_out: set[str] = set()
    turns = plain_turns(turns_of(came, left_out))
    return tokens_of_chat(turns, plain(parameters_of(came, left_out)))


@dataclass(frozen=True, slots=True)
class MessagesForm:
    """`POST /v1/messages`."""

    prefix: str = "msg_"

    def read(
        self,
        body: bytes,
        headers: Mapping[str, str],
    ) -> AskedRequest:
        return read(body, headers, self)

    def whole(self, completion: Mapping[str, Any], wanted: UnderstoodRequest) -> dict[str, Any]:
        return answer_of(completion, thoughts=wanted.asked.thoughts)

    def streamed(self, wanted: UnderstoodRequest, model: str) -> MessagesStream:
        return MessagesStream(
            MessageEvents(
                wanted.request_id, model, wanted.needs.prompt_tokens, wanted.asked.thoughts
            ),
            wanted.request_id,
        )

    def problem(self, problem: Problem, request_id: str) -> dict[str, Any]:
        return error_of(problem.status, problem.error["message"] or "", request_id)


@dataclass(frozen=True, slots=True)
class MessagesStream:
    """Events with a name and its data."""

    made: MessageEvents
    request_id: str

    def events(self, chunk: Mapping[str, Any]) -> Iterator[bytes]:
        for event in self.made.take(chunk):
            yield as_event(event, event["type"])

    def end(self) -> bytes:
        return b""

    def broken(self, problem: Problem) -> bytes:
        error = error_of(problem.status, problem.error["message"] or "", self.request_id)
        return as_event(error, error["type"])


MESSAGES = MessagesForm()
