"""`pointsman table …`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from services.cli.options import Describe, Json, Variant

Pin = Annotated[
    bool,
    typer.Option("--pin", help="Keep it: nothing learnt replaces it until `table unpin`."),
]
Strict = Annotated[
    bool,
    typer.Option("--strict", help="Refuse a table with models that are in no catalogue."),
]
table_app = typer.Typer(
    help="Routing tables: build, list, show, compare, roll back.", no_args_is_help=True
)


@table_app.command("build")
def table_build(
    outcomes: Annotated[
        Path | None,
        typer.Option(
            help="Outcome matrix, JSON lines or CSV, .gz is unpacked. docs/outcomes.md has the "
            "format."
        ),
    ] = None,
    votes: Annotated[
        Path | None,
        typer.Option(
            help="Preferences in place of outcomes: pairs with a winner, JSON or CSV. "
            "docs/votes.md has the forms."
        ),
    ] = None,
    prices: Annotated[
        Path | None, typer.Option(help="Prices in USD per million tokens, JSON.")
    ] = None,
    simulated: Annotated[
        bool,
        typer.Option("--simulated", help="The 25 tasks with simulated outcomes, as in the demo."),
    ] = False,
    k: Annotated[
        str,
        typer.Option(
            help="Number of clusters, or auto: the number that routes best by cross-validation."
        ),
    ] = "auto",
    representation: Annotated[
        str,
        typer.Option(
            help="plain, tasks, contrastive, delta or keys; auto: plain, contrastive or (of a task "
            "encoder) tasks, whichever routes best by cross-validation."
        ),
    ] = "auto",
    estimator: Annotated[
        str, typer.Option(help="yes, no, or auto: regressions and committees if they route better.")
    ] = "auto",
    text: Annotated[
        str,
        typer.Option(
            help="What is embedded: prompt, description, both, or auto: what routes best."
        ),
    ] = "auto",
    describe: Describe = "local",
    variant: Variant = "auto",
    encoder_dir: Annotated[
        Path | None, typer.Option(help="Another encoder than the default one.")
    ] = None,
    reference: Annotated[
        str | None, typer.Option(help="Reference model; by default the best overall.")
    ] = None,
    cascade: Annotated[
        bool,
        typer.Option(
            help="Learn to recognise good answers of cheap models, from responses in the outcomes."
        ),
    ] = True,
    seed: Annotated[int, typer.Option(help="Seed of clustering and simulation.")] = 0,
    save: Annotated[
        Path | None, typer.Option(help="Write the table to this file instead of publishing it.")
    ] = None,
    note: Annotated[str, typer.Option(help="Why it is published; shown in the list.")] = "",
    pin: Pin = False,
    strict: Strict = False,
    json_: Json = False,
) -> None:
    """Build a routing table from an outcome matrix, or from votes, and publish it."""
    from services.commands import table as command
    from services.workbench.building import TableSource

    source = TableSource(
        outcomes,
        prices,
        simulated,
        k,
        representation,
        estimator,
        text,
        describe,
        variant,
        encoder_dir,
        reference,
        seed,
        votes,
        cascade,
    )
    command.build(source, save, command.Publishing(note, pin, strict), as_json=json_)


@table_app.command("publish")
def table_publish(
    file: Annotated[Path, typer.Argument(help="A table that `table build --save` wrote.")],
    note: Annotated[str, typer.Option(help="Why; shown in the list.")] = "",
    pin: Pin = False,
    strict: Strict = False,
    json_: Json = False,
) -> None:
    """Publish a saved table as the next version."""
    from services.commands import table as command

    command.publish_file(file, command.Publishing(note, pin, strict), as_json=json_)


@table_app.command("list")
def table_list(
    files: Annotated[
        list[Path] | None, typer.Argument(help="Saved tables; none: the published versions.")
    ] = None,
    whole: Annotated[
        bool, typer.Option("--all", help="Also versions that have new rankings and nothing else.")
    ] = False,
    json_: Json = False,
) -> None:
    """List the versions, oldest first, or saved tables."""
    from services.commands import table as command

    command.list_versions(files or [], whole=whole, as_json=json_)


@table_app.command("show")
def table_show(
    name: Annotated[
        str, typer.Argument(help="A version, the beginning of a digest, current, or a saved file.")
    ] = "current",
    json_: Json = False,
) -> None:
    """Show a table: its clusters, and the strongest models of each."""
    from services.commands import table as command

    command.show(name, as_json=json_)


@table_app.command("diff")
def table_diff(
    old: Annotated[str, typer.Argument(help="A version, a digest's beginning, or a saved file.")],
    new: Annotated[str, typer.Argument(help="The same.")] = "current",
    json_: Json = False,
) -> None:
    """Compare two tables: clusters that came, went or moved, and where another model is strongest
    now."""
    from services.commands import table as command

    command.diff(old, new, as_json=json_)


@table_app.command("rollback")
def table_rollback(
    name: Annotated[
        str, typer.Argument(help="The version, or the beginning of its digest, to go back to.")
    ],
    json_: Json = False,
) -> None:
    """Publish an old table as the next version and pin it; services take it at once."""
    from services.commands import table as command

    command.rollback(name, as_json=json_)


@table_app.command("unpin")
def table_unpin(json_: Json = False) -> None:
    """Let learning replace the current table again."""
    from services.commands import table as command

    command.unpin(as_json=json_)
