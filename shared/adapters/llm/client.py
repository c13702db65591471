"""Clients of language models: the real API where there is a key, a SIMULATED one otherwise."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType

import httpx

from shared.adapters.llm.chat import Chat, LLMSettings
from shared.adapters.llm.port import ChatModel
from shared.adapters.llm.simulated import World, transport

OPENAI = "openai"
APIS: Mapping[str, Callable[[LLMSettings], ChatModel]] = MappingProxyType({OPENAI: Chat})
"""By the name that a provider's `api` takes. A new API is a class and a line here."""


def open_chat(settings: LLMSettings, world: World | None = None) -> ChatModel:
    """A client of the default provider; of a simulated one inside this process if there is no
    key."""
    if not settings.simulated:
        return APIS[OPENAI](settings)
    return Chat(settings, httpx.MockTransport(transport(world or World())), simulated=True)
