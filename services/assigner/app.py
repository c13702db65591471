"""Wiring of the assigner."""

from __future__ import annotations

from collections.abc import Sequence

from faststream import FastStream

from services.assigner import FLOW
from services.assigner.assign import place
from services.assigner.settings import AssignerSettings
from shared.adapters.kafka.edge import Stage, connect
from shared.adapters.kafka.settings import KafkaSettings
from shared.adapters.redis.client import RedisSettings
from shared.adapters.tables import Tables
from shared.adapters.telemetry import NOVEL
from shared.contracts.messages import Embedded, Placed


def build(settings: AssignerSettings | None = None, tables: Tables | None = None) -> FastStream:
    """The assigner as an application; prompts wait in their topic until there is a routing
    table."""
    settings = settings or AssignerSettings()
    kafka = KafkaSettings()
    routing_tables = tables or Tables(FLOW.name, kafka, RedisSettings())

    async def work(batch: Sequence[Embedded]) -> Sequence[Placed | Exception]:
        placed = place(batch, *await routing_tables.current())
        for message in placed:
            if isinstance(message, Placed):
                NOVEL.labels("yes" if message.assignment.novel else "no").inc()
        return placed

    stage = Stage(
        flow=FLOW,
        work=work,
        batch=settings.batch,
        lifespan=routing_tables.running,
    )
    return connect(stage, kafka)
