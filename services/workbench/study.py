"""The study of `pointsman rank`: every model answers, every pair of answers is judged."""

from __future__ import annotations

import asyncio
import hashlib
import itertools
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.progress import Progress

from services.flows import workers
from services.judge.settings import JudgeSettings
from services.local.started import READY_WITHIN_S, teller
from services.local.supervise import Supervisor
from services.screen import err, progress
from services.workbench.study_report import Study
from shared.adapters.kafka.client import create_topics, each, publisher, reader
from shared.adapters.kafka.settings import KafkaSettings
from shared.adapters.llm.simulated import World
from shared.catalog import models, tasks
from shared.catalog.estimates import ANSWER_TOKENS, estimate_tokens
from shared.catalog.models import Model
from shared.contracts.errors import InvalidMessage
from shared.contracts.evaluations import Evaluated
from shared.contracts.messages import Completed, Submitted, read, to_json
from shared.contracts.raters import RaterKind
from shared.contracts.topics import COMPLETIONS, EVALUATIONS, PROMPTS

AHEAD = 24
"""Prompts under way at once."""
PATIENCE_S = 120.0
JUDGE_TOKENS = 450
"""Of the instruction that a judge model reads beside prompt and answers."""


@dataclass(frozen=True, slots=True)
class StudyPlan:
    """What is to be asked."""

    profile: str
    pool: tuple[Model, ...]
    prompts: tuple[tuple[str, str, str], ...]
    """(request id, task id, prompt)"""

    @property
    def pairs(self) -> int:
        return len(self.pool) * (len(self.pool) - 1) // 2

    def costs(self, judge: JudgeSettings) -> dict[str, Any]:
        """Calls and their estimated cost in USD."""
        sizes = [len(prompt.encode()) for _, _, prompt in self.prompts]
        prompt_tokens = estimate_tokens(sum(sizes)) / max(1, len(sizes))
        answers = sum(m.price.cost_usd(prompt_tokens, ANSWER_TOKENS) for m in self.pool) * len(
            self.prompts
        )
        votes = len(self.prompts) * self.pairs * 2 * judge.orders
        read_tokens = prompt_tokens + 2 * ANSWER_TOKENS + JUDGE_TOKENS
        judging = (
            votes
            * (judge.price_input * read_tokens + judge.price_output * 12)
            / 1e6
            * (1 + judge.both * (len(judge.models) > 1))
        )
        return {
            "prompts": len(self.prompts),
            "models": [m.name for m in self.pool],
            "answers": len(self.prompts) * len(self.pool),
            "comparisons": len(self.prompts) * self.pairs,
            "votes": votes,
            "estimated_usd": {
                "answers": round(answers, 4),
                "votes": round(judging, 4),
                "total": round(answers + judging, 4),
            },
        }


def plan(profile: str, per_task: int) -> StudyPlan:
    """The prompts of a study, with ids that name the same prompt in every run."""
    pool = models.load().profile(profile)
    prompts = []
    for task in tasks.methodology():
        for prompt in (*task.test, *task.train)[:per_task]:
            digest = hashlib.sha256(prompt.encode()).hexdigest()[:10]
            prompts.append((f"rank-{profile}-{task.id}-{digest}", task.id, prompt))
    return StudyPlan(profile, pool, tuple(prompts))


async def conduct(
    wanted: StudyPlan, file: Path, environment: dict[str, str], *, embedded: bool
) -> int:
    """Have everything judged that is not yet; evaluations go to `file` as they arrive. Returns the
    comparisons that are missing."""
    under_way = UnderWay(wanted, judged_before(file))
    if under_way.before:
        err.print(
            f"  going on: {under_way.before} of {len(wanted.prompts)} prompts have been judged "
            "before"
        )
    if under_way.over:
        return under_way.missing
    if not embedded:
        await create_topics(KafkaSettings())
    async with Supervisor(workers(), environment, teller()) as running:
        with progress() as bar:
            starting = bar.add_task("starting the services", total=len(workers()))
            await running.ready(READY_WITHIN_S, lambda _name: bar.advance(starting))
            await _ask_and_hear(under_way, file, bar)
    if under_way.lost:
        err.print(
            f"[yellow]{under_way.lost} comparisons are missing: a model gave no answer. The same "
            "command asks again[/]"
        )
    if waiting := under_way.missing - under_way.lost:
        err.print(
            f"[yellow]{waiting} comparisons are missing: nothing came for {PATIENCE_S:.0f} s. "
            "Is the budget spent? The same command goes on[/]"
        )
    return under_way.missing


