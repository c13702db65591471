"""From a completion to evaluations."""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from types import MappingProxyType
from typing import Protocol

from pydantic import TypeAdapter

from services.judge import verdict
from services.judge.attendance import Attendance
from services.judge.settings import JudgeSettings
from shared.catalog.estimates import FEWEST_BYTES_PER_TOKEN
from shared.contracts.answers import Answer
from shared.contracts.errors import ModelUnavailable
from shared.contracts.evaluations import Evaluated, Shown
from shared.contracts.messages import Completed, answer_room
from shared.contracts.raters import Abstained, Abstention, Rater, RaterKind, Votes
from shared.routing.learning.sampling import Pair

SHADOW_TOKENS = 2000
"""Tokens that a challenger's answer is taken to have, before it is there, where the request sets no
limit."""
EVALUATIONS = TypeAdapter(list[Evaluated])
OVERHEAD_TOKENS = 400
"""The judge's instruction and the codes."""


class Judgement(Protocol):
    """What a judge model said."""

    @property
    def text(self) -> str: ...
    @property
    def finish_reason(self) -> str | None: ...
    @property
    def cost_usd(self) -> float: ...
    @property
    def simulated(self) -> bool: ...


class AskInShadow(Protocol):
    """A challenger's or the reference model's answer, in the shadow. Raises `ModelUnavailable`."""

    async def __call__(self, message: Completed, model: str) -> Answer: ...


class AskJudge(Protocol):
    """One vote of a judge model; `turn` tells repeated votes apart, `once` is the vote's name.
    Raises `ModelUnavailable`."""

    async def __call__(
        self, model: str, messages: list[dict[str, str]], turn: int, once: str
    ) -> Judgement: ...


PAIRS_AT_ONCE = 6
"""Of one message; a sender may want many compared."""


class Reserved(Protocol):
    """Money that may be spent."""

    async def settle(self, spent: float) -> None: ...


class Budget(Protocol):
    """Money reserved before it is spent."""

    async def reserve(self, usd: float) -> Reserved | None: ...


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
    ask_model: AskInShadow,
    ask_judge: AskJudge,
    budget: Budget,
    prices: Prices,
    remembered: Kept,
    attendance: Attendance,
) -> list[Evaluated]:
    """Compare the chosen pairs, some at a time. A pair that the budget does not allow,
    or whose answers are not available or call tools, is left out.

    Votes that were paid for are `remembered`, so that a message that comes again is not paid for
    again."""

    room = asyncio.Semaphore(PAIRS_AT_ONCE)

    async def one(pair: Pair) -> list[Evaluated]:
        async with room:
            return await compared(pair)

    async def compared(pair: Pair) -> list[Evaluated]:
        key = votes_key(message, pair.first, pair.second)
        if (votes_before := await remembered.get(key)) is not None:
            return EVALUATIONS.validate_json(votes_before)
        evaluations = await _pair(
            message, pair, settings, ask_model, ask_judge, budget, prices, attendance
        )
        if evaluations:
            await remembered.put(
                key, EVALUATIONS.dump_json(evaluations, exclude_none=True).decode()
            )
        return evaluations

    results = await asyncio.gather(*(one(pair) for pair in chosen), return_exceptions=True)
    evaluations: list[Evaluated] = []
    for result in results:
        if isinstance(result, ModelUnavailable):
            continue
        if isinstance(result, BaseException):
            raise result
        evaluations += result
    return evaluations


async def chosen_once(
    message: Completed, choose: Callable[[], list[Pair]], remembered: Kept
) -> list[Pair]:
    """What `choose` chose when the message first came, however often it comes: by then the table
    may be another."""
    key = pairs_key(message)
    if (chosen_before := await remembered.get(key)) is not None:
        return [Pair(first, second, 0.0) for first, second in json.loads(chosen_before)]
    if chosen := choose():
        await remembered.put(key, json.dumps([(pair.first, pair.second) for pair in chosen]))
    return chosen


