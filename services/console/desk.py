"""The interface that pages use: what they may read, and which actions they may ask for."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol
from urllib.parse import parse_qsl

from starlette.requests import Request
from starlette.responses import Response

from services.console.memory import History, Version
from services.console.render import Drawing
from services.console.settings import ConsoleSettings
from services.console.vote import Rating
from shared.contracts.evaluations import Evaluated
from shared.contracts.messages import Decided, Submitted
from shared.contracts.scopes import Scope
from shared.contracts.tables import TablePublished
from shared.routing.deciding.abilities import Abilities
from shared.routing.deciding.table import RoutingTable

MAX_FORM_BYTES = 1_200_000


class PageError(Exception):
    """What a person did or met, to be told on a page."""

    def __init__(self, status: int, text: str) -> None:
        super().__init__(text)
        self.status = status


class Undecided(Exception):
    """There was no decision in time. `described`: whether the describer was done."""

    def __init__(self, *, described: bool) -> None:
        super().__init__()
        self.described = described


class Viewer(Protocol):
    """Somebody who is admitted."""

    @property
    def name(self) -> str: ...
    def may(self, scope: Scope) -> bool: ...


@dataclass(slots=True)
class Trial:
    """A prompt that somebody tried, and its decision."""

    owner: str
    prompt: str
    decided: Decided
    took_s: float
    table: RoutingTable
    """With which it was decided."""


class Desk(Protocol):
    """The console, as its pages see it."""

    settings: ConsoleSettings
    memory: History
    rating: Rating
    draw: Drawing
    trials: OrderedDict[str, Trial]
    stopping: asyncio.Event
    """Set when the console is about to end."""
    watching: int
    """People who watch Now."""
    evaluations_heard: int
    evidence: tuple[int, dict[str, Any]] | None
    """What was computed, and from how many votes."""

    async def decide(self, message: Submitted) -> Decided:
        """Publish a prompt and wait for its decision. Raises `Undecided`."""
        ...

    async def publish(self, evaluation: Evaluated) -> None:
        """Publish a vote; returns when it is there."""
        ...

    async def table(self, digest: str) -> RoutingTable:
        """The table with this digest, also one that is not in memory any more."""
        ...

    async def version(self, name: str) -> Version | None:
        """The version of this name, also one that is not in memory; None: there is none."""
        ...

    async def roll_back(self, name: str, viewer: Viewer) -> TablePublished: ...
    async def unpin(self, viewer: Viewer) -> TablePublished: ...
    def abilities(self) -> Mapping[str, Abilities]: ...
    def retired(self) -> frozenset[str]: ...
    def open(self) -> bool:
        """Whether no keys are needed here."""
        ...

    def call(self, request: Request, name: str, response: Response) -> bool:
        """Rate under this name from now on. False: that is no name."""
        ...

    def admitted(self, request: Request) -> bool:
        """Whether the request's key still holds."""
        ...


@dataclass(frozen=True, slots=True)
class PageRoute:
    """Where a page stands, what draws it, and who may see it."""

    path: str
    draw: Callable[[Any, Request, Any], Awaitable[Response]]
    needs: Scope | None = None
    """None: everybody who is admitted."""
    method: str = "GET"


async def form_of(request: Request) -> dict[str, str]:
    """A form's fields. Raises `PageError`."""
    body = b""
    async for part in request.stream():
        body += part
        if len(body) > MAX_FORM_BYTES:
            raise PageError(413, "that is too long")
    try:
        return dict(parse_qsl(body.decode(), keep_blank_values=True, max_num_fields=20))
    except ValueError:
        raise PageError(400, "the form can't be read") from None
