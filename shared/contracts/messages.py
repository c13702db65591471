"""One message a topic that a prompt passes. Each stage hands on what it received and adds its part.

`submitted → described → embedded → placed → decided → completed`. A message is self-contained, so
that any service can be replaced, replayed or scaled without asking another.
"""

from __future__ import annotations

import codecs
import hashlib
import json
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Annotated, Any, Literal, Protocol, Self, TypeVar, cast

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, ValidationError, model_validator
from pydantic_core import from_json

from shared.catalog.estimates import estimate_tokens
from shared.contracts.answers import Completion
from shared.contracts.decisions import Decision
from shared.contracts.errors import InvalidMessage
from shared.contracts.needs import needed_abilities, output_limit
from shared.contracts.places import Assigned, Description, Embedding
from shared.contracts.plain import unfit, unfit_in_chat
from shared.contracts.tokens import tokens_in, tokens_of_chat
from shared.contracts.wishes import (
    ChatMessage,
    Constraints,
    ConversationSoFar,
    Preferences,
    Profile,
    ReplyTo,
)
from shared.routing.deciding.abilities import Ability, Needs
from shared.routing.deciding.courtesies import without_courtesies
from shared.routing.deciding.rates import PROFILES, Goal, Rates

SCHEMA_VERSION = 1
MAX_PROMPT_BYTES = 256 * 1024
MAX_MESSAGE_BYTES = 1024 * 1024
"""On `prompts`. What the stages add comes on top, up to `MAX_STAGE_BYTES`."""
MAX_STAGE_BYTES = 3 * 1024 * 1024
MAX_METADATA = 32
EARLIEST, LATEST = datetime(2000, 1, 1, tzinfo=UTC), datetime(2200, 1, 1, tzinfo=UTC)
"""A prompt is submitted between them; other times are mistakes, and sums with them overflow."""
FRAME = 5
"""Bytes that a schema registry's serializer puts before a message: 0, and the number of its
schema."""
ANSWER_ROOM, MOST_ANSWER_ROOM = 256, 100_000
"""Tokens kept free for an answer: where nobody says, and at most."""
WORDLESS: Mapping[Ability, str] = {
    Ability.image: "an image",
    Ability.audio: "a recording",
    Ability.video: "a video",
    Ability.document: "a document",
}
"""What a message may hold beside words, or instead of them."""
FOLLOW_UP_CHARS = 60
"""A user's message shorter than that may mean nothing alone ("and now in French")."""


