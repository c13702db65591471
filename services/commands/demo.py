"""`pointsman demo`: a file of prompts through the real services, each decision as it arrives, and a
summary."""

from __future__ import annotations

import asyncio
import json
import os
import random
import signal
import time
import uuid
from collections import Counter
from collections.abc import Sequence
from contextlib import nullcontext, suppress
from pathlib import Path
from typing import Any

import numpy as np
from rich.markup import escape
from rich.table import Table

from services.commands.traffic import Outcome, Traffic, as_message, open_traffic
from services.commands.up import on_a_laptop, show_addresses
from services.flows import names
from services.local import servers
from services.local.started import READY_WITHIN_S, Servers, llm_line, started_servers, teller
from services.local.supervise import Supervisor
from services.screen import as_json as print_json
from services.screen import err, out, progress
from services.workbench.known_tasks import TaskPrompt, grasp
from shared.adapters.kafka.client import create_topics, reader
from shared.adapters.kafka.settings import KafkaSettings
from shared.adapters.kafka.tables import versions
from shared.adapters.llm.chat import LLMSettings
from shared.catalog import tasks
from shared.contracts.errors import InvalidMessage
from shared.contracts.figures import percentile, usd
from shared.contracts.places import Assigned
from shared.contracts.tables import TablePublished
from shared.contracts.topics import EVALUATIONS
from shared.contracts.wishes import Profile

LEARN_PATIENCE_S = 40.0
"""How long nothing may come while there is something to be learnt."""
RANK_WITHIN_S = 30.0
MOSTLY = 0.6
"""The weight from which a prompt is shown as of one cluster."""
PATIENCE_S = 60.0
"""How long nothing may come before the demo gives up on what is missing."""


def demo(prompts: Path | None, rate: float, *, as_json: bool, keep: bool) -> int:
    """Route the prompts of a file, or those of the 25 tasks kept for testing. Returns the exit
    code."""
    lines = read_prompts(prompts)
    with started_servers() as where:
        err.print(
            f"[bold]Pointsman demo[/]: {len(lines)} "
            f"prompts{f' of {prompts}' if prompts else ' of the 25 tasks, kept for testing'}\n"
            f"  Kafka            {where.kafka}\n  Redis            {where.redis}\n  language "
            f"models  {llm_line()}\n"
            "  rankings         none yet: they are learnt now, from answers compared by judges",
            soft_wrap=True,
        )
        return asyncio.run(_demo(lines, _lessons(), where, rate, as_json=as_json, keep=keep))


def _lessons() -> list[str]:
    """Prompts to learn from: all of the 25 tasks' where nothing has a price, one of each where
    answers cost money."""
    each = [
        task.train if LLMSettings().simulated else task.train[:1] for task in tasks.methodology()
    ]
    return [prompt for prompts in each for prompt in prompts]


def read_prompts(path: Path | None) -> list[str]:
    """The lines of a file; without one, the test prompts of all tasks in a fixed random order, with
    all four profiles in turn."""
    if path is not None:
        try:
            text = path.read_bytes().decode("utf-8-sig")
        except UnicodeDecodeError:
            raise InvalidMessage(
                f"{path} is not UTF-8; convert it, for example with iconv -t utf-8"
            ) from None
        except OSError as error:
            raise InvalidMessage(f"{path} can't be read: {error.strerror}") from None
        lines = [line for line in text.split("\n") if line.strip()]
        if not lines:
            raise InvalidMessage(
                f"{path} holds no prompt; write one a line, as plain text or as JSON"
            )
        return lines
    held = [prompt for task in tasks.methodology() for prompt in task.test]
    random.Random(0).shuffle(held)
    profiles = [profile.value for profile in Profile]
    return [
        json.dumps({"prompt": prompt, "profile": profiles[i % 4]}, ensure_ascii=False)
        for i, prompt in enumerate(held)
    ]


