"""One chat completion from a provider's API, whichever it speaks, within a time limit."""

from __future__ import annotations

import asyncio
import hashlib
import json
import time
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Annotated, Any

import httpx
from pydantic import Field, SecretStr, field_validator
from pydantic_settings import SettingsConfigDict

from shared.adapters.errors import ModelUnreachable, Trouble
from shared.adapters.llm.breaker import Breaker
from shared.adapters.llm.dialect import Dialect
from shared.adapters.llm.reading import (
    Reader,
    names,
    number,
    of_a_request,
    parsed,
    raise_error,
    refusal,
    repaired,
    said,
    unreadable,
    usage,
)
from shared.adapters.llm.wire import OPENAI, WIRES, Wire
from shared.adapters.retrying import MOST_WAIT_S, a_few_times
from shared.adapters.secrets import SecretSettings
from shared.adapters.telemetry import MODEL_FAILURES, log
from shared.contracts.tokens import tokens_in, tokens_of_chat
from shared.protocols import plain, plain_turns

OPENROUTER = "https://openrouter.ai/api/v1"
TIMEOUT = httpx.Timeout(None, connect=5.0)
RETRIED = frozenset({408, 409, 425, 429, 500, 502, 503, 504, 529})
PATIENCE_S = 3.0
"""An API that asks to be left alone for longer is left alone: others may be free."""
REFUSALS = frozenset({400, 404, 422, 500, 501})
"""Statuses with which APIs refuse a field that they don't know; llama.cpp's says 500."""
OPERATORS = frozenset({403, 404})
"""Statuses that may be the sender's fault, and may as well be a wrong key or a wrong name of a
model in the catalogue."""
TELL_EVERY_S = 60.0
"""How often the log is told that a model fails in one way."""
ERROR_BYTES = 64 * 1024
"""Read of what an API says of an error."""


class LLMSettings(SecretSettings):
    """POINTSMAN_LLM_*"""

    model_config = SettingsConfigDict(
        env_prefix="POINTSMAN_LLM_", frozen=True, use_attribute_docstrings=True, extra="ignore"
    )

    api_key: SecretStr = SecretStr("")
    """Key of the API. POINTSMAN_LLM_API_KEY_FILE names a file that holds it. A server of your own
    may need none. OpenRouter needs one; without it language models are simulated, and every screen
    says so."""
    base_url: str = OPENROUTER
    """The API's address; OpenRouter by default."""
    api: str = OPENAI
    """Which API it has: openai, azure or anthropic."""
    providers: Path | None = None
    """YAML file of further providers: name: {base_url, api, key_env, concurrency}. A model of the
    catalogue names its own."""
    concurrency: Annotated[int, Field(ge=1)] = 16
    """Concurrent calls of a process. If it is not set, each service makes as many as it has work
    at once, so that no call waits for room."""
    attempts: Annotated[int, Field(ge=1)] = 3
    """Attempts at one call at most, the first included."""
    breaker_failures: Annotated[int, Field(ge=1)] = 5
    """Failed calls in a row after which a model rests."""
    breaker_rest_s: Annotated[float, Field(gt=0)] = 15.0
    """Seconds of that rest."""

    def with_room(self, calls: int) -> LLMSettings:
        """With that many concurrent calls, unless the environment says how many."""
        if "concurrency" in self.model_fields_set:
            return self
        return self.model_copy(update={"concurrency": calls})

    @property
    def simulated(self) -> bool:
        return not self.api_key.get_secret_value() and self.base_url == OPENROUTER

    @property
    def who(self) -> str:
        """What language models are, in a line: simulated, or whose."""
        if self.simulated:
            return "SIMULATED: no key is set (POINTSMAN_LLM_API_KEY, OpenRouter by default)"
        return f"real, by {self.base_url}" + (
            "" if self.api_key.get_secret_value() else ", without a key"
        )

    @field_validator("api")
    @classmethod
    def _spoken(cls, api: str) -> str:
        if api not in WIRES:
            raise ValueError(f"there is {', '.join(WIRES)}")
        return api


