"""From a completion to evaluations."""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Protocol

from pydantic import TypeAdapter

from services.judge import verdict
from services.judge.settings import JudgeSettings
from shared.contracts.evaluations import Evaluated, Shown
from shared.contracts.messages import Completed
from shared.contracts.parts import Answer, Rater, RaterKind, Votes
from shared.routing.sampling import Pair

BYTES_PER_TOKEN = 3
"""Fewer than there are, so that an estimate errs on the dear side."""
SHADOW_TOKENS = 2000
"""Tokens that a challenger's answer is taken to have, before it is there, where the request sets no limit."""
EVALUATIONS = TypeAdapter(list[Evaluated])
OVERHEAD_TOKENS = 400
"""The judge's instruction and the codes."""


class Unavailable(Exception):
    """A model that gave no usable answer."""


class Judgement(Protocol):
    """What a judge model said."""

    @property
    def text(self) -> str: ...
    @property
    def cost_usd(self) -> float: ...
    @property
    def simulated(self) -> bool: ...


class AskModel(Protocol):
    """A challenger's or the reference model's answer, in the shadow. Raises `Unavailable`."""

    async def __call__(
        self, request_id: str, model: str, messages: Sequence[Mapping[str, Any]], parameters: Mapping[str, Any]
    ) -> Answer: ...


class AskJudge(Protocol):
    """One vote of a judge model; `turn` tells repeated votes apart, `once` is the vote's name. Raises `Unavailable`."""

    async def __call__(self, model: str, messages: list[dict[str, str]], turn: int, once: str) -> Judgement: ...


class Budget(Protocol):
    """Money reserved before it is spent."""

    async def reserve(self, usd: float) -> bool: ...
    async def settle(self, reserved: float, spent: float) -> None: ...


class Kept(Protocol):
    """Texts by key that outlive this process; forgets rather than fails."""

    async def get(self, key: str) -> str | None: ...
    async def put(self, key: str, text: str) -> None: ...


class Prices(Protocol):
    """The most that an answer may cost."""

    def bound(self, model: str, prompt_tokens: int, completion_tokens: int) -> float: ...


async def judge(
    message: Completed,
    chosen: Sequence[Pair],
    settings: JudgeSettings,
    ask_model: AskModel,
    ask_judge: AskJudge,
    budget: Budget,
    prices: Prices,
    kept: Kept,
) -> list[Evaluated]:
    """Compare the chosen pairs. A pair that the budget does not allow, or whose answers can't be had, is left out.

    Votes that were paid for are `kept`, so that a message that comes again is not paid for again.
    """

    async def one(pair: Pair) -> list[Evaluated]:
        key = votes_key(message, pair.first, pair.second)
        if (known := await kept.get(key)) is not None:
            return EVALUATIONS.validate_json(known)
        found = await _pair(message, pair, settings, ask_model, ask_judge, budget, prices)
        if found:
            await kept.put(key, EVALUATIONS.dump_json(found, exclude_none=True).decode())
        return found

    results = await asyncio.gather(*(one(pair) for pair in chosen), return_exceptions=True)
    found: list[Evaluated] = []
    for result in results:
        if isinstance(result, Unavailable):
            continue
        if isinstance(result, BaseException):
            raise result
        found += result
    return found


async def chosen_once(message: Completed, choose: Callable[[], list[Pair]], kept: Kept) -> list[Pair]:
    """What `choose` chose when the message first came, however often it comes: by then the table may be another."""
    key = pairs_key(message)
    if (known := await kept.get(key)) is not None:
        return [Pair(first, second, 0.0) for first, second in json.loads(known)]
    if chosen := choose():
        await kept.put(key, json.dumps([(pair.first, pair.second) for pair in chosen]))
    return chosen


def pairs_key(message: Completed) -> str:
    """Under which the chosen pairs are kept."""
    return _key("pairs", message)


def votes_key(message: Completed, first: str, second: str) -> str:
    """Under which the votes on one pair are kept."""
    return _key("votes", message, first, second)


def _key(kind: str, message: Completed, *names: str) -> str:
    answered = (answer.model for answer in message.completion.answers)
    return hashlib.sha256("\0".join((kind, message.request_id, *names, *answered)).encode()).hexdigest()[:40]


def judges_of(pair: Pair, request_id: str, settings: JudgeSettings) -> list[str]:
    """The judge models this comparison falls to; the same ones each time it is asked."""
    digest = hashlib.sha256("\0".join((request_id, pair.first, pair.second)).encode()).digest()
    start = digest[0] % len(settings.models)
    count = 2 if len(settings.models) > 1 and digest[1] < 256 * settings.both else 1
    return [settings.models[(start + i) % len(settings.models)] for i in range(count)]


