"""Every setting there is, and what is wrong with one."""

from __future__ import annotations

import importlib
import os

from pydantic import ValidationError
from pydantic_settings import BaseSettings

from services.flows import names
from shared.adapters.kafka.settings import KafkaSettings
from shared.adapters.keys import KeySettings
from shared.adapters.llm.chat import LLMSettings
from shared.adapters.redis.client import RedisSettings
from shared.adapters.telemetry import TelemetrySettings
from shared.contracts.settings import AGREED

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


def explain(error: ValidationError) -> str:
    """Which setting is wrong and how, without its value."""
    kind = next((k for k in all_settings() if k.__name__ == error.title), None)
    prefix = str(kind.model_config["env_prefix"]) if kind else ""
    problems = error.errors(include_url=False, include_input=False, include_context=False)
    return "; ".join(
        f"{_set_by(prefix, str(item['loc'][0]))}: {item['msg']}" for item in problems if item["loc"]
    )


def _set_by(prefix: str, name: str) -> str:
    """The variable that has set it: the service's own, or the one that all services read."""
    own = variable_of(prefix, name)
    common = AGREED.get(name, "")
    return common if common in os.environ and own not in os.environ else own


def variable_of(prefix: str, name: str) -> str:
    """The environment variable of a setting; some have a name of their own, which several services
    read."""
    return name if name.isupper() else f"{prefix}{name.upper()}"
