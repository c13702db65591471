"""OpenAI's Chat Completions: the inner form itself."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from services.gateway.requests import ChatRequest, Problem, RouteRequest, parse
from services.gateway.understanding import AskedRequest, UnderstoodRequest
from shared.protocols import NATIVE, compact, plain


def as_event(data: Mapping[str, Any], name: str = "") -> bytes:
    """One event of a stream."""
    named = f"event: {name}\n" if name else ""
    return f"{named}data: {compact(data)}\n\n".encode()


class OpenAIErrors:
    """Errors as all of OpenAI's protocols say them."""

    __slots__ = ()

    def problem(self, problem: Problem, request_id: str) -> dict[str, Any]:  # noqa: ARG002
        """The body of an error."""
        return {"error": problem.error}


@dataclass(frozen=True, slots=True)
class ChatForm(OpenAIErrors):
    """`POST /v1/chat/completions`."""

    prefix: str = "chatcmpl-"

    def read(
        self,
        body: bytes,
        headers: Mapping[str, str],  # noqa: ARG002
    ) -> AskedRequest:
        return AskedRequest(parse(ChatRequest, body), self)

    def whole(
        self,
        completion: Mapping[str, Any],
        wanted: UnderstoodRequest,  # noqa: ARG002
    ) -> dict[str, Any]:
        return plain(completion)

    def streamed(self, wanted: UnderstoodRequest, model: str) -> ChatEvents:  # noqa: ARG002
        return ChatEvents()


@dataclass(frozen=True, slots=True)
class ChatEvents:
    """Chunks as they are."""

    def events(self, chunk: Mapping[str, Any]) -> Iterator[bytes]:
        if NATIVE not in chunk:
            yield as_event(chunk)
        elif chunk.get("usage") or any(
            choice.get("delta") or choice.get("finish_reason") for choice in chunk["choices"]
        ):
            yield as_event(plain(chunk))

    def end(self) -> bytes:
        return b"data: [DONE]\n\n"

    def broken(self, problem: Problem) -> bytes:
        return as_event({"error": problem.error})  # a client knows an error by its key


CHAT = ChatForm()


def decision_asked(body: bytes) -> AskedRequest:
    """A request that is to be decided and not answered. Raises `Problem`."""
    return AskedRequest(parse(RouteRequest, body), CHAT)
