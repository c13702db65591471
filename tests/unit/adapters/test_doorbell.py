"""Consumers of the embedded broker rest while nobody publishes, and are woken by every
publisher."""

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from shared.adapters import embedded
from shared.adapters.embedded import FETCH_WAIT_MS, embedded_kafka
from shared.adapters.kafka import client, doorbell
from shared.adapters.kafka.client import publisher, reader
from shared.adapters.kafka.doorbell import Ringer
from shared.adapters.kafka.settings import KafkaSettings
from shared.contracts.topics import PROMPTS


@asynccontextmanager
async def broker(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[KafkaSettings]:
    """An embedded broker whose consumers rest at once, and look by themselves only every minute."""
    monkeypatch.setattr(doorbell, "ATTENTIVE_S", 0.5)
    monkeypatch.setattr(client, "LOOK_EVERY_S", 60.0)
    with embedded_kafka(KafkaSettings()) as address, embedded.doorbell() as folder:
        yield KafkaSettings(
            bootstrap_servers=address, fetch_max_wait_ms=FETCH_WAIT_MS, doorbell=Path(folder)
        )


async def resting(consumer: object) -> None:
    """Wait until the consumer asks for nothing any more."""
    async with asyncio.timeout(5):
        while not consumer.paused():  # type: ignore[attr-defined]
            await asyncio.sleep(0.02)


async def test_a_consumer_rests_and_a_publisher_wakes_it(monkeypatch: pytest.MonkeyPatch) -> None:
    async with broker(monkeypatch) as kafka, publisher(kafka) as out:
        async with reader(kafka, [PROMPTS], from_start=False) as consumer:
            for value in (b"first", b"second"):
                await resting(consumer)
                await out.send_and_wait(PROMPTS.name, value)
                record = await asyncio.wait_for(consumer.getone(), 5)
                assert record.value == value
        assert not list(kafka.doorbell.iterdir())  # type: ignore[union-attr]


async def test_who_publishes_without_ringing_is_heard_at_the_next_look(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with broker(monkeypatch) as kafka:
        monkeypatch.setattr(client, "LOOK_EVERY_S", 0.1)
        silent = kafka.model_copy(update={"doorbell": None})
        async with publisher(silent) as out, reader(kafka, [PROMPTS], from_start=False) as consumer:
            await resting(consumer)
            for number in range(50):
                await out.send_and_wait(PROMPTS.name, b"%d" % number)
            read = [await asyncio.wait_for(consumer.getone(), 5) for _ in range(50)]
            assert {record.value for record in read} == {b"%d" % n for n in range(50)}


def test_a_bell_that_was_left_behind_is_cleared_away(tmp_path: Path) -> None:
    left = tmp_path / "123-0"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as gone:
        gone.bind(str(left))
    ringer = Ringer(tmp_path)
    ringer.ring()
    ringer.close()
    assert not left.exists()


def test_without_a_folder_nothing_rings(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as bell:
        bell.bind(str(tmp_path / "1-0"))
        bell.setblocking(False)
        Ringer(None).ring()
        with pytest.raises(BlockingIOError):
            bell.recv(16)
        ringer = Ringer(tmp_path)
        ringer.ring()
        ringer.ring()  # within RING_EVERY_S
        assert bell.recv(16) == b"!"
        with pytest.raises(BlockingIOError):
            bell.recv(16)
        ringer.close()


async def test_without_a_place_for_its_bell_a_consumer_goes_on_asking(tmp_path: Path) -> None:
    await doorbell.attend(lambda: None, tmp_path / "gone", 1.0)
