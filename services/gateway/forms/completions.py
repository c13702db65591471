"""OpenAI's legacy Completions: a text is continued. Models of today are asked as in a chat."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field

from services.gateway.forms.chat import ChatEvents, OpenAIErrors, as_event
from services.gateway.requests import ChatRequest, RequestWishes, parse, valid
from services.gateway.understanding import AskedRequest, UnderstoodRequest

KEPT = ("id", "created", "model", "usage", "simulated")
"""Fields of a chat's answer that this one has, too."""
NOT_CARRIED = ("suffix", "echo", "best_of", "logprobs")
"""Fields that a chat has nothing like."""


class CompletionsRequest(BaseModel):
    """A request as OpenAI's Completions API takes it, of one prompt."""

    model_config = ConfigDict(
        frozen=True, strict=True, extra="allow", use_attribute_docstrings=True, allow_inf_nan=False
    )

    model: Annotated[str, Field(min_length=1, max_length=200)] = "auto"
    prompt: (
        Annotated[str, Field(min_length=1)]
        | Annotated[list[str], Field(min_length=1, max_length=1)]
    )
    stream: bool | None = None
    stream_options: dict[str, Any] | None = None
    pointsman: RequestWishes = RequestWishes()


@dataclass(frozen=True, slots=True)
class CompletionsForm(OpenAIErrors):
    """`POST /v1/completions`."""

    prefix: str = "cmpl-"

    def read(
        self,
        body: bytes,
        headers: Mapping[str, str],  # noqa: ARG002
    ) -> AskedRequest:
        request: CompletionsRequest = parse(CompletionsRequest, body)
        others = dict(request.model_extra or {})
        left_out = {name for name in NOT_CARRIED if others.pop(name, None)}
        text = request.prompt if isinstance(request.prompt, str) else request.prompt[0]
        chat = {
            "model": request.model,
            "messages": [{"role": "user", "content": text}],
            "stream": request.stream,
            "stream_options": request.stream_options,
            "pointsman": request.pointsman,
            **others,
        }
        return AskedRequest(valid(ChatRequest, chat), self, left_out=frozenset(left_out))

    def whole(
        self,
        completion: Mapping[str, Any],
        wanted: UnderstoodRequest,  # noqa: ARG002
    ) -> dict[str, Any]:
        return _completion(completion, "message")

    def streamed(self, wanted: UnderstoodRequest, model: str) -> CompletionsStream:  # noqa: ARG002
        return CompletionsStream()


def _completion(came: Mapping[str, Any], said: str) -> dict[str, Any]:
    choices = [
        {
            "index": choice.get("index", 0),
            "text": (choice.get(said) or {}).get("content") or "",
            "finish_reason": choice.get("finish_reason"),
            "logprobs": None,
        }
        for choice in came.get("choices") or ()
    ]
    kept = {name: came[name] for name in KEPT if name in came}
    return kept | {"object": "text_completion", "choices": choices}


@dataclass(frozen=True, slots=True)
class CompletionsStream(ChatEvents):
    """Chunks as pieces of a text."""

    def events(self, chunk: Mapping[str, Any]) -> Iterator[bytes]:
        yield as_event(_completion(chunk, "delta"))


COMPLETIONS = CompletionsForm()
