"""Which models are asked, in which order, and why: by name, by the router, or by default."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Protocol

from services.gateway.remembered import Spoke
from services.gateway.requests import Problem, UnderstoodRequest
from services.gateway.settings import GatewaySettings
from shared.contracts.answers import Answer, one_text
from shared.contracts.decisions import CascadePlan, Decision
from shared.contracts.messages import Decided, Submitted
from shared.contracts.portable import portable
from shared.contracts.remembered import Texts

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
    cluster: str
    """Its task."""
    cares: str
    """What its sender cares about."""
    spoke: str | None = None
    """The model that spoke last, as far as that is remembered."""

    async def keep(self, conversations: Texts, model: str) -> None:
        """Remember that `model` has spoken."""
        spoke = Spoke(model=model, cluster=self.cluster, cares=self.cares)
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
        """The chat as `model` takes it: what only another model understands is left out, where
        another has spoken."""
        spoke = (
            self.conversation.spoke
            if self.conversation is not None and self.conversation.spoke
            else self.order[0]
        )
        return wanted.chat if wanted.turns == 1 or model == spoke else portable(wanted.chat)

    def headers(self, model: str) -> dict[str, str]:
        """What is said of the choice beside the answer."""
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
) -> Choice:
    """The model that is named, or that is decided, or the default. Raises `Problem` if the
    constraints leave none."""
    if wanted.model is not None:
        return Choice((wanted.model,), None)
    began = time.monotonic()
    if wanted.submitted is None:
        fallback, table = router.default(wanted)
        return Choice(
            tuple(fallback[: settings.models]), None, WORDLESS, NoDecision.wordless, table=table
        )
    try:
        decided = await router.route(wanted.submitted)
    except Unrouted as error:
        fallback, table = router.default(wanted)
        return Choice(
            tuple(fallback[: settings.models]),
            None,
            str(error),
            error.reason,
            table=table,
            took_s=time.monotonic() - began,
        )
    took_s = time.monotonic() - began
    order = tuple(c.model for c in decided.decision.candidates)
    if not order:
        raise Problem(
            400, decided.decision.why, code="no_eligible_model", param="pointsman.constraints"
        )
    kept = False
    conversation = None
    if settings.keep_model:
        order, kept, conversation = await _kept(wanted, order, decided, conversations, spender)
    held = settings.cascade == "streams" or (settings.cascade == "whole" and not wanted.stream)
    fits = held and not kept and wanted.turns == 1 and one_text(wanted.parameters)
    cascade = decided.decision.cascade if fits else None
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


def timing(decision_s: float) -> str:
    """A Server-Timing header: milliseconds from publishing the prompt to having its decision."""
    return f"decision;dur={1000 * decision_s:.1f}"


async def _kept(
    wanted: UnderstoodRequest,
    order: tuple[str, ...],
    decided: Decided,
    conversations: Texts,
    spender: str,
) -> tuple[tuple[str, ...], bool, Conversation]:
    """Stay with the conversation's model while its task and its preferences are the same."""
    key = hashlib.sha256(
        "\0".join((spender, wanted.wishes.session_id or f"begins {wanted.begins}")).encode()
    ).hexdigest()
    cluster = decided.assignment.clusters[0].id
    cares = _cares(decided.decision)
    kept = False
    last = None
    if wanted.turns > 1 and (last := await Spoke.recall(conversations, key)) is not None:
        same = (last.cluster, last.cares) == (cluster, cares)
        if same and last.model in order and last.model != order[0]:
            order = (last.model, *(m for m in order if m != last.model))
            kept = True
    conversation = Conversation(key, cluster, cares, last.model if last else None)
    await conversation.keep(conversations, order[0])
    return order, kept, conversation


def _cares(decision: Decision) -> str:
    """Equal for decisions whose senders care about the same; the rates of a goal move, the goal
    does not."""
    if (used := decision.rates) is None:
        weights = decision.preferences
        return f"{weights.performance:.4f} {weights.cost:.4f} {weights.latency:.4f}"
    if used.keep is not None or used.spend_usd_per_1000 is not None:
        return f"keep {used.keep} spend {used.spend_usd_per_1000} {used.s_per_point:.4g}"
    return f"{used.usd_per_point:.4g} {used.s_per_point:.4g}"


class Assess(Protocol):
    """How probably an answer is good enough; None where that can't be told."""

    async def __call__(self, message: Decided, answer: Answer, /) -> float | None: ...
    async def ready(self, message: Decided, /) -> bool: ...
