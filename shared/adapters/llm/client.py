"""Clients of language models: the real API, or a SIMULATED one where there is no key for it."""

from __future__ import annotations

import httpx

from shared.adapters.llm.chat import Chat, LLMSettings
from shared.adapters.llm.port import ChatModel
from shared.adapters.llm.simulated import World, transport
from shared.adapters.llm.wire import OPENAI


def open_chat(settings: LLMSettings, world: World | None = None) -> ChatModel:
    """A client of the default provider; of a simulated one inside this process if there is no
    key."""
    if not settings.simulated:
        return Chat(settings)
    simulated = settings.model_copy(update={"api": OPENAI})
    return Chat(simulated, httpx.MockTransport(transport(world or World())), simulated=True)