async def _pair(
    message: Completed,
    pair: Pair,
    settings: JudgeSettings,
    ask_model: AskModel,
    ask_judge: AskJudge,
    budget: Budget,
    prices: Prices,
) -> list[Evaluated]:
    there = {answer.model: answer for answer in message.completion.answers}
    missing = [name for name in (pair.first, pair.second) if name not in there]
    raters = judges_of(pair, message.request_id, settings)
    reserved = _bound(message, [there[n] for n in there if n in (pair.first, pair.second)], missing, len(raters), settings, prices)
    if not await budget.reserve(reserved):
        return []
    spent = 0.0
    try:
        for name in missing:
            there[name] = await ask_model(message.request_id, name, message.chat(), message.parameters)
            spent += there[name].cost_usd
        shadows = spent
        found = []
        for i, rater in enumerate(raters):
            votes, cost, simulated = await _votes(message, there[pair.first], there[pair.second], rater, settings, ask_judge)
            spent += cost
            found.append(_evaluated(message, pair, there, Rater(kind=RaterKind.judge, name=rater, simulated=simulated), votes, cost))
            if i == 0:
                found[0] = found[0].model_copy(update={"cost_usd": cost + shadows})
        if not settings.keep_texts:
            bare = [tuple(a.model_copy(update={"text": None}) for a in e.answers) for e in found]
            found = [e.model_copy(update={"prompt": None, "answers": a}) for e, a in zip(found, bare, strict=True)]
        return found
    finally:
        await budget.settle(reserved, spent)


async def _votes(
    message: Completed, first: Answer, second: Answer, rater: str, settings: JudgeSettings, ask: AskJudge
) -> tuple[Votes, float, bool]:
    """Six votes, three in each order; also what they cost, and whether the judge was simulated."""

    async def one(turn: int) -> tuple[int, verdict.Side | None, float, bool]:
        shown = (first.text, second.text) if turn < settings.orders else (second.text, first.text)
        try:
            once = "\0".join(("vote", message.request_id, first.model, second.model, rater, str(turn)))
            said = await ask(rater, verdict.question(message.task_text(), *shown, settings.answer_chars), turn, once)
        except Unavailable:
            return turn, None, 0.0, False
        return turn, verdict.read(said.text), said.cost_usd, said.simulated

    cast = await asyncio.gather(*(one(turn) for turn in range(2 * settings.orders)))
    count = dict.fromkeys(Votes.model_fields, 0)
    for turn, side, _, _ in cast:
        order = "straight" if turn < settings.orders else "turned"
        count["abstentions" if side is None else "ties" if side == "tie" else f"{order}_{side}"] += 1
    return Votes(**count), sum(cost for _, _, cost, _ in cast), any(simulated for *_, simulated in cast)


def _bound(message: Completed, known: list[Answer], missing: list[str], raters: int, settings: JudgeSettings, prices: Prices) -> float:
    """The most that this comparison may cost."""
    prompt_tokens = message.prompt_bytes() // BYTES_PER_TOKEN + 50
    limit = message.parameters.get("max_tokens") or message.parameters.get("max_completion_tokens")
    answer_tokens = int(limit) if isinstance(limit, int) else SHADOW_TOKENS
    shadows = sum(prices.bound(name, prompt_tokens, answer_tokens) for name in missing)
    lengths = [min(len(a.text), settings.answer_chars) / BYTES_PER_TOKEN for a in known]
    lengths += [min(answer_tokens * 5, settings.answer_chars) / BYTES_PER_TOKEN for _ in missing]
    read = min(message.prompt_bytes(), settings.answer_chars) / BYTES_PER_TOKEN + sum(lengths) + OVERHEAD_TOKENS
    vote = (settings.price_input * read + settings.price_output * verdict.MAX_TOKENS) / 1e6
    return shadows + raters * 2 * settings.orders * vote


def _evaluated(message: Completed, pair: Pair, there: Mapping[str, Answer], rater: Rater, votes: Votes, cost: float) -> Evaluated:
    return Evaluated(
        request_id=message.request_id,
        first=pair.first,
        second=pair.second,
        rater=rater,
        votes=votes,
        at=datetime.now(UTC),
        description=message.description.text,
        embedding=message.embedding,
        prompt=message.task_text(),
        answers=tuple(
            Shown(model=a.model, cost_usd=a.cost_usd, latency_s=a.latency_s, text=a.text) for a in (there[pair.first], there[pair.second])
        ),
        study=message.metadata.get("study"),
        cost_usd=cost,
    )
