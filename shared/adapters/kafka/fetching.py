"""Taking records one by one, whatever a fetch fails with."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Any

from aiokafka import ConsumerRecord
from aiokafka.errors import ConsumerStoppedError

from shared.adapters.telemetry import UNREAD, TelemetrySettings, log, where

AGAIN_S, AT_MOST_S = 0.05, 1.0
"""After a fetch that failed; twice as long after each that fails in a row."""


@dataclass(slots=True)
class Fetching:
    """What a fetch fails with (a codec, a checksum, a header's name) is told, and other partitions
    go on meanwhile.

    FastStream's own loop would wait fifteen seconds each time and say nothing, or end for an error
    that it does not know. `record` stands in for its `get_msg`: it has no other place to hear of
    it.
    """

    service: str
    topic: str
    telemetry: TelemetrySettings
    error: str = ""
    """What the last failed fetch failed with, since the log was told."""

    async def record(self, consumer: Any) -> ConsumerRecord:
        """The next record."""
        wait_s = AGAIN_S
        while True:
            try:
                return await consumer.getone()
            except ConsumerStoppedError:
                raise
            except Exception as error:
                UNREAD.labels(self.service, type(error).__name__).inc()
                if self.error != type(error).__name__:
                    log.error(
                        "records can't be fetched; trying again",
                        topic=self.topic,
                        error=where(error, self.telemetry),
                    )
                self.error = type(error).__name__
                await asyncio.sleep(wait_s)
                wait_s = min(2 * wait_s, AT_MOST_S)
