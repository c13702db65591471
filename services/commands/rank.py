"""`pointsman rank`: the methodology. Every model of a profile answers the 25 tasks, every pair of
answers is judged six times.

The prompts go through the very same services. What has been judged is kept in the folder of results
as it arrives, so a run that was stopped goes on where it was; answers and votes that are there are
not paid again.
"""

from __future__ import annotations

import asyncio
import os
from pathlib import Path
from typing import Any

from rich.table import Table

from services.commands.raters import show_raters
from services.judge.settings import JudgeSettings
from services.local.started import llm_line, started_servers
from services.screen import as_json as print_json
from services.screen import err, out
from services.workbench.study import add_votes_of_people, conduct, judged_before, plan, truth_of
from services.workbench.study_report import report, study_of
from shared.adapters.llm.chat import OPENROUTER, LLMSettings
from shared.contracts.figures import usd

SIMULATED = {"POINTSMAN_LLM_API_KEY": "", "POINTSMAN_LLM_BASE_URL": OPENROUTER}
"""The environment in which language models are simulated."""


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
    wanted = plan(profile, per_task)
    judge = JudgeSettings()
    if simulate:
        os.environ |= SIMULATED
    costs = wanted.costs(judge) | {"language_models": llm_line(), "budget_usd": budget}
    if not as_json:
        _show_plan(costs, err)
    if dry_run:
        if as_json:
            print_json(costs)
        return 0
    if not LLMSettings().simulated and costs["estimated_usd"]["total"] > budget:
        err.print(
            "[bold red]error:[/] the estimate is above the budget; raise --budget, or lower "
            "--prompts"
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
            environment |= SIMULATED
        try:
            missing = asyncio.run(conduct(wanted, file, environment, embedded=where.embedded))
            if not where.embedded:
                asyncio.run(add_votes_of_people(wanted, file))
        except KeyboardInterrupt:
            err.print(
                f"stopped. What was judged is in {file}; the same command continues from there"
            )
            return 130
    study = study_of(
        judged_before(file),
        [m.name for m in wanted.pool],
        {r: t for r, t, _ in wanted.prompts},
        wanted.pool,
    )
    facts = report(
        study, folder, truth=truth_of(study) if kind == "simulated" else None, missing=missing
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
