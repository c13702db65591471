"""The dispatcher: who is called, what is paid, what is told."""

from collections import Counter
from datetime import UTC, datetime, timedelta

from answered import NAMES, answer, decided

from services.dispatcher.dispatch import dispatch
from services.dispatcher.settings import DispatcherSettings
from services.judge.judge import votes_key
from shared.contracts.answers import Answer, Conflict
from shared.contracts.errors import ModelUnavailable
from shared.contracts.messages import Completed, Decided, extend


class Remembered(dict[tuple[str, str], tuple[str, Answer]]):
    async def claim(self, request_id: str, model: str, for_s: float) -> bool:
        return True

    async def release(self, request_id: str, model: str) -> None: ...

    async def get(self, request_id: str, model: str, asked: str) -> Answer | None:  # type: ignore[override]
        question, known = dict.get(self, (request_id, model)) or (asked, None)
        if question != asked:
            raise Conflict
        return known

    async def put(self, request_id: str, answer: Answer, asked: str, keep_s: int) -> None:
        self[request_id, answer.model] = asked, answer


class Models:
    def __init__(self, broken: set[str] = frozenset()) -> None:  # type: ignore[assignment]
        self.broken, self.asked, self.named = broken, Counter[str](), set[str]()

    async def __call__(
        self, model: str, messages: object, parameters: object, within_s: float, once: str
    ) -> Answer:
        self.asked[model] += 1
        self.named.add(once)
        if model in self.broken:
            raise ModelUnavailable("HTTP 500")
        return answer(model)


SOON = {"submitted_at": datetime.now(UTC)}


async def run(
    message: Decided, call: Models, memory: Remembered | None = None
) -> Completed | tuple[()]:
    fresh = message.model_copy(update={"submitted_at": datetime.now(UTC)})
    return await dispatch(
        fresh, DispatcherSettings(), call, memory if memory is not None else Remembered()
    )


async def test_nobody_is_called_unless_an_answer_is_asked_for() -> None:
    call = Models()
    assert await run(decided(), call) == ()
    assert not call.asked


async def test_the_next_in_line_answers_when_the_first_fails_and_a_repeated_request_is_not_paid_twice() -> (
    None
):
    message, memory = decided(answer=True), Remembered()
    order = [c.model for c in message.decision.candidates]
    call = Models({order[0]})
    done = await run(message, call, memory)
    assert isinstance(done, Completed)
    assert done.completion.answers[0].model == order[1]
    assert [f.model for f in done.completion.failed] == [order[0]]
    again = await run(message, call, memory)
    assert isinstance(again, Completed)
    assert again.completion.repeated
    assert call.asked[order[1]] == 1
    await run(message, call, Remembered())
    assert call.asked[order[1]] == 2, "nobody remembers…"
    assert len(call.named) == 2, "…but the provider is told that it is the same call"


async def test_when_all_fail_or_time_is_up_the_completion_says_so() -> None:
    message = decided(answer=True)
    failed = await run(message, Models(set(NAMES)))
    assert isinstance(failed, Completed)
    assert (failed.completion.status, len(failed.completion.failed)) == ("failed", 3)
    late = message.model_copy(
        update={"submitted_at": datetime.now(UTC) - timedelta(seconds=10), "deadline_s": 5.0}
    )
    call = Models()
    done = await dispatch(late, DispatcherSettings(), call, Remembered())
    assert isinstance(done, Completed)
    assert "deadline" in done.completion.failed[0].error
    assert not call.asked


async def test_a_study_gets_the_answers_of_all() -> None:
    done = await run(decided(compare=("small", "large", "small")), Models({"large"}))
    assert isinstance(done, Completed)
    assert [a.model for a in done.completion.answers] == ["small"]
    assert [f.model for f in done.completion.failed] == ["large"]


async def test_another_question_under_the_same_id_is_asked_and_the_conflict_is_told() -> None:
    one, other = (
        decided(answer=True, prompt="Capital of Kenya?"),
        decided(answer=True, prompt="Write a poem"),
    )
    assert (one.request_id, one.decision.model) == (other.request_id, other.decision.model)
    memory, call = Remembered(), Models()
    first, second, third = [await run(message, call, memory) for message in (one, other, other)]
    assert isinstance(first, Completed)
    assert isinstance(second, Completed)
    assert isinstance(third, Completed)
    assert [(c.completion.conflict, c.completion.repeated) for c in (first, second, third)] == [
        (False, False),
        (True, False),
        (False, True),
    ]
    assert call.asked.total() == 2
    assert len(call.named) == 2, "the provider is not told that they are the same"
    hotter = other.model_copy(update={"parameters": {"temperature": 1.5}})
    assert hotter.asked() != other.asked()
    assert votes_key(extend(one, Completed, completion=first.completion), "a", "b") != votes_key(
        second, "a", "b"
    )
