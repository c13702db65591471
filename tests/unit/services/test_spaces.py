"""The re-clusterer learns in the space of the table in use, whatever else it hears."""

from __future__ import annotations

from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from support import embedded, table

from services.reclusterer import wiring
from services.reclusterer.settings import ReclustererSettings
from services.reclusterer.wiring import ARRIVED, SPACES, Learner
from shared.adapters.kafka.settings import KafkaSettings
from shared.adapters.redis.client import RedisSettings
from shared.contracts.messages import to_json
from shared.contracts.places import EncoderRef
from shared.contracts.tables import TablePublished
from shared.contracts.topics import EMBEDDINGS, EVALUATIONS
from shared.routing.deciding.table import Encoder


def space(revision: str) -> Encoder:
    return Encoder("test/encoder", revision, 4, "mean", "none")


def hears(learner: Learner, revision: str, count: int, prefix: str = "r") -> None:
    for i in range(count):
        message = embedded()
        part = message.embedding.model_copy(update={"encoder": EncoderRef.of(space(revision))})
        message = message.model_copy(
            update={"embedding": part, "request_id": f"{prefix}-{revision}-{i}"}
        )
        learner.learn(EMBEDDINGS, record(to_json(message)))


def record(value: bytes | None, key: bytes = b"") -> Any:
    return SimpleNamespace(value=value, key=key, timestamp=0, partition=0, offset=0)


def made() -> Learner:
    turn: Any = None
    return Learner(ReclustererSettings(), KafkaSettings(), RedisSettings(), turn)


def test_what_lies_in_another_space_than_the_tables_is_kept_apart() -> None:
    learner = made()
    hears(learner, "old", 3)
    learner.current = table()  # of revision 1
    hears(learner, "1", 5)
    hears(learner, "old", 4, "again")
    assert learner.memory.encoder == space("1")
    assert len(learner.memory.samples) == 5


def test_a_learnt_table_is_left_once_all_comes_from_another_space_and_a_brought_one_is_not() -> (
    None
):
    learner = made()
    learner.current = table()
    hears(learner, "1", 5)
    hears(learner, "2", ARRIVED - 1)
    assert learner.memory.encoder == space("1")
    hears(learner, "2", 1, "last")
    assert learner.memory.encoder == space("2")
    learner.anchor = table()
    assert learner.memory.encoder == space("1")


def test_no_more_than_a_few_spaces_are_remembered_and_the_tables_is_one() -> None:
    learner = made()
    learner.current = table()
    hears(learner, "1", 2)
    for revision in "23456":
        hears(learner, revision, 1)
    assert len(learner.spaces) == SPACES
    assert len(learner.memory.samples) == 2


def test_what_is_forgotten_stays_forgotten_in_a_space_that_comes_later() -> None:
    learner = made()
    learner.learn(EVALUATIONS, record(None, b"r-9-0"))
    hears(learner, "9", 2)
    assert set(learner.memory.samples) == {"r-9-1"}
    assert np.isfinite(next(iter(learner.memory.samples.values())).vector).all()


async def test_after_a_start_too_what_lies_in_the_newest_tables_space_stays(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Of a year of records, those in older spaces are read while the table is not known yet."""
    learner = made()
    found = TablePublished(
        epoch=1,
        sequence=1,
        digest=table().digest,
        published_at=datetime.now(UTC),
        table=table().to_bytes().decode(),
    )

    async def published(_: KafkaSettings) -> list[TablePublished]:
        return [found]

    async def read() -> None:
        hears(learner, "1", 2)
        for revision in "23456":
            hears(learner, revision, 1)

    monkeypatch.setattr(wiring, "versions", published)
    monkeypatch.setattr(learner.following, "run", read)
    await learner.follow()
    assert learner.current is None
    assert len(learner.spaces) == SPACES
    assert len(learner.of_space(space("1")).samples) == 2
