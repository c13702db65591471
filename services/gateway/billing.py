"""What an answer is expected to cost, what it cost, and the records that tell others of it."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from services.gateway.answering import Answering, Models
from services.gateway.choice import Choice
from services.gateway.understanding import UnderstoodRequest
from shared.catalog.estimates import ANSWER_TOKENS
from shared.contracts.answers import Completion
from shared.contracts.messages import Completed, Decided, answer_room, extend
from shared.contracts.spending import Spent


def expected_usd(wanted: UnderstoodRequest, choice: Choice, models: Models) -> float:
    """What the answer is expected to cost, in USD: what the decision says, but no less than the
    catalogue's price for its tokens."""
    prompt = wanted.needs.prompt_tokens
    tokens = answer_room(wanted.parameters, ANSWER_TOKENS)
    said = (
        [c.cost_usd for c in choice.decided.decision.candidates if c.model == choice.order[0]]
        if choice.decided
        else []
    )
    asked = (choice.cascade.first, choice.cascade.then) if choice.cascade else choice.order[:1]
    return max(sum(models.expected_cost_usd(model, prompt, tokens) for model in asked), *said, 0.0)


def completed(decided: Decided, answering: Answering) -> Completed:
    """What goes on `completions`, to be learnt from."""
    completion = (
        Completion(
            status="answered",
            answers=(answering.answer, *answering.before),
            failed=answering.failed,
            cascade=answering.cascade,
        )
        if answering.answer
        else Completion(status="failed", failed=answering.failed)
    )
    return extend(decided, Completed, completion=completion)


def bill(wanted: UnderstoodRequest, answering: Answering, spender: str, expected: float) -> Spent:
    """What goes on `spending`."""
    answer = answering.answer
    return Spent(
        request_id=wanted.request_id,
        spender=spender,
        model=answering.model,
        cost_usd=answering.cost_usd if answer else max(expected, answering.cost_usd),
        expected=answer is None,
        simulated=bool(answer and answer.simulated),
        at=datetime.now(UTC),
    )


def explained(decided: Decided) -> dict[str, Any]:
    """The answer to POST /v1/route."""
    said = decided.model_dump(
        mode="json",
        include={"request_id", "description", "assignment", "decision"},
        exclude_none=True,
    )
    return said | {"model": decided.decision.model, "object": "pointsman.decision"}
