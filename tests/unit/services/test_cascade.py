"""Selector, dispatcher and gateway: the cheap model first, and the other only where its answer is
not good enough."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any, ClassVar

import numpy as np
import pytest
from support import described, embedded, placed, submitted, table, wish

from services.assigner.assign import place
from services.dispatcher.dispatch import dispatch
from services.dispatcher.settings import DispatcherSettings
from services.gateway.answering import AnswerUnderWay, ask_streamed, ask_whole
from services.gateway.billing import bill, completed
from services.gateway.choice import Choice, choose
from services.gateway.forms.chat import CHAT
from services.gateway.requests import Problem, RequestWishes
from services.gateway.settings import GatewaySettings
from services.gateway.understanding import UnderstoodRequest, understand
from services.selector.decide import decide
from shared.catalog import models
from shared.contracts.answers import Answer, one_text
from shared.contracts.decisions import CascadePlan
from shared.contracts.errors import ModelUnavailable
from shared.contracts.messages import Completed, Decided, Placed, read, to_json
from shared.contracts.places import TableRef
from shared.contracts.vector import pack
from shared.routing.deciding.cascade import Heads
from shared.routing.deciding.form import SIZE
from shared.routing.deciding.table import RoutingTable

CATALOG = models.load()
COSTS = {"small": 0.0002, "large": 0.01}


def known(told: float = 2.0) -> RoutingTable:
    """Two models; an answer of the small one tells by itself whether it is good."""
    wide, none = 4 * 4 + 3 * SIZE, np.zeros((1, 2 * SIZE), np.float32)
    heads = Heads(
        "joint",
        ("small",),
        np.zeros((1, wide), np.float32),
        np.zeros(1, np.float32),
        none,
        none + 1,
        np.array([told], np.float32),
    )
    arrays = {
        "strength": np.array([[-1.3, 0.0]]),
        "standard_error": np.full((1, 2), 0.1),
        "cost_usd": np.array([[0.0002, 0.01]]),
        "latency_s": np.array([[0.2, 0.4]]),
        "reference_success": np.array([0.85]),
    }
    return replace(
        table(1, ("small", "large"), centroids=np.zeros((1, 4)), **arrays), cascade=heads
    )


def message(**fields: Any) -> Decided:
    tab = known()
    asked = embedded(described(submitted(answer=True, **fields)), encoder=tab.encoder)
    return decide(placed(tab, asked), tab, {}, wish("balanced")).model_copy(
        update={"submitted_at": datetime.now(UTC)}
    )


def answer(model: str) -> Answer:
    return Answer(
        model=model,
        text=model.upper(),
        provider="p",
        prompt_tokens=3,
        completion_tokens=4,
        cost_usd=COSTS[model],
        cost_source="provider",
        latency_s=0.1,
    )


class Judging:
    """Says how good an answer is, and who was asked about."""

    def __init__(self, good: float | None, *, able: bool = True) -> None:
        self.good, self.able, self.seen = good, able, list[str]()

    async def __call__(self, _message: Decided, said: Answer, /) -> float | None:
        self.seen.append(said.model)
        return self.good

    async def ready(self, _message: Decided, /) -> bool:
        return self.able


class Forgetful:
    async def get(self, *_: str) -> None:
        return None

    async def put(self, *_: Any) -> None: ...
    async def claim(self, *_: Any) -> bool:
        return True

    async def release(self, *_: str) -> None: ...


class Asked:
    def __init__(self, broken: frozenset[str] = frozenset()) -> None:
        self.broken, self.order = broken, list[str]()

    async def __call__(self, model: str, *_: Any) -> Answer:
        self.order.append(model)
        if model in self.broken:
            raise ModelUnavailable("HTTP 500")
        return answer(model)


def test_the_selector_offers_a_cascade_beside_the_best_model_alone() -> None:
    found = message().decision
    assert found.cascade is not None
    assert (found.cascade.first, found.cascade.then) == ("small", "large")
    assert found.cascade.cost_usd < next(c.cost_usd for c in found.candidates if c.model == "large")
    assert found.model == found.candidates[0].model, "who follows no cascade asks the best"
    one = message()
    assert read(Decided, to_json(one)) == one
    assert decide(placed(known(0.0)), known(0.0), {}, wish("balanced")).decision.cascade is None


def test_both_answers_of_a_cascade_keep_the_limits_together() -> None:
    found = message().decision
    assert found.cascade is not None
    both_usd = sum(c.cost_usd for c in found.candidates)
    both_s = sum(c.latency_s for c in found.candidates)
    for name, both in (("max_cost_usd", both_usd), ("max_latency_s", both_s)):
        enough, short = (message(constraints={name: at * both}).decision for at in (1.01, 0.99))
        assert enough.cascade is not None
        assert len(short.candidates) == 2, "each alone keeps the limit"
        assert short.cascade is None


def test_what_is_guarded_is_answered_by_one_model() -> None:
    """Of three models: that a view wins is seen although the chosen one is not the last of all."""
    tab = known()
    three = replace(
        table(
            2,
            ("small", "middle", "large"),
            top_p=1,
            centroids=np.eye(2, 4, dtype=np.float32),
            strength=np.array([[-1.3, -1.0, 0.0], [-1.3, 2.0, 0.0]]),
            standard_error=np.full((2, 3), 0.1),
            cost_usd=np.array([[0.0002, 0.005, 0.01]] * 2),
            latency_s=np.full((2, 3), 0.2),
            reference_success=np.array([0.85, 0.85]),
        ),
        cascade=tab.cascade,
    )
    whole, other = np.eye(2, 4, dtype=np.float32)
    asked = embedded(described(submitted()), whole, encoder=three.encoder)
    assert asked.embedding is not None
    views = (pack(other), pack(whole))
    for of, guarded in (((), False), (views, True)):
        one = asked.model_copy(
            update={"embedding": asked.embedding.model_copy(update={"views": of})}
        )
        (at,) = place([one], TableRef(epoch=0, sequence=1, digest=three.digest), three)
        assert isinstance(at, Placed)
        found = decide(at, three, {}, wish("quality")).decision
        assert ("guarded" in found.why) is guarded
        assert (found.cascade is None) is guarded


async def go(judging: Judging | None, calls: Asked, **fields: Any) -> Completed:
    done = await dispatch(message(**fields), DispatcherSettings(), calls, Forgetful(), judging)  # type: ignore[arg-type]
    assert isinstance(done, Completed)
    assert read(Completed, to_json(done)) == done
    return done


async def test_a_good_answer_is_accepted_and_nobody_else_is_asked() -> None:
    calls = Asked()
    done = await go(Judging(0.99), calls)
    assert calls.order == ["small"]
    assert [a.model for a in done.completion.answers] == ["small"]
    assert done.completion.cascade is not None
    assert (done.completion.cascade.good, done.completion.cascade.escalated) == (0.99, False)


@pytest.mark.parametrize("good", [0.01, None])
async def test_an_answer_that_is_not_good_enough_or_can_not_be_told_is_replaced_and_both_are_recorded(
    good: float | None,
) -> None:
    calls = Asked()
    done = await go(Judging(good), calls)
    assert calls.order == ["small", "large"]
    assert [a.model for a in done.completion.answers] == ["large", "small"], (
        "the sender's first; costs of both are learnt"
    )
    assert done.completion.cascade is not None
    assert done.completion.cascade.escalated


async def test_when_any_model_fails_the_sender_gets_an_answer() -> None:
    done = await go(Judging(0.01), Asked(frozenset({"large"})))
    assert [a.model for a in done.completion.answers] == ["small"]
    assert [f.model for f in done.completion.failed] == ["large"]
    done = await go(Judging(0.99), Asked(frozenset({"small"})))
    assert [a.model for a in done.completion.answers] == ["large"]
    assert [f.model for f in done.completion.failed] == ["small"]


async def test_without_a_way_to_assess_or_with_tools_the_best_model_alone_is_asked() -> None:
    for judging, fields in (
        (None, {}),
        (Judging(0.9, able=False), {}),
        (Judging(0.9), {"parameters": {"tools": []}}),
    ):
        calls = Asked()
        done = await go(judging, calls, **fields)
        assert calls.order == [message().decision.model]
        assert done.completion.cascade is None
    assert one_text({"temperature": 0, "n": 1})
    assert not one_text({"n": 2})
    assert not one_text({"response_format": {"type": "json_object"}})


# the gateway


class Talking:
    def __init__(self, broken: frozenset[str] = frozenset()) -> None:
        self.broken, self.order = broken, list[str]()

    async def whole(self, model: str, *_: Any) -> tuple[Answer, dict[str, Any]]:
        self.order.append(model)
        if model in self.broken:
            raise ModelUnavailable("HTTP 500", 500)
        choices = [
            {
                "index": 0,
                "message": {"role": "assistant", "content": model.upper()},
                "finish_reason": "stop",
            }
        ]
        return answer(model), {"choices": choices}

    @asynccontextmanager
    async def open(self, model: str, *_: Any) -> Any:
        self.order.append(model)
        if model in self.broken:
            raise ModelUnavailable("HTTP 500", 500)

        async def chunks() -> Any:
            yield {
                "choices": [
                    {"index": 0, "delta": {"content": model.upper()}, "finish_reason": "stop"}
                ]
            }

        yield SimpleNamespace(chunks=chunks(), answer=lambda: answer(model))

    def expected_cost_usd(self, model: str, *_: float) -> float:
        return COSTS[model]


def wanted(stream: bool = False) -> UnderstoodRequest:
    body = (
        f'{{"model": "auto", "stream": {str(stream).lower()}, "messages": [{{"role": "user", '
        '"content": "x"}]}'
    )
    return understand(
        CHAT.read(body.encode(), {}),
        RequestWishes(),
        "r-1",
        "key",
        CATALOG,
        frozenset(),
        len(body),
    )


def following() -> Choice:
    decided = message()
    order = tuple(c.model for c in decided.decision.candidates)
    return Choice(order, decided, cascade=decided.decision.cascade)


async def test_the_gateway_accepts_or_asks_on_and_says_so_and_bills_both() -> None:
    for good, model, paid, outcome in (
        (0.99, "small", 0.0002, "accepted"),
        (0.01, "large", 0.0102, "escalated"),
    ):
        told, body = await ask_whole(
            wanted(), following(), Talking(), 5, AnswerUnderWay(), Judging(good)
        )  # type: ignore[arg-type]
        assert (told.model, body["model"], body["choices"][0]["message"]["content"]) == (
            model,
            model,
            model.upper(),
        )
        assert body["usage"]["cost"] == pytest.approx(paid)
        assert told.headers() == {"x-pointsman-cascade": f"{outcome}; first=small; good={good:.3f}"}
        assert bill(wanted(), told, "key", 1.0).cost_usd == pytest.approx(paid)
        made = completed(message(), told).completion
        assert {a.model for a in made.answers} == ({"small"} if good > 0.5 else {"large", "small"})
        assert made.cascade is not None


@pytest.mark.parametrize(("good", "words"), [(0.99, "SMALL"), (0.01, "LARGE")])
async def test_a_held_stream_gives_the_words_of_one_model(good: float, words: str) -> None:
    async with ask_streamed(
        wanted(stream=True), following(), Talking(), 5, 5, AnswerUnderWay(), Judging(good)
    ) as speaking:  # type: ignore[arg-type]
        chunks = [chunk async for chunk in speaking.chunks()]
    assert (
        "".join(c["choices"][0]["delta"].get("content") or "" for c in chunks if c["choices"])
        == words
    )
    assert chunks[-1]["usage"]["cost"] == pytest.approx(0.0002 if good > 0.5 else 0.0102)
    assert "x-pointsman-cascade" in speaking.told.headers()


async def test_when_any_model_fails_at_the_gateway_the_client_gets_an_answer() -> None:
    told, _ = await ask_whole(
        wanted(), following(), Talking(frozenset({"large"})), 5, AnswerUnderWay(), Judging(0.01)
    )  # type: ignore[arg-type]
    assert (told.model, [f.model for f in told.failed]) == ("small", ["large"])
    told, _ = await ask_whole(
        wanted(), following(), Talking(frozenset({"small"})), 5, AnswerUnderWay(), Judging(0.99)
    )  # type: ignore[arg-type]
    assert (told.model, [f.model for f in told.failed]) == ("large", ["small"])
    async with ask_streamed(
        wanted(True),
        following(),
        Talking(frozenset({"large"})),
        5,
        5,
        AnswerUnderWay(),
        Judging(0.01),
    ) as speaking:  # type: ignore[arg-type]
        chunks = [chunk async for chunk in speaking.chunks()]
    assert speaking.told.model == "small"
    assert chunks


@pytest.mark.parametrize(
    ("silent", "model", "answered"), [("small", "small", []), ("large", "large", ["small"])]
)
async def test_what_a_client_did_not_wait_for_is_paid_for(
    silent: str, model: str, answered: list[str]
) -> None:
    class Slow(Talking):
        async def whole(self, asked: str, *rest: Any) -> Any:
            if asked == silent:
                await asyncio.sleep(60)
            return await super().whole(asked, *rest)

    under_way = AnswerUnderWay()
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.05):
            await ask_whole(wanted(), following(), Slow(), 60, under_way, Judging(0.01))  # type: ignore[arg-type]
    told = under_way.answering
    assert told is not None
    assert (told.model, told.answer, [a.model for a in told.before]) == (model, None, answered)
    assert bill(wanted(), told, "key", 0.5).cost_usd == 0.5
    assert bill(wanted(), told, "key", 0.5).expected


async def test_nothing_is_paid_where_no_model_answers() -> None:
    under_way = AnswerUnderWay()
    nobody = Talking(frozenset({"small", "large"}))
    with pytest.raises(Problem):
        await ask_whole(wanted(), following(), nobody, 5, under_way, Judging(0.01))  # type: ignore[arg-type]
    assert under_way.answering is None


async def test_a_model_that_hangs_takes_no_time_from_the_next() -> None:
    class Late(Talking):
        allowed: ClassVar[list[float]] = []

        async def whole(self, asked: str, chat: Any, parameters: Any, within_s: float) -> Any:
            self.allowed.append(within_s)
            if asked == "small":
                await asyncio.sleep(0.05)
                raise ModelUnavailable("no answer", late=True)
            return await super().whole(asked, chat, parameters, within_s)

    told, _ = await ask_whole(wanted(), following(), Late(), 0.05, AnswerUnderWay(), Judging(0.5))  # type: ignore[arg-type]
    assert told.model == "large"
    assert Late.allowed == [0.05, 0.05]


async def test_a_setting_says_whether_streams_are_held_back() -> None:
    class Routing:
        async def route(self, _: Any) -> Decided:
            return message()

    class Nothing:
        async def get(self, _: str) -> None:
            return None

        async def put(self, *_: str) -> None: ...

    async def plan(setting: str, *, stream: bool, able: bool = True) -> CascadePlan | None:
        settings = GatewaySettings(cascade=setting)  # type: ignore[arg-type]
        return (
            await choose(
                wanted(stream), Routing(), Nothing(), settings, "key", Judging(0.9, able=able)
            )
        ).cascade  # type: ignore[arg-type]

    assert await plan("whole", stream=False) is not None
    assert await plan("whole", stream=True) is None
    assert await plan("streams", stream=True) is not None
    assert await plan("off", stream=False) is None
    assert await plan("streams", stream=False, able=False) is None
