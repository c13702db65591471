"""Decisions, answers and completions for tests."""

from support import placed, submitted, table, wish

from services.selector.decide import decide
from shared.contracts.answers import Answer, Completion
from shared.contracts.messages import Completed, Decided, extend

NAMES = ("small", "middle", "large")


def decided(**fields: object) -> Decided:
    tab = table(models=NAMES)
    from support import described, embedded

    message = placed(tab, embedded(described(submitted(**fields))))
    return decide(message, tab, {}, wish("quality"))


def answer(model: str, text: str = "an answer", cost: float = 0.001) -> Answer:
    return Answer(
        model=model,
        text=text,
        provider="p",
        prompt_tokens=10,
        completion_tokens=5,
        cost_usd=cost,
        cost_source="provider",
        latency_s=1.0,
    )


def completed(*answers: Answer, **fields: object) -> Completed:
    return extend(
        decided(answer=True, **fields),
        Completed,
        completion=Completion(status="answered", answers=answers),
    )
