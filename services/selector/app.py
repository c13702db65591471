"""Wiring of the selector."""

from __future__ import annotations

from collections.abc import Sequence

from faststream import FastStream

from services.selector import FLOW
from services.selector.decide import Pacers, decide
from services.selector.settings import SelectorSettings
from shared.adapters.catalog import CurrentCatalog
from shared.adapters.errors import NoRoutingTable
from shared.adapters.kafka.edge import Stage, connect
from shared.adapters.kafka.settings import KafkaSettings
from shared.adapters.redis.client import RedisSettings
from shared.adapters.tables import Tables
from shared.adapters.telemetry import DECISIONS as MADE
from shared.contracts.messages import Decided, Placed
from shared.routing.errors import RoutingError


def build(settings: SelectorSettings | None = None, tables: Tables | None = None) -> FastStream:
    """The selector as an application."""
    settings = settings or SelectorSettings()
    kafka = KafkaSettings()
    routing_tables = tables or Tables("selector", kafka, RedisSettings())
    catalog = CurrentCatalog(settings.catalog)
    pacers = Pacers()

    async def one(message: Placed) -> Decided | Exception:
        try:
            table = await routing_tables.get(message.assignment.table)
            wish = pacers.wish(message.wanted(settings.default_profile, settings.profiles), table)
            decided = decide(
                message,
                table,
                catalog.contexts(),
                wish,
                settings.candidates,
                catalog.gone(),
                settings.predictor_share,
            )
        except (NoRoutingTable, RoutingError) as error:
            return error
        pacers.decided(wish, decided.decision, table)
        return decided

    async def work(batch: Sequence[Placed]) -> Sequence[Decided | Exception]:
        decided = [await one(message) for message in batch]
        for result in decided:
            if isinstance(result, Decided):
                MADE.labels(result.decision.model or "", result.decision.status).inc()
        return decided

    stage = Stage(
        flow=FLOW,
        work=work,
        batch=settings.batch,
        lifespan=routing_tables.running,
    )
    return connect(stage, kafka)
