"""`pointsman route`: one prompt, and its decision with the reasons."""

from __future__ import annotations

import asyncio
import json
import uuid
from typing import Any

from rich.markup import escape
from rich.table import Table

from services.commands.traffic import Outcome, open_traffic
from services.local import servers
from services.screen import as_json as print_json
from services.screen import err, out
from shared.adapters.kafka.settings import KafkaSettings
from shared.contracts.decisions import Decision
from shared.contracts.figures import usd
from shared.contracts.messages import Completed, Decided
from shared.contracts.wishes import Profile
from shared.routing.deciding.rates import MOST_S


def route(
    prompt: str,
    profile: Profile | None,
    preferences: dict[str, float | None],
    limits: dict[str, Any],
    within_s: float,
    *,
    answer: bool,
    as_json: bool,
) -> int:
    """Publish, wait, print. Returns the exit code: 0 decided, 1 not."""
    request_id = f"route-{uuid.uuid4().hex[:12]}"
    body: dict[str, Any] = {"prompt": prompt, "request_id": request_id}
    if profile is not None:
        body["profile"] = profile.value
    if stated := {name: value for name, value in preferences.items() if value is not None}:
        body["preferences"] = stated
    body["constraints"] = {name: value for name, value in limits.items() if value not in (None, [])}
    if answer:
        body["answer"] = True
    servers.find_running()
    outcome = asyncio.run(
        _one(answer, request_id, json.dumps(body, ensure_ascii=False).encode(), within_s)
    )
    if outcome is None:
        err.print(
            f"[bold red]error:[/] no {'answer' if answer else 'decision'} within {within_s:g} s. "
            "Are the services running "
            "(`pointsman up`), and is there a routing table (`pointsman table list`)?",
            soft_wrap=True,
        )
        return 1
    if outcome.decided is None:
        assert outcome.dead is not None
        if as_json:
            print_json(
                {
                    "request_id": request_id,
                    "dead_letter": outcome.dead.id,
                    "service": outcome.dead.service,
                    "error": outcome.dead.error,
                }
            )
        else:
            err.print(
                f"[bold red]refused by the {outcome.dead.service}:[/] {escape(outcome.dead.error)}",
                soft_wrap=True,
            )
        return 1
    if as_json:
        print_json(
            json.loads(outcome.decided.model_dump_json(exclude={"embedding"}, exclude_none=True))
            | {"latency_s": outcome.latency_s}
        )
    else:
        show(outcome.decided, outcome.latency_s)
    unanswered = isinstance(outcome.decided, Completed) and not outcome.decided.completion.answers
    return 0 if outcome.decided.decision.model and not unanswered else 1


async def _one(answer: bool, request_id: str, value: bytes, within_s: float) -> Outcome | None:
    async with open_traffic(KafkaSettings(), completions=answer) as traffic:
        await traffic.send(request_id, value)
        try:
            return await asyncio.wait_for(traffic.outcomes.get(), within_s)
        except TimeoutError:
            return None


def show(message: Decided, latency_s: float) -> None:
    """One decision for people."""
    description = message.description
    assignment = message.assignment
    decision = message.decision
    written = f"{description.byline}{', simulated' if description.simulated else ''}"
    out.print(f"[bold]task[/]      {escape(description.text)}  [dim]({written})[/]", soft_wrap=True)
    if description.fallback:
        out.print(
            f"          [yellow]described locally, since {escape(description.fallback)}[/]",
            soft_wrap=True,
        )
    places = " · ".join(f"{c.id} {c.weight:.0%} “{escape(c.label)}”" for c in assignment.clusters)
    out.print(
        f"[bold]clusters[/]  {places}{'  [yellow]novel[/]' if assignment.novel else ''}",
        soft_wrap=True,
    )
    if decision.model is None:
        out.print(f"[bold red]no model[/]  {escape(decision.why)}", soft_wrap=True)
        return
    best = f"[bold green]{decision.model}[/], then {decision.runner_up or 'nobody'}"
    out.print(f"[bold]model[/]     {best}  [dim]confidence {decision.confidence:.2f}[/]")
    out.print(f"[bold]why[/]       {escape(decision.why)}", soft_wrap=True)
    out.print(f"[bold]worth[/]     {worth(decision)}", soft_wrap=True)
    shown = Table("model", "success", "95% interval", "cost", "latency", "utility", box=None)
    for c in decision.candidates:
        interval = f"{c.success_low:.2f}–{c.success_high:.2f}"
        shown.add_row(
            f"{c.model} [yellow](little evidence)[/]" if c.caution > 0 else c.model,
            f"{c.success:.3f}",
            interval,
            usd(c.cost_usd),
            f"{c.latency_s:.1f} s",
            f"{c.utility:+.3f}",
        )
    out.print(shown)
    if any(c.caution > 0 for c in decision.candidates):
        out.print(
            "[yellow]little evidence: the utility counts a success near the lower end of the "
            "interval[/]",
            soft_wrap=True,
        )
    for ruled in decision.ruled_out:
        out.print(f"[dim]ruled out {ruled.model}: {escape(ruled.reason)}[/]", soft_wrap=True)
    if isinstance(message, Completed):
        _answer(message)
    kind = "  [yellow]rankings SIMULATED[/]" if decision.simulated_rankings else ""
    out.print(
        f"[dim]routing table {decision.table} ({decision.table.digest[:12]}), "
        f"{1000 * latency_s:.0f} ms[/]{kind}"
    )


def worth(decision: Decision) -> str:
    """What a point of success was worth in this decision."""
    if (used := decision.rates) is None:
        w = decision.preferences
        return (
            f"weights: performance {w.performance:.2f}, cost {w.cost:.2f}, latency {w.latency:.2f}"
        )
    goal = f"{wanted.text}: " if (wanted := used.goal()) is not None else ""
    seconds = "no matter how long" if used.s_per_point >= MOST_S else f"{used.s_per_point:.3g} s"
    return f"{goal}a point of success is worth {used.usd_per_point:.2g} USD or {seconds}"


def _answer(message: Completed) -> None:
    for call in message.completion.failed:
        out.print(f"[yellow]{call.model} failed: {escape(call.error)}[/]", soft_wrap=True)
    for answer in message.completion.answers:
        took = (
            f"{usd(answer.cost_usd)}, {answer.latency_s:.1f} "
            f"s{', [yellow]SIMULATED[/]' if answer.simulated else ''}"
        )
        out.print(f"[bold]answer[/]    of {answer.model} ({took}):", soft_wrap=True)
        out.print(escape(answer.text), soft_wrap=True)
    if not message.completion.answers:
        out.print("[bold red]no model answered[/]")