def pairs_key(message: Completed) -> str:
    """Under which the chosen pairs are kept."""
    return _key("pairs", message)


def votes_key(message: Completed, first: str, second: str) -> str:
    """Under which the votes on one pair are kept."""
    return _key("votes", message, first, second)


def _key(kind: str, message: Completed, *names: str) -> str:
    answered = (answer.model for answer in message.completion.answers)
    return hashlib.sha256(
        "\0".join((kind, message.request_id, message.asked(), *names, *answered)).encode()
    ).hexdigest()[:40]


def judges_of(
    pair: Pair, request_id: str, settings: JudgeSettings, attendance: Attendance
) -> list[str]:
    """The judge models this comparison falls to, of those that give votes; the same ones each time
    it is asked."""
    models = [model for model in settings.models if attendance.votes(model)]
    if not models:
        return []
    digest = hashlib.sha256("\0".join((request_id, pair.first, pair.second)).encode()).digest()
    count = 2 if len(models) > 1 and digest[1] < 256 * settings.both else 1
    return [models[(digest[0] + i) % len(models)] for i in range(count)]


async def _pair(
    message: Completed,
    pair: Pair,
    settings: JudgeSettings,
    ask_model: AskInShadow,
    ask_judge: AskJudge,
    budget: Budget,
    prices: Prices,
    attendance: Attendance,
) -> list[Evaluated]:
    there = {answer.model: answer for answer in message.completion.answers}
    missing = [name for name in (pair.first, pair.second) if name not in there]
    raters = judges_of(pair, message.request_id, settings, attendance)
    if not raters:
        return []
    most = _bound(
        message,
        [there[n] for n in there if n in (pair.first, pair.second)],
        missing,
        len(raters),
        settings,
        prices,
    )
    if (reserved := await budget.reserve(most)) is None:
        return []
    spent = 0.0
    try:
        for name in missing:
            there[name] = await ask_model(message, name)
            spent += there[name].cost_usd
        if not all(there[name].in_words for name in (pair.first, pair.second)):
            return []
        shadows_usd = spent
        evaluations: list[Evaluated] = []
        for rater in raters:
            judging = KINDS[settings.kind](rater, settings, ask_judge)
            cast = await judging.compare(message, there[pair.first], there[pair.second])
            cost = sum(vote.cost_usd for vote in cast)
            spent += cost
            evaluation = _evaluated(message, pair, there, rater, cast, settings)
            if not evaluations:  # what the answers cost stands with the first
                evaluation = evaluation.model_copy(update={"cost_usd": cost + shadows_usd})
            evaluations.append(evaluation)
        return evaluations
    finally:
        await reserved.settle(spent)


@dataclass(frozen=True, slots=True)
class Vote:
    """One vote as it was cast."""

    turned: bool
    """Whether the second model's answer was shown first."""
    said: verdict.Side | Abstention
    cost_usd: float = 0.0
    simulated: bool = False


class Judge(Protocol):
    """Compares two answers to one prompt."""

    async def compare(self, message: Completed, first: Answer, second: Answer) -> list[Vote]:
        """The votes; what could not be read is an abstention. Raises nothing of its own."""
        ...


