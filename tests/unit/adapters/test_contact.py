"""A service is ready only while a broker is there, and says so once when that changes."""

from types import SimpleNamespace
from typing import Any

import pytest

from shared.adapters.kafka import liveness
from shared.adapters.kafka.liveness import Contact
from shared.adapters.kafka.positions import connected
from shared.adapters.kafka.settings import KafkaSettings


def consumer(*open_: bool) -> Any:
    """As aiokafka has its connections, by what they are for."""
    connections = {
        i: SimpleNamespace(connected=lambda is_open=is_open: is_open)
        for i, is_open in enumerate(open_)
    }
    return SimpleNamespace(_client=SimpleNamespace(_conns=connections))


def test_a_broker_is_there_while_any_connection_is_open() -> None:
    assert connected(consumer(False, True))
    assert not connected(consumer(False, False))
    assert not connected(consumer())


def test_the_log_is_told_once_that_a_broker_has_gone_and_once_that_it_is_back(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    told: list[str] = []
    monkeypatch.setattr(liveness.log, "error", lambda text, **_: told.append(text))
    monkeypatch.setattr(liveness.log, "info", lambda text, **_: told.append(text))
    contact = Contact(KafkaSettings(bootstrap_servers="kafka:9092"))
    there = [contact.look(consumer(is_open)) for is_open in (True, False, False, True, True)]
    assert there == [True, False, False, True, True]
    assert told == ["no Kafka answers at kafka:9092; trying again", "Kafka is back"]
