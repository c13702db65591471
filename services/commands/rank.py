"""`pointsman rank`: the methodology. Every model of a profile answers the 25 tasks, every pair of
answers is judged six times.

The prompts go through the very same services. What has been judged is kept in the folder of results
as it arrives, so a run that was stopped goes on where it was; answers and votes that are there are
not paid again.
"""

from __future__ import annotations

import asyncio
import hashlib
import itertools
import os
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.table import Table

from services.commands.ranking import Study, report, show_raters, study_of
from services.commands.screen import as_json as print_json
from services.commands.screen import err, out, progress, usd
from services.commands.supervise import Supervisor
from services.commands.up import READY_WITHIN_S, llm_line, started_servers, teller
from services.flows import workers
from services.judge.settings import JudgeSettings
from shared.adapters.kafka.client import create_topics, publisher, read_all, reader
from shared.adapters.kafka.settings import KafkaSettings
from shared.adapters.llm.chat import LLMSettings
from shared.adapters.llm.simulated import World
from shared.catalog import models, tasks
from shared.catalog.models import Model
from shared.contracts.errors import InvalidMessage
from shared.contracts.evaluations import Evaluated
from shared.contracts.messages import Completed, Submitted, read, to_json
from shared.contracts.parts import RaterKind
from shared.contracts.topics import COMPLETIONS, EVALUATIONS, PROMPTS

AHEAD = 24
"""Prompts under way at once."""
PATIENCE_S = 120.0
PROMPT_TOKENS, ANSWER_TOKENS, JUDGE_OVERHEAD = 90, 400, 450


@dataclass(frozen=True, slots=True)
class Plan:
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
        answers = sum(m.price.cost_usd(PROMPT_TOKENS, ANSWER_TOKENS) for m in self.pool) * len(
            self.prompts
        )
        votes = len(self.prompts) * self.pairs * 2 * judge.orders
        read_tokens = PROMPT_TOKENS + 2 * ANSWER_TOKENS + JUDGE_OVERHEAD
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


def plan(profile: str, per_task: int) -> Plan:
    """The prompts of a study, with ids that name the same prompt in every run."""
    pool = models.load().profile(profile)
    prompts = []
    for task in tasks.load():
        for prompt in (*task.test, *task.train)[:per_task]:
            digest = hashlib.sha256(prompt.encode()).hexdigest()[:10]
            prompts.append((f"rank-{profile}-{task.id}-{digest}", task.id, prompt))
    return Plan(profile, pool, tuple(prompts))


def rank(
    profile: str,
    per_task: int,
    folder: Path,
    budget: float,
    *,
    simulate: bool,
    dry_run: bool,
    kafka: str | None,
    redis: str | None,
    as_json: bool,
) -> int:
    """Run the study, or go on with it. Returns the exit code."""
    wanted, judge = plan(profile, per_task), JudgeSettings()
    if simulate:
        os.environ["POINTSMAN_LLM_API_KEY"] = ""
    costs = wanted.costs(judge) | {"language_models": llm_line(), "budget_usd": budget}
    if not as_json:
        _show_plan(costs, err)
    if dry_run:
        if as_json:
            print_json(costs)
        return 0
    if not LLMSettings().simulated and costs["estimated_usd"]["total"] > budget:
        err.print(
            "[bold red]error:[/] the estimate is above the budget; allow more with --budget, or "
            "ask less with --prompts"
        )
        return 1
    kind = "simulated" if LLMSettings().simulated else "real"
    folder = folder / f"{profile}-{kind}"
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / "evaluations.jsonl"
    with started_servers(kafka, redis) as where:
        environment = where.environment | {
            "POINTSMAN_JUDGE_BUDGET_USD_PER_DAY": str(budget),
            "POINTSMAN_JUDGE_PROFILE": profile,
            "POINTSMAN_RECLUSTERER_PROFILE": profile,
            "POINTSMAN_RECLUSTERER_EVERY_S": "20",
        }
        if LLMSettings().simulated:
            environment["POINTSMAN_LLM_API_KEY"] = ""
        try:
            missing = asyncio.run(_study(wanted, file, environment, embedded=where.embedded))
            if not where.embedded:
                asyncio.run(_add_votes_of_people(wanted, file))
        except KeyboardInterrupt:
            err.print(f"stopped. What was judged is in {file}; the same command goes on from there")
            return 130
    study = study_of(
        _kept(file),
        [m.name for m in wanted.pool],
        {r: t for r, t, _ in wanted.prompts},
        wanted.pool,
    )
    facts = report(
        study, folder, truth=_truth(study) if kind == "simulated" else None, missing=missing
    )
    if as_json:
        print_json(facts)
    else:
        _show(facts, folder)
    return 0 if not missing else 1