@dataclass(frozen=True, slots=True)
class ChatAnswer:
    """What a model said, and what it took."""

    text: str
    model: str
    simulated: bool
    latency_s: float
    cost_usd: float | None
    """The provider's own figure; None where it gives none that can be one."""
    prompt_tokens: int
    completion_tokens: int
    cached_tokens: int = 0
    """Of the prompt's, those that the provider had in its cache."""
    written_tokens: int = 0
    """Of the prompt's, those that the provider put into its cache."""
    estimated: bool = False
    """Whether the tokens were estimated from the texts, since the provider gave no usage."""
    finish_reason: str | None = None
    first_token_s: float | None = None
    """Seconds until the first token, if the answer was streamed."""
    message: dict[str, Any] | None = None
    """The message, if it holds more than text."""
    body: Mapping[str, Any] = field(default_factory=dict, repr=False)
    """The API's whole answer."""


class Chat:
    """A client of one API. Close it."""

    def __init__(
        self,
        settings: LLMSettings,
        transport: httpx.AsyncBaseTransport | None = None,
        *,
        simulated: bool = False,
    ) -> None:
        self._wire = WIRES[settings.api]
        headers = {"X-Title": "Pointsman", "Content-Type": "application/json"}
        headers |= self._wire.headers(settings.api_key.get_secret_value())
        limits = httpx.Limits(
            max_connections=settings.concurrency,
            max_keepalive_connections=min(64, settings.concurrency),
        )
        self._http = httpx.AsyncClient(
            base_url=settings.base_url,
            headers=headers,
            transport=transport,
            follow_redirects=False,
            limits=limits,
        )
        self._settings = settings
        self._simulated = simulated
        self._room = asyncio.Semaphore(settings.concurrency)
        self._learnt: dict[str, _ModelHistory] = {}
        self._told_at: dict[tuple[str, str], float] = {}
        """When the log was told that a model fails in this way."""

    def allows(self, model: str) -> bool:
        """Whether `model` is not resting after failures. Asking changes nothing."""
        return self._of(model).breaker.would_allow()

    def _of(self, model: str) -> _ModelHistory:
        """What is known of `model` by now."""
        if model not in self._learnt:
            self._learnt[model] = _ModelHistory(
                Breaker(self._settings.breaker_failures, self._settings.breaker_rest_s)
            )
        return self._learnt[model]

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
        """Ask `model`. Waiting for room, retries and their pauses all count towards `within_s`.

        `once` names what is asked, the same each time it is asked again. It goes along as
        `Idempotency-Key`, so that a provider that supports it bills once. `parameters` go to the
        API unchanged, except for those that `optional` names, which are left out where the model
        refuses them; without `parameters` the temperature is 0. A model that fails several times in
        a row rests. With `stream` the answer tells when its first token came; nobody sees it before
        it is whole, so one that is cut off is asked for again. Raises `ModelUnreachable`, whose
        text never quotes what was sent or received."""
        given: dict[str, Any] = {"temperature": 0} if parameters is None else dict(parameters)
        optional |= {"temperature"} if parameters is None else frozenset()
        if max_tokens is not None:
            given["max_tokens"] = max_tokens
            optional |= {"max_tokens"}
        call = _Call(
            model,
            given | {"model": model, "messages": list(messages)},
            within_s,
            optional,
            stream,
            once,
            self._wire,
        )
        async with self._watched(call):
            async for attempt in _tries(call, self._settings.attempts):
                with attempt:
                    async with AsyncExitStack() as stack:
                        words = await self._begin(call, stack)
                        async for _ in words:
                            pass
                        return words.answer()
            raise AssertionError("stamina returns or raises")

    @asynccontextmanager
    async def open(
        self,
        model: str,
        messages: Sequence[Mapping[str, Any]],
        *,
        within_s: float,
        parameters: Mapping[str, Any],
        once: str = "",
        silence_s: float | None = None,
    ) -> AsyncGenerator[ChatStream, None]:
        """Ask `model` and take its answer as it comes. What went wrong before the first word is
        tried again; after it, no more.

        The answer has to be whole within `within_s`, and no more than `silence_s` may pass until
        its first word, or between two. Raises `ModelUnreachable`, before the block or
        while its words are taken.
        """
        call = _Call(
            model,
            {**parameters, "model": model, "messages": list(messages)},
            within_s,
            frozenset(),
            True,
            once,
            self._wire,
            silence_s,
        )
        async with self._watched(call), AsyncExitStack() as stack:
            async for attempt in _tries(call, self._settings.attempts):
                with attempt:
                    words = await self._begin(call, stack)
            yield words

    def unspoken(
        self, turns: Sequence[Mapping[str, Any]], parameters: Mapping[str, Any]
    ) -> tuple[str, ...]:
        """What of a chat the API has no place for."""
        return self._wire.unspoken(turns, parameters)

    async def embed(self, model: str, body: Mapping[str, Any], within_s: float) -> dict[str, Any]:
        """Texts embedded, in the form of OpenAI's API. Raises `ModelUnreachable`."""
        path = self._wire.embeddings_path(model)
        if path is None:
            raise ModelUnreachable("this provider embeds nothing", Trouble.unsent, 404)
        asked = {**body, "model": model}
        call = _Call(model, asked, within_s, frozenset(), False, "", self._wire, path=path)
        async with self._watched(call):
            async for attempt in _tries(call, self._settings.attempts):
                with attempt:
                    async with AsyncExitStack() as stack:
                        response = await self._send(call, Dialect(), stack)
                        async with call.reading():
                            value = parsed(await response.aread())
                            if not isinstance(value, dict) or "data" not in value:
                                raise unreadable()
                            raise_error(value)
                        call.went_well = True
                        return value
            raise AssertionError("stamina returns or raises")

    async def _begin(self, call: _Call, stack: AsyncExitStack) -> ChatStream:
        """Send, and wait for the first word. The response is closed when `stack` is, or at once if
        this fails."""
        model = self._of(call.model)
        known = dialect = model.dialect
        while True:
            try:
                async with AsyncExitStack() as own:
                    call.went_well = None
                    response = await self._send(call, dialect, own)
                    words = ChatStream(call, response, self._wire.reader(), self._simulated)
                    own.push_async_callback(words.close)
                    await words.begin()
                    stack.push_async_exit(own.pop_all())
            except ModelUnreachable as error:
                other = (
                    dialect.after(error.named, call.body, call.optional)
                    if error.status in REFUSALS
                    else None
                )
                if other is None:
                    raise
                dialect = other
            else:
                if dialect != known:  # another call may have learnt meanwhile
                    model.dialect = dialect
                return words

    async def _send(self, call: _Call, dialect: Dialect, stack: AsyncExitStack) -> httpx.Response:
        """A response that is no error."""
        request = self._http.build_request(
            "POST",
            call.path or self._wire.path(call.model),
            content=call.content(dialect),
            headers=_once(call.once) | self._wire.headers_of(call.body),
            timeout=TIMEOUT,
        )
        async with call.reading(silent_since=call.began):
            response = await self._http.send(request, stream=True)
        stack.push_async_callback(response.aclose)
        if not response.is_error and not response.is_redirect:
            return response
        async with call.reading():
            fields = refusal(await _beginning(response))
        wait = retry_after(response.headers.get("retry-after"), datetime.now(UTC))
        status = (
            400 if response.status_code >= 500 and of_a_request(fields) else response.status_code
        )
        error = ModelUnreachable(
            _advice(status), Trouble.refused, status, said(fields, status), wait
        )
        error.named = names(json.dumps(fields, default=str))
        raise call.failed(error)

    def _note(self, call: _Call, error: ModelUnreachable) -> None:
        """Count a call that failed, and tell the log of it once a minute: never what the API said,
        which may quote the prompt."""
        if error.of_the_request and error.status not in OPERATORS:
            return  # the sender can correct it, and is told
        why = str(error.status or error.trouble)
        MODEL_FAILURES.labels(call.model, why).inc()
        now = time.monotonic()
        if now - self._told_at.get((call.model, why), float("-inf")) >= TELL_EVERY_S:
            self._told_at[call.model, why] = now
            log.warning("a language model fails", model=call.model, error=str(error))

    @asynccontextmanager
    async def _watched(self, call: _Call) -> AsyncGenerator[None, None]:
        """Room for one call; afterwards the breaker hears how it went, as far as the model is
        concerned. Raises `ModelUnreachable`."""
        model = self._of(call.model)
        call.content(model.dialect)  # what can't be written is nobody's failure
        if (left := model.left_alone_until - time.monotonic()) > 0:
            raise ModelUnreachable(
                "the API asked to be left alone for a while",
                Trouble.resting,
                429,
                retry_after_s=left,
            )
        breaker = model.breaker
        if (turn := breaker.turn()) is None:
            text = (
                f"{self._settings.breaker_failures} calls in a row failed, so none is made for "
                "a while"
            )
            raise ModelUnreachable(
                text,
                Trouble.resting,
                429 if model.busy else None,
                retry_after_s=breaker.rests_for_s(),
            )
        try:
            async with AsyncExitStack() as stack:
                async with call.reading(ours=True):
                    await stack.enter_async_context(self._room)
                yield
        except ModelUnreachable as error:
            self._note(call, error)
            raise
        finally:
            {None: turn.abandoned, True: turn.succeeded, False: turn.failed}[call.went_well]()
            model.busy = call.busy
            if call.leave_alone_s > PATIENCE_S:
                model.left_alone_until = time.monotonic() + min(
                    call.leave_alone_s, self._settings.breaker_rest_s
                )

    async def close(self) -> None:
        await self._http.aclose()


