"""One chat completion from an OpenAI-compatible API, within a time limit."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Annotated, Any

import httpx
import stamina
from pydantic import Field, SecretStr
from pydantic_settings import BaseSettings, SettingsConfigDict

from shared.adapters.errors import ModelUnreachable
from shared.adapters.llm.breaker import Breaker

RETRIED = frozenset({408, 409, 425, 429, 500, 502, 503, 504, 529})


class LLMSettings(BaseSettings):
    """POINTSMAN_LLM_*"""

    model_config = SettingsConfigDict(env_prefix="POINTSMAN_LLM_", frozen=True, use_attribute_docstrings=True, extra="ignore")

    api_key: SecretStr = SecretStr("")
    """Key of the API. Without one, language models are simulated, and everything on screen says so."""
    base_url: str = "https://openrouter.ai/api/v1"
    """Any OpenAI-compatible API; OpenRouter by default."""
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
    prompt_tokens: int
    completion_tokens: int


class Chat:
    """A client of one API. Close it."""

    def __init__(self, settings: LLMSettings, transport: httpx.AsyncBaseTransport | None = None, *, simulated: bool = False) -> None:
        headers = {"X-Title": "Pointsman"}
        if key := settings.api_key.get_secret_value():
            headers["Authorization"] = f"Bearer {key}"
        self._http = httpx.AsyncClient(base_url=settings.base_url, headers=headers, transport=transport, follow_redirects=False)
        self._settings, self._simulated = settings, simulated
        self._room = asyncio.Semaphore(settings.concurrency)
        self._breaker = Breaker(settings.breaker_failures, settings.breaker_rest_s)

    async def complete(self, model: str, messages: list[dict[str, str]], *, max_tokens: int, within_s: float) -> ChatAnswer:
        """Ask `model`. Waiting for room, retries and their pauses all count towards `within_s`.

        Raises `ModelUnreachable`, whose text never quotes what was sent or received.
        """
        began = time.monotonic()
        if not self._breaker.allows():
            raise ModelUnreachable(f"{self._settings.breaker_failures} calls in a row failed, so none is made for a while")
        try:
            async with asyncio.timeout(within_s), self._room:
                body = await self._post({"model": model, "messages": messages, "max_tokens": max_tokens, "temperature": 0})
        except TimeoutError:
            self._breaker.failed()
            raise ModelUnreachable(f"no answer within {within_s:g} s") from None
        except httpx.HTTPStatusError as error:
            refused = error.response.status_code not in RETRIED
            (self._breaker.abandoned if refused and error.response.status_code != 401 else self._breaker.failed)()
            raise ModelUnreachable(_advice(error.response.status_code)) from None
        except (httpx.HTTPError, ValueError) as error:
            self._breaker.failed()
            raise ModelUnreachable(f"the call failed ({type(error).__name__})") from None
        except BaseException:
            self._breaker.abandoned()
            raise
        self._breaker.succeeded()
        return self._answer(body, model, time.monotonic() - began)

    async def _post(self, body: dict[str, Any]) -> dict[str, Any]:
        async for attempt in stamina.retry_context(
            on=_pause, attempts=self._settings.attempts, timeout=None, wait_initial=0.1, wait_max=2.0
        ):
            with attempt:
                response = await self._http.post("/chat/completions", json=body, timeout=httpx.Timeout(None, connect=5.0))
                response.raise_for_status()
                answer: dict[str, Any] = response.json()
                return answer
        raise AssertionError("stamina returns or raises")

    def _answer(self, body: dict[str, Any], model: str, latency_s: float) -> ChatAnswer:
        try:
            text = body["choices"][0]["message"]["content"] or ""
            usage = body.get("usage") or {}
            return ChatAnswer(
                text=str(text),
                model=str(body.get("model") or model),
                simulated=self._simulated,
                latency_s=latency_s,
                cost_usd=float(usage.get("cost") or 0.0),
                prompt_tokens=int(usage.get("prompt_tokens") or 0),
                completion_tokens=int(usage.get("completion_tokens") or 0),
            )
        except (KeyError, IndexError, TypeError, ValueError, AttributeError):
            raise ModelUnreachable("the answer is not in the form of OpenAI's API; check POINTSMAN_LLM_BASE_URL") from None

    async def close(self) -> None:
        await self._http.aclose()


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
