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
from services.gateway.wiring.serving import ANSWERS_TO_STRAYS, Endpoint, HandleCall
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

    def answered(path: str, name: str, needs: Scope | None, work: HandleCall) -> Route:
        method = "POST" if name in {"chat", "route", "feedback"} else "GET"
        return Route(path, Endpoint(gateway, name, needs, work), methods=[method])

    routes = [
        answered("/v1/chat/completions", "chat", Scope.complete, gateway.complete),
        answered("/v1/route", "route", Scope.route, gateway.route),
        answered("/v1/feedback", "feedback", Scope.complete, gateway.feedback),
        answered("/v1/models", "models", None, gateway.list_models),
        answered("/v1/models/{name:path}", "models", None, gateway.show_model),
        answered("/metrics", "metrics", Scope.admin, gateway.metrics),
        Route("/healthz", lambda _request: JSONResponse({"status": "alive"})),
        Route("/readyz", gateway.ready),
        Route("/openapi.json", lambda _request: JSONResponse(documented.openapi())),
        Route("/docs", lambda _request: HTMLResponse(documented.page())),
        Route("/", lambda _request: HTMLResponse(documented.page())),
    ]
    pages = Middleware(CORSMiddleware, allow_origins=settings.origins, **FOR_PAGES)
    application = Starlette(
        routes=routes,
        middleware=[pages] if settings.origins else [],
        lifespan=lambda _app: gateway.running(),
        exception_handlers=ANSWERS_TO_STRAYS,
    )
    return HttpService(FLOW.name, application, settings.host, settings.port, "POINTSMAN_GATEWAY_")
