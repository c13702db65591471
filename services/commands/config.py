"""`pointsman config`: every setting, its value and what it means."""

from __future__ import annotations

import os
from typing import Any

from pydantic import SecretStr, ValidationError
from pydantic_settings import BaseSettings, SettingsError
from rich.markup import escape
from rich.table import Table

from services.local.settings import all_settings, explain, unknown, variables_of
from services.screen import as_json as print_json
from services.screen import err, out
from shared.adapters.errors import AdapterError
from shared.adapters.llm.chat import LLMSettings
from shared.adapters.redis.client import RedisSettings
from shared.contracts.settings import AGREED, ServiceSettings


def rows() -> list[dict[str, Any]]:
    """One row a setting. Secrets are told by whether they are set, never by their value."""
    result = []
    for kind in all_settings():
        settings = kind()
        for variable, name in variables_of(kind):
            value = getattr(settings, name)
            if isinstance(value, SecretStr):
                value = (
                    settings.address
                    if isinstance(settings, RedisSettings)
                    else ("set" if value.get_secret_value() else "not set")
                )
            result.append(
                {
                    "name": variable,
                    "value": _plain(value),
                    "changed": variable in os.environ or AGREED.get(name, "") in os.environ,
                    "about": " ".join(
                        filter(None, (kind.model_fields[name].description, _common(name, kind)))
                    ),
                }
            )
    return result


def _common(name: str, kind: type[BaseSettings]) -> str:
    """The variable that sets it for all services, where there is one."""
    common = AGREED.get(name) if issubclass(kind, ServiceSettings) else None
    return f"{common} sets it for all services." if common else ""


def config(*, as_json: bool) -> None:
    """Print them."""
    if as_json:
        print_json(rows())
        return
    shown = Table("setting", "value", "about", box=None)
    for row in rows():
        shown.add_row(
            row["name"],
            f"[bold]{row['value']}[/]" if row["changed"] else str(row["value"]),
            row["about"],
        )
    out.print(shown)
    out.print(
        "[dim]bold: set in the environment. For example: POINTSMAN_DESCRIBER_BACKEND=local "
        "pointsman up[/]"
    )


def check(*, as_json: bool) -> int:
    """Say what is wrong with the settings of the environment. Returns 1 if anything is."""
    wrong = [strange.text for strange in unknown(os.environ)]
    for kind in all_settings():
        try:
            kind()
        except (ValidationError, SettingsError) as error:
            wrong.append(explain(error))
        except AdapterError as error:
            wrong.append(str(error))
    wrong = list(dict.fromkeys(wrong))
    if as_json:
        print_json({"ok": not wrong, "wrong": wrong})
    else:
        for text in wrong:
            err.print(f"[bold red]error:[/] {escape(text)}", soft_wrap=True)
        if not wrong:
            out.print(f"settings are right; language models: {LLMSettings().who}", soft_wrap=True)
    return 1 if wrong else 0


def _plain(value: Any) -> Any:
    return (
        value
        if isinstance(value, str | int | float | bool) or value is None
        else str(getattr(value, "value", value))
    )