@dataclass(slots=True)
class _ModelHistory:
    """What earlier calls of a model have shown."""

    breaker: Breaker
    dialect: Dialect = field(default_factory=Dialect)
    busy: bool = False
    """Whether it had no room when it was last asked."""
    left_alone_until: float = 0.0
    """Until when (`time.monotonic`) the API asked to be left alone, but no longer than a breaker
    rests."""


@dataclass(slots=True)
class _Call:
    """One thing that is asked of a model, with all its tries."""

    model: str
    body: dict[str, Any]
    within_s: float
    optional: frozenset[str]
    stream: bool
    once: str
    wire: Wire
    silence_s: float | None = None
    """How long the model may say nothing."""
    path: str = ""
    """Where it goes, if it is no chat."""
    went_well: bool | None = None
    """What it says about the model. None: nothing."""
    busy: bool = False
    leave_alone_s: float = 0.0
    waited_s: float = 0.0
    """What the API asked to be left alone for, and was."""
    began: float = field(default_factory=time.monotonic)
    _contents: dict[Dialect, bytes] = field(default_factory=dict)

    def content(self, dialect: Dialect) -> bytes:
        """The bytes that are sent, made once for all tries. Raises `ModelUnreachable`, as `encoded`
        does."""
        if dialect not in self._contents:
            chat = not self.path
            self._contents[dialect] = encoded(
                self.wire.body(self.body, dialect, stream=self.stream) if chat else self.body
            )
        return self._contents[dialect]

    @property
    def left_s(self) -> float:
        return self.began + self.within_s - time.monotonic()

    @asynccontextmanager
    async def reading(
        self, *, ours: bool = False, silent_since: float | None = None
    ) -> AsyncGenerator[None, None]:
        """Around all that waits for the API. Raises `ModelUnreachable` for what goes wrong there;
        `ours`: being late is not the model's; `silent_since`: when the model last said
        something."""
        late = ModelUnreachable(f"no answer within {self.within_s:g} s", Trouble.late)
        if (left := self.left_s) <= 0:
            raise late  # the time went by while somebody else was waited for
        if silent_since is not None and self.silence_s is not None:
            quiet = silent_since + self.silence_s - time.monotonic()
            if quiet < left:
                left = max(0.0, quiet)
                late = ModelUnreachable(f"it said nothing for {self.silence_s:g} s", Trouble.late)
        try:
            async with asyncio.timeout(left):
                yield
        except TimeoutError:
            raise late if ours else self.failed(late) from None
        except (httpx.ConnectTimeout, httpx.PoolTimeout):
            text = f"no connection within {TIMEOUT.connect:g} s"
            raise self.failed(ModelUnreachable(text, Trouble.late)) from None
        except httpx.TransportError as error:
            raise self.failed(
                ModelUnreachable(f"the call failed ({type(error).__name__})", Trouble.away)
            ) from None
        except (httpx.HTTPError, httpx.InvalidURL, httpx.StreamError) as error:
            raise self.failed(
                ModelUnreachable(f"the call failed ({type(error).__name__})", Trouble.unreadable)
            ) from None
        except ModelUnreachable as error:
            raise self.failed(error) from None

    def failed(self, error: ModelUnreachable) -> ModelUnreachable:
        self.went_well = None if error.of_the_request else False
        self.busy = error.status == 429
        self.leave_alone_s = (
            (error.retry_after_s or 0.0) if error.trouble is Trouble.refused else 0.0
        )
        return error

    def may_try_again(self, error: Exception) -> bool | float:
        """Whether a try that failed so is made again; and after how many seconds, if the API says
        (RFC 9110, 10.2.3)."""
        if not isinstance(error, ModelUnreachable):
            return False
        if error.trouble is Trouble.refused and error.status in RETRIED:
            wait = error.retry_after_s or 0.0
            if wait > min(PATIENCE_S - self.waited_s, self.left_s):
                return False
            self.waited_s += wait
            return wait or True
        if error.trouble not in (Trouble.away, Trouble.cut_off) or self.left_s <= 0:
            return False
        return True if self.left_s > MOST_WAIT_S else self.left_s / 2


