"""What a client of language models can do, whichever API it speaks."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Any, Protocol

from shared.adapters.llm.chat import ChatAnswer


class AnswerStream(Protocol):
    """An answer as it comes: its chunks in the form of OpenAI's API, then all of it."""

    def __aiter__(self) -> AsyncIterator[dict[str, Any]]: ...
    def answer(self) -> ChatAnswer: ...


class ChatModel(Protocol):
    """A client of one API. Messages, parameters and answers are in the inner form
    (`shared.protocols`), whatever the API speaks. What goes wrong is `ModelUnreachable`, and
    nothing else."""

    async def complete(
        self,
        model: str,
        messages: Sequence[Mapping[str, Any]],
        *,
        within_s: float,
        max_tokens: int | None = None,
        parameters: Mapping[str, Any] | None = None,
        optional: frozenset[str] = frozenset(),
        stream: bool = False,
        once: str = "",
    ) -> ChatAnswer:
        """One whole answer, tried again where that helps. `once` names what is asked."""
        ...

    def open(
        self,
        model: str,
        messages: Sequence[Mapping[str, Any]],
        *,
        within_s: float,
        parameters: Mapping[str, Any],
        once: str = "",
        silence_s: float | None = None,
    ) -> AbstractAsyncContextManager[AnswerStream]:
        """An answer as it comes. The model may be silent for `silence_s` at a time."""
        ...

    def unspoken(
        self, turns: Sequence[Mapping[str, Any]], parameters: Mapping[str, Any]
    ) -> tuple[str, ...]:
        """What of a chat its API has no place for."""
        ...

    async def embed(self, model: str, body: Mapping[str, Any], within_s: float) -> dict[str, Any]:
        """Texts embedded, in the form of OpenAI's API, which `body` has, too."""
        ...

    async def close(self) -> None:
        """Let go of its connections."""
        ...
