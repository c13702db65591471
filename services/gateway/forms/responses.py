"""OpenAI's Responses."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field

from services.gateway.forms.chat import OpenAIErrors, as_event
from services.gateway.requests import ChatRequest, Problem, RequestWishes, parse, valid
from services.gateway.understanding import AskedRequest, UnderstoodRequest
from shared.protocols import plain_turns, words_of
from shared.protocols.responses.answers import ResponseEvents, response_of, visible
from shared.protocols.responses.asked import items_of, parameters_of, turns_of

REFERENCE = "item_reference"
DELTA = "response.output_text.delta"
"""Nearly every event of a stream, with nothing to hide."""
NOT_HERE = {
    "background": "the gateway answers while you wait; leave `background` out",
    "conversation": "conversations are kept by `previous_response_id`; leave `conversation` out",
    "prompt": "prompt templates are kept at OpenAI; send `input` and `instructions`",
}
"""Fields that the gateway can't do what they ask for, and what to do instead."""


class ResponsesRequest(BaseModel):
    """A request as OpenAI's Responses API takes it. What another model's protocol has no place for
    is named in a header."""

    model_config = ConfigDict(
        frozen=True, strict=True, extra="allow", use_attribute_docstrings=True, allow_inf_nan=False
    )

    model: Annotated[str, Field(min_length=1, max_length=200)] = "auto"
    """`auto`, `auto:PROFILE`, or a model of `GET /v1/models`."""
    input: (
        Annotated[str, Field(min_length=1)]
        | Annotated[list[dict[str, Any]], Field(min_length=1, max_length=10_000)]
    )
    instructions: str | None = None
    stream: bool | None = None
    store: bool | None = None
    """Whether the response is kept, to be referred to by `previous_response_id`."""
    previous_response_id: Annotated[str, Field(max_length=200)] | None = None
    pointsman: RequestWishes = RequestWishes()


def referred_to(request: ResponsesRequest) -> list[str]:
    """Ids of items that a request names instead of sending them."""
    return [
        item["id"]
        for item in items_of(request.input)
        if item.get("type") == REFERENCE and isinstance(item.get("id"), str)
    ]


@dataclass(frozen=True, slots=True)
class ResponsesForm(OpenAIErrors):
    """`POST /v1/responses`."""

    prefix: str = "resp_"

    def read(
        self,
        body: bytes,
        headers: Mapping[str, str],  # noqa: ARG002
    ) -> AskedRequest:
        return self.going_on(parse(ResponsesRequest, body), (), {})

    def going_on(
        self,
        request: ResponsesRequest,
        before: Sequence[Mapping[str, Any]],
        referred: Mapping[str, Mapping[str, Any]],
    ) -> AskedRequest:
        """A request in the inner form that goes on from the items `before` it, and refers to some
        by their ids. Raises `Problem`."""
        came = request.model_dump(exclude_unset=True, exclude={"pointsman"})
        for name, instead in NOT_HERE.items():
            if came.get(name):
                raise Problem(400, instead, code="unsupported_parameter", param=name)
        left_out: set[str] = set()
        sent = [
            referred.get(words_of(item.get("id")), item) if item.get("type") == REFERENCE else item
            for item in items_of(request.input)
        ]
        items = [*before, *sent]
        turns = turns_of(items, request.instructions, left_out)
        if not turns:
            raise Problem(400, "there is nothing in input to be answered", param="input")
        chat = {
            "model": request.model,
            "messages": plain_turns(turns),
            "stream": request.stream,
            "pointsman": request.pointsman,
            **parameters_of(came, left_out),
        }
        return AskedRequest(
            valid(ChatRequest, chat),
            self,
            tuple(turns),
            left_out=frozenset(left_out),
            body=came | {"items": items},
            store=request.store is not False,
        )

    def whole(self, completion: Mapping[str, Any], wanted: UnderstoodRequest) -> dict[str, Any]:
        response = response_of(completion, wanted.asked.body)
        return response | {"output": _shown(response, wanted)}

    def streamed(self, wanted: UnderstoodRequest, model: str) -> ResponsesStream:
        return ResponsesStream(ResponseEvents(wanted.request_id, model, wanted.asked.body), wanted)


def _shown(response: Mapping[str, Any], wanted: UnderstoodRequest) -> list[dict[str, Any]]:
    return visible(response["output"], wanted.asked.body.get("include") or ())


@dataclass(frozen=True, slots=True)
class ResponsesStream:
    """Numbered events with a name and their data."""

    made: ResponseEvents
    wanted: UnderstoodRequest

    def events(self, chunk: Mapping[str, Any]) -> Iterator[bytes]:
        for event in self.made.take(chunk):
            kind = event["type"]
            yield as_event(event if kind == DELTA else self._shown(event), kind)

    def _shown(self, event: dict[str, Any]) -> dict[str, Any]:
        included = self.wanted.asked.body.get("include") or ()
        if "response" in event:
            response = event["response"]
            return event | {"response": response | {"output": _shown(response, self.wanted)}}
        if "item" in event and "encrypted_content" in event["item"]:
            return event | {"item": visible([event["item"]], included)[0]}
        return event

    def end(self) -> bytes:
        return b""

    def broken(self, problem: Problem) -> bytes:
        code = problem.error["code"] or problem.error["type"] or "server_error"
        said = self.made.failed(code, problem.error["message"] or "")
        return b"".join(as_event(self._shown(event), event["type"]) for event in said)


RESPONSES = ResponsesForm()