class Submitted(BaseModel):
    """A prompt, as a producer puts it on the topic `prompts`. `{"prompt": "…"}` is enough.

    Fields that are not named here are kept out of what goes on, and named in `ignored`.
    """

    model_config = ConfigDict(
        frozen=True, strict=True, extra="ignore", use_attribute_docstrings=True, allow_inf_nan=False
    )

    schema_version: Literal[1] = 1
    request_id: Annotated[str, Field(max_length=200)] = ""
    """Names the request for good. If left out: topic-partition-offset, which a replay repeats."""
    session_id: Annotated[str, Field(min_length=1, max_length=200)] | None = None
    """Names the conversation. Messages of one session keep their order."""
    prompt: str | None = None
    """What is to be answered: this or `messages`."""
    messages: Annotated[tuple[ChatMessage, ...], Field(min_length=1, max_length=2000)] | None = None
    """A chat to be continued, as in OpenAI's API: this or `prompt`."""
    preferences: Preferences | None = None
    """What a point of success is worth, or a goal: these or a `profile`."""
    profile: Profile | None = None
    """A named set of preferences. If both are left out, the selector's default profile."""
    constraints: Constraints = Constraints()
    answer: bool = False
    """Whether the selected model is to be called. Its answer comes on `completions`."""
    compare: Annotated[tuple[str, ...], Field(max_length=64)] = ()
    """Models that are all to answer and to be compared with each other, pair by pair (`pointsman
    rank`)."""
    parameters: Annotated[dict[str, Any], Field(max_length=MAX_METADATA)] = {}
    """What the model is called with beside the prompt (max_tokens, tools, …), untouched."""
    deadline_s: Annotated[float, Field(gt=0, le=3600)] | None = None
    """Seconds from `submitted_at` after which no answer is wanted any more."""
    reply_to: ReplyTo | None = None
    needs: Annotated[tuple[Ability, ...], Field(max_length=32)] | None = None
    """What the model must be able to do beyond what the prompt and the parameters show."""
    conversation: ConversationSoFar | None = None
    """What is known of the conversation that this goes on with."""
    metadata: Annotated[dict[str, str], Field(max_length=MAX_METADATA)] = {}
    """The sender's own; it travels along untouched."""
    submitted_at: Annotated[AwareDatetime, Field(ge=EARLIEST, le=LATEST)] | None = None
    """If left out: the time of the Kafka record."""
    ignored: tuple[str, ...] = ()
    """Fields of the producer's message that mean nothing here, by name."""

    @model_validator(mode="after")
    def _one_prompt(self) -> Self:
        if self.prompt is None and self.messages is None:
            raise ValueError("give either prompt or messages: neither is there")
        if self.prompt is not None and self.messages is not None:
            raise ValueError("give either prompt or messages, and not both")
        text = self.task_text()
        if not text.strip():
            raise ValueError(
                "the prompt is empty"
                if self.messages is None
                else "nothing in messages to be answered: no words, image, sound or file"
            )
        size = self.prompt_bytes()
        if size > MAX_PROMPT_BYTES:
            raise ValueError(
                f"the prompt has {size} bytes, at most {MAX_PROMPT_BYTES} are taken; shorten it or "
                "send a reference"
            )
        if self.preferences is not None and self.profile is not None:
            raise ValueError("give either preferences or a profile, and not both")
        if (
            misfit := unfit(self.parameters, "parameters") or unfit_in_chat(self.messages)
        ) is not None:
            raise ValueError(str(misfit))
        return self

    def task_text(self) -> str:
        """What poses the task: the prompt, or the chat's last user message with text; a short one
        after those that it follows up.

        Where the user says nothing in words, what the system or the developer says; where nobody
        does, what there is to look at.
        """
        return (self.prompt or "") if self.messages is None else task_of(self.messages)

    def request_text(self) -> str:
        """`task_text` without the courtesies around it: what an encoder reads."""
        return without_courtesies(self.task_text())

    def chat(self) -> list[dict[str, Any]]:
        """The prompt as a chat, as OpenAI's API takes it."""
        if self.messages is not None:
            return [as_turn(turn) for turn in self.messages]
        return [{"role": "user", "content": self.prompt or ""}]

    def needed(self) -> Needs:
        """What the model that answers must be able to do, and to hold: all turns with their tools,
        and an answer."""
        stated = frozenset(self.needs or ())
        asked = self.constraints.context_tokens
        whole = (self.conversation.tokens if self.conversation is not None else None) or 0
        if self.messages is None and not self.parameters:
            return Needs(stated, max(whole, tokens_in(self.prompt or "")), ANSWER_ROOM, asked)
        turns = self.chat()
        return Needs(
            stated | needed_abilities(turns, self.parameters),
            max(whole, tokens_of_chat(turns, self.parameters)),
            answer_room(self.parameters),
            asked,
        )

    def context_tokens(self) -> int:
        """About how many tokens a model must be able to hold."""
        needs = self.needed()
        return needs.prompt_tokens + needs.answer_tokens

    def read_tokens(self) -> float:
        """About how many tokens a model reads, for what it is expected to cost."""
        shown = self.prompt_tokens()
        if self.conversation is not None and self.conversation.tokens is not None:
            return max(shown, self.conversation.tokens)
        return shown if not self.parameters else max(shown, self.needed().prompt_tokens)

    def asked(self) -> str:
        """A digest of what is asked: equal for the same chat with the same parameters, and for
        nothing else."""
        text = json.dumps(
            [self.chat(), self.parameters],
            sort_keys=True,
            ensure_ascii=False,
            separators=(",", ":"),
        )
        return hashlib.sha256(text.encode("utf-8", "replace")).hexdigest()[:32]

    def prompt_bytes(self) -> int:
        """UTF-8 bytes of the prompt, or of all turns of the chat."""
        if self.messages is None:
            return len((self.prompt or "").encode())
        return sum(len(m.text().encode()) for m in self.messages)

    def prompt_tokens(self) -> float:
        """About how many tokens that is."""
        return estimate_tokens(self.prompt_bytes())

    def wanted(
        self, default: Profile, profiles: Mapping[Profile, Preferences] | None = None
    ) -> Rates | Goal:
        """What the sender cares about: stated, by profile, or by the default profile; `profiles`
        replaces what those mean."""
        if self.preferences is not None:
            return self.preferences.wanted()
        named = self.profile or default
        if profiles and named in profiles:
            return profiles[named].wanted()
        return PROFILES[named]

    def span_attributes(self) -> dict[str, str | bool | float]:
        """What a trace may say of the message, without its words."""
        session = {"gen_ai.conversation.id": self.session_id} if self.session_id else {}
        return {"pointsman.request_id": self.request_id, **session, **self._stage_attributes()}

    def _stage_attributes(self) -> dict[str, str | bool | float]:
        """What the last stage has added."""
        return {}

    @property
    def key(self) -> bytes:
        """The Kafka key: the session where order matters, the request otherwise."""
        return (self.session_id or self.request_id).encode()


