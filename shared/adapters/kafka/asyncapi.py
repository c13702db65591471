"""The AsyncAPI document of all services together, from the code."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.metadata import version
from typing import Any

import yaml
from faststream import FastStream
from faststream.specification import AsyncAPI


def document(apps: Sequence[FastStream]) -> str:
    """YAML of AsyncAPI 3; the broker's address and other settings of this machine are left out."""
    brokers = [broker for app in apps for broker in app.brokers]
    specification = AsyncAPI(
        *brokers,
        title="Pointsman",
        version=version("pointsman"),
        description='Topics of the hot path. A producer needs no more than {"prompt": "…"} on '
        "`prompts`.",
        license={"name": "Apache-2.0"},
    )
    content: dict[str, Any] = specification.to_specification().to_jsonable()
    for server in content.get("servers", {}).values():
        server["host"] = "kafka:9092"
    return yaml.safe_dump(content, sort_keys=False, allow_unicode=True, width=120)
