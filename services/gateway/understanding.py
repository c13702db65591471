"""What a request wants: a model by name or the router's choice, and what it needs of a model."""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from services.gateway.requests import AUTO, ChatRequest, Problem, RequestWishes, RouteRequest
from shared.catalog.models import Catalog, CatalogError
from shared.contracts.messages import (
    ANSWER_ROOM,
    MAX_MESSAGE_BYTES,
    MAX_METADATA,
    MAX_PROMPT_BYTES,
    Submitted,
    answer_room,
    as_turn,
    describe_error,
    task_of,
)
from shared.contracts.needs import OUTPUT_LIMITS, needed_abilities
from shared.contracts.tokens import tokens_in, tokens_of_chat
from shared.contracts.wishes import ChatMessage, ConversationSoFar, Profile
from shared.protocols import compact
from shared.routing.deciding.abilities import Needs

if TYPE_CHECKING:
    from services.gateway.forms import Form

NO_ALIASES: Mapping[str, str] = MappingProxyType({})
ROOM_FOR_REST = 64 * 1024


@dataclass(frozen=True, slots=True)
class AskedRequest:
    """A request as one form reads it, in the inner form of conversations."""

    request: ChatRequest | RouteRequest
    form: Form
    turns: tuple[dict[str, Any], ...] = ()
    """The conversation with what it was made from; empty: as `request` has it."""
    native: Mapping[str, Any] = field(default_factory=dict)
    """Parameters that go only to a model of the same protocol."""
    left_out: frozenset[str] = frozenset()
    """What has no place in the inner form."""
    body: Mapping[str, Any] = field(default_factory=dict)
    """The request as it came, where its answer repeats parts of it."""
    thoughts: bool = False
    """Whether the answer may hold thoughts."""
    store: bool = False
    """Whether the answer is kept, to be referred to."""


@dataclass(frozen=True, slots=True)
class UnderstoodRequest:
    """A request as the gateway understood it: either `model`, or the router's choice by
    `wishes`."""

    request_id: str
    submitted: Submitted | None
    """What is published; None where a model is named, and where there is nothing to route by."""
    model: str | None
    wishes: RequestWishes
    chat: list[dict[str, Any]]
    parameters: dict[str, Any]
    whole: bool
    """Whether what is published is all of the request, so that others could answer it too."""
    needs: Needs
    """What the model that answers must be able to do and to hold."""
    asked: AskedRequest
    stream: bool = False
    usage: bool | None = None
    """Whether a stream is to end with a chunk of its own for usage. None: it stands in the last
    chunk with choices."""
    turns: int = 1
    begins: str = ""
    """How the conversation begins."""


def understand(
    asked: AskedRequest,
    wishes: RequestWishes,
    request_id: str,
    spender: str,
    catalog: Catalog,
    gone: frozenset[str],
    size: int,
    aliases: Mapping[str, str] = NO_ALIASES,
) -> UnderstoodRequest:
    """What is wanted. Raises `Problem` for a model that there is not, a chat without a task, or one
    that is too long."""
    request = asked.request
    called = resolved(request.model, catalog, aliases)
    name, _, profile = called.partition(":")
    messages = request.messages
    turns = [as_turn(turn) for turn in messages or ()]
    if asked.turns:  # they may be more than the body: kept responses, keepsakes
        size = max(size, len(compact(turns).encode()))
    parameters = request.parameters() if isinstance(request, ChatRequest) else {}
    options = (request.stream_options or {}) if isinstance(request, ChatRequest) else {}
    tokens = (
        tokens_of_chat(turns, parameters)
        if turns
        else tokens_in(getattr(request, "prompt", None) or "")
    )
    needs = Needs(
        needed_abilities(turns, parameters),
        tokens,
        answer_room(parameters),
        wishes.constraints.context_tokens,
    )
    chat = list(asked.turns or turns) if isinstance(request, ChatRequest) else []
    common: dict[str, Any] = {
        "request_id": request_id,
        "chat": chat,
        "parameters": parameters | dict(asked.native),
        "needs": needs,
        "asked": asked,
        "stream": isinstance(request, ChatRequest) and bool(request.stream),
        "usage": options["include_usage"]
        if isinstance(options.get("include_usage"), bool)
        else None,
        "turns": sum(m.role == "assistant" for m in messages or ()) + 1,
        "begins": _begins(messages or ()),
    }
    if name != AUTO:
        model = _named(called, catalog, gone)
        return UnderstoodRequest(submitted=None, model=model, wishes=wishes, whole=False, **common)
    if profile:
        wishes = _with_profile(profile, wishes)
    if isinstance(request, ChatRequest) and not task_of(request.messages).strip():
        return UnderstoodRequest(submitted=None, model=None, wishes=wishes, whole=False, **common)
    submitted, whole = _submitted(request, wishes, request_id, spender, parameters, size, needs)
    return UnderstoodRequest(submitted=submitted, model=None, wishes=wishes, whole=whole, **common)