def task_of(messages: Sequence[ChatMessage]) -> str:
    """What poses the task in a chat; empty if nobody says anything in words."""
    texts: list[str] = []
    for message in reversed(messages):
        if message.role == "user" and (text := message.text()).strip():
            texts.insert(0, text)
            if len(text.strip()) >= FOLLOW_UP_CHARS:
                break
    words = texts or [
        text for m in messages if m.role in ("system", "developer") and (text := m.text()).strip()
    ]
    return "\n\n".join(words) or _wordless(messages)


def _wordless(messages: Sequence[ChatMessage]) -> str:
    """What is there to be answered, where nobody says anything in words."""
    media = needed_abilities(({"content": m.content} for m in messages), {})
    named = [WORDLESS[ability] for ability in Ability if ability in media & WORDLESS.keys()]
    return f"Look at {' and '.join(named)} that came without words." if named else ""


def as_turn(turn: ChatMessage) -> dict[str, Any]:
    """One turn as OpenAI's API takes it: as it came, and with the content null that topics leave
    out and some APIs want."""
    return {"content": None} | turn.model_dump(exclude_unset=True)


def answer_room(parameters: Mapping[str, Any], otherwise: int = ANSWER_ROOM) -> int:
    """Tokens that an answer may have, as far as the parameters say."""
    limit = output_limit(parameters)
    return min(otherwise if limit is None else limit, MOST_ANSWER_ROOM)


class Described(Submitted):
    """A prompt with its task description."""

    description: Description

    def _stage_attributes(self) -> dict[str, str | bool | float]:
        return {"pointsman.description.source": self.description.origin}


class Embedded(Described):
    """…with the embedding of that description."""

    embedding: Embedding

    def _stage_attributes(self) -> dict[str, str | bool | float]:
        return {
            "pointsman.encoder": self.embedding.encoder.id,
            "pointsman.batch": self.embedding.batch,
        }


class Placed(Embedded):
    """…with its assignment to clusters of one routing table."""

    assignment: Assigned

    def _stage_attributes(self) -> dict[str, str | bool | float]:
        return {
            "pointsman.cluster": self.assignment.clusters[0].id,
            "pointsman.novel": self.assignment.novel,
        }


class Decided(Placed):
    """…with the model selected for it."""

    decision: Decision

    def _stage_attributes(self) -> dict[str, str | bool | float]:
        return {
            "pointsman.model": self.decision.model or "",
            "pointsman.confidence": self.decision.confidence,
            "pointsman.table": str(self.decision.table),
            "pointsman.decision.status": self.decision.status,
            "pointsman.simulated_rankings": self.decision.simulated_rankings,
        }


