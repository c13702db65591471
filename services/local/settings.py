"""Every setting there is, and what is wrong with one."""

from __future__ import annotations

import difflib
import importlib
import json
import os
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import get_origin

from pydantic import SecretStr, ValidationError
from pydantic_settings import BaseSettings, SettingsError

from services.flows import names
from shared.adapters.kafka.settings import KafkaSettings
from shared.adapters.keys import KeySettings
from shared.adapters.llm.chat import LLMSettings
from shared.adapters.llm.providers import further
from shared.adapters.redis.client import RedisSettings
from shared.adapters.telemetry import TelemetrySettings
from shared.catalog.models import CatalogError
from shared.contracts.settings import AGREED

PREFIX = "POINTSMAN_"
OTHERS = ("POINTSMAN_HOME", "POINTSMAN_API_KEY")
"""Variables that are no field of a settings class: where encoders are kept, and the key that
`pointsman connect` and `bench-gateway` present."""
SHARED: tuple[type[BaseSettings], ...] = (
    KafkaSettings,
    RedisSettings,
    LLMSettings,
    KeySettings,
    TelemetrySettings,
)


def all_settings() -> list[type[BaseSettings]]:
    """The settings classes of the adapters, then of each service."""
    kinds: list[type[BaseSettings]] = list(SHARED)
    for name in names():
        module = importlib.import_module(f"services.{name}.settings")
        kinds += [
            v
            for v in vars(module).values()
            if isinstance(v, type)
            and issubclass(v, BaseSettings)
            and v.__module__ == module.__name__
        ]
    return kinds


def explain(error: ValidationError | SettingsError) -> str:
    """Which setting is wrong and how, without its value."""
    if isinstance(error, SettingsError):
        return "; ".join(_not_json()) or str(error)
    kind = next((k for k in all_settings() if k.__name__ == error.title), None)
    prefix = str(kind.model_config["env_prefix"]) if kind else ""
    problems = error.errors(include_url=False, include_input=False, include_context=False)
    return "; ".join(
        f"{_set_by(prefix, str(item['loc'][0]))}: {item['msg']}" for item in problems if item["loc"]
    )


def _not_json() -> Iterator[str]:
    """The settings whose values should be JSON, and are not."""
    for kind in all_settings():
        for variable, name in variables_of(kind):
            field = kind.model_fields[name]
            if get_origin(field.annotation) in {dict, list, tuple} and variable in os.environ:
                try:
                    json.loads(os.environ[variable])
                except ValueError:
                    yield f"{variable}: it is not JSON"


@dataclass(frozen=True, slots=True)
class Stranger:
    """A variable that looks like ours, and that nobody reads."""

    name: str
    nearest: str | None
    """The setting that may be meant."""

    @property
    def text(self) -> str:
        """What is wrong, and what to do."""
        hint = f"; did you mean {self.nearest}?" if self.nearest else ""
        return f"there is no setting {self.name}{hint}"


def unknown(environment: Mapping[str, str]) -> list[Stranger]:
    """The variables that begin as ours do, and that nothing reads. What a service's settings do not
    know is no error to it: one .env goes to all."""
    known = _known(environment)
    return [
        Stranger(name, next(iter(difflib.get_close_matches(name, known, n=1, cutoff=0.8)), None))
        for name in sorted(environment)
        if name.startswith(PREFIX) and name not in known
    ]


def _known(environment: Mapping[str, str]) -> set[str]:
    known = {*OTHERS, *AGREED.values()}
    for kind in all_settings():
        for variable, name in variables_of(kind):
            known.add(variable)
            if kind.model_fields[name].annotation is SecretStr:
                known.add(f"{variable}_FILE")
    if environment.get("POINTSMAN_LLM_PROVIDERS"):
        with suppress(CatalogError):
            providers = further(LLMSettings()).values()
            known |= {provider.key_env for provider in providers if provider.key_env}
    return known


def _set_by(prefix: str, name: str) -> str:
    """The variable that has set it: the service's own, or the one that all services read."""
    own = variable_of(prefix, name)
    common = AGREED.get(name, "")
    return common if common in os.environ and own not in os.environ else own


def variables_of(kind: type[BaseSettings]) -> Iterator[tuple[str, str]]:
    """The environment variable of each field, and the field's name."""
    prefix = str(kind.model_config["env_prefix"])
    for name, field in kind.model_fields.items():
        yield variable_of(prefix, str(field.validation_alias or name)), name


def variable_of(prefix: str, name: str) -> str:
    """The environment variable of a setting; some have a name of their own, which several services
    read."""
    return name if name.isupper() else f"{prefix}{name.upper()}"
