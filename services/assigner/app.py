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
        ref, table = await routing_tables.current()
        placed: list[Placed | Exception] = place(batch, ref, table)
        for i, message in enumerate(batch):
            space = message.embedding.encoder.encoder()
            # it was on its way while a table of another space came into use
            if space != table.encoder and (before := routing_tables.of_space(space)):
                (placed[i],) = place([message], *before)
        for one in placed:
            if isinstance(one, Placed):
                NOVEL.labels("yes" if one.assignment.novel else "no").inc()
        return placed

    stage = Stage(
        flow=FLOW,
        work=work,
        batch=settings.batch,
        lifespan=routing_tables.running,
    )
    return connect(stage, kafka)
