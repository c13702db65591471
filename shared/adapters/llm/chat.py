"""One chat completion from an OpenAI-compatible API, within a time limit."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Annotated, Any

import httpx
import stamina
from pydantic import Field, SecretStr
from pydantic_settings import BaseSettings, SettingsConfigDict

from shared.adapters.errors import ModelUnreachable
from shared.adapters.llm.breaker import Breaker

TIMEOUT = httpx.Timeout(None, connect=5.0)
RETRIED = frozenset({408, 409, 425, 429, 500, 502, 503, 504, 529})


class LLMSettings(BaseSettings):
    """POINTSMAN_LLM_*"""

    model_config = SettingsConfigDict(env_prefix="POINTSMAN_LLM_", frozen=True, use_attribute_docstrings=True, extra="ignore")

    api_key: SecretStr = SecretStr("")
    """Key of the API. Without one, language models are simulated, and everything on screen says so."""
    base_url: str = "https://openrouter.ai/api/v1"
    """Any OpenAI-compatible API; OpenRouter by default."""
    providers: Path | None = None
    """YAML file of further providers: name: {base_url, key_env, concurrency}. A model of the catalogue names its own."""
    concurrency: Annotated[int, Field(ge=1)] = 16
    """Calls under way at once, per process."""
    attempts: Annotated[int, Field(ge=1)] = 3
    """How often one call is made at most, the first included."""
    breaker_failures: Annotated[int, Field(ge=1)] = 5
    """Failed calls in a row after which no more are made for a while."""
    breaker_rest_s: Annotated[float, Field(gt=0)] = 15.0
    """That while, in seconds."""

    @property
    def simulated(self) -> bool:
        return not self.api_key.get_secret_value()


@dataclass(frozen=True, slots=True)
class ChatAnswer:
    """What a model said, and what it took."""

    text: str
    model: str
    simulated: bool
    latency_s: float
    cost_usd: float
    """The provider's own figure; 0 where it gives none."""
    cost_given: bool
    prompt_tokens: int
    completion_tokens: int
    finish_reason: str | None = None
    first_token_s: float | None = None
    """Seconds until the first token, if the answer was streamed."""
    message: dict[str, Any] | None = None
    """The message as it came, if it holds more than text."""


class Chat:
    """A client of one API. Close it."""

    def __init__(self, settings: LLMSettings, transport: httpx.AsyncBaseTransport | None = None, *, simulated: bool = False) -> None:
        headers = {"X-Title": "Pointsman"}
        if key := settings.api_key.get_secret_value():
            headers["Authorization"] = f"Bearer {key}"
        self._http = httpx.AsyncClient(base_url=settings.base_url, headers=headers, transport=transport, follow_redirects=False)
        self._settings, self._simulated = settings, simulated
        self._room = asyncio.Semaphore(settings.concurrency)
        self._breakers: dict[str, Breaker] = {}

    def allows(self, model: str) -> bool:
        """Whether `model` is not resting after failures. Asking changes nothing."""
        breaker = self._breakers.get(model)
        return breaker is None or breaker.would_allow()

    async def complete(
        self,
        model: str,
        messages: Sequence[Mapping[str, Any]],
        *,
        within_s: float,
        max_tokens: int | None = None,
        parameters: Mapping[str, Any] | None = None,
        stream: bool = False,
    ) -> ChatAnswer:
        """Ask `model`. Waiting for room, retries and their pauses all count towards `within_s`.

        `parameters` go to the API as they are; without them the temperature is 0. A model that fails several times in a
        row rests. Raises `ModelUnreachable`, whose text never quotes what was sent or received.
        """
        began = time.monotonic()
        breaker = self._breakers.setdefault(model, Breaker(self._settings.breaker_failures, self._settings.breaker_rest_s))
        if not breaker.allows():
            raise ModelUnreachable(f"{self._settings.breaker_failures} calls in a row failed, so none is made for a while")
        body: dict[str, Any] = {"temperature": 0} if parameters is None else dict(parameters)
        body |= {"model": model, "messages": list(messages)}
        if max_tokens is not None:
            body["max_tokens"] = max_tokens
        try:
            async with asyncio.timeout(within_s), self._room:
                answer, first = await (self._stream(body) if stream else self._post(body))
        except TimeoutError:
            breaker.failed()
            raise ModelUnreachable(f"no answer within {within_s:g} s") from None
        except httpx.HTTPStatusError as error:
            refused = error.response.status_code not in RETRIED
            (breaker.abandoned if refused and error.response.status_code != 401 else breaker.failed)()
            raise ModelUnreachable(_advice(error.response.status_code)) from None
        except (httpx.HTTPError, ValueError) as error:
            breaker.failed()
            raise ModelUnreachable(f"the call failed ({type(error).__name__})") from None
        except BaseException:
            breaker.abandoned()
            raise
        breaker.succeeded()
        return self._answer(answer, model, time.monotonic() - began, first - began if first else None)

    async def _post(self, body: dict[str, Any]) -> tuple[dict[str, Any], float | None]:
        async for attempt in self._tries():
            with attempt:
                response = await self._http.post("/chat/completions", json=body, timeout=TIMEOUT)
                response.raise_for_status()
                answer: dict[str, Any] = response.json()
                return answer, None
        raise AssertionError("stamina returns or raises")

    async def _stream(self, body: dict[str, Any]) -> tuple[dict[str, Any], float | None]:
        """A streamed answer, put together again, and when its first token came. It is asked for again only before that."""
        body = body | {"stream": True, "stream_options": {"include_usage": True}}
        async for attempt in self._tries():
            with attempt:
                async with self._http.stream("POST", "/chat/completions", json=body, timeout=TIMEOUT) as response:
                    response.raise_for_status()
                    if "text/event-stream" not in response.headers.get("content-type", ""):
                        answer: dict[str, Any] = json.loads(await response.aread())
                        return answer, None
                    return await _gather(response)
        raise AssertionError("stamina returns or raises")

    def _tries(self) -> Any:
        return stamina.retry_context(on=_pause, attempts=self._settings.attempts, timeout=None, wait_initial=0.1, wait_max=2.0)

    def _answer(self, body: dict[str, Any], model: str, latency_s: float, first_s: float | None) -> ChatAnswer:
        try:
            choice = body["choices"][0]
            message = choice["message"]
            usage = body.get("usage") or {}
            told = body.get("simulated") or {}  # a simulated provider's clock runs in its own time
            return ChatAnswer(
                text=str(message.get("content") or ""),
                model=str(body.get("model") or model),
                simulated=self._simulated or bool(told),
                latency_s=float(told.get("latency_s", latency_s)),
                cost_usd=float(usage.get("cost") or 0.0),
                cost_given=usage.get("cost") is not None,
                prompt_tokens=int(usage.get("prompt_tokens") or 0),
                completion_tokens=int(usage.get("completion_tokens") or 0),
                finish_reason=choice.get("finish_reason"),
                first_token_s=told.get("first_token_s", first_s),
                message=message
                if set(message) - {"role", "content"} and any(message[k] for k in set(message) - {"role", "content"})
                else None,
            )
        except (KeyError, IndexError, TypeError, ValueError, AttributeError):
            raise ModelUnreachable("the answer is not in the form of OpenAI's API; check POINTSMAN_LLM_BASE_URL") from None

    async def close(self) -> None:
        await self._http.aclose()