@dataclass(frozen=True, slots=True)
class SixVotes:
    """A judge model that votes six times, three times in each order."""

    model: str
    settings: JudgeSettings
    ask: AskJudge

    async def compare(self, message: Completed, first: Answer, second: Answer) -> list[Vote]:
        """Where the first vote in either order can't be read, the others are not asked for."""

        async def one(turn: int) -> Vote:
            return await self._vote(message, first, second, turn)

        turns = range(2 * self.settings.orders)
        begun = (0, self.settings.orders)
        cast = list(await asyncio.gather(*(one(turn) for turn in begun)))
        if any(not isinstance(vote.said, Abstention) for vote in cast):
            cast += await asyncio.gather(*(one(turn) for turn in turns if turn not in begun))
        return cast

    async def _vote(self, message: Completed, first: Answer, second: Answer, turn: int) -> Vote:
        turned = turn >= self.settings.orders
        shown = (second.text, first.text) if turned else (first.text, second.text)
        asked = message.asked()
        names = (first.model, second.model)
        once = "\0".join(("vote", message.request_id, asked, *names, self.model, str(turn)))
        question = verdict.question(message.task_text(), *shown, self.settings.answer_chars)
        try:
            said = await self.ask(self.model, question, turn, once)
        except ModelUnavailable:
            return Vote(turned, Abstention.failed)
        side = verdict.read(said.text, said.finish_reason)
        return Vote(turned, side, said.cost_usd, said.simulated)


KINDS: Mapping[str, Callable[[str, JudgeSettings, AskJudge], Judge]] = MappingProxyType(
    {"votes": SixVotes}
)
"""By the name that POINTSMAN_JUDGE_KIND takes. A new kind is a class with `compare` and a line
here."""


def counted(cast: Sequence[Vote]) -> Votes:
    """The votes by what they said."""
    count = dict.fromkeys(Votes.model_fields, 0)
    for vote in cast:
        order = "turned" if vote.turned else "straight"
        count[
            "abstentions"
            if isinstance(vote.said, Abstention)
            else "ties"
            if vote.said == "tie"
            else f"{order}_{vote.said}"
        ] += 1
    return Votes(**count)


def _bound(
    message: Completed,
    answers: list[Answer],
    missing: list[str],
    raters: int,
    settings: JudgeSettings,
    prices: Prices,
) -> float:
    """The most that this comparison may cost."""
    prompt_tokens = message.prompt_bytes() // FEWEST_BYTES_PER_TOKEN + 50
    answer_tokens = answer_room(message.parameters, SHADOW_TOKENS)
    shadows = sum(prices.bound(name, prompt_tokens, answer_tokens) for name in missing)
    lengths = [min(len(a.text), settings.answer_chars) / FEWEST_BYTES_PER_TOKEN for a in answers]
    lengths += [
        min(answer_tokens * 5, settings.answer_chars) / FEWEST_BYTES_PER_TOKEN for _ in missing
    ]
    read = (
        min(message.prompt_bytes(), settings.answer_chars) / FEWEST_BYTES_PER_TOKEN
        + sum(lengths)
        + OVERHEAD_TOKENS
    )
    vote = (settings.price_input * read + settings.price_output * settings.max_tokens) / 1e6
    return shadows + raters * 2 * settings.orders * vote


def _evaluated(
    message: Completed,
    pair: Pair,
    there: Mapping[str, Answer],
    rater: str,
    cast: Sequence[Vote],
    settings: JudgeSettings,
) -> Evaluated:
    shown = (there[pair.first], there[pair.second])
    return Evaluated(
        request_id=message.request_id,
        first=pair.first,
        second=pair.second,
        rater=Rater(
            kind=RaterKind.judge, name=rater, simulated=any(vote.simulated for vote in cast)
        ),
        votes=counted(cast),
        abstained=Abstained(
            **Counter(vote.said.value for vote in cast if isinstance(vote.said, Abstention))
        ),
        at=datetime.now(UTC),
        description=message.description.text,
        embedding=message.embedding,
        prompt=message.task_text() if settings.keep_texts else None,
        answers=tuple(
            Shown(
                model=a.model,
                cost_usd=a.cost_usd,
                latency_s=a.latency_s,
                prompt_tokens=a.prompt_tokens,
                completion_tokens=a.completion_tokens,
                cost_source=a.cost_source,
                text=a.text if settings.keep_texts else None,
            )
            for a in shown
        ),
        study=message.metadata.get("study"),
        cost_usd=sum(vote.cost_usd for vote in cast),
    )
