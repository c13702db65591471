"""The report of `pointsman evaluate`: Markdown with pictures."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from services.workbench.findings import (
    BASELINES,
    FIRST,
    OURS,
    PEER,
    SAID,
    SINGLE,
    Findings,
    alone,
    best_baseline,
    columns,
    mean,
    notes,
    number,
    signed,
    verdict,
)
from shared.routing.offline.evaluation import KEEP, SPEND, Interval
from shared.routing.offline.perturbing import KINDS

COLUMNS = 88
COLOURS = {
    OURS: "#0b6e4f",
    "contrastive": "#59a14f",
    "prompt": "#4e79a7",
    "description": "#a0cbe8",
    PEER: "#e15759",
    "kNN-100": "#f28e2b",
}
LEGEND = """\
Each router learns from 70% of the prompts and is scored on the rest. It expects a
**success** on 0..1 and a cost in USD of each model. It chooses the highest
success minus cost divided by what a point of success is worth in USD. The row **auto**
is what `pointsman table build` makes of the same prompts, by cross-validation on the part
that it learns from. Avengers-Pro chooses by the score of its paper. The k-means rows have
the same clusters with choices in true units.

| column | meaning |
|---|---|
| accuracy | mean score when only quality counts, ± the standard error over splits |
| less Avengers-Pro | difference by prompt and split, with a 95% interval from resampling prompts |
| PerfGain [1] | gain of the best point of the quality-cost curve over the best single model |
| CostSave [1] | fraction of that model's cost that is saved at its quality or better |
| area [2] | mean quality over the range of costs of the models |
| APGR [3] | recovered part of the gap between two models, the mean over all call fractions |
| CPT(x) [3] | the smallest call fraction that recovers x% of the gap |
| regret | how much more an oracle would have scored |
| ECE | expected calibration error of success, in 15 bins |

