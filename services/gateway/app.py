"""Wiring of the gateway."""

from __future__ import annotations

from typing import Any

from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware
from starlette.responses import HTMLResponse, JSONResponse
from starlette.routing import Route

from services.gateway import FLOW, documented
from services.gateway.answering import Models
from services.gateway.settings import GatewaySettings
from services.gateway.wiring.endpoints import Gateway
from services.gateway.wiring.serving import Endpoint, _not_so, _not_there
from shared.adapters.http import HttpService
from shared.contracts.scopes import Scope

FOR_PAGES: dict[str, Any] = {
    "allow_methods": ["GET", "POST"],
    "allow_headers": ["*"],
    "expose_headers": [*documented.ANSWER_HEADERS, "retry-after"],
    "max_age": 600,
}
"""What pages of `origins` may do."""


def build(settings: GatewaySettings | None = None, models: Models | None = None) -> HttpService:
    """The gateway as an application and where it is served; tests pass their own models."""
    settings = settings or GatewaySettings()
    gateway = Gateway(settings, models)
    routes = [
        Route(
            "/v1/chat/completions",
            Endpoint(gateway, "chat", Scope.complete, gateway.complete),
            methods=["POST"],
        ),
        Route(
            "/v1/route", Endpoint(gateway, "route", Scope.route, gateway.route), methods=["POST"]
        ),
        Route(
            "/v1/feedback",
            Endpoint(gateway, "feedback", Scope.complete, gateway.feedback),
            methods=["POST"],
        ),
        Route(
            "/v1/models", Endpoint(gateway, "models", None, gateway.list_models), methods=["GET"]
        ),
        Route(
            "/v1/models/{name:path}",
            Endpoint(gateway, "models", None, gateway.show_model),
            methods=["GET"],
        ),
        Route(
            "/metrics", Endpoint(gateway, "metrics", Scope.admin, gateway.metrics), methods=["GET"]
        ),
        Route("/healthz", lambda _request: JSONResponse({"status": "alive"})),
        Route("/readyz", gateway.ready),
        Route("/openapi.json", lambda _request: JSONResponse(documented.openapi())),
        Route("/docs", lambda _request: HTMLResponse(documented.page())),
        Route("/", lambda _request: HTMLResponse(documented.page())),
    ]
    handlers: Any = {404: _not_there, 405: _not_so}
    pages = (
        [Middleware(CORSMiddleware, allow_origins=settings.origins, **FOR_PAGES)]
        if settings.origins
        else []
    )
    application = Starlette(
        routes=routes,
        middleware=pages,
        lifespan=lambda _app: gateway.running(),
        exception_handlers=handlers,
    )
    return HttpService(FLOW.name, application, settings.host, settings.port, "POINTSMAN_GATEWAY_")
