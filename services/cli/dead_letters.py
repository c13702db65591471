"""`pointsman dead-letters …`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from services.cli.options import Json

dead_app = typer.Typer(
    help="Records that a service could not take: look at them, send them again.",
    no_args_is_help=True,
)


@dead_app.command("list")
def dead_list(json_: Json = False) -> None:
    """List the dead letters with the reason of each."""
    from services.commands import dead_letters as command

    command.list_letters(as_json=json_)


@dead_app.command("show")
def dead_show(
    id_: Annotated[str, typer.Argument(metavar="ID", help="As `list` shows it.")],
) -> None:
    """Write the original bytes of one dead letter to standard output."""
    from services.commands import dead_letters as command

    command.show(id_)


@dead_app.command("export")
def dead_export() -> None:
    """Write the dead letters as JSON lines, to correct them and give them to `replay
    --corrected`."""
    from services.commands import dead_letters as command

    command.export()


@dead_app.command("replay")
def dead_replay(
    ids: Annotated[
        list[str] | None, typer.Argument(metavar="[ID]...", help="As `list` shows them; none: all.")
    ] = None,
    value: Annotated[
        Path | None,
        typer.Option(
            help="Send the content of this file (- for standard input) in place of the original.",
            exists=True,
            allow_dash=True,
        ),
    ] = None,
    corrected: Annotated[
        Path | None,
        typer.Option(
            "--corrected",
            "--mended",
            help='Corrected records, one {"id": …, "value": {…}} a line; - for standard input.',
            exists=True,
            allow_dash=True,
        ),
    ] = None,
    json_: Json = False,
) -> None:
    """Send dead letters again to the topics they came from."""
    from services.commands import dead_letters as command

    command.replay(ids or [], value, corrected, as_json=json_)
