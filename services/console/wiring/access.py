"""Who uses the console: a key in a header, a session that began with one, or a person at this
machine."""

from __future__ import annotations

import re
import secrets
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from urllib.parse import urlsplit

from starlette.requests import Request
from starlette.responses import Response

from shared.adapters.http import bearer, who
from shared.adapters.keys import LOCAL, Key, Keys, Refused
from shared.contracts.scopes import Scope

COOKIE, NAME_COOKIE = "pointsman-console", "pointsman-rater"
SESSION_S = 12 * 3600
MOST = 10_000
"""Sessions at once; the oldest gives way."""
NAMES = re.compile(r"[\w.@-]{1,60}")


@dataclass(frozen=True, slots=True)
class KeyHolder:
    """Somebody who is admitted."""

    key: Key
    name: str
    """Whose votes theirs are."""

    def may(self, scope: Scope) -> bool:
        return self.key.may(scope)


@dataclass(frozen=True, slots=True)
class _Session:
    sha256: str
    until: float


class Access:
    """Admits requests. Sessions are kept in memory: when the console starts again, people enter
    their key again."""

    def __init__(self, keys: Keys, clock: Callable[[], float] = time.monotonic) -> None:
        self.keys = keys
        self._clock = clock
        self._sessions: OrderedDict[str, _Session] = OrderedDict()

    def viewer(self, request: Request) -> KeyHolder:
        """Who that is. Raises `Refused`, whose text says what to do."""
        presented = bearer(request.headers)
        if (
            presented is None
            and not self.keys.open
            and (session := self._session(request)) is not None
        ):
            for key in self.keys.all():
                if key.sha256 == session.sha256:
                    return KeyHolder(key, key.name)
        key = who(request, self.keys, presented)
        if key is LOCAL:
            name = request.cookies.get(NAME_COOKIE, "")
            return KeyHolder(key, name if NAMES.fullmatch(name) else LOCAL.name)
        return KeyHolder(key, key.name)

    def enter(self, request: Request, presented: str, response: Response) -> None:
        """Begin a session with a key. Raises `Refused`."""
        key = who(request, self.keys, presented)
        token = secrets.token_urlsafe(32)
        self._sessions[token] = _Session(key.sha256, self._clock() + SESSION_S)
        while len(self._sessions) > MOST:
            self._sessions.popitem(last=False)
        self._set(request, response, COOKIE, token, SESSION_S)

    def leave(self, request: Request, response: Response) -> None:
        """End it."""
        self._sessions.pop(request.cookies.get(COOKIE, ""), None)
        response.delete_cookie(COOKIE, httponly=True, samesite="strict")

    def call(self, request: Request, name: str, response: Response) -> bool:
        """Where no keys are needed: under which name somebody rates. False if that is no name."""
        if NAMES.fullmatch(name) is None:
            return False
        self._set(request, response, NAME_COOKIE, name, 365 * 24 * 3600)
        return True

    def _set(self, request: Request, response: Response, name: str, value: str, age: int) -> None:
        secure = request.headers.get("x-forwarded-proto", request.url.scheme) == "https"
        response.set_cookie(
            name, value, max_age=age, httponly=True, samesite="strict", secure=secure
        )

    def _session(self, request: Request) -> _Session | None:
        token = request.cookies.get(COOKIE, "")
        session = self._sessions.get(token)
        if session is not None and session.until < self._clock():
            del self._sessions[token]
            return None
        return session


def from_here(request: Request) -> bool:
    """Whether a request that changes something comes from a page of this console, or from a program
    that shows a key with it."""
    headers = request.headers
    if "authorization" in headers:  # a browser does not add it by itself
        return True
    if (site := headers.get("sec-fetch-site")) is not None:
        return site in {"same-origin", "none"}
    origin = headers.get("origin")
    return origin is not None and urlsplit(origin).netloc == headers.get("host", "")


def inside(path: str | None) -> str:
    """Where to go after entering: a path of this console and nothing else."""
    return path if path and re.fullmatch(r"/(?!/)[\w./?=&%-]*", path) else "/now"


__all__ = ["Access", "KeyHolder", "Refused", "from_here", "inside"]
