"""The AsyncAPI document of all services together, from their flows."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable
from importlib.metadata import version
from typing import Any

import yaml
from faststream.kafka import KafkaBroker
from faststream.kafka import Topic as FastStreamTopic
from faststream.specification import AsyncAPI

from shared.contracts.flow import Flow
from shared.contracts.topics import Topic


def document(flows: Iterable[Flow]) -> str:
    """YAML of AsyncAPI 3; nothing of this machine's settings is in it."""
    specification = AsyncAPI(
        *(_described(flow) for flow in flows),
        title="Pointsman",
        version=version("pointsman"),
        description='The topics. A producer needs no more than {"prompt": "…"} on `prompts`.',
        license={"name": "Apache-2.0"},
    )
    content: dict[str, Any] = specification.to_specification().to_jsonable()
    for part in ("channels", "operations"):  # FastStream keeps them in a set
        content[part] = dict(sorted(content[part].items()))
    for part, named in content["components"].items():
        content["components"][part] = dict(sorted(named.items()))
    return yaml.safe_dump(content, sort_keys=False, allow_unicode=True, width=120)


def _described(flow: Flow) -> KafkaBroker:
    """A broker that is never started: FastStream describes its subscribers and publishers."""
    broker = KafkaBroker("kafka:9092", apply_types=False)
    for topic in flow.read:
        how = "hears" if topic is flow.hears else "reads"
        broker.subscriber(
            FastStreamTopic(topic.name, declare=False),
            title=f"{flow.name}.{how}.{topic.name}",
            description=f"{topic.about}. {flow.about}",
        )(_handler(flow, topic))
    for topic in flow.written:
        broker.publisher(
            FastStreamTopic(topic.name, declare=False),
            title=f"{flow.name}.says.{topic.name}",
            description=topic.about,
            schema=topic.message or bytes,
        )
    return broker


def _handler(flow: Flow, topic: Topic) -> Callable[[Any], Awaitable[None]]:
    """Its annotation is what the document shows as the message."""

    async def handler(message: Any) -> None:
        """Never called."""

    handler.__annotations__["message"] = topic.message or bytes
    handler.__name__ = f"{flow.name}_{topic.name.replace('-', '_')}"
    return handler
