"""Foreseeing descriptions: learns from the describer's topic; one thread does the arithmetic."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import AsyncGenerator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, suppress
from typing import Any

from services.describer import FLOW
from services.describer.describe import Foresee
from services.describer.foresee import (
    DescribedBy,
    Encode,
    Forecast,
    Foreseeing,
    ModelDescription,
    Read,
)
from services.describer.settings import DescriberSettings
from shared.adapters.errors import AdapterError
from shared.adapters.kafka.following import Following
from shared.adapters.kafka.settings import KafkaSettings
from shared.adapters.kafka.tables import versions
from shared.adapters.llm.chat import LLMSettings
from shared.adapters.redis.client import RedisSettings
from shared.adapters.tables import Tables
from shared.adapters.telemetry import FORESEEN, TelemetrySettings, log, where
from shared.catalog.tasks import library
from shared.contracts.errors import ContractError
from shared.contracts.messages import Described, read
from shared.contracts.places import Source
from shared.contracts.topics import DESCRIPTIONS, Topic
from shared.routing.deciding.rates import PROFILES, Goal, Rates
from shared.routing.deciding.table import Encoder, RoutingTable

LOOK_S = 10.0
"""How long the first look for a routing table may take."""
LOOK_EVERY_S = 2.0
"""How often it is looked whether there is something to learn."""
NOTING_AT_MOST = 64
"""Descriptions that wait to be learnt from."""
BORROWED_AT_ONCE = 32
"""Prompts of the library that are encoded together; prompts that come wait no longer than that."""
PASSED_OVER = 5
"""Records of `descriptions` read at the start for each pair that is kept: some were cached or
foreseen."""


async def table_encoder(kafka: KafkaSettings) -> Encoder | None:
    """The encoder of the newest table, if there is one."""
    try:
        published = await asyncio.wait_for(versions(kafka), LOOK_S)
    except (AdapterError, TimeoutError):
        return None
    return published[-1].read_table().encoder if published else None


def loaded_encoder(
    settings: DescriberSettings, table: Encoder | None
) -> tuple[Encode, Encoder] | None:
    """The encoder beside the describer, where its image has one. It is that of the table in use, if
    it comes with Pointsman, else that of the settings."""
    try:
        from shared.adapters.onnx.load import load
        from shared.adapters.onnx.prepare import variant_for

        variant = variant_for(table, settings.encoder_dir, settings.variant)
        live = load(settings.encoder_dir, variant, "cpu", 1)
    except (ImportError, OSError, AdapterError) as error:
        reason = (
            "onnxruntime is not installed here" if isinstance(error, ImportError) else str(error)
        )
        log.warning("foresight is off: the language model describes every prompt", because=reason)
        return None
    return live.encode, live.identity


@asynccontextmanager
async def foreseeing(
    settings: DescriberSettings, kafka: KafkaSettings, encode: Encode, encoder: Encoder
) -> AsyncGenerator[Foresee, None]:
    """What is foreseen, from what the topic remembers of earlier descriptions and from those to
    come."""
    tables = Tables(FLOW.name, kafka, RedisSettings())
    engine = Foreseeing(settings, encode, encoder, DESCRIPTIONS.retention_ms / 1000)
    live = _Foreseeing(engine, tables, settings.foresee_pairs)
    async with tables.running():
        tasks = [
            asyncio.create_task(task)
            for task in (live.remember(kafka, settings.foresee_pairs), live.keep_learning())
        ]
        if settings.foresee_library and not LLMSettings().simulated:
            tasks.append(asyncio.create_task(live.begin_with_library(settings.foresee_from)))
        try:
            yield live
        finally:
            tasks += live.noting
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            live.thread.shutdown()


class _Foreseeing:
    """`Foreseeing` behind one thread, so that the encoder is asked by one at a time and the event
    loop goes on."""

    def __init__(self, engine: Foreseeing, tables: Tables, most: int) -> None:
        self._known = engine
        self._tables = tables
        self._most = most
        self._remembered = asyncio.Event()
        self.thread = ThreadPoolExecutor(1, "foreseeing")
        self.noting: set[asyncio.Task[None]] = set()

    def _table(self) -> RoutingTable | None:
        there = self._tables.at_hand()
        return there[1] if there else None

    async def _run(self, work: Any, *arguments: Any) -> Any:
        return await asyncio.get_running_loop().run_in_executor(self.thread, work, *arguments)

    async def look(self, prompt: str, wanted: Rates | Goal, /) -> Forecast | None:
        try:
            glance: Forecast | None = await self._run(
                self._known.look, prompt, wanted, self._table()
            )
        except Exception as error:  # then the language model is asked, as without foresight
            log.error("nothing foreseen", error=where(error, TelemetrySettings()))
            return None
        return glance

    def needless(self) -> bool:
        table = self._table()
        return table is not None and table.text == "prompt"

    def note(self, written: ModelDescription, glance: Forecast, /) -> None:
        """Behind the prompt's back: nobody waits for it, and where too much is waiting it is
        left."""
        if len(self.noting) < NOTING_AT_MOST:
            task = asyncio.create_task(self._note(written, glance))
            self.noting.add(task)
            task.add_done_callback(self.noting.discard)

    async def _note(self, written: ModelDescription, glance: Forecast) -> None:
        try:
            same: bool | None = await self._run(
                self._known.note, glance.read, written, glance, self._table()
            )
        except Exception as error:  # what was written stands, whether it is learnt from or not
            log.error("a description was not learnt from", error=where(error, TelemetrySettings()))
            return
        if same is not None:
            FORESEEN.labels("yes" if same else "no").inc()

    async def remember(self, kafka: KafkaSettings, pairs: int) -> None:
        """Take what language models wrote lately from the topic."""
        pairs_read: list[tuple[Read, ModelDescription]] = []

        def learn(_topic: Topic, record: Any) -> None:
            if record.value is not None:
                with suppress(ContractError):
                    if read(DescribedBy, record.value).description.source is Source.llm:
                        message = read(Described, record.value)
                        written = message.description
                        at = record.timestamp / 1000
                        pairs_read.append(
                            (
                                Read.of(message.task_text()),
                                ModelDescription(written.text, written.simulated, at),
                            )
                        )

        following = Following(kafka, (DESCRIPTIONS,), learn, last=PASSED_OVER * pairs)
        reading = asyncio.create_task(following.run())
        ended = asyncio.create_task(following.caught_up.wait())
        await asyncio.wait({reading, ended}, return_when=asyncio.FIRST_COMPLETED)
        if reading.done() and (error := reading.exception()) is not None:
            log.warning(
                "earlier descriptions can't be read, so foresight begins without them",
                error=where(error, TelemetrySettings()),
            )
        reading.cancel()
        await asyncio.gather(reading, return_exceptions=True)
        ended.cancel()
        for prompt, written in sorted(pairs_read, key=lambda pair: pair[1].at)[-pairs:]:
            await self._run(self._known.note, prompt, written)
        self._remembered.set()

    async def begin_with_library(self, least: int) -> None:
        """Where the language model has written fewer descriptions than are needed, and a table
        reads descriptions, begin with those of the library's prompts."""
        await self._remembered.wait()
        while (table := self._table()) is None or table.encoder != self._known.encoder:  # noqa: ASYNC110
            await asyncio.sleep(LOOK_EVERY_S)
        if len(self._known) >= least or self.needless():
            return
        pairs = [
            (prompt, mark.description)
            for task in library()
            for prompt, mark in task.marks.items()
            if mark.description
        ]
        random.Random(0).shuffle(pairs)  # whatever is learnt before the last has all families
        pairs = pairs[: self._most]
        for start in range(0, len(pairs), BORROWED_AT_ONCE):
            some = pairs[start : start + BORROWED_AT_ONCE]
            await self._run(self._known.borrow, some, time.time())
        log.info("foresight begins with the library of tasks", prompts=len(pairs))

    async def keep_learning(self) -> None:
        """Learn again when due, beside the thread that foresees."""
        warned_of: Encoder | None = None
        while True:
            await asyncio.sleep(LOOK_EVERY_S)
            table = self._table()
            if (
                table is not None
                and table.encoder != self._known.encoder
                and table.encoder != warned_of
            ):
                warned_of = table.encoder
                log.warning(
                    "foresight is off: the table has another space",
                    table=str(warned_of),
                    here=str(self._known.encoder),
                )
            if table is not None and self._known.due(table):
                try:
                    learnt = await asyncio.to_thread(self._known.learn, table)
                except Exception as error:
                    log.error("foresight not learnt", error=where(error, TelemetrySettings()))
                    await asyncio.sleep(10 * LOOK_EVERY_S)
                    continue
                if learnt is not None:
                    sure = {
                        name: round(float(least), 3)
                        for name, least in zip(PROFILES, learnt.agreement, strict=True)
                        if least <= 1
                    }
                    log.info(
                        "foresight learnt", prompts=len(self._known), sure_from=sure or "never"
                    )
