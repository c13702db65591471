"""Studies: rankings by comparison, routers on outcomes, what votes can be relied on."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from services.cli.options import Json, Variant
from services.local import supervise

app = typer.Typer()


@app.command()
def rank(
    profile: Annotated[
        str, typer.Option(help="The catalogue's models that are ranked.")
    ] = "current",
    simulate: Annotated[
        bool,
        typer.Option("--simulate", help="Simulate all language models, even if there is a key."),
    ] = False,
    prompts: Annotated[
        int, typer.Option(min=1, max=12, help="Prompts of each of the 25 tasks.")
    ] = 12,
    budget: Annotated[
        float,
        typer.Option(min=0, help="USD that judging may cost; the estimate must be below it, too."),
    ] = 25.0,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Only print the number of calls and their cost.")
    ] = False,
    results: Annotated[
        Path,
        typer.Option(help="Folder for results; a stopped run continues from it."),
    ] = Path("rank-results"),
    kafka: Annotated[
        str | None, typer.Option(help="A real Kafka's address; by default an embedded one.")
    ] = None,
    redis: Annotated[
        str | None, typer.Option(help="A real Redis' URL; by default an embedded one.")
    ] = None,
    json_: Json = False,
) -> None:
    """Rank models: every model answers the 25 tasks, and every pair of answers is judged six
    times. Print and write the ranking."""
    supervise.warm()
    from services.commands import rank as command

    options: dict[str, Any] = {
        "simulate": simulate,
        "dry_run": dry_run,
        "kafka": kafka,
        "redis": redis,
        "as_json": json_,
    }
    raise typer.Exit(command.rank(profile, prompts, results, budget, **options))


@app.command()
def evidence(json_: Json = False) -> None:
    """Show how reliable votes are: ties, position bias, agreement of judges and people,
    money spent today."""
    from services.commands import evidence as command

    raise typer.Exit(command.evidence(as_json=json_))


@app.command()
def evaluate(
    files: Annotated[
        list[Path],
        typer.Argument(
            help="Outcome matrices: JSON lines or CSV, .gz is unpacked (docs/outcomes.md)."
        ),
    ],
    prices: Annotated[
        Path | None, typer.Option(help="Prices in USD per million tokens, JSON.")
    ] = None,
    splits: Annotated[int, typer.Option(min=1, max=200, help="Random 70/30 splits.")] = 5,
    folds: Annotated[
        int | None,
        typer.Option(
            min=2, max=50, help="Cross-validation with this many folds instead of splits."
        ),
    ] = None,
    k: Annotated[
        int | None,
        typer.Option(
            min=1, help="Clusters of Pointsman's tables; by default as `table build` takes."
        ),
    ] = None,
    robustness: Annotated[
        int,
        typer.Option(
            min=0, help="Prompts that are disturbed to see whether choices stay; 0: none."
        ),
    ] = 100,
    describe: Annotated[
        str,
        typer.Option(
            help="Also measure descriptions by: local or llm; auto: those of the file, if it has "
            "any."
        ),
    ] = "auto",
    variant: Variant = "minilm-int8",
    encoder_dir: Annotated[
        Path | None, typer.Option(help="Another encoder than the default one.")
    ] = None,
    report: Annotated[
        Path | None, typer.Option(help="Write a report with pictures: a Markdown file.")
    ] = None,
    seed: Annotated[
        int, typer.Option(min=0, max=2**32 - 1, help="Seed of intervals and disturbances.")
    ] = 0,
    json_: Json = False,
) -> None:
    """Measure what routing would have gained on known outcomes, beside the field's baselines. It
    runs the services' code."""
    from services.commands import evaluate as command
    from services.workbench.findings import Options

    options = Options(prices, splits, folds, k, describe, variant, encoder_dir, robustness, seed)
    command.run(files, options, report, as_json=json_)