async def _demo(
    lines: list[str],
    learn: Sequence[str],
    where: Servers,
    rate: float,
    *,
    as_json: bool,
    keep: bool,
) -> int:
    kafka = KafkaSettings()
    if not where.embedded:
        await create_topics(kafka)
    async with Supervisor(
        names(), where.environment | on_a_laptop(where) | any_ports(), teller()
    ) as running:
        with progress() as bar:
            starting = bar.add_task("starting the services", total=len(names()))
            await running.ready(READY_WITHIN_S, lambda _name: bar.advance(starting))
        if not as_json:
            show_addresses(running)
        async with open_traffic(kafka) as traffic:
            lessons = await _learn(kafka, traffic, learn, as_json=as_json) if learn else []
            began = time.monotonic()
            outcomes = await _route(traffic, lines, rate, as_json=as_json)
            took = time.monotonic() - began
        restarts = sum(running.restarts.values())
        learnt = await _learnt(kafka, _known(lessons), _known(outcomes))
        code = _summary(
            outcomes, len(lines), took, traffic.repeated, restarts, learnt, as_json=as_json
        )
        with servers.announced(where.environment) if keep else nullcontext():
            await _doors(running, keep=keep, as_json=as_json)
    return code


async def _doors(running: Supervisor, *, keep: bool, as_json: bool) -> None:
    """Keep the console and the gateway until Ctrl-C, if that is wanted."""
    say = err if as_json else out
    if not keep:
        say.print(
            "to look around in the browser: [bold]make demo KEEP=1[/], or `pointsman demo --keep`",
            soft_wrap=True,
        )
        return
    say.print(
        f"the console stays open at [bold]{running.addresses['console']}[/] until Ctrl-C",
        soft_wrap=True,
    )
    stop = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    await stop.wait()
    say.print("stopping…")


def any_ports() -> dict[str, str]:
    """Gateway and console take any free port, so that a demo runs beside a `pointsman up`."""
    wanted = {"POINTSMAN_GATEWAY_PORT": "0", "POINTSMAN_CONSOLE_PORT": "0"}
    return {name: value for name, value in wanted.items() if name not in os.environ}


async def _learn(
    kafka: KafkaSettings, traffic: Traffic, prompts: Sequence[str], *, as_json: bool
) -> list[Outcome]:
    """Have prompts answered and compared until there is a ranking; the first decision is shown,
    made without one."""
    run = uuid.uuid4().hex[:8]
    lessons: list[Outcome] = []
    seen = 0
    compared: set[bytes | None] = set()
    async with reader(kafka, [EVALUATIONS], from_start=False) as votes:
        with progress() as bar:
            answering = bar.add_task("answering prompts to learn from", total=len(prompts))
            comparing = bar.add_task("prompts whose answers were compared", total=len(prompts))
            for i, prompt in enumerate(prompts):
                request_id = f"learn-{run}-{i:05d}"
                message = {
                    "prompt": prompt,
                    "request_id": request_id,
                    "answer": True,
                    "profile": "quality",
                }
                await traffic.send(request_id, json.dumps(message, ensure_ascii=False).encode())
            quiet = time.monotonic()
            while (
                len(compared) < len(prompts) or not bar.finished
            ) and time.monotonic() - quiet < LEARN_PATIENCE_S:
                while not traffic.outcomes.empty():
                    outcome = traffic.outcomes.get_nowait()
                    lessons.append(outcome)
                    if not bar.tasks[answering].completed and not as_json:
                        out.print("[dim]the first decision, made without any ranking:[/]")
                        _show(outcome, 1, len(prompts))
                    bar.advance(answering)
                    quiet = time.monotonic()
                for records in (await votes.getmany(timeout_ms=100)).values():
                    compared.update(record.key for record in records)
                    seen = seen + len(records)
                    quiet = time.monotonic()
                bar.update(comparing, completed=len(compared))
            ranking = bar.add_task("finding tasks, ranking models", total=1)
            with suppress(TimeoutError):
                async with asyncio.timeout(RANK_WITHIN_S):
                    while not _is_ranked(await versions(kafka), seen):  # noqa: ASYNC110
                        await asyncio.sleep(0.2)
            bar.advance(ranking)
    return lessons


def _known(outcomes: Sequence[Outcome]) -> list[TaskPrompt]:
    """Those whose task is known: prompts of the 25."""
    task_of = {p: t.name for t in tasks.methodology() for p in (*t.train, *t.test)}
    decided = [o.decided for o in outcomes if o.decided is not None]
    return [
        TaskPrompt(
            text,
            task_of[text],
            message.embedding.features(),
            message.embedding.encoder.encoder(),
        )
        for message in decided
        if (text := message.task_text()) in task_of
    ]


