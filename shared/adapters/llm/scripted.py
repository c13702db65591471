"""A scripted provider: it answers what a file tells it to, byte by byte, so that a provider's odd
answer can be tried again.

The file is YAML: `replies` is a list, and of those that fit a request the first that has `times`
left is given. A request that nothing fits gets a usual answer that says it is scripted. `pointsman
simulate --script FILE` serves it over HTTP; tests use it inside the process.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Annotated, Any

import httpx
import yaml
from pydantic import BaseModel, ConfigDict, Field, PrivateAttr, ValidationError

from shared.adapters.errors import AdapterError

USUAL = "A SCRIPTED answer: no reply of the script fits this request."


class ScriptInvalid(AdapterError):
    """A script that can't be read. The text says where it is wrong."""


class Reply(BaseModel):
    """One answer, and when it is given."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    model: str | None = None
    """The model that is asked, by the API's name. None: any."""
    has: tuple[str, ...] = ()
    """Fields that the request must have."""
    lacks: tuple[str, ...] = ()
    """Fields that it must not have."""
    times: Annotated[int, Field(ge=1)] | None = None
    """How often it is given. None: always."""
    status: Annotated[int, Field(ge=100, le=599)] = 200
    headers: dict[str, str | int | float] = {}
    body: Any = None
    """A text or binary goes out as it is, anything else as JSON."""
    events: tuple[Any, ...] = ()
    """Each goes out as an event of a stream: `data: …` and an empty line; a text as it is, anything
    else as JSON."""
    chunks: tuple[str | bytes, ...] = ()
    """Instead of `body` and `events`: the bytes that go out, one by one."""
    wait_s: Annotated[float, Field(ge=0)] = 0.0
    """Before the first byte of the body."""
    pause_s: Annotated[float, Field(ge=0)] = 0.0
    """Between two chunks."""
    cut: bool = False
    """Close the connection where the answer should end."""

    def parts(self) -> list[bytes]:
        """The bytes of the body, as they go out one by one."""
        if self.chunks:
            return [_bytes(chunk) for chunk in self.chunks]
        if self.events:
            return [
                b"data: "
                + (_bytes(event) if isinstance(event, (str, bytes)) else _json(event))
                + b"\n\n"
                for event in self.events
            ]
        if self.body is None:
            return []
        return [_bytes(self.body) if isinstance(self.body, (str, bytes)) else _json(self.body)]

    def named(self) -> dict[str, str]:
        """The headers as texts, by their names in small letters."""
        return {name.lower(): str(value) for name, value in self.headers.items()}

    def kind(self) -> str:
        """The content type, where `headers` have none."""
        return "text/event-stream" if self.events or self.chunks else "application/json"

    async def content(self) -> AsyncIterator[bytes]:
        """The body as it goes out, with its pauses."""
        await asyncio.sleep(self.wait_s)
        for place, part in enumerate(self.parts()):
            if place:
                await asyncio.sleep(self.pause_s)
            yield part


class Script(BaseModel):
    """The replies, and what was asked."""

    model_config = ConfigDict(extra="forbid")

    replies: tuple[Reply, ...]
    _given: dict[int, int] = PrivateAttr(default_factory=dict)
    _asked: list[dict[str, Any]] = PrivateAttr(default_factory=list)

    @property
    def asked(self) -> list[dict[str, Any]]:
        """The bodies of all requests."""
        return self._asked

    def reply(self, body: dict[str, Any]) -> Reply:
        """What `body` is answered."""
        self._asked.append(body)
        for place, reply in enumerate(self.replies):
            fits = (
                reply.model in (None, body.get("model"))
                and body.keys() >= set(reply.has)
                and not body.keys() & set(reply.lacks)
            )
            if fits and (reply.times is None or self._given.get(place, 0) < reply.times):
                self._given[place] = self._given.get(place, 0) + 1
                return reply
        return usual(str(body.get("model", "")), stream=bool(body.get("stream")))


def usual(model: str, *, stream: bool) -> Reply:
    """A usual answer."""
    common: dict[str, Any] = {"id": "scripted", "created": 1, "model": model}
    usage = {"prompt_tokens": 10, "completion_tokens": 12, "total_tokens": 22}
    if not stream:
        choice = {
            "index": 0,
            "message": {"role": "assistant", "content": USUAL},
            "finish_reason": "stop",
        }
        return Reply(
            body=common | {"object": "chat.completion", "choices": [choice], "usage": usage}
        )
    chunk = common | {"object": "chat.completion.chunk"}
    said = chunk | {
        "choices": [
            {"index": 0, "delta": {"role": "assistant", "content": USUAL}, "finish_reason": None}
        ]
    }
    last = chunk | {"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]}
    return Reply(events=(said, last, chunk | {"choices": [], "usage": usage}, "[DONE]"))


def load(path: Path) -> Script:
    """Read a script. Raises `ScriptInvalid`."""
    try:
        return Script.model_validate(yaml.safe_load(path.read_bytes()))
    except OSError as error:
        raise ScriptInvalid(f"the script {path} can't be read: {error.strerror}") from None
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        raise ScriptInvalid(
            f"the script {path} is not YAML{f' at line {mark.line + 1}' if mark else ''}"
        ) from None
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        place = ".".join(map(str, first["loc"])) or "the top"
        raise ScriptInvalid(f"the script {path} is wrong at {place}: {first['msg']}") from None


def transport(script: Script) -> httpx.MockTransport:
    """The script as an API inside this process."""

    async def answer(request: httpx.Request) -> httpx.Response:
        reply = script.reply(json.loads(request.content))

        async def content() -> AsyncIterator[bytes]:
            async for part in reply.content():
                yield part
            if reply.cut:
                raise httpx.RemoteProtocolError(
                    "peer closed connection without sending complete message body"
                )

        return httpx.Response(
            reply.status, headers={"content-type": reply.kind()} | reply.named(), content=content()
        )

    return httpx.MockTransport(answer)


def _bytes(value: str | bytes) -> bytes:
    return value.encode() if isinstance(value, str) else value


def _json(value: Any) -> bytes:
    return json.dumps(value).encode()
