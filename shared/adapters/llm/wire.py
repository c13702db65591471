"""How requests are put for one API and its answers are read. Everything else, limits, retries and
rests, is the same for all (`chat`)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any, Protocol
from urllib.parse import quote

from shared.adapters.llm.dialect import Dialect
from shared.adapters.llm.reading import Reader
from shared.adapters.llm.reading_messages import MessagesReader
from shared.protocols import NATIVE, plain, plain_turns
from shared.protocols.messages.asking import BETAS, request_of, unspoken

OPENAI = "openai"
AZURE = "azure"
ANTHROPIC = "anthropic"
ANTHROPIC_VERSION = "2023-06-01"
AZURE_VERSION = "2024-10-21"


class Wire(Protocol):
    """One API on the wire. It has no state: an instance serves all models of a provider."""

    def path(self, model: str) -> str:
        """Where a chat is sent, after the base URL."""
        ...

    def embeddings_path(self, model: str) -> str | None:
        """Where texts are sent to be embedded; None: the API has no such thing."""
        ...

    def headers(self, key: str) -> dict[str, str]:
        """Headers of every request; `key` may be empty."""
        ...

    def headers_of(self, asked: Mapping[str, Any]) -> dict[str, str]:
        """Headers of one request."""
        ...

    def body(self, asked: Mapping[str, Any], dialect: Dialect, *, stream: bool) -> dict[str, Any]:
        """A request in the inner form, with `model` and `messages`, as it is sent."""
        ...

    def unspoken(
        self, turns: Sequence[Mapping[str, Any]], parameters: Mapping[str, Any]
    ) -> tuple[str, ...]:
        """What of a chat has no place in this API."""
        ...

    def reader(self) -> Reader:
        """What reads one answer."""
        ...


class OpenAIWire:
    """Chat Completions, as OpenAI, OpenRouter, vLLM, Ollama, llama.cpp and others have it."""

    def path(self, model: str) -> str:  # noqa: ARG002
        return "/chat/completions"

    def embeddings_path(self, model: str) -> str | None:  # noqa: ARG002
        return "/embeddings"

    def headers(self, key: str) -> dict[str, str]:
        return {"Authorization": f"Bearer {key}"} if key else {}

    def headers_of(self, asked: Mapping[str, Any]) -> dict[str, str]:  # noqa: ARG002
        return {}

    def body(self, asked: Mapping[str, Any], dialect: Dialect, *, stream: bool) -> dict[str, Any]:
        sent = plain(asked) | {"messages": plain_turns(asked["messages"])}
        return dialect.of(sent, stream=stream)

    def unspoken(
        self,
        turns: Sequence[Mapping[str, Any]],  # noqa: ARG002
        parameters: Mapping[str, Any],  # noqa: ARG002
    ) -> tuple[str, ...]:
        return ()

    def reader(self) -> Reader:
        return Reader()


class AzureWire(OpenAIWire):
    """The same at Azure: the model is a deployment, named in the path. `base_url` is that of the
    resource, https://NAME.openai.azure.com."""

    def path(self, model: str) -> str:
        return f"/openai/deployments/{quote(model)}/chat/completions?api-version={AZURE_VERSION}"

    def embeddings_path(self, model: str) -> str | None:
        return f"/openai/deployments/{quote(model)}/embeddings?api-version={AZURE_VERSION}"

    def headers(self, key: str) -> dict[str, str]:
        return {"api-key": key} if key else {}


class AnthropicWire:
    """Anthropic's Messages. `base_url` ends in /v1, as https://api.anthropic.com/v1."""

    def path(self, model: str) -> str:  # noqa: ARG002
        return "/messages"

    def embeddings_path(self, model: str) -> str | None:  # noqa: ARG002
        return None

    def headers(self, key: str) -> dict[str, str]:
        version = {"anthropic-version": ANTHROPIC_VERSION}
        return version | ({"x-api-key": key} if key else {})

    def headers_of(self, asked: Mapping[str, Any]) -> dict[str, str]:
        native = asked.get(NATIVE)
        betas = native.get(BETAS) if isinstance(native, Mapping) else None
        return {BETAS: betas} if isinstance(betas, str) else {}

    def body(self, asked: Mapping[str, Any], dialect: Dialect, *, stream: bool) -> dict[str, Any]:
        parameters = {
            name: value for name, value in asked.items() if name not in ("model", "messages")
        }
        sent = request_of(asked["model"], asked["messages"], parameters)
        left = {name: value for name, value in sent.items() if name not in dialect.without}
        return left | ({"stream": True} if stream else {})

    def unspoken(
        self, turns: Sequence[Mapping[str, Any]], parameters: Mapping[str, Any]
    ) -> tuple[str, ...]:
        return unspoken(turns, parameters)

    def reader(self) -> Reader:
        return MessagesReader()


WIRES: Mapping[str, Wire] = MappingProxyType(
    {OPENAI: OpenAIWire(), AZURE: AzureWire(), ANTHROPIC: AnthropicWire()}
)
"""By the name that a provider's `api` takes. A new API is a class and a line here."""
