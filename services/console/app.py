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
from shared.adapters.http import Door
from shared.contracts.scopes import Scope


def build(settings: ConsoleSettings | None = None) -> Door:
    """The console as an application and where it is served."""
    console = Console(settings or ConsoleSettings())
    entrance = Entrance(console)
    page = entrance.page
    routes = [
        Route("/", lambda _request: RedirectResponse("/now", 303)),
        Route("/now", page(now.show)),
        Route("/now/events", page(now.listen)),
        Route("/map", page(map.show)),
        Route("/map/{cluster}", page(map.show_cluster)),
        Route("/models", page(models.show)),
        Route("/try", page(ask.show, Scope.route)),
        Route("/try", page(ask.submit, Scope.route), methods=["POST"]),
        Route("/try/{token}", page(ask.show_trial, Scope.route)),
        Route("/rate", page(rate.show, Scope.vote)),
        Route("/rate", page(rate.vote, Scope.vote), methods=["POST"]),
        Route("/rate/name", page(rate.name, Scope.vote), methods=["POST"]),
        Route("/tables", page(tables.show)),
        Route("/tables/diff", page(tables.compare)),
        Route("/tables/rollback", page(tables.roll_back, Scope.admin), methods=["POST"]),
        Route("/tables/unpin", page(tables.unpin, Scope.admin), methods=["POST"]),
        Route("/evidence", page(evidence.show)),
        Route("/login", entrance.login, methods=["GET", "POST"]),
        Route("/logout", page(entrance.logout), methods=["POST"]),
        Route("/metrics", page(Console.metrics, Scope.admin)),
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
    return Door(
        FLOW.name, application, served.host, served.port, "POINTSMAN_CONSOLE_", console.stopping
    )
