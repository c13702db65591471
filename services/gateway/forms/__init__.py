"""The forms in which programs ask the gateway: one module each, and the same decision for all.

A form reads a request into the inner form of conversations (`shared.protocols`), and says an
answer, a stream or an error in its own. It knows nothing of models and routes.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Protocol

from services.gateway.requests import Problem
from services.gateway.understanding import AskedRequest, UnderstoodRequest


class AnswerEvents(Protocol):
    """A streamed answer as the events of one form."""

    def events(self, chunk: Mapping[str, Any]) -> Iterator[bytes]:
        """The bytes that a chunk of the inner form becomes."""
        ...

    def end(self) -> bytes:
        """The bytes that end an answer which is whole."""
        ...

    def broken(self, problem: Problem) -> bytes:
        """The bytes that end an answer which is not."""
        ...


class Form(Protocol):
    """How one protocol asks and is answered."""

    @property
    def prefix(self) -> str:
        """How its ids begin."""
        ...

    def read(self, body: bytes, headers: Mapping[str, str]) -> AskedRequest:
        """A request in the inner form. Raises `Problem`."""
        ...

    def whole(self, completion: Mapping[str, Any], wanted: UnderstoodRequest) -> dict[str, Any]:
        """A whole answer."""
        ...

    def streamed(self, wanted: UnderstoodRequest, model: str) -> AnswerEvents:
        """What says the answer of `model` as it comes."""
        ...

    def problem(self, problem: Problem, request_id: str) -> dict[str, Any]:
        """The body of an error."""
        ...
