"""`pointsman config`: every setting, its value and what it means."""

from __future__ import annotations

import importlib
import os
from typing import Any

from pydantic import SecretStr, ValidationError
from pydantic_settings import BaseSettings
from rich.table import Table

from services.commands.screen import as_json as print_json
from services.commands.screen import out
from services.flows import names
from shared.adapters.kafka.settings import KafkaSettings
from shared.adapters.keys import KeySettings
from shared.adapters.llm.chat import LLMSettings
from shared.adapters.redis.client import RedisSettings
from shared.adapters.telemetry import TelemetrySettings

SHARED: tuple[type[BaseSettings], ...] = (
    KafkaSettings,
    RedisSettings,
    LLMSettings,
    KeySettings,
    TelemetrySettings,
)


def all_settings() -> list[type[BaseSettings]]:
    """The settings classes of the adapters, then of each service."""
    found: list[type[BaseSettings]] = list(SHARED)
    for name in names():
        module = importlib.import_module(f"services.{name}.settings")
        found += [
            v
            for v in vars(module).values()
            if isinstance(v, type)
            and issubclass(v, BaseSettings)
            and v.__module__ == module.__name__
        ]
    return found


def explain(error: ValidationError) -> str:
    """Which setting is wrong and how, without its value."""
    kind = next((k for k in all_settings() if k.__name__ == error.title), None)
    prefix = str(kind.model_config["env_prefix"]) if kind else ""
    problems = error.errors(include_url=False, include_input=False, include_context=False)
    return "; ".join(
        f"{_variable(prefix, str(item['loc'][0]))}: {item['msg']}"
        for item in problems
        if item["loc"]
    )


def _variable(prefix: str, name: str) -> str:
    """The environment variable of a setting; some have a name of their own, which several services
    read."""
    return name if name.isupper() else f"{prefix}{name.upper()}"


def rows() -> list[dict[str, Any]]:
    """One row a setting. Secrets are told by whether they are set, never by their value."""
    result = []
    for kind in all_settings():
        settings = kind()
        for name, field in kind.model_fields.items():
            variable = _variable(
                str(kind.model_config["env_prefix"]), str(field.validation_alias or name)
            )
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
                    "changed": variable in os.environ,
                    "about": field.description or "",
                }
            )
    return result


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


def _plain(value: Any) -> Any:
    return (
        value
        if isinstance(value, str | int | float | bool) or value is None
        else str(getattr(value, "value", value))
    )
