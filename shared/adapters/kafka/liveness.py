"""Whether a service lives: its session, its partitions, and when it must give up.

A process that was paused for longer than its session (stopped, swapped out, a paused machine)
publishes nothing more. By then other instances own its partitions, so it exits, and its supervisor
starts it again. Kafka's transactions could not prevent such writes: aiokafka speaks version 0 of
TxnOffsetCommit only.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from aiokafka import TopicPartition

from shared.adapters.errors import AdapterError, SessionLost
from shared.adapters.kafka.fetching import Fetching
from shared.adapters.kafka.offsets import Offsets
from shared.adapters.kafka.positions import connected
from shared.adapters.kafka.settings import KafkaSettings
from shared.adapters.kafka.stage import Stage
from shared.adapters.kafka.standing import Standing
from shared.adapters.telemetry import (
    ALIVE_AT,
    READY,
    STALLED,
    TelemetrySettings,
    log,
    settle,
    where,
)

WATCH_EVERY_S = 5.0
"""How often to check for stalled partitions."""
TWIN_JOINS, TWIN_SESSIONS = 6, 3.0
"""Joins within this many sessions that look as if two processes took a name from each other."""
BEAT_S = 5.0
"""It looks at least so often, however long the session."""
HEARTBEATS = 10
"""How often in a session a service checks whether it was paused."""


@dataclass(slots=True)
class Contact:
    """Whether a broker is there, and a word in the log whenever that changes."""

    kafka: KafkaSettings
    there: bool = True

    def look(self, consumer: Any) -> bool:
        """Whether `consumer` is connected."""
        before = self.there
        self.there = connected(consumer)
        if before and not self.there:
            log.error(f"no Kafka answers at {self.kafka.bootstrap_servers}; trying again")
        elif self.there and not before:
            log.info("Kafka is back", at=self.kafka.bootstrap_servers)
        return self.there


@dataclass(slots=True)
class Liveness:
    """One service's."""

    stage: Stage[Any, Any]
    kafka: KafkaSettings
    telemetry: TelemetrySettings
    exit: Callable[[], None] = field(default=lambda: None)
    """Ends the application."""
    failed: BaseException | None = None
    """Why it gives up."""
    alive_at: float = field(default_factory=time.monotonic)
    running: bool = False
    """Between the first record and the last; before and after, a pause does not count."""
    member: bool = False
    """Whether it has been given partitions."""
    draining: bool = False
    contact: Contact = field(init=False)
    standing: dict[TopicPartition, float] = field(default_factory=dict)
    """Stalled partitions, and for how many seconds."""
    joined_at: deque[float] = field(default_factory=lambda: deque(maxlen=TWIN_JOINS))

    def __post_init__(self) -> None:
        self.contact = Contact(self.kafka)

    @property
    def _session_s(self) -> float:
        return self.kafka.session_timeout_ms / 1000

    def fail(self, error: BaseException) -> None:
        """What can't be repaired here is left to a restart: nothing uncommitted is lost."""
        if self.failed is None:
            self.failed = error
            ours = isinstance(error, AdapterError)  # its text is ours and quotes nothing
            text = str(error) if ours else where(error, self.telemetry)
            log.error("giving up; restart me", error=text)
            self.exit()

    def require_session(self) -> None:
        """Raise `SessionLost` once this process was paused for longer than its session."""
        still_s = time.monotonic() - self.alive_at
        if self.failed is None and still_s > self._session_s:
            self.fail(
                SessionLost(
                    f"paused for {still_s:.0f} s, longer than a session; what was taken is "
                    "another's by now"
                )
            )
        if isinstance(self.failed, SessionLost):
            raise self.failed

    def may_write(self) -> None:
        """Raise `SessionLost` if what was handed over before a pause must not be written any
        more."""
        if isinstance(self.failed, SessionLost) or self.running:
            self.require_session()

    async def beat(self) -> None:
        """Check until the end whether this process was paused."""
        while True:
            self.require_session()
            self.alive_at = time.monotonic()
            ALIVE_AT.labels(self.stage.service).set_to_current_time()
            await asyncio.sleep(min(BEAT_S, self._session_s / HEARTBEATS))

    async def watch(self, offsets: Offsets, fetching: Fetching) -> None:
        """Name stalled partitions until the end, and be ready only while there are none."""
        looking: Standing[TopicPartition] = Standing(self.kafka.stalled_s + self.stage.patience_s)
        topic = self.stage.consumes.name
        while True:
            await asyncio.sleep(min(WATCH_EVERY_S, self.kafka.stalled_s / 4))
            consumer = offsets.consumer()
            if consumer is None or self.draining:
                continue
            self.contact.look(consumer)
            now = offsets.waiting()
            before = self.standing
            self.standing = looking.look(now)
            for part in self.standing.keys() - before.keys():
                log.error(
                    "a partition is stalled",
                    topic=topic,
                    partition=part.partition,
                    offset=now[part].offset,
                    behind=now[part].behind,
                    for_s=round(self.standing[part]),
                    fetch_error=fetching.error or None,
                )
            for part in before.keys() - self.standing.keys():
                log.warning("a partition goes on", topic=topic, partition=part.partition)
            if not self.standing:
                fetching.error = ""
            STALLED.labels(self.stage.service).set(len(self.standing))
            self.say_ready()

    def say_ready(self) -> None:
        """Readiness as a metric: a member of its group that hears its broker, is not draining and
        stands nowhere."""
        ready = self.member and self.contact.there and not self.draining and not self.standing
        READY.labels(self.stage.service).set(int(ready))

    def joined(self, partitions: int) -> None:
        """It was given partitions. Two processes of one name take it from each other again and
        again."""
        self.member = True
        settle()
        self.say_ready()
        log.info("taking records", ready=True, partitions=partitions)
        self.joined_at.append(time.monotonic())
        often = len(self.joined_at) == TWIN_JOINS
        short = self.joined_at[-1] - self.joined_at[0] < TWIN_SESSIONS * self._session_s
        if self.kafka.instance and often and short:
            log.warning(
                "joined repeatedly: another process may have the same name "
                "(POINTSMAN_KAFKA_INSTANCE)",
                name=self.kafka.instance,
            )