def _tries(call: _Call, attempts: int) -> Any:
    return a_few_times(call.may_try_again, attempts)


@dataclass(slots=True)
class ChatStream:
    """An answer as it comes: iterate over its chunks, in the form of OpenAI's API; then `answer()`
    is all of it.

    Iterating raises `ModelUnreachable` where the answer breaks off or turns out to be an error.
    """

    call: _Call
    response: httpx.Response
    reader: Reader
    simulated: bool
    _begun: list[dict[str, Any]] = field(default_factory=list)
    _more: AsyncGenerator[dict[str, Any], None] | None = None

    async def begin(self) -> None:
        """Wait until the first word is there."""
        self._more = self._chunks()
        while not self.reader.joined.begun:
            try:
                self._begun.append(await anext(self._more))
            except StopAsyncIteration:
                return

    async def close(self) -> None:
        """Take nothing more."""
        if self._more is not None:
            await self._more.aclose()

    async def __aiter__(self) -> AsyncGenerator[dict[str, Any], None]:
        assert self._more is not None
        for chunk in self._begun:
            yield chunk
        async for chunk in self._more:
            yield chunk

    async def _chunks(self) -> AsyncGenerator[dict[str, Any], None]:
        came = self.response.aiter_bytes()
        spoke = self.call.began
        while not self.reader.done:
            try:
                async with self.call.reading(silent_since=spoke):
                    data = await anext(came, None)
            except ModelUnreachable:
                if not self.reader.joined.finished:
                    raise
                data = None  # the answer is whole, whatever became of the connection
            chunks = self.reader.end() if data is None else self.reader.feed(data)
            while True:
                async with self.call.reading():
                    chunk = next(chunks, None)
                if chunk is None:
                    break
                spoke = time.monotonic() if self.reader.joined.begun else spoke
                yield chunk
            if data is None:
                break
        self.call.went_well = True

    def answer(self) -> ChatAnswer:
        """What the chunks made, so far."""
        now = time.monotonic()
        joined = self.reader.joined
        body = self.reader.answer()
        choice = body["choices"][0]
        message = choice["message"]
        took = usage(body.get("usage") or choice.get("usage"))
        told = body.get("simulated")
        told = (
            told if isinstance(told, dict) else {}
        )  # a simulated provider's clock runs in its own time
        first_s = (
            None
            if joined.first_at is None or not self.call.stream
            else joined.first_at - self.call.began
        )
        latency_s = number(told.get("latency_s"), 1e6)
        told_first_s = number(told.get("first_token_s"), 1e6)
        rest = {
            key: item for key, item in message.items() if key not in ("role", "content") and item
        }
        text = message.get("content") or ""
        prompt_tokens = took.prompt_tokens
        completion_tokens = took.completion_tokens
        estimated = not prompt_tokens or (not completion_tokens and bool(text or rest))
        if not prompt_tokens:
            asked = self.call.body
            prompt_tokens = tokens_of_chat(plain_turns(asked["messages"]), plain(asked))
        if not completion_tokens:
            completion_tokens = tokens_in(text) + (
                tokens_in(json.dumps(rest, ensure_ascii=False)) if rest else 0
            )
        return ChatAnswer(
            text=text,
            model=body["model"]
            if isinstance(body.get("model"), str) and body["model"]
            else self.call.model,
            simulated=self.simulated or bool(told),
            latency_s=now - self.call.began if latency_s is None else latency_s,
            cost_usd=took.cost_usd,
            prompt_tokens=prompt_tokens,
            completion_tokens=completion_tokens,
            cached_tokens=took.cached_tokens,
            written_tokens=took.written_tokens,
            estimated=estimated,
            finish_reason=choice.get("finish_reason"),
            first_token_s=first_s if told_first_s is None else told_first_s,
            message=message if rest else None,
            body=body,
        )