class Completed(Decided):
    """…with the answer of that model."""

    completion: Completion

    def _stage_attributes(self) -> dict[str, str | bool | float]:
        return {
            "pointsman.completion.status": self.completion.status,
            "pointsman.completion.repeated": self.completion.repeated,
        }


M = TypeVar("M", bound=BaseModel)
S = TypeVar("S", bound=Submitted)


def read(model: type[M], value: bytes | None) -> M:
    """Bytes from a topic as `model`. Raises `InvalidMessage`, whose text never quotes the bytes."""
    value = (value or b"").removeprefix(codecs.BOM_UTF8)
    if not value:
        raise InvalidMessage('the message is empty; the least that is taken is {"prompt": "…"}')
    limit = MAX_MESSAGE_BYTES if model is Submitted else MAX_STAGE_BYTES
    if len(value) > limit:
        raise InvalidMessage(f"the message has {len(value)} bytes, at most {limit} are taken")
    try:
        return model.model_validate_json(value)
    except ValidationError as error:
        raise InvalidMessage(describe_error(error) + _framed(value)) from None


def _framed(value: bytes) -> str:
    """What the bytes look like, where they are no JSON of a kind that producers send by mistake."""
    wide = (
        value[:4:2] == b"\0\0" and value[1:2] != b"\0",
        value[1:4:2] == b"\0\0" and value[:1] != b"\0",
    )
    if value[:2] in (b"\xff\xfe", b"\xfe\xff") or any(wide):
        return ". It begins as UTF-16: send UTF-8"
    if value[0] == 0 and len(value) > FRAME:
        return (
            ". It begins as a schema registry's serializer frames messages: send plain JSON, "
            "without the registry's serializer"
        )
    if value[:2] == b"\x1f\x8b" or value[:4] == b"\x28\xb5\x2f\xfd":
        return (
            ". It is gzip or zstd: send JSON, and let the producer's compression.type compress it"
        )
    return ""


def extend(message: Submitted, model: type[S], **part: Any) -> S:
    """`message` with its next part. Nothing is validated again: both halves were."""
    fields: dict[str, Any] = {name: getattr(message, name) for name in type(message).model_fields}
    return cast("S", model.model_construct(**fields, **part))


def unknown_fields(model: type[BaseModel], value: bytes) -> tuple[str, ...]:
    """Names of the top-level fields of a JSON object that `model` does not have; at most 16, cut at
    64 letters."""
    names = from_json(value.removeprefix(codecs.BOM_UTF8))
    return tuple(name[:64] for name in names if name not in model.model_fields)[:16]


def describe_error(error: ValidationError) -> str:
    """What is wrong, field by field, without the input's own words."""
    problems = []
    for item in error.errors(include_url=False, include_input=False, include_context=False):
        place = ".".join(_place(part) for part in item["loc"])
        text = item["msg"].removeprefix("Value error, ")
        if item["type"] == "json_invalid":
            text = "not JSON in UTF-8: " + text.removeprefix("Invalid JSON: ")
        elif place == "schema_version":
            text = (
                f"this version of Pointsman reads {SCHEMA_VERSION}; upgrade it, or send that "
                "version"
            )
        elif item["type"] == "extra_forbidden":
            text = "there is no such field"
        problems.append(f"{place}: {text}" if place else text)
    return "; ".join(problems[:8])


def _place(part: int | str) -> str:
    """A step of an error's location; a sender's own key is cut short, since it may hold
    anything."""
    text = str(part)
    return text if len(text) <= 40 else text[:40] + "…"


class _Dumps(Protocol):
    def model_dump_json(self, *, exclude_none: bool = False) -> str: ...


def to_json(message: _Dumps) -> bytes:
    """The bytes that go on the topic; absent values are left out."""
    return message.model_dump_json(exclude_none=True).encode()
