"""`pointsman evaluate`: would routing pay on these outcomes, and which task representation routes
best?"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path

from rich.table import Table

from services.screen import as_json as print_json
from services.screen import out
from services.workbench.benchmark import study
from services.workbench.findings import (
    NARROW,
    OURS,
    SINGLE,
    Findings,
    Options,
    alone,
    columns,
    facts,
    goal_facts,
    mean,
    notes,
    number,
    verdict,
)
from services.workbench.outcomes import check_target
from shared.contracts.figures import usd
from shared.routing.offline.evaluation import KEEP, SPEND
from shared.routing.offline.perturbing import KINDS


def run(files: Sequence[Path], options: Options, report: Path | None, *, as_json: bool) -> None:
    """Evaluate each file; print the figures, and write `report` (Markdown, with pictures in a
    folder of its name beside it)."""
    check_target(report)
    findings = [asyncio.run(study(path, options)) for path in files]
    if report is not None:
        from services.workbench.benchmark_report import write

        write(findings, report)
    if as_json:
        print_json([facts(one) for one in findings])
        return
    for one in findings:
        _show(one)
    if report is not None:
        out.print(f"report: [bold]{report}[/]")


def _show(findings: Findings) -> None:
    outcomes = findings.data.outcomes
    count = len(findings.results[SINGLE].accuracy)
    splits = "1 split" if count == 1 else f"{count} splits"
    out.print(
        f"[bold]{findings.name}[/]: {len(outcomes.texts)} prompts, {len(outcomes.models)} models, "
        f"{splits}, {findings.data.encoder}"
    )
    shown = Table("model", "accuracy", "cost of an answer", box=None)
    for model, accuracy, cost in sorted(alone(outcomes), key=lambda line: -line[1]):
        shown.add_row(model, f"{accuracy:.4f}", usd(cost))
    out.print(shown)
    for note in notes(findings):
        out.print(f"[yellow]{note}[/]", soft_wrap=True)
    shape = columns(findings)
    if out.width < NARROW:
        shape = [(n, cell) for n, cell in shape if n in {"accuracy", "cost", "CostSave", "CPT(80)"}]
        out.print("[dim]a wider window, --json or --report show more[/]")
    shown = Table("router", *(name for name, _ in shape), box=None)
    for name, result in findings.results.items():
        shown.add_row(name, *(cell(name, result) for _, cell in shape))
    out.print(shown)
    if findings.cascades:
        out.print(
            f"cascade: {findings.weak} is asked first, {findings.strong} where its answer does not "
            "seem "
            "good enough"
        )
        shown = Table("what is looked at", "APGR", "CPT(50)", "CPT(80)", "ECE", box=None)
        for sees, one in findings.cascades.items():
            cells = (
                number(mean(one.apgr), ".3f"),
                number(mean(one.cpt50), ".0%"),
                number(mean(one.cpt80), ".0%"),
            )
            shown.add_row(sees, *cells, number(mean(one.calibration_error), ".3f"))
        out.print(shown)
    if findings.robustness:
        shown = Table("choices that stay", *KINDS, "all", "accuracy lost", box=None)
        for name, stays in findings.robustness.items():
            shown.add_row(
                name,
                *(f"{stays[kind]:.1%}" for kind in (*KINDS, "all")),
                f"{stays['accuracy_lost']:+.4f}",
            )
        out.print(shown)
    if (keep := goal_facts(findings.results[OURS].keep, "success", "cost")) and (
        spend := goal_facts(findings.results[OURS].spend, "budget", "success")
    ):
        out.print(
            f"told to keep {KEEP:.0%}: {keep['success']:.1%} of the best single model's success at "
            f"{keep['cost']:.0%} of its cost; "
            f"told to spend {SPEND:.0%} of its cost: {spend['budget']:.1%} of that budget, "
            f"{spend['success']:.1%} of its success",
            soft_wrap=True,
        )
    out.print(
        "[dim]± is the standard error over splits; intervals are 95%, from resampling prompts[/]"
    )
    for line in verdict(findings):
        out.print(line, soft_wrap=True)