def _show_plan(costs: dict[str, Any], screen: Any) -> None:
    estimate = costs["estimated_usd"]
    screen.print(
        f"[bold]Pointsman rank[/]: {costs['prompts']} prompts of 25 tasks, {len(costs['models'])} "
        f"models ({', '.join(costs['models'])})\n"
        f"  {costs['answers']} answers, {costs['comparisons']} comparisons, {costs['votes']} "
        "votes; "
        f"estimated {usd(estimate['total'])} ({usd(estimate['answers'])} for answers, "
        f"{usd(estimate['votes'])} for votes), "
        f"budget {usd(costs['budget_usd'])}\n"
        f"  language models  {costs['language_models']}",
        soft_wrap=True,
    )


async def _study(wanted: Plan, file: Path, environment: dict[str, str], *, embedded: bool) -> int:
    """Have everything judged that is not yet; evaluations go to `file` as they arrive. Returns the
    comparisons that are missing."""
    pairs = {tuple(sorted(p)) for p in itertools.combinations([m.name for m in wanted.pool], 2)}
    left: dict[str, set[tuple[str, ...]]] = {
        request: set(pairs) for request, _, _ in wanted.prompts
    }
    for evaluation in _kept(file):
        left.get(evaluation.request_id, set()).discard((evaluation.first, evaluation.second))
    todo = [(r, p) for r, _, p in wanted.prompts if left[r]]
    if len(todo) < len(wanted.prompts):
        err.print(
            f"  going on: {len(wanted.prompts) - len(todo)} of {len(wanted.prompts)} prompts have "
            "been judged before"
        )
    if not todo:
        return 0
    kafka = KafkaSettings()
    if not embedded:
        await create_topics(kafka)
    async with Supervisor(workers(), environment, teller()) as running:
        with progress() as bar:
            starting = bar.add_task("starting the services", total=len(workers()))
            await running.ready(READY_WITHIN_S, lambda _name: bar.advance(starting))
            answers = bar.add_task("answers", total=len(todo) * len(wanted.pool))
            judged = bar.add_task("comparisons", total=sum(len(left[r]) for r, _ in todo))
            async with (
                publisher(kafka) as send,
                reader(kafka, (COMPLETIONS, EVALUATIONS), from_start=False) as consumer,
            ):
                room = asyncio.Semaphore(AHEAD)
                heard = [time.monotonic()]

                async def ask() -> None:
                    for request, prompt in todo:
                        await room.acquire()
                        message = Submitted(
                            request_id=request,
                            prompt=prompt,
                            compare=tuple(m.name for m in wanted.pool),
                            metadata={"study": wanted.profile},
                        )
                        await send.send_and_wait(
                            kafka.name(PROMPTS), to_json(message), key=message.key
                        )

                asking = asyncio.create_task(ask())
                given_up: set[str] = set()
                with file.open("a", encoding="utf-8") as kept:
                    while (
                        any(left[r] for r, _ in todo if r not in given_up)
                        and time.monotonic() - heard[0] < PATIENCE_S
                    ):
                        for records in (await consumer.getmany(timeout_ms=200)).values():
                            for record in records:
                                heard[0] = time.monotonic()
                                try:
                                    if record.topic == kafka.name(COMPLETIONS):
                                        done = read(Completed, record.value)
                                        if done.request_id in left:
                                            bar.advance(answers, len(done.completion.answers))
                                            short = {m.name for m in wanted.pool} - {
                                                a.model for a in done.completion.answers
                                            }
                                            lost = {
                                                p for p in left[done.request_id] if short & set(p)
                                            }
                                            left[done.request_id] -= lost
                                            if not left[done.request_id]:
                                                given_up.add(done.request_id)
                                                room.release()
                                        continue
                                    evaluation = read(Evaluated, record.value)
                                except InvalidMessage:
                                    continue
                                if evaluation.request_id not in left:
                                    continue
                                bare = evaluation.model_copy(
                                    update={
                                        "embedding": None,
                                        "prompt": None,
                                        "answers": _bare(evaluation),
                                    }
                                )
                                kept.write(bare.model_dump_json(exclude_none=True) + "\n")
                                kept.flush()
                                pair = (evaluation.first, evaluation.second)
                                if pair in left[evaluation.request_id]:
                                    left[evaluation.request_id].discard(pair)
                                    bar.advance(judged)
                                    if not left[evaluation.request_id]:
                                        room.release()
                asking.cancel()
                await asyncio.gather(asking, return_exceptions=True)
    missing = sum(len(pairs) for pairs in left.values())
    if missing:
        err.print(
            f"[yellow]{missing} comparisons are missing: nothing came for {PATIENCE_S:.0f} s. "
            "Is the budget spent? The same command goes on[/]"
        )
    return missing


