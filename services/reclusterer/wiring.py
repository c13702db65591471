"""Learning from the topics, and publishing what was learnt while it is this process's turn."""

from __future__ import annotations

import asyncio
import os
import sys
import time
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from threadpoolctl import threadpool_limits

from services.reclusterer import FLOW
from services.reclusterer.memory import Evidence
from services.reclusterer.recluster import Proposal, propose
from services.reclusterer.settings import ReclustererSettings
from services.reclusterer.trigger import Trigger
from shared.adapters.catalog import CurrentCatalog
from shared.adapters.errors import AdapterError, RecordTooLarge
from shared.adapters.kafka.following import Following
from shared.adapters.kafka.settings import KafkaSettings
from shared.adapters.kafka.tables import end, versions
from shared.adapters.kafka.writing import Leadership
from shared.adapters.redis.client import RedisSettings
from shared.adapters.tables import publish
from shared.adapters.telemetry import LEARNT, TelemetrySettings, log, where
from shared.catalog.models import Catalog, Model
from shared.catalog.tasks import points
from shared.contracts.errors import ContractError
from shared.contracts.evaluations import Evaluated
from shared.contracts.messages import Completed, Embedded, read
from shared.contracts.tables import Origin, TablePublished, anchor_of
from shared.contracts.topics import COMPLETIONS, EMBEDDINGS, EVALUATIONS, Topic
from shared.routing.deciding.table import Encoder, RoutingTable
from shared.routing.learning.clustering import nearest_of, warm

FIRST_S = 0.2
"""How often it is looked whether a first table can be made."""
EVERY_COMPLETIONS = 20
"""Completions after which costs and latencies are worth publishing."""
NEWS = 0.02
"""New votes that make another version, as a fraction of those in the version in use."""
LOOK_AT_END_S = 60.0
WAITS = 15
"""After this many checks (`every_s`) any news at all is published."""
ARRIVED = 50
"""Embeddings in a row of another space than the table's after which a learnt table is left for
one of that space."""
SPACES = 3
"""Spaces that are remembered."""
NOTHING: tuple[int, int, tuple[Model, ...]] = (-1, -1, ())
"""No state in which anything was published."""


def ranked(
    catalog: Catalog, settings: ReclustererSettings, anchor: RoutingTable | None = None
) -> list[Model]:
    """The models that are ranked: the profile's, and those of the table that somebody has
    brought."""
    models = list(catalog.profile(settings.profile))
    brought = anchor.models if anchor is not None else ()
    there = {model.name for model in models}
    models += [
        catalog.models[name] for name in brought if name in catalog.models and name not in there
    ]
    return [m for m in models if m.name not in catalog.retired]


