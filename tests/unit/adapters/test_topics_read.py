"""Topics on the embedded broker: reading from a moment on (tests/integration/test_budget.py does it
on a real one), and the versions of tables that are kept."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from aiokafka import AIOKafkaProducer
from support import table

from shared.adapters.embedded import FETCH_WAIT_MS, embedded_kafka
from shared.adapters.kafka import tables
from shared.adapters.kafka.client import each, read_all
from shared.adapters.kafka.settings import KafkaSettings
from shared.contracts.tables import Origin
from shared.contracts.topics import SPENDING

MIDNIGHT = datetime(2026, 11, 27, tzinfo=UTC)


async def read_from_midnight(kafka: KafkaSettings) -> list[str]:
    """What is read of a topic with records of both days in every partition but the last, which has
    only old ones."""
    begin = int(1000 * MIDNIGHT.timestamp())
    out = AIOKafkaProducer(**kafka.access())
    await out.start()
    try:
        for partition in range(2):
            for hours in (-48, -1, 0, 1) if partition == 0 else (-48, -1):
                await out.send_and_wait(
                    kafka.name(SPENDING),
                    f"{partition} {hours}".encode(),
                    partition=partition,
                    timestamp_ms=begin + 3_600_000 * hours,
                )
    finally:
        await out.stop()
    assert len(await read_all(kafka, SPENDING)) == 6
    return sorted([r.value.decode() async for r in each(kafka, SPENDING, MIDNIGHT)])


async def test_what_is_older_is_not_read() -> None:
    with embedded_kafka(KafkaSettings()) as address:
        kafka = KafkaSettings(bootstrap_servers=address, fetch_max_wait_ms=FETCH_WAIT_MS)
        assert await read_from_midnight(kafka) == ["0 0", "0 1"]
        assert [r async for r in each(kafka, SPENDING, datetime.now(UTC))] == []


async def test_the_table_that_learning_adds_to_is_kept_however_old_it_is(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(tables, "KEEP", 3)
    with embedded_kafka(KafkaSettings()) as address:
        kafka = KafkaSettings(bootstrap_servers=address, fetch_max_wait_ms=FETCH_WAIT_MS)
        for turn, origin in enumerate([Origin.brought, *[Origin.learnt] * 5]):
            await tables.append(kafka, table(seed=turn), f"{turn}", origin)
        assert [v.note for v in await tables.versions(kafka)] == ["0", "3", "4", "5"]
        await tables.append(kafka, table(seed=9), "new", Origin.brought)
        assert [v.note for v in await tables.versions(kafka)] == ["4", "5", "new"]