async def _add_votes_of_people(wanted: Plan, file: Path) -> None:
    """Take what people have said of the study's answers (`pointsman vote`) into the folder of
    results."""
    requests = {request for request, _, _ in wanted.prompts}
    known = {(e.evaluation_id, e.votes) for e in _kept(file)}
    with file.open("a", encoding="utf-8") as kept:
        for record in await read_all(KafkaSettings(), EVALUATIONS):
            try:
                evaluation = read(Evaluated, record.value)
            except InvalidMessage:
                continue
            fresh = (evaluation.evaluation_id, evaluation.votes) not in known
            if (
                evaluation.request_id in requests
                and evaluation.rater.kind is not RaterKind.judge
                and fresh
            ):
                bare = evaluation.model_copy(
                    update={"embedding": None, "prompt": None, "answers": _bare(evaluation)}
                )
                kept.write(bare.model_dump_json(exclude_none=True) + "\n")


def _bare(evaluation: Evaluated) -> tuple[Any, ...]:
    return tuple(answer.model_copy(update={"text": None}) for answer in evaluation.answers)


def _kept(file: Path) -> list[Evaluated]:
    """Evaluations of earlier runs; a line that a crash cut short is left out."""
    found: dict[str, Evaluated] = {}
    if file.exists():
        for line in file.read_bytes().split(b"\n"):
            try:
                evaluation = read(Evaluated, line)
            except InvalidMessage:
                continue
            found[evaluation.evaluation_id] = evaluation
    return list(found.values())


def _truth(study: Study) -> dict[str, dict[str, float]]:
    """Skills of the simulated models, by task id and model."""
    world = World()
    return {t.id: {m: world.skill(m, t.name) for m in study.models} for t in tasks.load()}


def _show(facts: dict[str, Any], folder: Path) -> None:
    shown = Table(
        "rank",
        "model",
        "strength",
        "95% interval",
        "cost per answer",
        "latency",
        "first on",
        box=None,
    )
    for i, row in enumerate(facts["overall"], 1):
        interval = f"{row['low']:+.2f} … {row['high']:+.2f}"
        shown.add_row(
            str(i),
            row["model"],
            f"{row['strength']:+.2f}",
            interval,
            usd(row["cost_usd"]),
            f"{row['latency_s']:.1f} s",
            f"{row['first_on']} tasks",
        )
    out.print(shown)
    per_task = Table("task", "first", "second", "third", box=None)
    for row in facts["tasks"]:
        best = [
            f"{m['model']} {m['strength']:+.1f} ± {m['standard_error']:.1f}"
            for m in row["models"][:3]
        ]
        per_task.add_row(row["name"], *best)
    out.print(per_task)
    show_raters(facts)
    if facts.get("truth"):
        out.print(
            "[yellow]SIMULATED[/] models, so the truth is known: Kendall tau "
            f"{facts['truth']['tau']:.3f} on average over tasks, "
            f"{facts['truth']['coverage']:.0%} of 95% intervals hold it; with votes in one order "
            "only, counted: "
            f"tau {facts['truth']['single_order_tau']:.3f}",
            soft_wrap=True,
        )
    if facts["missing"]:
        out.print(f"[yellow]{facts['missing']} comparisons are missing[/]")
    out.print(f"written to {folder}: ranking.md, ranking.csv, ranking.json, ranking.png")
