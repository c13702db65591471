"""One chat completion from an OpenAI-compatible API, within a time limit."""

from __future__ import annotations

import asyncio
import hashlib
import json
import time
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Annotated, Any

import httpx
import stamina
from pydantic import Field, SecretStr
from pydantic_settings import SettingsConfigDict

from shared.adapters.errors import ModelUnreachable
from shared.adapters.llm.breaker import Breaker
from shared.adapters.secrets import SecretSettings

TIMEOUT = httpx.Timeout(None, connect=5.0)
RETRIED = frozenset({408, 409, 425, 429, 500, 502, 503, 504, 529})


class LLMSettings(SecretSettings):
    """POINTSMAN_LLM_*"""

    model_config = SettingsConfigDict(env_prefix="POINTSMAN_LLM_", frozen=True, use_attribute_docstrings=True, extra="ignore")

    api_key: SecretStr = SecretStr("")
    """Key of the API. Without one, language models are simulated, and everything on screen says so.
    POINTSMAN_LLM_API_KEY_FILE names a file that holds it."""
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
    body: Mapping[str, Any] = field(default_factory=dict, repr=False)
    """The API's whole answer, as it came."""


class Chat:
    """A client of one API. Close it."""

    def __init__(self, settings: LLMSettings, transport: httpx.AsyncBaseTransport | None = None, *, simulated: bool = False) -> None:
        headers = {"X-Title": "Pointsman"}
        if key := settings.api_key.get_secret_value():
            headers["Authorization"] = f"Bearer {key}"
        limits = httpx.Limits(max_connections=settings.concurrency, max_keepalive_connections=min(64, settings.concurrency))
        self._http = httpx.AsyncClient(
            base_url=settings.base_url, headers=headers, transport=transport, follow_redirects=False, limits=limits
        )
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
        once: str = "",
    ) -> ChatAnswer:
        """Ask `model`. Waiting for room, retries and their pauses all count towards `within_s`.

        `once` names what is asked, the same each time it is asked again: it goes along as `Idempotency-Key`, so that a provider
        that heeds it bills once. `parameters` go to the API as they are; without them the temperature is 0. A model that fails
        several times in a row rests. With `stream` the answer tells when its first token came; nobody sees it before it is whole, so one
        that is cut off is asked for again. Raises `ModelUnreachable`, whose text never quotes what was sent or received.
        """
        began = time.monotonic()
        body: dict[str, Any] = {"temperature": 0} if parameters is None else dict(parameters)
        if max_tokens is not None:
            body["max_tokens"] = max_tokens
        if stream:
            async with self._watched(model, within_s):
                return await self._streamed(_streaming(body, model, messages), model, began, once)
        body |= {"model": model, "messages": list(messages)}
        async with self._watched(model, within_s):
            return self._answer(await self._post(body, once), model, time.monotonic() - began, None)

    async def _streamed(self, body: dict[str, Any], model: str, began: float, once: str) -> ChatAnswer:
        async for attempt in self._tries():
            with attempt:
                async with AsyncExitStack() as stack:
                    words = self._words(model, began)
                    await self._first(body, words, stack, once)
                    async for _ in words:
                        pass
                    return words.answer()
        raise AssertionError("stamina returns or raises")

    def _words(self, model: str, began: float) -> Words:
        return Words(_Chunks(), lambda whole, first: self._answer(whole, model, time.monotonic() - began, first and first - began))

    @asynccontextmanager
    async def open(
        self, model: str, messages: Sequence[Mapping[str, Any]], *, within_s: float, parameters: Mapping[str, Any], once: str = ""
    ) -> AsyncGenerator[Words, None]:
        """Ask `model` and take its answer as it comes. What went wrong before the first chunk is tried again; after it, no more.

        `within_s` bounds all that happens inside the block. Raises `ModelUnreachable`, before the block or inside it.
        """
        began = time.monotonic()
        body = _streaming(parameters, model, messages)
        async with self._watched(model, within_s), AsyncExitStack() as stack:
            words = self._words(model, began)
            async for attempt in self._tries():
                with attempt:
                    await self._first(body, words, stack, once)
            yield words

    async def _first(self, body: dict[str, Any], words: Words, stack: AsyncExitStack, once: str) -> None:
        """Send, and wait for the first chunk. The response is closed when `stack` is, or at once if this fails."""
        async with AsyncExitStack() as own:
            response = await own.enter_async_context(
                self._http.stream("POST", "/chat/completions", json=body, headers=_once(once), timeout=TIMEOUT)
            )
            if response.is_error:
                await response.aread()
            response.raise_for_status()
            if "text/event-stream" in response.headers.get("content-type", ""):
                words.source = _events(response)
                words.first = await anext(words.source, None)
            else:
                words.first = _as_chunk(json.loads(await response.aread()))
            if words.first is None:
                raise httpx.ReadError("the stream was cut off")
            stack.push_async_exit(own.pop_all())

    @asynccontextmanager
    async def _watched(self, model: str, within_s: float) -> AsyncGenerator[None, None]:
        """Room for one call, its time limit, and the breaker told how it went. Raises `ModelUnreachable`."""
        breaker = self._breakers.setdefault(model, Breaker(self._settings.breaker_failures, self._settings.breaker_rest_s))
        if not breaker.allows():
            raise ModelUnreachable(f"{self._settings.breaker_failures} calls in a row failed, so none is made for a while")
        try:
            async with asyncio.timeout(within_s), self._room:
                yield
        except TimeoutError:
            breaker.failed()
            raise ModelUnreachable(f"no answer within {within_s:g} s") from None
        except httpx.HTTPStatusError as error:
            refused = error.response.status_code not in RETRIED
            (breaker.abandoned if refused and error.response.status_code != 401 else breaker.failed)()
            raise ModelUnreachable(_advice(error.response.status_code), error.response.status_code, _said(error.response)) from None
        except (httpx.HTTPError, ValueError) as error:
            breaker.failed()
            raise ModelUnreachable(f"the call failed ({type(error).__name__})") from None
        except BaseException:
            breaker.abandoned()
            raise
        breaker.succeeded()

    async def _post(self, body: dict[str, Any], once: str) -> dict[str, Any]:
        async for attempt in self._tries():
            with attempt:
                response = await self._http.post("/chat/completions", json=body, headers=_once(once), timeout=TIMEOUT)
                response.raise_for_status()
                answer: dict[str, Any] = response.json()
                return answer
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
                body=body,
            )
        except (KeyError, IndexError, TypeError, ValueError, AttributeError):
            raise ModelUnreachable("the answer is not in the form of OpenAI's API; check POINTSMAN_LLM_BASE_URL") from None

    async def close(self) -> None:
        await self._http.aclose()