@dataclass(slots=True)
class Learner:
    """Learns from the topics, and writes while it is its turn."""

    settings: ReclustererSettings
    kafka: KafkaSettings
    redis: RedisSettings
    turn: Leadership
    catalog: CurrentCatalog = field(init=False)
    spaces: dict[Encoder, Evidence] = field(default_factory=dict)
    """What is remembered, by the space it lies in."""
    homeless: Evidence = field(init=False)
    """What is told before any embedding; becomes the first space's."""
    newest: Encoder | None = None
    """The space of the newest embedding."""
    in_a_row: int = 0
    """Embeddings of that space that came last, none of another between them."""
    watch: Trigger = field(init=False)
    following: Following = field(init=False)
    home: Encoder | None = None
    """The space of the newest table, as long as that has not been read."""
    current: RoutingTable | None = None
    anchor: RoutingTable | None = None
    pinned: bool = False
    after: tuple[int, int] = (0, 0)
    """The newest version that is known."""
    brought: bool = False
    """Whether the current table was brought by a person, and nothing learnt has been added yet."""
    told_strangers: tuple[str, ...] = ()
    looked_at: float = float("-inf")
    """When the end of the topic was looked at last."""
    waiting_since: float | None = None
    """Since when there has been something to publish that was not worth a version of its own."""
    end: int = -1
    """Where `routing-tables` ended when it was last looked at."""
    used_ids: set[str] = field(default_factory=set)
    told_changes: set[str] = field(default_factory=set)
    term: int = 0
    """The turn that was taken last, as `Leadership.terms` counts."""
    epoch: int = 0
    """Under which it writes."""
    published_of: tuple[int, int, tuple[Model, ...]] = NOTHING
    """The state that was published last."""
    opinions: int = 0
    seen: int = 0
    thread: ThreadPoolExecutor = field(
        default_factory=lambda: ThreadPoolExecutor(1, "clustering", initializer=give_way)
    )

    def __post_init__(self) -> None:
        self.catalog = CurrentCatalog(self.settings.catalog)
        self.homeless = Evidence(self.settings)
        self.watch = Trigger(self.settings)
        self.following = Following(self.kafka, FLOW.reads, self.learn)

    @property
    def memory(self) -> Evidence:
        """What is learnt from: what lies in the space of the table in use. Where that table was
        learnt, and embedders have gone over to another space, what lies there."""
        if self.current is None:
            return self.of_space(self.newest) if self.newest else self.homeless
        brought = self.anchor is not None and self.anchor.encoder == self.current.encoder
        if self.newest is not None and self.in_a_row >= ARRIVED and not brought:
            return self.of_space(self.newest)
        return self.of_space(self.current.encoder)

    def of_space(self, encoder: Encoder) -> Evidence:
        """What is remembered of this space; of two others at most."""
        if encoder not in self.spaces:
            own = self.home if self.current is None else self.current.encoder
            others = [e for e in self.spaces if e != own]
            while len(self.spaces) >= SPACES:
                del self.spaces[others.pop(0)]
            evidence = Evidence(self.settings, encoder) if self.spaces else self.homeless
            evidence.encoder = encoder
            evidence.forgotten = self.homeless.forgotten
            self.spaces[encoder] = evidence
        return self.spaces[encoder]

    def learn(self, topic: Topic, record: Any) -> None:
        """One record of a topic that is read. What can't be read is somebody else's to complain
        about."""
        try:
            if topic is EMBEDDINGS:
                embedded = read(Embedded, record.value)
                space = embedded.embedding.encoder.encoder()
                self.in_a_row = self.in_a_row + 1 if space == self.newest else 1
                self.newest = space
                sample = self.of_space(space).embedded(embedded)
                if sample is not None and (self.current is None or self.current.encoder == space):
                    self.watch.saw(sample.vector, self.current)
            elif topic is EVALUATIONS and record.value is None:
                for evidence in (self.homeless, *self.spaces.values()):
                    evidence.forget((record.key or b"").decode("utf-8", "replace"))
            elif topic is EVALUATIONS:
                votes = read(Evaluated, record.value)
                placed = votes.embedding
                evidence = self.of_space(placed.encoder.encoder()) if placed else self.memory
                self.opinions += evidence.evaluated(votes, record.timestamp / 1000)
            else:
                completed = read(Completed, record.value)
                self.of_space(completed.embedding.encoder.encoder()).completed(completed)
                self.seen += 1
        except ContractError as error:
            log.warning(
                "ignored a record",
                topic=topic.name,
                partition=record.partition,
                offset=record.offset,
                error=str(error),
            )
        memory = self.memory
        LEARNT.labels("embeddings").set(len(memory.samples))
        LEARNT.labels("evaluations").set(len(memory.opinions))

    async def follow(self) -> None:
        """Read the topics. What lies in the newest table's space is not given up for older
        spaces, so that space is looked up first."""
        with suppress(AdapterError, ContractError):
            if published := await versions(self.kafka):
                self.home = published[-1].read_table().encoder
        await self.following.run()

    async def write(self) -> None:
        """While it is our turn, publish what has been learnt."""
        await self.following.caught_up.wait()
        warming = asyncio.create_task(
            asyncio.to_thread(warm)
        )  # the first table needs nothing of it
        while True:
            if self.current is not None:
                await warming
            await self.turn.mine.wait()
            try:
                await self._catch_up()
                await self._publish_what_is_due()
            except RecordTooLarge as error:  # the turn is still ours, and the next table may fit
                log.error("not published", error=str(error))
            except AdapterError as error:
                log.warning("not published", error=str(error))
                self.term = 0
            except Exception as error:  # whatever it is, what is learnt next is published next
                log.error("not published", error=where(error, TelemetrySettings()))
                await asyncio.sleep(self.settings.every_s)
            await asyncio.sleep(self.settings.every_s if self.current is not None else FIRST_S)

    async def _catch_up(self) -> None:
        """When a turn begins, or somebody else has published: take what stands on the topic."""
        if (
            self.term == self.turn.terms
            and self.end >= 0
            and self.turn.newest < self.end
            and not await self._moved()
        ):
            return
        published = await versions(self.kafka)
        if self.term != self.turn.terms:  # perhaps only while the topic was read
            self.epoch = published[-1].epoch + 1 if published else 1
            self.term = self.turn.terms
            log.info("writing", epoch=self.epoch)
        self._take(published)
        self.after = published[-1].ref.version if published else (0, 0)
        self.end = await end(self.kafka)
        self.published_of = self._state() if self._knows_all(published) else NOTHING

    async def _moved(self) -> bool:
        """Whether the topic has moved on though nobody has told: what was published just while the
        group formed is not heard. Looked at once a minute, since it takes a connection."""
        now = time.monotonic()
        if now - self.looked_at < LOOK_AT_END_S:
            return False
        self.looked_at = now
        return await end(self.kafka) != self.end

    def _state(self) -> tuple[int, int, tuple[Model, ...]]:
        """What a table is made of; the same state gives the same table."""
        return (self.opinions, self.seen // EVERY_COMPLETIONS, tuple(self._ranked()))

    def _ranked(self) -> list[Model]:
        return ranked(self.catalog(), self.settings, self.anchor)

    def _knows_all(self, published: Sequence[TablePublished]) -> bool:
        """Whether the newest table was learnt from every record, with the same models and prices.
        Then a restart has nothing to publish."""
        if not published or published[-1].came_by is not Origin.learnt or self.current is None:
            return False
        basis = published[-1].basis
        unread = Counter[str]()
        for place, offset in self.following.positions.items():
            unread[place.rpartition("-")[0]] += abs(offset - basis.get(place, 0))
        models = self._ranked()
        prices = np.array([model.price.input / 1e6 for model in models], np.float32)
        return (
            not unread[EVALUATIONS.name]
            and unread[COMPLETIONS.name] < EVERY_COMPLETIONS
            and self.current.models == tuple(model.name for model in models)
            and self.current.usd_per_token is not None
            and np.allclose(self.current.usd_per_token, prices, rtol=1e-3)
        )

    async def _publish_what_is_due(self) -> None:
        """A new clustering when one is due, else new rankings when something is new."""
        if not self.memory.samples or self.pinned or self._held():
            return
        due = self.watch.due(time.time())
        state = self._state()
        if due or self._worth_publishing(state):
            if await end(self.kafka) != self.end:
                self.end = -1
                return  # somebody else has published: the next turn begins with that
            self.published_of = state
            self.waiting_since = None
            await self._publish(due)

    def _worth_publishing(self, state: tuple[int, int, tuple[Model, ...]]) -> bool:
        """Whether the news is worth another version. It is for a first version, for other models,
        for enough new votes, and for any news that has waited long enough."""
        if state == self.published_of:
            return False
        opinions, _, models = self.published_of
        news = state[0] - opinions
        if state[2] != models or news >= max(1, NEWS * opinions):
            return True
        now = time.monotonic()
        if self.waiting_since is None:
            self.waiting_since = now
        return now - self.waiting_since >= WAITS * self.settings.every_s

    def _held(self) -> bool:
        """Whether a person published the current table and it ranks models outside the catalogue.
        Learning would have to drop them, so it leaves that table alone."""
        if self.current is None or not self.brought:
            return False
        strangers = self.catalog().strangers(self.current.models)
        if strangers and strangers != self.told_strangers:
            log.warning(
                "the current table is left as it is: models that it ranks are in no catalogue; add "
                "them to the file of POINTSMAN_CATALOG, or drop them with `pointsman table unpin`",
                models=list(strangers),
            )
        self.told_strangers = strangers
        return bool(strangers)

    def _take(self, published: list[TablePublished]) -> None:
        """What the topic has, by any writer. The newest table that was not learnt from
        traffic is the anchor."""
        if not published:
            return
        self.current = published[-1].read_table()
        self.pinned = published[-1].pinned
        self.brought = published[-1].came_by is Origin.brought
        brought = anchor_of(published)
        self.anchor = brought.read_table() if brought else None
        for version in published:
            self.used_ids |= {c.id for c in version.read_table().clusters}
        if self.watch.when == 0.0:
            self.watch.done(
                self.current.provenance.prompts, 0.0, published[-1].published_at.timestamp()
            )
        if self.pinned:
            log.info(
                "the current table is pinned; `pointsman table unpin` lets what is learnt replace "
                "it",
                version=str(published[-1].ref),
            )

    async def _publish(self, due: str) -> None:
        models = self._ranked()
        basis = dict(self.following.positions)
        memory = self.memory
        total = memory.told
        began = time.monotonic()
        frozen = _frozen(memory)
        first = self.current is None
        library = (
            points.known(frozen.encoder, self.settings.encoder_dir) if frozen.encoder else None
        )
        proposal: Proposal | None = await asyncio.get_running_loop().run_in_executor(
            self.thread,
            lambda: propose(
                frozen,
                self.current,
                sorted(self.used_ids),
                models,
                self.settings,
                recluster=bool(due) and not first,
                anchor=self.anchor,
                library=library,
            ),
        )
        if proposal is None or not self.turn.mine.is_set():
            return
        if due and not first:
            recent = [
                s.vector
                for s in list(frozen.samples.values())[:5000]
                if len(s.vector) >= proposal.table.inputs
            ]
            usual = float(
                nearest_of(proposal.table.points_of(recent), proposal.table.centroids)[0].mean()
            )
            self.watch.done(total, usual, time.time())
        if self.current is not None and proposal.table == self.current:
            return
        note = (
            f"{proposal.why}; because {due}"
            if due and not proposal.refused
            else proposal.refused or proposal.why
        )
        news = [text for at, text in proposal.changed.items() if at not in self.told_changes]
        note += "".join(f"; {text}" for text in news)
        self.told_changes = set(proposal.changed)
        version = await publish(
            self.kafka,
            self.redis,
            proposal.table,
            note,
            Origin.learnt,
            evaluations=proposal.evaluations,
            reclustered=proposal.reclustered,
            remarkable=proposal.reclustered
            or bool(news)
            or proposal.table.models != (self.current.models if self.current else None),
            epoch=self.epoch,
            basis=basis,
            after=self.after,
        )
        self.after = version.ref.version
        self.current = proposal.table
        self.brought = False
        self.end = await end(self.kafka)
        self.used_ids |= {c.id for c in proposal.table.clusters}
        log.info(
            "published",
            version=str(version.ref),
            why=note,
            seconds=round(time.monotonic() - began, 2),
        )


def _frozen(memory: Evidence) -> Evidence:
    """What is known now, as it stays while the thread works on it."""
    memory.trim()
    copy = Evidence(memory.settings, memory.encoder)
    copy.samples = dict(memory.samples)
    copy.opinions = dict(memory.opinions)
    copy.seen = dict(memory.seen)
    copy.newest = memory.newest
    return copy


def give_way() -> None:
    """Let the hot path on the same machine go first."""
    threadpool_limits(1, user_api="blas")  # its threads were made long ago, and would not give way
    with suppress(OSError):
        if sys.platform == "linux":  # there, of this thread and those it makes
            os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))