def _is_ranked(published: list[TablePublished], evaluations: int) -> bool:
    """Whether the newest table has several clusters, and most evaluations are in it."""
    if not published:
        return False
    table = published[-1].read_table()
    return len(table.clusters) > 1 and (published[-1].evaluations or 0) >= 0.9 * evaluations


async def _learnt(
    kafka: KafkaSettings, lessons: Sequence[TaskPrompt], kept: Sequence[TaskPrompt]
) -> dict[str, Any]:
    """What the tables say that were published meanwhile; with simulated models, beside the
    truth."""
    published = await versions(kafka)
    if not published:
        return {}
    table = published[-1].read_table()
    success = table.success.astype(np.float64)
    sizes = np.array([max(1, c.size) for c in table.clusters], np.float64)
    mean = sizes @ success / sizes.sum()
    report: dict[str, Any] = {
        "table": str(published[-1].ref),
        "clusters": len(table.clusters),
        "rankings_from": table.provenance.source,
        "simulated": table.provenance.simulated,
        "reference": table.reference_model,
        "models": [
            {
                "model": table.models[m],
                "success": float(mean[m]),
                "best_in": int((success.argmax(axis=1) == m).sum()),
            }
            for m in np.argsort(-mean)
        ],
    }
    here = [[one for one in some if one.encoder == table.encoder] for some in (lessons, kept)]
    if LLMSettings().simulated and (known := grasp(table, *here)) is not None:
        report["known_tasks"] = known.facts()
    return report


async def _route(
    traffic: Traffic, lines: list[str], rate: float, *, as_json: bool
) -> list[Outcome]:
    run = uuid.uuid4().hex[:8]

    async def publish() -> None:
        begin = time.monotonic()
        for i, line in enumerate(lines):
            await asyncio.sleep(max(0.0, begin + i / rate - time.monotonic()))
            request_id = f"demo-{run}-{i:05d}"
            await traffic.send(request_id, as_message(line, request_id))

    outcomes: list[Outcome] = []
    publishing = asyncio.create_task(publish())
    while len(outcomes) < len(lines):
        try:
            outcome = await asyncio.wait_for(traffic.outcomes.get(), PATIENCE_S)
        except TimeoutError:
            err.print(
                f"[bold red]nothing came for {PATIENCE_S:.0f} s; {len(lines) - len(outcomes)} "
                "prompts are missing[/]"
            )
            break
        if not outcome.request_id.startswith(f"demo-{run}"):
            continue  # one that was learnt from, late because a service was killed
        outcomes.append(outcome)
        if not as_json:
            _show(outcome, len(outcomes), len(lines))
    publishing.cancel()
    await asyncio.gather(publishing, return_exceptions=True)
    return outcomes


def _show(outcome: Outcome, number: int, total: int) -> None:
    head = f"[dim]{number:>{len(str(total))}}/{total}[/]"
    indent = " " * (2 * len(str(total)) + 2)
    if outcome.decided is None:
        assert outcome.dead is not None
        out.print(
            f"{head} [bold red]dead letter[/] from the {outcome.dead.service}: "
            f"{escape(outcome.dead.error)}",
            soft_wrap=True,
        )
        return
    message = outcome.decided
    decision = message.decision
    description = message.description
    simulated = ", simulated" if description.simulated else ""
    out.print(
        f"{head} [bold]{escape(description.text)}[/] [dim]({description.byline}{simulated})[/]",
        soft_wrap=True,
    )
    out.print(f"{indent}{_place(message.assignment)}", soft_wrap=True)
    if decision.model is None:
        out.print(f"{indent}[bold red]{escape(decision.why)}[/]", soft_wrap=True)
        return
    best = decision.candidates[0]
    out.print(
        f"{indent}→ [bold green]{decision.model}[/] over {decision.runner_up or 'nobody'} "
        f"(confidence {decision.confidence:.2f}), "
        f"{usd(best.cost_usd)}, {best.latency_s:.1f} s expected [dim]· decided in "
        f"{1000 * outcome.latency_s:.0f} ms[/]",
        soft_wrap=True,
    )
    out.print(f"{indent}[dim]{escape(decision.why)}[/]", soft_wrap=True)


