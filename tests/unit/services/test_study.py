"""What of a study is still to come, what was lost, and when a place is free."""

from __future__ import annotations

from support import placed, table, wish

from services.selector.decide import decide
from services.workbench.study import AHEAD, UnderWay, plan
from shared.contracts.answers import Answer, Completion
from shared.contracts.evaluations import Evaluated
from shared.contracts.messages import Completed, extend
from shared.contracts.raters import Rater, RaterKind, Votes

PLAN = plan("current", 1)
MODELS = [model.name for model in PLAN.pool]
REQUEST = PLAN.prompts[0][0]


def evaluated(first: str, second: str, request: str = REQUEST) -> Evaluated:
    first, second = sorted((first, second))
    rater = Rater(kind=RaterKind.judge, name="j")
    return Evaluated(
        request_id=request, first=first, second=second, rater=rater, votes=Votes(straight_first=1)
    )


def completed(*models: str, request: str = REQUEST) -> Completed:
    known = table()
    decision = decide(placed(known), known, {}, wish())
    answers = tuple(
        Answer(
            model=model,
            text="x",
            provider="p",
            prompt_tokens=1,
            completion_tokens=1,
            cost_usd=0.0,
            cost_source="provider",
            latency_s=1.0,
        )
        for model in models
    )
    completion = Completion(status="answered", answers=answers)
    named = decision.model_copy(update={"request_id": request})
    return extend(named, Completed, completion=completion)


def test_what_was_judged_before_is_not_asked_again() -> None:
    pairs = [(a, b) for i, a in enumerate(MODELS) for b in MODELS[i + 1 :]]
    under_way = UnderWay(PLAN, [evaluated(a, b) for a, b in pairs])
    assert under_way.before == 1
    assert REQUEST not in {request for request, _ in under_way.prompts}
    assert under_way.open == (len(PLAN.prompts) - 1) * PLAN.pairs
    assert all(message.compare == tuple(MODELS) for message in under_way.messages())


def test_comparisons_that_a_silent_model_costs_are_missing_and_not_waited_for() -> None:
    under_way = UnderWay(PLAN, [])
    everything = under_way.open
    assert under_way.completed(completed(*MODELS[1:])) == len(MODELS) - 1
    assert under_way.lost == len(MODELS) - 1, "each pair with the silent one"
    assert under_way.open == everything - under_way.lost
    assert under_way.missing == everything
    assert under_way.evaluated(evaluated(MODELS[0], MODELS[1])) is True, "it came all the same"
    assert under_way.missing == everything - 1
    assert under_way.completed(completed(*MODELS, request="of another")) == 0


def test_a_place_is_given_back_once_whichever_comes_last() -> None:
    """A completion may be read after the last evaluation of its request."""
    under_way = UnderWay(PLAN, [])
    for i, first in enumerate(MODELS):
        for second in MODELS[i + 1 :]:
            assert under_way.evaluated(evaluated(first, second)) is True
    assert under_way.places._value == AHEAD + 1
    under_way.completed(completed(*MODELS))
    assert under_way.evaluated(evaluated(*MODELS[:2])) is False
    assert under_way.evaluated(evaluated(*MODELS[:2], request="of another")) is None
    assert under_way.places._value == AHEAD + 1
