"""Which models are asked, in which order, and why: by name, by the router, or by default."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Any, Protocol

from services.gateway.remembered import Reading, Spoke
from services.gateway.requests import Problem
from services.gateway.settings import GatewaySettings
from services.gateway.understanding import UnderstoodRequest
from shared.contracts.answers import Answer, one_text
from shared.contracts.decisions import CascadePlan, Decision
from shared.contracts.messages import Decided, Submitted
from shared.contracts.remembered import Texts
from shared.contracts.wishes import ConversationSoFar
from shared.protocols import AUTHOR
from shared.protocols.portable import fingerprint, history

MOST_TURNS, MOST_MODELS, MOST_TASKS = 500, 8, 16
"""Of a conversation, that are remembered; the newest."""
FADING = 0.8
"""What a turn's task weighs one turn later; of 0.5, 0.7, 0.8 and 0.9 among the best on
simulated conversations (docs/decisions/0013)."""
WORDLESS = "there are no words to route by"


class NoDecision(StrEnum):
    """Why the hot path did not choose, where it should have: a metric's label."""

    wordless = "wordless"
    """There is nothing that a task could be read from."""
    resting = "resting"
    """It gave no decisions lately, so it was not asked."""
    no_description = "no_description"
    no_decision = "no_decision"
    not_published = "not_published"
    not_callable = "not_callable"
    """The catalogue has none of the models of the decision."""


class Unrouted(Exception):
    """No decision in time; the text says why to people."""

    def __init__(self, reason: NoDecision, text: str) -> None:
        super().__init__(text)
        self.reason = reason


class Routing(Protocol):
    """The hot path. Raises `Unrouted`."""

    async def route(self, message: Submitted) -> Decided: ...
    def default(self, wanted: UnderstoodRequest) -> tuple[list[str], str]:
        """The profile's default model and those after it, and which routing table says so."""
        ...


@dataclass(frozen=True, slots=True)
class Conversation:
    """What is remembered of a conversation."""

    key: str
    before: Spoke | None = None
    """What was remembered of it so far."""
    cluster: str = ""
    """The task of this turn, where there is a decision."""
    space: str = ""
    tasks: Mapping[str, float] = field(default_factory=dict)
    """The tasks of this turn and those before."""

    def so_far(self, tokens: int, lives_s: float) -> ConversationSoFar:
        """As a decision takes it; `tokens` are those of the whole conversation."""
        return ConversationSoFar(
            tokens=tokens,
            cached_tokens=self.cached(time.time(), lives_s),
            tasks={} if self.before is None else dict(self.before.tasks),
        )

    def decided(self, message: Decided) -> Conversation:
        """With what this turn is about; what the turns before were about fades."""
        encoder = message.embedding.encoder
        space = f"{encoder.id}@{encoder.revision}"
        clusters = message.assignment.clusters
        known = self.before.tasks if self.before is not None and self.before.space == space else {}
        tasks = {part.id: part.weight for part in clusters}
        for name, weight in known.items():
            tasks[name] = tasks.get(name, 0.0) + weight
        largest = sorted(tasks.items(), key=lambda item: -item[1])[:MOST_TASKS]
        fading = {name: round(FADING * weight, 4) for name, weight in largest}
        return replace(self, cluster=clusters[0].id, space=space, tasks=fading)

    def cached(self, now: float, lives_s: float) -> dict[str, int]:
        """Tokens of it that the providers of models may still have in their caches."""
        read = {} if self.before is None else self.before.read
        return {name: one.tokens for name, one in read.items() if now - one.at <= lives_s}

    def author(self, turn: Mapping[str, Any]) -> str | None:
        """Who wrote a turn; None: nobody remembers."""
        if isinstance(said := turn.get(AUTHOR), str):
            return said
        return None if self.before is None else self.before.authors.get(fingerprint(turn))

    async def keep(
        self, conversations: Texts, model: str, answer: Answer | None = None, tokens: int = 0
    ) -> None:
        """Remember that `model` has spoken, and, when it has, what it said and read."""
        authors = {} if self.before is None else dict(self.before.authors)
        read = {} if self.before is None else dict(self.before.read)
        if answer is not None:
            authors[fingerprint(answer.message or {"content": answer.text})] = model
            read[model] = Reading(tokens=tokens, at=time.time())
        spoke = Spoke(
            model=model,
            cluster=self.cluster,
            space=self.space,
            tasks=self.tasks,
            authors=dict([*authors.items()][-MOST_TURNS:]),
            read=dict(sorted(read.items(), key=lambda item: item[1].at)[-MOST_MODELS:]),
        )
        await spoke.keep(conversations, self.key)