def _place(assigned: Assigned) -> str:
    """The cluster of a prompt; where no cluster has most of it, the two nearest, and why."""
    near = [
        f"[cyan]{cluster.id}[/] “{escape(cluster.label)}” {cluster.weight:.0%}"
        for cluster in assigned.clusters
    ]
    if assigned.novel:
        return f"{near[0]} [yellow]novel: no known task is near, this one is the nearest[/]"
    if assigned.clusters[0].weight < MOSTLY and len(near) > 1:
        return f"{near[0]}, {near[1]} [yellow]between tasks[/]"
    return near[0]


def _summary(
    outcomes: list[Outcome],
    total: int,
    took: float,
    repeated: int,
    restarts: int,
    learnt: dict[str, Any],
    *,
    as_json: bool,
) -> int:
    decided = [
        o for o in outcomes if o.decided is not None and o.decided.decision.model is not None
    ]
    dead = [o for o in outcomes if o.decided is None]
    latencies = [o.latency_s for o in decided] or [0.0]
    per_model = Counter(o.decided.decision.model for o in decided if o.decided)
    novel = sum(1 for o in decided if o.decided and o.decided.assignment.novel)
    cost = sum(o.decided.decision.candidates[0].cost_usd for o in decided if o.decided)
    facts: dict[str, Any] = {
        "prompts": total,
        "decided": len(decided),
        "no_eligible_model": len(outcomes) - len(decided) - len(dead),
        "dead_letters": len(dead),
        "missing": total - len(outcomes),
        "novel": novel,
        "seconds": round(took, 2),
        "p50_ms": round(1000 * percentile(latencies, 0.5), 1),
        "p99_ms": round(1000 * percentile(latencies, 0.99), 1),
        "expected_cost_usd": round(cost, 6),
        "repeated": repeated,
        "restarts": restarts,
        "language_models": llm_line(),
        "learnt": learnt,
        "decisions_per_model": dict(per_model.most_common()),
    }
    if as_json:
        print_json(facts)
    else:
        _print_summary(facts)
    return 0 if not facts["missing"] and len(dead) < total else 1


def _print_summary(facts: dict[str, Any]) -> None:
    out.rule("summary")
    others = {
        "with no eligible model": facts["no_eligible_model"],
        "dead letters": facts["dead_letters"],
        "missing": facts["missing"],
        "novel": facts["novel"],
        "decided twice after a restart": facts["repeated"],
        "restarts of a service": facts["restarts"],
    }
    rest = "".join(f", {count} {what}" for what, count in others.items() if count)
    out.print(f"[bold]{facts['decided']}[/] of {facts['prompts']} prompts routed{rest}")
    if not facts["decided"]:
        return
    out.print(
        f"from publishing a prompt to receiving its decision: p50 [bold]{facts['p50_ms']:.0f} "
        f"ms[/], p99 [bold]{facts['p99_ms']:.0f} ms[/]"
    )
    shown = Table("model", "decisions", "", box=None)
    most = max(facts["decisions_per_model"].values(), default=1)
    for model, count in facts["decisions_per_model"].items():
        shown.add_row(model, str(count), "█" * max(1, round(30 * count / most)))
    out.print(shown)
    out.print(f"expected cost of the answers: {usd(facts['expected_cost_usd'])}")
    if learnt := facts["learnt"]:
        out.print(
            f"learnt meanwhile: routing table {learnt['table']} with {learnt['clusters']} "
            f"clusters, ranked by {learnt['rankings_from']}",
            soft_wrap=True,
        )
        ranked = Table("model", f"wins against {learnt['reference']}", "best in", box=None)
        for row in learnt["models"]:
            ranked.add_row(
                row["model"],
                f"{row['success']:.0%}",
                f"{row['best_in']} clusters" if row["best_in"] != 1 else "1 cluster",
            )
        out.print(ranked)
    if known := learnt and learnt.get("known_tasks"):
        out.print(
            f"[bold]{known['together']}[/] of {known['prompts']} prompts lie in a cluster of their "
            f"own task\nSIMULATED success: best single model {known['single']:.2f}, Pointsman "
            f"{known['reached']:.2f}, perfect choice {known['oracle']:.2f}",
            soft_wrap=True,
        )
    out.print(
        f"[yellow]language models, answers and judges: {facts['language_models']}[/]",
        soft_wrap=True,
    )
