"""Wiring of the console: which page stands where, and who may see it."""

from __future__ import annotations

from typing import Any

from starlette.applications import Starlette
from starlette.responses import JSONResponse, RedirectResponse
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles

from services.console import FLOW
from services.console.pages import ask, evidence, map, models, now, rate, tables  # noqa: A004
from services.console.render import HERE, Guarded
from services.console.settings import ConsoleSettings
from services.console.wiring.console import Console
from services.console.wiring.entrance import Entrance
from shared.adapters.http import HttpService
from shared.contracts.scopes import Scope

PAGES = (now, map, models, ask, rate, tables, evidence)
"""In the order of the menu. A new page is a module with TITLE and ROUTES, and its name here."""
MENU = tuple((page.ROUTES[0].path.removeprefix("/"), page.TITLE) for page in PAGES)


def build(settings: ConsoleSettings | None = None) -> HttpService:
    """The console as an application and where it is served."""
    console = Console(settings or ConsoleSettings(), MENU)
    entrance = Entrance(console)
    drawn = [
        Route(route.path, entrance.page(route.draw, route.needs), methods=[route.method])
        for page in PAGES
        for route in page.ROUTES
    ]
    routes = [
        *drawn,
        Route("/", lambda _request: RedirectResponse("/now", 303)),
        Route("/login", entrance.login, methods=["GET", "POST"]),
        Route("/logout", entrance.page(entrance.logout), methods=["POST"]),
        Route("/metrics", entrance.page(Console.metrics, Scope.admin)),
        Route("/healthz", lambda _request: JSONResponse({"status": "alive"})),
        Route("/readyz", console.ready),
        Mount("/static", StaticFiles(directory=HERE / "static")),
    ]
    handlers: Any = {404: entrance.nothing_here, 405: entrance.nothing_here}
    application = Starlette(
        routes=routes, lifespan=lambda _app: console.running(), exception_handlers=handlers
    )
    application.add_middleware(Guarded)
    served = console.settings
    return HttpService(
        FLOW.name,
        application,
        served.host,
        served.port,
        "POINTSMAN_CONSOLE_",
        lambda: console.replies.heard,
        console.stopping,
    )