A call fraction is the fraction of prompts given to the stronger model. Among more than
two models, APGR is the mean over every two of them, weighted by their gaps (ours). It
tells how well a router ranks prompts by what the stronger of two gains. The area tells
how well it chooses among all of them at their prices. Sources: [1] LLMRouterBench (arXiv
2601.07206), [2] RouterBench (arXiv 2403.12031), [3] RouteLLM (arXiv 2406.18665)."""


def write(findings: Sequence[Findings], path: Path) -> None:
    """Write the report, and its pictures into a folder of its name beside it."""
    folder = path.with_suffix("")
    folder.mkdir(parents=True, exist_ok=True)
    lines = [
        "# Evaluation",
        "",
        "Made by `make evaluate`; don't edit. The data is public and not part of this repository.",
        "",
        LEGEND,
        "",
    ]
    if len(findings) > 1:
        lines += _summary(findings)
    for one in findings:
        stem = re.sub(r"\W+", "-", one.name.split(".")[0])
        lines += _section(one, f"{folder.name}/{stem}")
        _curves(one, folder / f"{stem}-curve.svg")
        _differences(one, folder / f"{stem}-accuracy.svg")
    path.write_text(wrapped(lines))


def wrapped(lines: Sequence[str]) -> str:
    """Markdown with paragraphs of lines of at most `COLUMNS` letters; tables, headings and pictures
    stay."""
    shown: list[str] = []
    paragraph: list[str] = []
    for line in [*"\n".join(lines).split("\n"), ""]:
        if line and not line.startswith(("|", "#", "![")):
            paragraph.append(line)
            continue
        if paragraph:
            shown += textwrap.wrap(
                " ".join(paragraph), COLUMNS, break_long_words=False, break_on_hyphens=False
            )
            paragraph = []
        shown.append(line)
    return "\n".join(shown)


def _section(findings: Findings, pictures: str) -> list[str]:
    outcomes = findings.data.outcomes
    count = len(findings.results[SINGLE].accuracy)
    lines = [
        f"## {findings.name}",
        "",
        (
            f"{len(outcomes.texts)} prompts, {len(outcomes.models)} models, {count} splits; "
            f"{findings.data.encoder}."
        ),
        "",
    ]
    lines += ["| model alone | accuracy | USD an answer |", "|---|---|---|"]
    for model, accuracy, usd in sorted(alone(outcomes), key=lambda line: -line[1]):
        lines.append(f"| {model} | {accuracy:.4f} | {usd:.6f} |")
    lines += [line for note in notes(findings) for line in ("", f"Note: {note}.")]
    shape = columns(findings)
    if count > FIRST:
        shape = [
            *shape[:1],
            (f"first {FIRST} splits", lambda _n, r: number(mean(r.accuracy[:FIRST]))),
            *shape[1:],
        ]
    lines += [
        "",
        "| router | " + " | ".join(name for name, _ in shape) + " |",
        "|---" * (len(shape) + 1) + "|",
    ]
    for name, result in findings.results.items():
        marked = f"**{name}**" if name == OURS else name
        lines.append(f"| {marked} | " + " | ".join(cell(name, result) for _, cell in shape) + " |")
    lines += [
        "",
        *verdict(findings),
        "",
        *_beside(findings),
        *_goals(findings),
        f"![Accuracy with intervals]({pictures}-accuracy.svg)",
        "",
        f"![Curves]({pictures}-curve.svg)",
        "",
    ]
    shares = _shares(findings)
    if shares:
        lines += [
            "| decisions per model | " + " | ".join(n for n, _ in shares) + " |",
            "|---" * (len(shares) + 1) + "|",
        ]
        lines += [
            f"| {m} | " + " | ".join(f"{part.get(m, 0.0):.0%}" for _, part in shares) + " |"
            for m in outcomes.models
        ]
        lines.append("")
    if findings.cascades:
        lines += [
            (
                f"Cascade: {findings.weak} is asked first, and {findings.strong} where the answer "
                "does not seem good enough."
            ),
            (
                "Shares are of prompts escalated; the first model is paid for all of them. A "
                "cascade sees the prompt, how the answer differs from it (delta), or both "
                "(joint). What tables have (checked) also sees whether the answer's sums come out."
            ),
            "",
            "| the predictor sees | APGR | CPT(50) | CPT(80) | ECE |",
            "|---|---|---|---|---|",
        ]
        for sees, one in findings.cascades.items():
            numbers = (
                number(mean(one.apgr), ".3f"),
                number(mean(one.cpt50), ".1%"),
                number(mean(one.cpt80), ".1%"),
            )
            lines.append(
                f"| {sees} | {' | '.join(numbers)} | {number(mean(one.calibration_error), '.3f')} |"
            )
        lines.append("")
    if findings.robustness:
        lines += [
            (
                f"Choices that stay when a prompt is disturbed: {findings.options.robustness} "
                "prompts "
                "of "
                "the first split, each in five ways"
            ),
            "(`shared/routing/offline/perturbing.py`).",
            "",
            "| router | " + " | ".join(KINDS) + " | all | accuracy lost |",
            "|---" * (len(KINDS) + 3) + "|",
        ]
        for name, stays in findings.robustness.items():
            cells = " | ".join(f"{stays[kind]:.1%}" for kind in (*KINDS, "all"))
            lines.append(f"| {name} | {cells} | {stays['accuracy_lost']:+.4f} |")
        lines.append("")
    return lines


def _summary(findings: Sequence[Findings]) -> list[str]:
    """All files on one page: `auto` beside the best baseline of each."""
    lines = [
        "## All sets",
        "",
        "`auto` and the best simple baseline of each set: what each of them reaches, and the",
        "difference with its 95% interval, paired, from resampling prompts. The best baseline is",
        "the one that turns out best on the very prompts that are scored. The means are over these",
        "sets, and don't say what another set would give. In their intervals, sets of the same",
        "prompts count as if they erred alike.",
        "",
    ]
    for measure, what in SAID.items():
        lines += [
            f"| by {what} | prompts | models | auto | best baseline | its | auto less it |",
            "|---|---|---|---|---|---|---|",
        ]
        apart: list[tuple[Findings, Interval]] = []
        for one in findings:
            if measure not in one.beside_best:
                continue
            name = best_baseline(one, measure)
            if (difference := one.beside_best[measure][name]) is None:
                continue
            apart.append((one, difference))
            outcomes = one.data.outcomes
            ours, theirs = (number(mean(getattr(one.results[n], measure))) for n in (OURS, name))
            cells = f"{len(outcomes.texts)} | {len(outcomes.models)} | {ours} | {name} | {theirs}"
            lines.append(f"| {one.name} | {cells} | {signed(difference)} |")
        if apart:
            lines.append(f"| **mean** | | | | | | {signed(mean_of(apart))} |")
        lines.append("")
    return lines


def mean_of(apart: Sequence[tuple[Findings, Interval]]) -> Interval:
    """The mean over sets, with its interval. Sets that share most of their prompts are taken to err
    alike, all others to be independent."""
    middle = float(np.mean([one.mean for _, one in apart]))
    groups: list[tuple[set[str], float]] = []
    for findings, one in apart:
        prompts = {" ".join(text.split()) for text in findings.data.outcomes.texts}
        wide = (one.high - one.low) / 2
        for i, (others, so_far) in enumerate(groups):
            if 2 * len(prompts & others) > min(len(prompts), len(others)):
                groups[i] = (others | prompts, so_far + wide)
                break
        else:
            groups.append((prompts, wide))
    wide = float(np.sqrt(np.sum([each**2 for _, each in groups]))) / len(apart)
    return Interval(middle, middle - wide, middle + wide)


def _beside(findings: Findings) -> list[str]:
    """`auto` beside each baseline, and what it chose."""
    shown = list(findings.beside_best.values())
    lines = [
        f"| auto less | {' | '.join(findings.beside_best)} |",
        "|---" * (len(shown) + 1) + "|",
    ]
    for name in BASELINES:
        cells = ("–" if one is None else signed(one) for one in (by[name] for by in shown))
        lines.append(f"| {name} | {' | '.join(cells)} |")
    chose = "; ".join(
        f"{name} ({times})"
        for name, times in sorted(findings.results[OURS].recipes.items(), key=lambda item: -item[1])
    )
    return [*lines, "", f"auto chose, and in how many splits: {chose}.", ""]


def _goals(findings: Findings) -> list[str]:
    """What the goals reached."""
    ours = findings.results[OURS]
    if not ours.keep:
        return []
    (kept, cost) = np.mean(ours.keep, axis=0)
    (spent, success) = np.mean(ours.spend, axis=0)
    deviations = np.std(ours.keep, axis=0)[0], np.std(ours.spend, axis=0)[0]
    kept_line = (
        f"Told to keep {KEEP:.0%} of the best single model's success, auto kept {kept:.1%} (± "
        f"{deviations[0]:.1%} from split to split) at "
        f"{cost:.1%} of its cost. Told to spend {SPEND:.0%} of its cost, it spent {spent:.1%} of "
        f"that budget (± {deviations[1]:.1%}), for "
        f"{success:.1%} of its success."
    )
    return [
        kept_line,
        "",
    ]


def _shares(findings: Findings) -> list[tuple[str, dict[str, float]]]:
    shown = []
    for name in (PEER, "prompt", "contrastive", OURS):
        decisions = findings.results[name].decisions
        total = sum(decisions.values()) or 1
        shown.append((name, {m: n / total for m, n in decisions.items()}))
    return shown


def _plot() -> Any:
    import matplotlib as mpl

    mpl.use("Agg")
    mpl.rcParams["svg.hashsalt"] = "pointsman"  # the same figures give the same bytes
    import matplotlib.pyplot as plt

    return plt


def _save(plt: Any, figure: Any, path: Path) -> None:
    figure.savefig(path, metadata={"Date": None})
    plt.close(figure)


def _curves(findings: Findings, path: Path) -> None:
    """Quality against cost; for two models the gap recovered against the fraction of prompts given
    to the stronger."""
    plt = _plot()
    figure, axes = plt.subplots(figsize=(8, 5), layout="constrained")
    outcomes = findings.data.outcomes
    if findings.cascades:
        for sees, one in findings.cascades.items():
            axes.plot(
                np.linspace(0, 100, 101), np.mean(one.curve, axis=0), label=f"cascade, sees {sees}"
            )
        axes.plot([0, 100], [0, 1], "k:", label="chance")
        axes.set_xlabel(f"% of prompts given to {findings.strong}")
        axes.set_ylabel("part of the gap recovered")
    else:
        for name in (n for n in COLOURS if n in findings.results):
            cost, quality = np.mean(findings.results[name].curve, axis=0)
            axes.plot(1000 * cost, quality, color=COLOURS[name], label=name, lw=1)
        scores, costs = (
            np.array(values) for values in zip(*(line[1:] for line in alone(outcomes)), strict=True)
        )
        axes.plot(1000 * costs, scores, "k+", label="one model alone")
        axes.set_ylim(bottom=max(0.0, float(np.sort(scores)[len(scores) // 2]) - 0.05))
        axes.set_xlabel("USD for 1,000 prompts")
        axes.set_ylabel("accuracy")
    axes.grid(alpha=0.3)
    axes.legend()
    axes.set_title(findings.name)
    _save(plt, figure, path)


def _differences(findings: Findings, path: Path) -> None:
    """Accuracy less the peer's, with intervals."""
    plt = _plot()
    names = [n for n in findings.results if n not in {"random", "oracle", PEER}][::-1]
    figure, axes = plt.subplots(figsize=(8, 0.32 * len(names) + 1.2), layout="constrained")
    for i, name in enumerate(names):
        one = findings.beside_peer[name]
        axes.plot([one.low, one.high], [i, i], color=COLOURS.get(name, "#888888"), lw=2)
        axes.plot(one.mean, i, "o", color=COLOURS.get(name, "#888888"))
    axes.axvline(0.0, color="k", lw=0.8)
    axes.set_yticks(range(len(names)), names)
    axes.set_xlabel(f"accuracy less {PEER}, 95% interval")
    axes.grid(alpha=0.3, axis="x")
    axes.set_title(findings.name)
    _save(plt, figure, path)
