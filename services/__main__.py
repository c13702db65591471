"""The command line: `pointsman`, or `python -m services`."""

from __future__ import annotations

import sys
from importlib.metadata import version
from typing import Annotated

import typer
from pydantic import ValidationError
from pydantic_settings import SettingsError
from rich.markup import escape

from services.cli import asking, dead_letters, keys, models, operating, running, studying, tables
from services.screen import err, out

app = typer.Typer(
    name="pointsman",
    help="Routes prompts to the right language model. Start with `pointsman demo`; `pointsman "
    "doctor` checks the installation.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",
)


for group in (running, asking, studying, operating):
    app.add_typer(group.app)
app.add_typer(tables.table_app, name="table")
app.add_typer(models.model_app, name="model")
app.add_typer(models.models_app, name="models")
app.add_typer(keys.keys_app, name="keys")
app.add_typer(dead_letters.dead_app, name="dead-letters")


@app.callback(invoke_without_command=True)
def _root(
    show: Annotated[bool, typer.Option("--version", help="Print the version.")] = False,
) -> None:
    if show:
        out.print(f"pointsman {version('pointsman')}")
        raise typer.Exit


def main() -> None:
    """Run the command line. What goes wrong ends with one clear sentence and exit code 1."""
    from shared.adapters.errors import AdapterError
    from shared.catalog.models import CatalogError
    from shared.contracts.errors import ContractError
    from shared.routing.errors import RoutingError

    try:
        app()
    except (ValidationError, SettingsError) as error:
        from services.local.settings import explain

        err.print(
            f"[bold red]error:[/] a setting is wrong: {escape(explain(error) or str(error))}",
            soft_wrap=True,
        )
        sys.exit(1)
    except (AdapterError, CatalogError, ContractError, RoutingError) as error:
        err.print(f"[bold red]error:[/] {escape(str(error))}", soft_wrap=True)
        sys.exit(1)
    except KeyboardInterrupt:
        sys.exit(130)


if __name__ == "__main__":
    main()
