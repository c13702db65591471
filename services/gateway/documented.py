"""What the gateway's API is: as OpenAPI, and as a page that needs no JavaScript."""

from __future__ import annotations

from functools import cache
from importlib.metadata import version
from typing import Any

from jinja2 import Environment, PackageLoader, select_autoescape
from markupsafe import escape
from pydantic.json_schema import models_json_schema

from services.gateway.forms.completions import CompletionsRequest
from services.gateway.forms.embeddings import EmbeddingsRequest
from services.gateway.forms.messages import MessagesRequest
from services.gateway.forms.responses import ResponsesRequest
from services.gateway.requests import (
    ANSWER_HEADERS,
    HEADERS,
    HELP,
    ChatRequest,
    FeedbackRequest,
    RouteRequest,
)
from services.gateway.samples import SAMPLES, filled
from shared.catalog.models import Model
from shared.contracts.decisions import Decision
from shared.contracts.places import Assigned, Description

ERRORS = {
    "400": "The request is wrong, or its constraints leave no model",
    "401": "No key, or a wrong one",
    "403": "The key may not do that",
    "404": "There is no such model, profile or answer",
    "413": "The request is too large",
    "415": "The content-type is not application/json, or the content-encoding is not read here",
    "429": "Too many requests, or this key's rate or budget is used up; Retry-After says when to "
    "try again",
    "500": "A fault of Pointsman's, logged under the request's id",
    "502": "No model answered",
    "503": "Not available now; Retry-After says when to try again",
    "504": "No model answered in time",
}
ERROR = {
    "type": "object",
    "required": ["error"],
    "properties": {
        "error": {
            "type": "object",
            "required": ["message", "type", "param", "code"],
            "properties": {
                "message": {"type": "string"},
                "type": {"type": "string"},
                "param": {"type": ["string", "null"]},
                "code": {"type": ["string", "null"]},
            },
        }
    },
}
COMPLETION = {
    "type": "object",
    "description": "As OpenAI's API has it. `id` names the request, `model` is the model that "
    "answered, `usage.cost` its cost in USD.",
    "required": ["id", "object", "model", "choices", "usage"],
    "properties": {
        "id": {"type": "string"},
        "object": {"const": "chat.completion"},
        "model": {"type": "string"},
        "choices": {"type": "array", "items": {"type": "object"}},
        "usage": {
            "type": "object",
            "required": ["cost"],
            "properties": {"cost": {"type": "number"}},
        },
    },
}
ROUTED = {
    "type": "object",
    "required": ["object", "request_id", "description", "assignment", "decision"],
    "properties": {
        "object": {"const": "pointsman.decision"},
        "request_id": {"type": "string"},
        "model": {"type": ["string", "null"]},
        "description": {"$ref": "#/components/schemas/Description"},
        "assignment": {"$ref": "#/components/schemas/Assigned"},
        "decision": {"$ref": "#/components/schemas/Decision"},
    },
}
ASKED = "Translate this notice into French: the library is closed on Monday."
EXAMPLES: dict[type, dict[str, Any]] = {
    ChatRequest: {"model": "auto:economy", "messages": [{"role": "user", "content": ASKED}]},
    RouteRequest: {
        "prompt": ASKED,
        "pointsman": {"cost_quality_tradeoff": 3, "constraints": {"max_latency_s": 20}},
    },
    MessagesRequest: {
        "model": "auto",
        "max_tokens": 1000,
        "messages": [{"role": "user", "content": ASKED}],
    },
    ResponsesRequest: {"model": "auto:quality", "input": ASKED},
    CompletionsRequest: {"model": "auto", "prompt": ASKED, "max_tokens": 200},
    EmbeddingsRequest: {"model": "int8", "input": [ASKED]},
    FeedbackRequest: {"request_id": "chatcmpl-0123456789abcdef", "thumb": "up"},
}
NAMED = {
    "name": "name",
    "in": "path",
    "required": True,
    "description": "`auto`, `auto:PROFILE`, or a model's name; slashes may stand as they are",
    "schema": {"type": "string", "minLength": 1},
}
RESPONSE_ID = {
    "name": "id",
    "in": "path",
    "required": True,
    "description": "The response's `id`",
    "schema": {"type": "string", "minLength": 1},
}


def listed(name: str, owner: str) -> dict[str, Any]:
    """A row of the models, as OpenAI and as Anthropic have it."""
    openai = {"id": name, "object": "model", "created": 0, "owned_by": owner}
    return openai | {"type": "model", "display_name": name, "created_at": "1970-01-01T00:00:00Z"}


def model(one: Model) -> dict[str, Any]:
    """A model of the catalogue, with what it can take and what it costs."""
    price = {
        "input_usd_per_million": one.price.input,
        "output_usd_per_million": one.price.output,
        "cached_input_usd_per_million": one.price.cached,
        "as_of": one.as_of.isoformat(),
    }
    details = {
        "kind": one.kind,
        "price": price,
        "context_tokens": one.context_tokens,
        "largest_output": one.largest_output,
        "can": None if one.can is None else sorted(one.can),
        "efforts": list(one.efforts),
        "provider": one.provider,
        "provider_id": one.id_at(one.provider),
    }
    return listed(one.name, one.openrouter.split("/")[0]) | {"pointsman": details}