@dataclass(frozen=True, slots=True)
class Choice:
    """The models to be asked, in this order, and why."""

    order: tuple[str, ...]
    decided: Decided | None
    instead: str | None = None
    """Why the router did not choose, where it should have; for people."""
    no_decision: NoDecision | None = None
    """The same as a field."""
    kept: bool = False
    """Whether the conversation stayed with its model, though another would have been selected."""
    table: str = ""
    took_s: float | None = None
    """Seconds that the decision took."""
    cascade: CascadePlan | None = None
    """A cheap model to ask first, and the one to ask if its answer is not good enough."""
    conversation: Conversation | None = None

    def history(self, wanted: UnderstoodRequest, model: str) -> Sequence[Mapping[str, Any]]:
        """The chat as `model` takes it: what only another understands is left out of the turns that
        another wrote. A turn of unknown origin counts as written by the model that is asked first;
        where only the last speaker is remembered, by that one."""
        if wanted.turns == 1:
            return wanted.chat
        conversation = self.conversation
        before = conversation.before if conversation is not None else None
        likely = before.model if before is not None and not before.authors else self.order[0]

        def own(turn: Mapping[str, Any]) -> bool:
            author = conversation.author(turn) if conversation is not None else None
            return (author or likely) == model

        return history(wanted.chat, own)

    def headers(self, model: str) -> dict[str, str]:
        """What headers say of the choice, beside the answer."""
        headers = {"x-pointsman-model": model}
        if self.took_s is not None:
            headers["server-timing"] = timing(self.took_s)
        if self.decided is not None:
            decision = self.decided.decision
            cluster = self.decided.assignment.clusters[0]
            headers |= {
                "x-pointsman-cluster": cluster.id,
                "x-pointsman-table": str(decision.table),
                "x-pointsman-confidence": f"{decision.confidence:.3f}",
            }
            expected = next((c.cost_usd for c in decision.candidates if c.model == model), None)
            if expected is not None:
                headers["x-pointsman-expected-cost-usd"] = f"{expected:.8f}"
        elif self.table:
            headers["x-pointsman-table"] = self.table
        if self.instead:
            headers["x-pointsman-default"] = self.instead
        if self.kept:
            headers["x-pointsman-kept"] = "the conversation stays with its model"
        return headers


async def choose(
    wanted: UnderstoodRequest,
    router: Routing,
    conversations: Texts,
    settings: GatewaySettings,
    spender: str,
    assess: Assess | None = None,
    known: Collection[str] | None = None,
) -> Choice:
    """The model that is named, or that is decided, or the default. `known`: the catalogue's models;
    nobody can call another, whatever a table says. Raises `Problem` if the constraints leave none.
    """
    conversation = await _conversation(wanted, conversations, spender)
    if wanted.model is not None:
        return Choice((wanted.model,), None, conversation=conversation)

    def by_default(why: str, reason: NoDecision, took_s: float | None = None) -> Choice:
        fallback, table = router.default(wanted)
        return Choice(
            tuple(fallback[: settings.models]),
            None,
            why,
            reason,
            table=table,
            took_s=took_s,
            conversation=conversation,
        )

    began = time.monotonic()
    if wanted.submitted is None:
        return by_default(WORDLESS, NoDecision.wordless)
    submitted = wanted.submitted
    if settings.keep_model:
        so_far = conversation.so_far(wanted.needs.prompt_tokens, settings.cache_s)
        submitted = submitted.model_copy(update={"conversation": so_far})
    try:
        decided = await router.route(submitted)
    except Unrouted as error:
        return by_default(str(error), error.reason, time.monotonic() - began)
    took_s = time.monotonic() - began
    order = tuple(c.model for c in decided.decision.candidates)
    if not order:
        raise Problem(
            400, decided.decision.why, code="no_eligible_model", param="pointsman.constraints"
        )
    conversation = conversation.decided(decided)
    if known is not None and not any(name in known for name in order):
        why = "the routing table ranks only models that are in no catalogue"
        return by_default(why, NoDecision.not_callable, took_s)
    kept = False
    if settings.keep_model:
        order, kept = _kept(decided.decision, conversation.before, settings.stay_points)
    if known is not None:
        kept = kept and order[0] in known
        order = tuple(name for name in order if name in known)
    if settings.keep_model:
        await conversation.keep(conversations, order[0])
    held = settings.cascade == "streams" or (settings.cascade == "whole" and not wanted.stream)
    fits = held and not kept and wanted.turns == 1 and one_text(wanted.parameters)
    cascade = decided.decision.cascade if fits else None
    if cascade is not None and known is not None:
        cascade = cascade if cascade.first in known and cascade.then in known else None
    if cascade is not None and not (assess is not None and await assess.ready(decided)):
        cascade = None
    return Choice(
        order[: settings.models],
        decided,
        kept=kept,
        took_s=took_s,
        cascade=cascade,
        conversation=conversation,
    )


async def _conversation(
    wanted: UnderstoodRequest, conversations: Texts, spender: str
) -> Conversation:
    key = hashlib.sha256(
        "\0".join((spender, wanted.wishes.session_id or f"begins {wanted.begins}")).encode()
    ).hexdigest()
    goes_on = wanted.turns > 1 or wanted.wishes.session_id is not None
    before = await Spoke.recall(conversations, key) if goes_on else None
    return Conversation(key, before=before)


def timing(decision_s: float) -> str:
    """A Server-Timing header: milliseconds from publishing the prompt to having its decision."""
    return f"decision;dur={1000 * decision_s:.1f}"


def _kept(
    decision: Decision, before: Spoke | None, stay_points: float
) -> tuple[tuple[str, ...], bool]:
    """Stay with the conversation's model unless another leads by the given points."""
    order = tuple(c.model for c in decision.candidates)
    utility = {c.model: c.utility for c in decision.candidates}
    if before is None or before.model not in utility or before.model == order[0]:
        return order, False
    if utility[order[0]] - utility[before.model] > stay_points:
        return order, False
    return (before.model, *(model for model in order if model != before.model)), True


class Assess(Protocol):
    """How probably an answer is good enough; None where that can't be told."""

    async def __call__(self, message: Decided, answer: Answer, /) -> float | None: ...
    async def ready(self, message: Decided, /) -> bool: ...