FEW_CHARS = 60


def _begins(messages: Sequence[ChatMessage]) -> str:
    """What a conversation is known by: its first message by a user; one of a few letters together
    with what stands before it. What agents put before it changes from turn to turn."""
    first = next((place for place, m in enumerate(messages) if m.role == "user"), 0)
    said = messages[first].text() if messages else ""
    if len(said) >= FEW_CHARS:
        return said
    return "\n".join(message.text() for message in messages[: first + 1])


EVERY = "*"
"""An alias for every name that no model has."""


def resolved(called: str, catalog: Catalog, aliases: Mapping[str, str]) -> str:
    """What is meant by a model's name: the name itself, or what an alias stands for."""
    if called.partition(":")[0] == AUTO or _known(called, catalog):
        return called
    return aliases.get(called) or aliases.get(EVERY) or called


def _known(name: str, catalog: Catalog) -> bool:
    try:
        catalog.model(name)
    except CatalogError:
        return False
    return True


def _named(name: str, catalog: Catalog, gone: frozenset[str]) -> str:
    try:
        model = catalog.model(name)
    except CatalogError:
        near = difflib.get_close_matches(name, [AUTO, *catalog.models], n=1, cutoff=0.6)
        hint = f" (did you mean {near[0]}?)" if near else ""
        raise Problem(
            404,
            f"there is no model {name[:80]!r}{hint}; GET /v1/models lists them, and "
            f"{AUTO!r} lets Pointsman choose",
            code="model_not_found",
            param="model",
        ) from None
    if model.name in gone:
        raise Problem(
            404,
            f"the model {model.name} has been retired",
            code="model_not_found",
            param="model",
        )
    if model.kind == "embedding":
        raise Problem(
            400,
            f"{model.name} answers nothing, it embeds: POST /v1/embeddings",
            code="model_not_found",
            param="model",
        )
    return model.name


def _with_profile(profile: str, wishes: RequestWishes) -> RequestWishes:
    if profile not in Profile.__members__:
        raise Problem(
            404,
            f"there is no profile {profile[:40]!r}; there are {', '.join(Profile)}",
            code="model_not_found",
            param="model",
        )
    if wishes.preferences or wishes.profile or wishes.cost_quality_tradeoff is not None:
        raise Problem(
            400, "the model names a profile, so give no other preferences", param="pointsman"
        )
    return wishes.model_copy(update={"profile": Profile(profile)})


def _submitted(
    request: ChatRequest | RouteRequest,
    wishes: RequestWishes,
    request_id: str,
    spender: str,
    parameters: dict[str, Any],
    size: int,
    needs: Needs,
) -> tuple[Submitted, bool]:
    """What is published. Of a chat that is too long for a topic only what poses its task, and what
    it needs of a model."""
    fields: dict[str, Any] = {
        "request_id": request_id,
        "session_id": wishes.session_id,
        "preferences": wishes.stated(),
        "profile": wishes.profile,
        "constraints": wishes.constraints,
        "metadata": {"gateway.key": spender},
    }
    prompt = request.prompt if isinstance(request, RouteRequest) else None
    messages = request.messages
    long = (
        size > MAX_MESSAGE_BYTES - ROOM_FOR_REST
        or sum(len(m.text().encode()) for m in messages or ()) > MAX_PROMPT_BYTES
    )
    try:
        if messages is None or not long:
            whole = len(parameters) <= MAX_METADATA
            return Submitted(
                prompt=prompt, messages=messages, parameters=parameters if whole else {}, **fields
            ), whole
        task = task_of(messages)
        least = needs.prompt_tokens + min(needs.answer_tokens, ANSWER_ROOM)
        need = max(needs.context_tokens, least)
        fields["constraints"] = wishes.constraints.model_copy(update={"context_tokens": need})
        fields["conversation"] = ConversationSoFar(tokens=needs.prompt_tokens)
        fields["parameters"] = {n: v for n, v in parameters.items() if n in OUTPUT_LIMITS}
        fields["needs"] = tuple(sorted(needs.abilities)) or None
        return Submitted(prompt=task[: MAX_PROMPT_BYTES // 8], **fields), False
    except ValidationError as error:
        raise Problem(
            400, describe_error(error), param="prompt" if messages is None else "messages"
        ) from None