def encoded(body: Mapping[str, Any]) -> bytes:
    """A request's bytes. Raises `ModelUnreachable` for what JSON can't say, before anybody is
    asked."""
    try:
        return json.dumps(
            repaired(dict(body)), ensure_ascii=False, separators=(",", ":"), allow_nan=False
        ).encode()
    except (ValueError, TypeError, RecursionError):
        text = (
            "the request can't be written as JSON: a number is not finite, or something is no "
            "value of JSON"
        )
        raise ModelUnreachable(text, Trouble.unsent, 400, {"message": text}) from None


async def _beginning(response: httpx.Response) -> bytes:
    """What an API says of an error, as far as it is read."""
    beginning = b""
    async for data in response.aiter_bytes():
        beginning += data
        if len(beginning) >= ERROR_BYTES:
            break
    return beginning[:ERROR_BYTES]


def _once(name: str) -> dict[str, str]:
    return {"Idempotency-Key": hashlib.sha256(name.encode()).hexdigest()[:40]} if name else {}


def retry_after(value: str | None, now: datetime) -> float | None:
    """Seconds that a Retry-After header asks for: a number or an HTTP date; None if it is neither,
    or past."""
    if not value:
        return None
    try:
        seconds = float(value)
    except ValueError:
        try:
            then = parsedate_to_datetime(value)
        except (ValueError, TypeError, OverflowError):
            return None
        seconds = (then.replace(tzinfo=then.tzinfo or UTC) - now).total_seconds()
    return seconds if 0 < seconds < float("inf") else None


def _advice(status: int) -> str:
    if status in {401, 403}:
        return (
            f"the API refused the key (HTTP {status}); check POINTSMAN_LLM_API_KEY and "
            "POINTSMAN_LLM_BASE_URL"
        )
    if status == 402:
        return "the API wants money first (HTTP 402); check the account's credit"
    if status == 404:
        return (
            "the API answered HTTP 404: it knows no such model or path, or the model does not take "
            "what was sent; check the model's name "
            "and POINTSMAN_LLM_BASE_URL"
        )
    return f"the API answered HTTP {status}"
