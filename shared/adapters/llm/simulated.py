"""A simulated language model, for those who have no key: it answers as an OpenAI-compatible API would.

It describes tasks by the extractive rules. Whoever shows its words says that they are simulated.
"""

from __future__ import annotations

import asyncio
import hashlib
import json

import httpx

from shared.adapters.llm.chat import Chat, LLMSettings
from shared.routing.extraction import extract

MODEL = "simulated-describer"
LATENCY_S = (0.02, 0.06)


def chat(settings: LLMSettings) -> Chat:
    """A client of the real API if there is a key, of the simulated one otherwise."""
    if not settings.simulated:
        return Chat(settings)
    return Chat(settings, httpx.MockTransport(_answer), simulated=True)


async def _answer(request: httpx.Request) -> httpx.Response:
    """One answer; how long it takes depends on the prompt alone, so a run can be repeated."""
    body = json.loads(request.content)
    prompt = _between_fences(body["messages"][-1]["content"])
    share = int.from_bytes(hashlib.sha256(prompt.encode()).digest()[:4], "big") / 2**32
    await asyncio.sleep(LATENCY_S[0] + share * (LATENCY_S[1] - LATENCY_S[0]))
    text = extract(prompt)
    usage = {"prompt_tokens": len(prompt) // 4 + 80, "completion_tokens": len(text) // 4, "cost": 0.0}
    return httpx.Response(200, json={"model": MODEL, "choices": [{"message": {"role": "assistant", "content": text}}], "usage": usage})


def _between_fences(content: str) -> str:
    lines = content.splitlines()
    fence = lines[0].removeprefix("BEGIN ") if lines and lines[0].startswith("BEGIN ") else None
    if fence and lines[-1] == f"END {fence}":
        return "\n".join(lines[1:-1])
    return content