@cache
def openapi() -> dict[str, Any]:
    """The API as OpenAPI 3.1."""
    kinds = tuple(EXAMPLES)
    _, taken = models_json_schema(
        [(kind, "validation") for kind in kinds], ref_template="#/components/schemas/{model}"
    )
    _, given = models_json_schema(
        [(k, "serialization") for k in (Description, Assigned, Decision)],
        ref_template="#/components/schemas/{model}",
    )
    schemas = (
        taken["$defs"]
        | given["$defs"]
        | {"Error": ERROR, "Completion": COMPLETION, "Routed": ROUTED}
    )
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Pointsman gateway",
            "version": version("pointsman"),
            "description": "The protocols of OpenAI and Anthropic, with a model that is chosen per "
            "prompt. Set the base URL of OpenAI's clients to this address and /v1, that of "
            "Anthropic's to this address.",
        },
        "paths": {
            "/v1/chat/completions": {
                "post": _operation(
                    "complete", "Answer a chat", ChatRequest, "Completion", stream=True
                )
            },
            "/v1/messages": {
                "post": _operation(
                    "complete",
                    "Answer in the form of Anthropic's Messages API, errors and streams too",
                    MessagesRequest,
                    None,
                    stream=True,
                )
            },
            "/v1/messages/count_tokens": {
                "post": _operation(
                    None, "About how many tokens such a request has", MessagesRequest, None
                )
            },
            "/v1/responses": {
                "post": _operation(
                    "complete",
                    "Answer in the form of OpenAI's Responses API",
                    ResponsesRequest,
                    None,
                    stream=True,
                )
            },
            "/v1/responses/{id}": {
                "get": _operation("complete", "A response that is kept", None, None),
                "delete": _operation("complete", "Keep a response no longer", None, None),
                "parameters": [RESPONSE_ID],
            },
            "/v1/completions": {
                "post": _operation(
                    "complete",
                    "Continue a text, OpenAI's legacy form",
                    CompletionsRequest,
                    None,
                    stream=True,
                )
            },
            "/v1/embeddings": {
                "post": _operation(
                    "complete",
                    "Embed texts: by the embedder's own encoder, or a model of the catalogue",
                    EmbeddingsRequest,
                    None,
                )
            },
            "/v1/route": {
                "post": _operation(
                    "route",
                    "Decide which model is best for a prompt, and why; call none",
                    RouteRequest,
                    "Routed",
                )
            },
            "/v1/feedback": {
                "post": _operation(
                    "complete", "A thumb up or down on an answer", FeedbackRequest, None
                )
            },
            "/v1/models": {"get": _operation(None, "The profiles and the models", None, None)},
            "/v1/models/{name}": {
                "get": _operation(None, "One of them, by its name or its provider's", None, None),
                "parameters": [NAMED],
            },
            "/healthz": {"get": _operation("", "Whether the process lives", None, None)},
            "/readyz": {"get": _operation("", "Whether requests are routed now", None, None)},
            "/metrics": {"get": _operation("admin", "Prometheus metrics", None, None, text=True)},
        },
        "components": {
            "schemas": schemas,
            "securitySchemes": {"key": {"type": "http", "scheme": "bearer"}},
        },
        "security": [{"key": []}],
    }


def _operation(
    scope: str | None,
    summary: str,
    body: type | None,
    answer: str | None,
    *,
    stream: bool = False,
    text: bool = False,
) -> dict[str, Any]:
    schema = {"$ref": f"#/components/schemas/{answer}"} if answer else {"type": "object"}
    kind = (
        {"text/plain": {"schema": {"type": "string"}}}
        if text
        else {"application/json": {"schema": schema}}
    )
    kind |= {"text/event-stream": {"schema": {"type": "string"}}} if stream else {}
    right: dict[str, Any] = {"description": "As asked", "content": kind}
    if stream:
        right["headers"] = {
            name: {"description": about, "schema": {"type": "string"}}
            for name, about in ANSWER_HEADERS.items()
        }
    wrong = {"application/json": {"schema": {"$ref": "#/components/schemas/Error"}}}
    codes = (
        ERRORS
        if body
        else {c: t for c, t in ERRORS.items() if c in {"401", "403", "429", "500", "503"}}
    )
    operation: dict[str, Any] = {
        "summary": summary,
        "responses": {"200": right}
        | {code: {"description": about, "content": wrong} for code, about in codes.items()},
    }
    if scope == "":
        operation |= {
            "security": [],
            "responses": {"200": right, "503": {"description": "Not ready", "content": kind}},
        }
    elif scope:
        other = "" if scope == "admin" else ", or `admin`"
        operation["description"] = f"Needs a key with the scope `{scope}`{other}."
    if body is not None:
        operation["requestBody"] = {
            "required": True,
            "content": {
                "application/json": {
                    "schema": {"$ref": f"#/components/schemas/{body.__name__}"},
                    "example": EXAMPLES[body],
                }
            },
        }
        if body not in (FeedbackRequest, EmbeddingsRequest):
            operation["parameters"] = [
                {
                    "name": name,
                    "in": "header",
                    "required": False,
                    "description": HELP[name],
                    "schema": {"type": "string"},
                }
                for name, _, _ in HEADERS
            ]
    return operation


def page(address: str) -> str:
    """The API for people, with examples for a gateway at this address."""
    return filled(_page(), str(escape(address)), "YOUR_KEY")


@cache
def _page() -> str:
    pages = Environment(
        loader=PackageLoader("services.gateway", "."),
        autoescape=select_autoescape(),
        trim_blocks=True,
        lstrip_blocks=True,
    )
    described = openapi()
    return pages.get_template("docs.html").render(
        api=described,
        schemas=described["components"]["schemas"],
        headers=ANSWER_HEADERS,
        errors=ERRORS,
        samples=SAMPLES,
    )
