"""Around every page: who may see it, and what becomes of an error."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any
from urllib.parse import urlencode

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from services.console import FLOW
from services.console.desk import PageError, form_of
from services.console.wiring.access import KeyHolder, Refused, from_here, inside
from services.console.wiring.console import Console
from shared.adapters.errors import AdapterError
from shared.adapters.telemetry import DOOR, log, where
from shared.contracts.scopes import Scope

Page = Callable[[Any, Request, KeyHolder], Awaitable[Response]]
"""Draws a page for a viewer; what it may use is `services.console.desk.Desk`."""
ELSEWHERE = "that was not sent by a page of this console; open the page and do it there"


class Entrance:
    """Admits requests to pages."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._draw = console.draw
        self._access = console.access

    def page(
        self, draw: Page, needs: Scope | None = None
    ) -> Callable[[Request], Awaitable[Response]]:
        """An endpoint for those who may."""

        async def endpoint(request: Request) -> Response:
            answer = await self._admitted(request, draw, needs)
            place = request.scope["path"].split("/")[1]
            DOOR.labels(FLOW.name, place, str(answer.status_code)).inc()
            return answer

        return endpoint

    async def _admitted(self, request: Request, draw: Page, needs: Scope | None) -> Response:
        try:
            viewer = self._access.viewer(request)
        except Refused as error:
            return self._to_login(request, error)
        if needs is not None and not viewer.may(needs):
            text = (
                f"this needs a key with the scope “{needs.value}”; the operator of Pointsman can "
                "make one"
            )
            return self._draw.trouble(viewer, 403, text)
        if request.method == "POST" and not from_here(request):
            return self._draw.trouble(viewer, 403, ELSEWHERE)
        try:
            return await draw(self._console, request, viewer)
        except PageError as trouble:
            return self._draw.trouble(viewer, trouble.status, str(trouble))
        except AdapterError as error:
            return self._draw.trouble(viewer, 503, str(error))
        except Exception as error:
            reason = where(error, self._console.telemetry)
            log.error("a page failed", page=request.url.path, error=reason)
            text = "something went wrong here; what it was stands in the console's log"
            return self._draw.trouble(viewer, 500, text)

    def _to_login(self, request: Request, error: Refused) -> Response:
        wants_page = "text/html" in request.headers.get("accept", "")
        if self._access.keys.open or request.method != "GET" or not wants_page:
            return self._draw.trouble(None, 401, str(error))
        path = request.url.path + (f"?{request.url.query}" if request.url.query else "")
        returns = inside(path) == path != "/now"
        return RedirectResponse(f"/login?{urlencode({'next': path})}" if returns else "/login", 303)

    async def nothing_here(self, request: Request, _error: Exception) -> Response:
        """For paths and methods that there are not."""
        try:
            viewer = self._access.viewer(request)
        except Refused:
            viewer = None
        return self._draw.trouble(viewer, 404, "there is no such page")

    async def login(self, request: Request) -> Response:
        """Enter a key."""
        if self._access.keys.open:
            return RedirectResponse("/now", 303)
        if request.method == "GET":
            then = inside(request.query_params.get("next"))
            return self._draw.page("login.html", None, "", then=then, wrong=None)
        if not from_here(request):
            return self._draw.trouble(None, 403, ELSEWHERE)
        try:
            form = await form_of(request)
        except PageError as trouble:
            return self._draw.trouble(None, trouble.status, str(trouble))
        then = inside(form.get("next"))
        answer: Response = RedirectResponse(then, 303)
        try:
            self._access.enter(request, form.get("key", "").strip(), answer)
        except Refused as error:
            return self._draw.page("login.html", None, "", 401, then=then, wrong=str(error))
        return answer

    async def logout(self, _console: Console, request: Request, _viewer: KeyHolder) -> Response:
        """Forget the session."""
        answer = RedirectResponse("/login", 303)
        self._access.leave(request, answer)
        return answer