@dataclass(slots=True)
class Words:
    """An answer as it comes: iterate over its chunks, in the form of OpenAI's API; then `answer()` is all of it."""

    _whole: _Chunks
    _finish: Callable[[dict[str, Any], float | None], ChatAnswer]
    source: AsyncGenerator[dict[str, Any], None] | None = None
    first: dict[str, Any] | None = None

    async def __aiter__(self) -> AsyncGenerator[dict[str, Any], None]:
        if self.first is not None:
            self._whole.take(self.first)
            yield self.first
        if self.source is not None:
            async for chunk in self.source:
                self._whole.take(chunk)
                yield chunk

    def answer(self) -> ChatAnswer:
        """What the chunks made, so far. Raises `ModelUnreachable` if they were not OpenAI's."""
        return self._finish(self._whole.answer(), self._whole.first)


@dataclass(slots=True)
class _Chunks:
    """Chunks of a stream, put together again."""

    first: float | None = None
    finish: str | None = None
    text: list[str] = field(default_factory=list)
    rest: dict[str, Any] = field(default_factory=dict)
    message: dict[str, Any] = field(default_factory=lambda: {"role": "assistant"})

    def take(self, chunk: dict[str, Any]) -> None:
        self.rest |= {key: chunk[key] for key in ("model", "usage", "simulated") if chunk.get(key)}
        for choice in chunk.get("choices") or ():
            if choice.get("index"):
                continue  # of several answers (n > 1) the first is the one that is compared
            delta = choice.get("delta") or {}
            if delta.get("content"):
                self.first = self.first or time.monotonic()
                self.text.append(delta["content"])
            if delta.get("tool_calls"):
                self.first = self.first or time.monotonic()
                _join_tool_calls(self.message.setdefault("tool_calls", []), delta["tool_calls"])
            self.finish = choice.get("finish_reason") or self.finish

    def answer(self) -> dict[str, Any]:
        return self.rest | {"choices": [{"message": self.message | {"content": "".join(self.text)}, "finish_reason": self.finish}]}


