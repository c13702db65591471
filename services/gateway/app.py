"""Wiring of the gateway."""

from __future__ import annotations

from typing import Any

from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware

from services.gateway import FLOW
from services.gateway.answering import Models
from services.gateway.requests import ANSWER_HEADERS
from services.gateway.settings import GatewaySettings
from services.gateway.wiring.endpoints import Gateway
from services.gateway.wiring.routes import routes
from services.gateway.wiring.serving import ANSWERS_TO_STRAYS, MeantPaths
from shared.adapters.http import HttpService

FOR_PAGES: dict[str, Any] = {
    "allow_methods": ["GET", "POST", "DELETE"],
    "allow_headers": ["*"],
    "expose_headers": [*ANSWER_HEADERS, "retry-after"],
    "max_age": 600,
}
"""What pages of `origins` may do."""


def build(settings: GatewaySettings | None = None, models: Models | None = None) -> HttpService:
    """The gateway as an application and where it is served; tests pass their own models."""
    settings = settings or GatewaySettings()
    gateway = Gateway(settings, models)
    pages = Middleware(CORSMiddleware, allow_origins=settings.origins, **FOR_PAGES)
    application = Starlette(
        routes=routes(gateway),
        middleware=[Middleware(MeantPaths), *([pages] if settings.origins else [])],
        lifespan=lambda _app: gateway.running(),
        exception_handlers=ANSWERS_TO_STRAYS,
    )
    return HttpService(
        FLOW.name,
        application,
        settings.host,
        settings.port,
        "POINTSMAN_GATEWAY_",
        routes=lambda: gateway.routes,
    )
