"""Drawing pages: Jinja, what every page says, and what its headers tell the browser."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from starlette.responses import HTMLResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from services.console.texts import safe
from shared.contracts.figures import usd

HERE = Path(__file__).parent
Menu = Sequence[tuple[str, str]]
"""(name of the page, its title)"""
POLICY = {
    "content-security-policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src "
    "'self' data:; connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'",
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "referrer-policy": "same-origin",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
}


class Drawing:
    """Pages and parts of pages, from templates. `shared` is what every page says besides."""

    def __init__(self, menu: Menu, shared: Callable[[], Mapping[str, Any]]) -> None:
        self._shared = shared
        self._templates = Environment(
            loader=FileSystemLoader(HERE / "templates"),
            autoescape=True,
            undefined=StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
        )
        self._templates.globals.update(
            navigation=menu,
            usd=usd,
            safe=safe,
            stamp=int((HERE / "static" / "app.js").stat().st_mtime),
        )

    def page(
        self, template: str, viewer: object, page: str, status: int = 200, **facts: Any
    ) -> Response:
        """A whole page for `viewer`; `page` is its place in the navigation."""
        context = {**self._shared(), "viewer": viewer, "page": page, **facts}
        return HTMLResponse(self.part(template, **context), status)

    def part(self, template: str, **facts: Any) -> str:
        """A piece of HTML."""
        return self._templates.get_template(template).render(**facts)

    def trouble(self, viewer: object, status: int, text: str) -> Response:
        """What somebody did or met, as a page."""
        return self.page("error.html", viewer, "", status, text=text, code=status)


class Guarded:
    """Adds to every answer what a browser must know: nothing foreign runs, nothing is framed, pages
    are not kept."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def guarded(message: Message) -> None:
            if message["type"] == "http.response.start":
                static = scope["path"].startswith("/static/")
                caching = "public, max-age=3600" if static else "no-store"
                names = {name for name, _ in message["headers"]}
                added = POLICY | ({} if b"cache-control" in names else {"cache-control": caching})
                message["headers"] = [
                    *message["headers"],
                    *((name.encode(), value.encode()) for name, value in added.items()),
                ]
            await send(message)

        await self.app(scope, receive, guarded)
