"""Which path leads to which endpoint."""

from __future__ import annotations

from functools import partial

from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse
from starlette.routing import BaseRoute, Route

from services.gateway import documented
from services.gateway.forms import Form
from services.gateway.forms.chat import CHAT
from services.gateway.forms.completions import COMPLETIONS
from services.gateway.forms.messages import MESSAGES
from services.gateway.forms.responses import RESPONSES
from services.gateway.wiring.encoding import embed
from services.gateway.wiring.endpoints import Gateway
from services.gateway.wiring.serving import Endpoint, HandleCall, HttpCall
from shared.contracts.scopes import Scope


async def _show_docs(request: Request) -> HTMLResponse:
    return HTMLResponse(documented.page(str(request.base_url).rstrip("/")))


def routes(gateway: Gateway) -> list[BaseRoute]:
    """All of them."""

    def route(
        method: str,
        path: str,
        name: str,
        needs: Scope | None,
        work: HandleCall,
        form: Form = CHAT,
    ) -> Route:
        return Route(path, Endpoint(gateway, name, needs, work, form), methods=[method])

    async def show(call: HttpCall) -> None:
        await gateway.responses.show(call)

    async def delete(call: HttpCall) -> None:
        await gateway.responses.delete(call)

    complete = Scope.complete
    answer = gateway.answering
    return [
        route("POST", "/v1/chat/completions", "chat", complete, answer(CHAT), CHAT),
        route("POST", "/v1/messages", "messages", complete, answer(MESSAGES), MESSAGES),
        route("POST", "/v1/messages/count_tokens", "count", None, gateway.count_tokens, MESSAGES),
        route("POST", "/v1/responses", "responses", complete, gateway.respond, RESPONSES),
        route("GET", "/v1/responses/{id}", "responses", complete, show),
        route("DELETE", "/v1/responses/{id}", "responses", complete, delete),
        route("POST", "/v1/completions", "completions", complete, answer(COMPLETIONS), COMPLETIONS),
        route("POST", "/v1/embeddings", "embeddings", complete, partial(embed, gateway)),
        route("POST", "/v1/route", "route", Scope.route, gateway.route),
        route("POST", "/v1/feedback", "feedback", complete, gateway.feedback),
        route("GET", "/v1/models", "models", None, gateway.list_models),
        route("GET", "/v1/models/{name:path}", "models", None, gateway.show_model),
        route("GET", "/metrics", "metrics", Scope.admin, gateway.metrics),
        Route("/healthz", lambda _request: JSONResponse({"status": "alive"})),
        Route("/readyz", gateway.ready),
        Route("/openapi.json", lambda _request: JSONResponse(documented.openapi())),
        Route("/docs", _show_docs),
        Route("/", _show_docs),
    ]
