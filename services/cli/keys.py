"""`pointsman keys …`."""

from __future__ import annotations

from typing import Annotated

import typer

from services.cli.options import (
    Json,
    Keep,
    KeyFile,
    SecondsPerPoint,
    Spend,
    UsdPerPoint,
    preferences_of,
)
from shared.contracts.scopes import Scope

keys_app = typer.Typer(
    help="Keys for the gateway and the console: make, list, revoke.", no_args_is_help=True
)


@keys_app.command("create")
def keys_create(
    name: Annotated[str, typer.Argument(help="Whose key it is: letters, digits, . _ @ -")],
    scope: Annotated[list[Scope], typer.Option(help="What it allows; may be repeated.")],
    file: KeyFile = None,
    requests_per_minute: Annotated[
        int | None, typer.Option(min=1, help="How often it may ask.")
    ] = None,
    usd_per_day: Annotated[
        float | None, typer.Option(min=0, help="What its answers may cost a day (UTC).")
    ] = None,
    usd_per_point: UsdPerPoint = None,
    s_per_point: SecondsPerPoint = None,
    keep: Keep = None,
    spend_usd_per_1000: Spend = None,
    json_: Json = False,
) -> None:
    """Make a key and print it once; the file keeps its hash."""
    from services.commands import keys as command

    preferences = preferences_of(usd_per_point, s_per_point, keep, spend_usd_per_1000)
    limits = (requests_per_minute, usd_per_day)
    raise typer.Exit(
        command.create(name, frozenset(scope), file, *limits, preferences, as_json=json_)
    )


@keys_app.command("list")
def keys_list(file: KeyFile = None, json_: Json = False) -> None:
    """List the keys and what they allow."""
    from services.commands import keys as command

    raise typer.Exit(command.show(file, as_json=json_))


@keys_app.command("revoke")
def keys_revoke(
    name: Annotated[str, typer.Argument(help="Whose key.")], file: KeyFile = None
) -> None:
    """Revoke a key; it stops working within a second or two."""
    from services.commands import keys as command

    raise typer.Exit(command.revoke(name, file))
