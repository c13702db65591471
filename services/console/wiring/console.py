"""What the pages share: what is heard, what is remembered, and what they may have done."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from services.console import FLOW
from services.console.desk import Trial, Undecided, Viewer
from services.console.memory import History, Version
from services.console.render import Drawing, Menu
from services.console.settings import ConsoleSettings
from services.console.vote import Rating
from services.console.wiring.access import Access, Refused
from shared.adapters.catalog import CurrentCatalog
from shared.adapters.http import metrics
from shared.adapters.kafka.client import require_topics, time_of
from shared.adapters.kafka.following import Following
from shared.adapters.kafka.replies import Replies
from shared.adapters.kafka.settings import KafkaSettings
from shared.adapters.kafka.tables import find
from shared.adapters.keys import Keys
from shared.adapters.redis.client import RedisSettings
from shared.adapters.tables import roll_back, unpin
from shared.adapters.telemetry import TelemetrySettings, log, where
from shared.contracts.errors import InvalidMessage
from shared.contracts.evaluations import Evaluated
from shared.contracts.messages import Decided, Submitted, read, to_json
from shared.contracts.spending import Spent
from shared.contracts.tables import TablePublished, read_version
from shared.contracts.topics import DECISIONS, EVALUATIONS, ROUTING_TABLES, SPENDING, Topic
from shared.routing.deciding.abilities import Abilities
from shared.routing.deciding.table import RoutingTable

AGAIN_S = 2.0
"""After hearing has failed."""
HEARD_S = 5.0
"""How long a page waits to hear of the table that it has published."""


@dataclass
class Console:
    """The desk behind the pages. Use inside `running`."""

    settings: ConsoleSettings
    menu: Menu = ()
    kafka: KafkaSettings = field(default_factory=KafkaSettings)
    redis: RedisSettings = field(default_factory=RedisSettings)
    telemetry: TelemetrySettings = field(default_factory=TelemetrySettings)
    stopping: asyncio.Event = field(default_factory=asyncio.Event)

    def __post_init__(self) -> None:
        settings = self.settings
        self.access = Access(Keys())
        self.catalog = CurrentCatalog(settings.catalog)
        self.memory = History(settings.history, settings.points, settings.tables)
        self.rating = Rating(self.memory, settings.rate_twice)
        self.trials: OrderedDict[str, Trial] = OrderedDict()
        self.draw = Drawing(self.menu, self._shared)
        self.replies = Replies(self.kafka)
        self.watching = 0
        self.evaluations_heard = 0
        self.evidence: tuple[int, dict[str, Any]] | None = None
        self.following = (
            Following(self.kafka, (DECISIONS,), self._hear, last=settings.history),
            Following(self.kafka, (EVALUATIONS, SPENDING, ROUTING_TABLES), self._hear),
        )

    # hearing

    @asynccontextmanager
    async def running(self) -> AsyncGenerator[None, None]:
        """With everything that the pages need."""
        await require_topics(self.kafka, FLOW.topics)
        async with self.replies.running():
            tasks = [asyncio.create_task(self._follow(following)) for following in self.following]
            try:
                yield
            finally:
                for task in tasks:
                    task.cancel()
                await asyncio.gather(*tasks, return_exceptions=True)

    async def _follow(self, following: Following) -> None:
        while True:
            try:
                await following.run()
            except Exception as error:
                reason = where(error, self.telemetry)
                log.warning("what happens is not heard; trying again", error=reason)
            await asyncio.sleep(AGAIN_S)

    def _hear(self, topic: Topic, record: Any) -> None:
        try:
            self._learn(topic, record)
        except InvalidMessage as error:
            log.warning(
                "ignored a record", topic=topic.name, offset=record.offset, error=str(error)
            )

    def _learn(self, topic: Topic, record: Any) -> None:
        name = (record.key or b"").decode("utf-8", "replace")
        if topic is ROUTING_TABLES and record.value:
            version = read_version(record.value)
            self.memory.published(version, version.read_table())
        elif topic is ROUTING_TABLES:
            self.memory.forgotten(name)
        elif topic is DECISIONS:
            self.memory.decided(read(Decided, record.value), record.timestamp / 1000)
        elif topic is SPENDING:
            self.memory.billed(read(Spent, record.value))
        elif record.value is None:
            self.memory.forget(name)
            self.rating.forget(name)
        else:
            self.evaluations_heard += 1
            self.memory.evaluated(read(Evaluated, record.value), time_of(record))

    @property
    def caught_up(self) -> bool:
        """Whether all is remembered that was there at the start."""
        return all(following.caught_up.is_set() for following in self.following)

    def _shared(self) -> dict[str, Any]:
        current = self.memory.current
        latest = self.memory.decisions[-1] if self.memory.decisions else None
        simulated = (current and current.table.provenance.simulated) or (
            latest and latest.simulated
        )
        return {
            "open": self.open(),
            "simulated": bool(simulated),
            "reading": not self.caught_up,
        }

    # what pages may have done

    async def decide(self, message: Submitted) -> Decided:
        """Publish a prompt and wait for its decision. Raises `Undecided`."""
        with self.replies.expecting(message.request_id) as expected:
            await self.replies.send(message)
            try:
                return await asyncio.wait_for(expected.decided, self.settings.route_s)
            except TimeoutError:
                raise Undecided(described=expected.described.is_set()) from None

    async def publish(self, evaluation: Evaluated) -> None:
        """Publish a vote; returns when it is there."""

        async def there(_partition: int, _offset: int) -> None:
            """That it is there is all that is waited for."""

        await self.replies.publish(EVALUATIONS, to_json(evaluation), evaluation.key, there)

    async def table(self, digest: str) -> RoutingTable:
        """The table with this digest, also one that is not in memory any more."""
        for version in self.memory.versions.values():
            if version.published.digest == digest:
                return version.table
        return (await find(self.kafka, digest)).read_table()

    async def version(self, name: str) -> Version | None:
        """The version of this name, also one that is not in memory; None: there is none."""
        for version in self.memory.versions.values():
            if str(version.published.ref) == name:
                return version
        if not self._known(name):
            return None
        published = await find(self.kafka, name)
        return Version(published, await asyncio.to_thread(published.read_table))

    def _known(self, name: str) -> bool:
        return any(str(published.ref) == name for published, _ in self.memory.known.values())

    async def roll_back(self, name: str, viewer: Viewer) -> TablePublished:
        """Publish an old version again; returns when the pages show it."""
        version = await roll_back(self.kafka, self.redis, name)
        log.info("rolled back", to=name, version=str(version.ref), by=viewer.name)
        return await self._heard_of(version)

    async def unpin(self, viewer: Viewer) -> TablePublished:
        """Let what is learnt replace the current table; returns when the pages show it."""
        version = await unpin(self.kafka, self.redis)
        log.info("unpinned", version=str(version.ref), by=viewer.name)
        return await self._heard_of(version)

    async def _heard_of(self, version: TablePublished) -> TablePublished:
        with suppress(TimeoutError):
            async with asyncio.timeout(HEARD_S):
                while version.ref.version not in self.memory.known:  # noqa: ASYNC110
                    await asyncio.sleep(0.05)
        return version

    def abilities(self) -> Mapping[str, Abilities]:
        """What each model can take."""
        return self.catalog.abilities()

    def retired(self) -> frozenset[str]:
        """Models that leave decisions."""
        return self.catalog.gone()

    def open(self) -> bool:
        """Whether no keys are needed here."""
        return self.access.keys.open

    def call(self, request: Request, name: str, response: Response) -> bool:
        """Rate under this name from now on. False: that is no name."""
        return self.access.call(request, name, response)

    def admitted(self, request: Request) -> bool:
        """Whether the request's key still holds."""
        try:
            self.access.viewer(request)
        except Refused:
            return False
        return True

    # for machines

    async def metrics(self, _request: Request, _viewer: Viewer) -> Response:
        """Prometheus's text."""
        body, headers = metrics()
        return Response(body, headers=headers)

    async def ready(self, _request: Request) -> Response:
        """Whether the pages show what there is."""
        parts = {
            "caught_up": self.caught_up,
            "keys": bool(self.access.keys.all()) or self.open(),
        }
        ready = all(parts.values())
        return JSONResponse({"ready": ready, **parts}, 200 if ready else 503)
