"""A table that is built and published, for tests that need one in use."""

from __future__ import annotations

from services.workbench.building import TableSource, make_table
from shared.adapters.kafka.settings import KafkaSettings
from shared.adapters.redis.client import RedisSettings
from shared.adapters.tables import publish
from shared.contracts.tables import TablePublished


async def build_and_publish(source: TableSource, note: str) -> TablePublished:
    """Build a table and publish it as the next version, where the settings say."""
    return await publish(KafkaSettings(), RedisSettings(), await make_table(source), note)