async def _gather(response: httpx.Response) -> tuple[dict[str, Any], float | None]:
    """The chunks of a stream as one answer. Raises `httpx.ReadError` if it ends too early."""
    first, text, done = None, [], False
    answer: dict[str, Any] = {}
    message: dict[str, Any] = {"role": "assistant"}
    finish: str | None = None
    async for line in response.aiter_lines():
        if not line.startswith("data:"):
            continue
        data = line[5:].strip()
        if data == "[DONE]":
            done = True
            break
        chunk = json.loads(data)
        answer |= {key: chunk[key] for key in ("model", "usage", "simulated") if chunk.get(key)}
        for choice in chunk.get("choices") or ():
            delta = choice.get("delta") or {}
            if delta.get("content"):
                first = first or time.monotonic()
                text.append(delta["content"])
            if delta.get("tool_calls"):
                first = first or time.monotonic()
                _join_tool_calls(message.setdefault("tool_calls", []), delta["tool_calls"])
            finish = choice.get("finish_reason") or finish
    if not done and finish is None:
        raise httpx.ReadError("the stream was cut off")
    return answer | {"choices": [{"message": message | {"content": "".join(text)}, "finish_reason": finish}]}, first


def _join_tool_calls(calls: list[dict[str, Any]], deltas: list[dict[str, Any]]) -> None:
    for delta in deltas:
        index = int(delta.get("index", len(calls)))
        while len(calls) <= index:
            calls.append({"type": "function", "function": {"name": "", "arguments": ""}})
        calls[index] |= {key: delta[key] for key in ("id", "type") if delta.get(key)}
        for key in ("name", "arguments"):
            calls[index]["function"][key] += (delta.get("function") or {}).get(key) or ""


def _pause(error: Exception) -> bool | float:
    """Whether to try again; and when, if the server says (RFC 9110, 10.2.3)."""
    if isinstance(error, httpx.HTTPStatusError):
        if error.response.status_code not in RETRIED:
            return False
        return retry_after(error.response.headers.get("retry-after"), datetime.now(UTC)) or True
    return isinstance(error, httpx.TransportError)


def retry_after(value: str | None, now: datetime) -> float | None:
    """Seconds that a Retry-After header asks for: a number or an HTTP date; None if it is neither, or past."""
    if not value:
        return None
    try:
        seconds = float(value)
    except ValueError:
        try:
            then = parsedate_to_datetime(value)
        except ValueError:
            return None
        seconds = (then.replace(tzinfo=then.tzinfo or UTC) - now).total_seconds()
    return seconds if 0 < seconds < float("inf") else None


def _advice(status: int) -> str:
    if status in {401, 403}:
        return f"the API refused the key (HTTP {status}); check POINTSMAN_LLM_API_KEY and POINTSMAN_LLM_BASE_URL"
    if status == 402:
        return "the API wants money first (HTTP 402); check the account's credit"
    if status == 404:
        return "the API knows no such model or path (HTTP 404); check the model's name and POINTSMAN_LLM_BASE_URL"
    return f"the API answered HTTP {status}"
