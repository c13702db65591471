"""`pointsman model …`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from services.cli.options import Json, Variant

model_app = typer.Typer(
    help="Encoders: prepare the default one, export others, show one.", no_args_is_help=True
)


@model_app.command("prepare")
def model_prepare(
    variant: Variant = "int8",
    source: Annotated[
        Path | None,
        typer.Option(help="Directory with model.safetensors, config.json and tokenizer.json."),
    ] = None,
    json_: Json = False,
) -> None:
    """Make the default encoder, all-MiniLM-L6-v2, from its published weights; without torch."""
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


@model_app.command("show")
def model_show(
    directory: Annotated[Path | None, typer.Argument()] = None,
    variant: Variant = "int8",
    json_: Json = False,
) -> None:
    """Load an encoder and show what it is."""
    from services.commands import model as command

    command.show(directory, variant, as_json=json_)