class UnderWay:
    """What of a study is still to come. A request's place is free once nothing of it is."""

    def __init__(self, wanted: StudyPlan, evaluations: Iterable[Evaluated]) -> None:
        self.plan = wanted
        self._models = [model.name for model in wanted.pool]
        pairs = {tuple(sorted(pair)) for pair in itertools.combinations(self._models, 2)}
        self._open: dict[str, set[tuple[str, ...]]] = {
            request: set(pairs) for request, _, _ in wanted.prompts
        }
        for evaluation in evaluations:
            pair = (evaluation.first, evaluation.second)
            self._open.get(evaluation.request_id, set()).discard(pair)
        self.prompts = [(r, prompt) for r, _, prompt in wanted.prompts if self._open[r]]
        self.before = len(wanted.prompts) - len(self.prompts)
        self.places = asyncio.Semaphore(AHEAD)
        self._lost: set[tuple[str, ...]] = set()
        """Request and pair of comparisons that can't be made, since a model gave no answer."""

    @property
    def open(self) -> int:
        """Comparisons that may still come."""
        return sum(map(len, self._open.values()))

    @property
    def lost(self) -> int:
        """Comparisons that can't be made, since a model gave no answer."""
        return len(self._lost)

    @property
    def over(self) -> bool:
        return not self.open

    @property
    def missing(self) -> int:
        """Comparisons that have not been made."""
        return self.open + self.lost

    def messages(self) -> Iterator[Submitted]:
        """The prompts, to be answered by every model and compared."""
        for request, prompt in self.prompts:
            yield Submitted(
                request_id=request,
                prompt=prompt,
                compare=tuple(self._models),
                metadata={"study": self.plan.profile},
            )

    def completed(self, message: Completed) -> int:
        """Note a request's answers; pairs of models that gave none are lost. Returns how many
        answers are of this study."""
        if message.request_id not in self._open:
            return 0
        answered = {answer.model for answer in message.completion.answers}
        silent = set(self._models) - answered
        lost = {pair for pair in self._open[message.request_id] if silent & set(pair)}
        self._lost |= {(message.request_id, *pair) for pair in lost}
        self._close(message.request_id, lost)
        return len(message.completion.answers)

    def evaluated(self, evaluation: Evaluated) -> bool | None:
        """Note a comparison. True: it was open; False: it came before; None: of another study."""
        if evaluation.request_id not in self._open:
            return None
        pair = (evaluation.first, evaluation.second)
        lost = (evaluation.request_id, *pair)
        new = pair in self._open[evaluation.request_id] or lost in self._lost
        self._lost.discard(lost)
        self._close(evaluation.request_id, {pair})
        return new

    def _close(self, request: str, pairs: set[tuple[str, ...]]) -> None:
        before = bool(self._open[request])
        self._open[request] -= pairs
        if before and not self._open[request]:
            self.places.release()


async def _ask_and_hear(under_way: UnderWay, file: Path, bar: Progress) -> None:
    """Publish the prompts, no more at once than there are places for, and write down what comes."""
    kafka = KafkaSettings()
    prompts = len(under_way.prompts)
    answers = bar.add_task("answers", total=prompts * len(under_way.plan.pool))
    judged = bar.add_task("comparisons", total=under_way.open)
    async with (
        publisher(kafka) as send,
        reader(kafka, (COMPLETIONS, EVALUATIONS), from_start=False) as consumer,
    ):

        async def ask() -> None:
            for message in under_way.messages():
                await under_way.places.acquire()
                await send.send_and_wait(kafka.name(PROMPTS), to_json(message), key=message.key)

        asking = asyncio.create_task(ask())
        heard_at = time.monotonic()
        with file.open("a", encoding="utf-8") as results:
            while not under_way.over and time.monotonic() - heard_at < PATIENCE_S:
                for record in await _next(consumer):
                    heard_at = time.monotonic()
                    try:
                        if record.topic == kafka.name(COMPLETIONS):
                            completed = read(Completed, record.value)
                            bar.advance(answers, under_way.completed(completed))
                            continue
                        evaluation = read(Evaluated, record.value)
                    except InvalidMessage:
                        continue
                    new = under_way.evaluated(evaluation)
                    if new is None:
                        continue
                    results.write(without_texts(evaluation).model_dump_json(exclude_none=True))
                    results.write("\n")
                    results.flush()
                    bar.advance(judged, int(new))
        asking.cancel()
        await asyncio.gather(asking, return_exceptions=True)


async def _next(consumer: Any) -> list[Any]:
    """The records that came, of all partitions."""
    fetched = await consumer.getmany(timeout_ms=200)
    return [record for records in fetched.values() for record in records]


async def add_votes_of_people(wanted: StudyPlan, file: Path) -> None:
    """Take what people have said of the study's answers (`pointsman vote`) into the folder of
    results."""
    requests = {request for request, _, _ in wanted.prompts}
    before = {e.evaluation_id: e.votes for e in judged_before(file)}
    newest: dict[str, tuple[int, Evaluated]] = {}
    async for record in each(KafkaSettings(), EVALUATIONS):
        try:
            evaluation = read(Evaluated, record.value)
        except InvalidMessage:
            continue
        known = newest.get(evaluation.evaluation_id)
        if (
            evaluation.request_id in requests
            and evaluation.rater.kind is not RaterKind.judge
            and (known is None or known[0] <= record.timestamp)
        ):
            newest[evaluation.evaluation_id] = record.timestamp, evaluation
    with file.open("a", encoding="utf-8") as kept:
        for name, (_, evaluation) in newest.items():
            if before.get(name) != evaluation.votes:
                bare = without_texts(evaluation)
                kept.write(bare.model_dump_json(exclude_none=True) + "\n")


def without_texts(evaluation: Evaluated) -> Evaluated:
    """What rankings need of it."""
    answers = tuple(answer.model_copy(update={"text": None}) for answer in evaluation.answers)
    return evaluation.model_copy(update={"embedding": None, "prompt": None, "answers": answers})


def judged_before(file: Path) -> list[Evaluated]:
    """Evaluations of earlier runs; a line that a crash cut short is left out."""
    newest: dict[str, Evaluated] = {}
    if file.exists():
        for line in file.read_bytes().split(b"\n"):
            try:
                evaluation = read(Evaluated, line)
            except InvalidMessage:
                continue
            newest[evaluation.evaluation_id] = evaluation
    return list(newest.values())


def truth_of(study: Study) -> dict[str, dict[str, float]]:
    """Skills of the simulated models, by task id and model."""
    world = World()
    return {t.id: {m: world.skill(m, t.name) for m in study.models} for t in tasks.methodology()}