async def _events(response: httpx.Response) -> AsyncGenerator[dict[str, Any], None]:
    """The chunks of an event stream. Raises `ValueError` if they are not JSON objects, `httpx.ReadError` if it ends too early."""
    finished = False
    async for line in response.aiter_lines():
        if not line.startswith("data:"):
            continue
        if (data := line[5:].strip()) == "[DONE]":
            return
        chunk = json.loads(data)
        if not isinstance(chunk, dict):
            raise ValueError("a chunk that is no object")
        finished = finished or any(choice.get("finish_reason") for choice in chunk.get("choices") or ())
        yield chunk
    if not finished:
        raise httpx.ReadError("the stream was cut off")


def _streaming(parameters: Mapping[str, Any], model: str, messages: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    return {**parameters, "model": model, "messages": list(messages), "stream": True, "stream_options": {"include_usage": True}}


def _as_chunk(answer: dict[str, Any]) -> dict[str, Any]:
    """A whole answer as the one chunk of a stream, from an API that does not stream."""
    choices = [
        {"index": i, "delta": choice.get("message") or {}, "finish_reason": choice.get("finish_reason") or "stop"}
        for i, choice in enumerate(answer.get("choices") or ())
    ]
    return answer | {"object": "chat.completion.chunk", "choices": choices}


def _join_tool_calls(calls: list[dict[str, Any]], deltas: list[dict[str, Any]]) -> None:
    for delta in deltas:
        index = int(delta.get("index", len(calls)))
        while len(calls) <= index:
            calls.append({"type": "function", "function": {"name": "", "arguments": ""}})
        calls[index] |= {key: delta[key] for key in ("id", "type") if delta.get(key)}
        for key in ("name", "arguments"):
            calls[index]["function"][key] += (delta.get("function") or {}).get(key) or ""


def _once(name: str) -> dict[str, str]:
    return {"Idempotency-Key": hashlib.sha256(name.encode()).hexdigest()[:40]} if name else {}


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


def _said(response: httpx.Response) -> dict[str, Any] | None:
    """The error object of an API that did not like the request; nothing of any other trouble, which is between it and us."""
    if response.status_code not in {400, 413, 422}:
        return None
    try:
        error = response.json()["error"]
        return {key: error[key] for key in ("message", "param", "code") if isinstance(error.get(key), str)}
    except (ValueError, KeyError, TypeError, AttributeError):
        return None


def _advice(status: int) -> str:
    if status in {401, 403}:
        return f"the API refused the key (HTTP {status}); check POINTSMAN_LLM_API_KEY and POINTSMAN_LLM_BASE_URL"
    if status == 402:
        return "the API wants money first (HTTP 402); check the account's credit"
    if status == 404:
        return "the API knows no such model or path (HTTP 404); check the model's name and POINTSMAN_LLM_BASE_URL"
    return f"the API answered HTTP {status}"
