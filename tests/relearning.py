"""Learning again, from the topics alone, what a version of the routing table was learnt from."""

from __future__ import annotations

from typing import Any

from services.reclusterer import FLOW
from services.reclusterer.memory import Evidence
from services.reclusterer.recluster import propose
from services.reclusterer.settings import ReclustererSettings
from shared.adapters.kafka.following import Following
from shared.adapters.kafka.settings import KafkaSettings
from shared.catalog.models import load
from shared.contracts.evaluations import Evaluated
from shared.contracts.messages import Completed, Embedded, read
from shared.contracts.tables import TablePublished
from shared.contracts.topics import EMBEDDINGS, EVALUATIONS, Topic
from shared.routing.deciding.table import RoutingTable


async def relearn(
    version: TablePublished,
    before: RoutingTable | None,
    used_ids: list[str],
    settings: ReclustererSettings,
    kafka: KafkaSettings,
) -> RoutingTable | None:
    """The table of `version`, made again."""
    memory = Evidence(settings)

    def learn(topic: Topic, record: Any) -> None:
        if topic is EVALUATIONS and record.value is None:
            memory.forget(record.key.decode())
        elif topic is EVALUATIONS:
            memory.evaluated(read(Evaluated, record.value), record.timestamp / 1000)
        elif topic is EMBEDDINGS:
            memory.embedded(read(Embedded, record.value))
        else:
            memory.completed(read(Completed, record.value))

    await Following(kafka, FLOW.reads, learn).run(until=version.basis)
    memory.trim()
    catalog = load(settings.catalog)
    models = [m for m in catalog.profile(settings.profile) if m.name not in catalog.retired]
    proposal = propose(memory, before, used_ids, models, settings, recluster=version.reclustered)
    return proposal.table if proposal else None
