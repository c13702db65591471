"""What is known of single requests, and deleting it as far as that can be."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from services.describer.describe import cache_key
from services.describer.settings import DescriberSettings
from services.flows import flows
from services.judge.judge import pairs_key, votes_key
from shared.adapters.catalog import CurrentCatalog
from shared.adapters.kafka.client import publisher
from shared.adapters.kafka.forgetting import (
    Part,
    copy_without,
    delete_before,
    not_passed,
    part_of,
    scan,
)
from shared.adapters.kafka.settings import KafkaSettings
from shared.adapters.kafka.tables import versions
from shared.adapters.redis.answers import RedisAnswers
from shared.adapters.redis.cache import TextCache
from shared.adapters.redis.client import RedisSettings
from shared.contracts.errors import InvalidMessage
from shared.contracts.flow import RedisKeys, heard_by
from shared.contracts.messages import Completed, Submitted, read
from shared.contracts.remembered import keys_of
from shared.contracts.topics import (
    COMPLETIONS,
    DEAD_LETTERS,
    DECISIONS,
    DESCRIPTIONS,
    EVALUATIONS,
    SPENDING,
    TOPICS,
    Topic,
)


def searched() -> dict[Topic, list[str]]:
    """The topics to search, in the order in which a prompt passes them, and who must have read them
    first. They are the topics whose records carry a prompt, and dead letters."""
    carrying = [t for t in TOPICS.values() if t.message is None or issubclass(t.message, Submitted)]
    return dict(heard_by(flows(), carrying))


@dataclass(frozen=True, slots=True)
class ErasureSubject:
    """Whose records are meant: a request's, a session's, or those with some metadata."""

    ids: frozenset[str] = frozenset()
    session: str | None = None
    metadata: tuple[tuple[str, str], ...] = ()

    def of(self, record: Any) -> str | None:
        """The request id, if this record of a topic on a prompt's way is meant. What can't be read
        is meant if its key is."""
        try:
            message = json.loads(record.value or b"")
            request = message.get("request_id")
            session = message.get("session_id")
            metadata = message.get("metadata") or {}
        except (ValueError, AttributeError, TypeError):
            request = None
            session = None
            metadata = {}
        key = (record.key or b"").decode("utf-8", "replace")
        name = str(
            request
            or (key if key in self.ids else f"{record.topic}-{record.partition}-{record.offset}")
        )
        asked = self.session is not None and session == self.session
        tagged = (
            bool(self.metadata)
            and isinstance(metadata, dict)
            and all(metadata.get(k) == v for k, v in self.metadata)
        )
        return name if name in self.ids or asked or tagged else None


@dataclass(slots=True)
class Found:
    """What there is of them."""

    requests: set[str] = field(default_factory=set)
    records: dict[str, int] = field(default_factory=dict)
    """By topic."""
    until: dict[str, float] = field(default_factory=dict)
    """By topic: when the newest of them ends by retention, seconds since 1970."""
    last: dict[str, dict[Part, int]] = field(default_factory=dict)
    """By topic and partition: the offset behind the newest of them."""
    evaluations: int = 0
    prompts: dict[str, set[str]] = field(default_factory=dict)
    """Texts that were described, by the model that described them."""
    models: set[str] = field(default_factory=set)
    completed: list[Completed] = field(default_factory=list)
    labels: list[str] = field(default_factory=list)
    """Tables that use one of these descriptions as the name of a task."""
    texts: set[str] = field(default_factory=set)


async def erase(wanted: ErasureSubject, *, yes: bool, now: bool) -> dict[str, Any]:
    kafka = KafkaSettings()
    redis = RedisSettings()
    belongings = await _find(kafka, wanted)
    report: dict[str, Any] = {
        "requests": len(belongings.requests),
        "done": yes,
        "topics": {},
        "labels": belongings.labels,
    }
    stays = {
        name: {"records": count, "until": _date(belongings.until[name])}
        for name, count in belongings.records.items()
    }
    report["topics"] = stays | {
        EVALUATIONS.name: {"records": belongings.evaluations, "until": None}
    }
    if not yes or not (belongings.requests or belongings.records):
        return report
    if why := await _under_way(kafka, wanted, belongings):
        return report | {"done": False, "why": why}
    report["redis"] = await _from_redis(redis, belongings)
    copied, gone = await copy_without(
        kafka,
        EVALUATIONS,
        lambda record: record.value is not None and _about(record, belongings.requests),
    )
    left = [
        r
        async for r in scan(kafka, EVALUATIONS)
        if r.value is not None and _about(r, belongings.requests)
    ]
    report["topics"][EVALUATIONS.name] |= {"deleted": gone, "copied": copied, "left": len(left)}
    async with publisher(kafka) as send:
        for request in sorted(belongings.requests):
            await send.send_and_wait(kafka.name(EVALUATIONS), None, key=request.encode())
    if now:
        for topic in searched():
            if topic.name in belongings.last:
                await delete_before(kafka, belongings.last[topic.name])
                report["topics"][topic.name] |= {"deleted": True, "until": None}
    return report


async def _under_way(kafka: KafkaSettings, wanted: ErasureSubject, belongings: Found) -> str:
    """Why it is too early: a service has yet to read a matching record, or has just published one.
    Empty: it is not."""
    for topic, groups in searched().items():
        for group in groups:
            if topic.name in belongings.last and (
                late := await not_passed(kafka, group, belongings.last[topic.name])
            ):
                return (
                    f"the {group} has yet to read {topic.name} in {len(late)} partitions up to the "
                    "newest matching record"
                )
    again = await _find(kafka, wanted)
    same = (again.records, again.evaluations) == (belongings.records, belongings.evaluations)
    return "" if same else "a matching record is still on its way through the services"


async def _find(kafka: KafkaSettings, wanted: ErasureSubject) -> Found:
    belongings = Found()
    for topic in (*searched(), SPENDING):
        async for record in scan(kafka, topic):
            request = wanted.of(record)
            if (
                request is None
                and topic is SPENDING
                and (record.key or b"").decode("utf-8", "replace") in belongings.requests
            ):
                request = (record.key or b"").decode("utf-8", "replace")
            if request is None:
                continue
            if topic is not DEAD_LETTERS:
                belongings.requests.add(request)
            belongings.records[topic.name] = belongings.records.get(topic.name, 0) + 1
            belongings.until[topic.name] = max(
                belongings.until.get(topic.name, 0.0),
                (record.timestamp + topic.retention_ms) / 1000,
            )
            part = part_of(record)
            belongings.last.setdefault(topic.name, {})[part] = record.offset + 1
            _note(belongings, topic, record)
    belongings.requests |= wanted.ids
    async for record in scan(kafka, EVALUATIONS):
        belongings.evaluations += record.value is not None and _about(record, belongings.requests)
    for version in await versions(kafka):
        if any(cluster.label in belongings.texts for cluster in version.read_table().clusters):
            belongings.labels.append(str(version.ref))
    return belongings


def _note(belongings: Found, topic: Topic, record: Any) -> None:
    """What Redis may remember of it, and what a table may show of it."""
    try:
        message = json.loads(record.value)
        if topic is DESCRIPTIONS:
            text = read(Submitted, record.value).task_text()
            description = message["description"]
            belongings.texts.add(description["text"])
            belongings.prompts.setdefault(description.get("model") or "", set()).add(text)
        elif topic is DECISIONS:
            belongings.models.update(c["model"] for c in message["decision"]["candidates"])
        elif topic is COMPLETIONS:
            belongings.completed.append(read(Completed, record.value))
            belongings.models.update(a.model for a in belongings.completed[-1].completion.answers)
    except (ValueError, KeyError, TypeError, InvalidMessage):
        return


def _about(record: Any, requests: Iterable[str]) -> bool:
    return (record.key or b"").decode("utf-8", "replace") in requests


async def _from_redis(redis: RedisSettings, belongings: Found) -> int:
    """Delete remembered answers and descriptions; returns how many there were."""
    answers = RedisAnswers(redis)
    texts = TextCache(redis, RedisKeys.description, 1)
    settings = DescriberSettings()
    models = belongings.models | set(CurrentCatalog(None)().models)
    described = [(text, model) for model, prompts in belongings.prompts.items() for text in prompts]
    keys = {
        key
        for text, model in described
        for asked in {model, settings.model}
        for key in keys_of(cache_key(text, asked))
    }
    gone = 0
    for request in belongings.requests:
        gone += await answers.forget(request, sorted(models))
    gone += await texts.forget(sorted(keys))
    responses = TextCache(redis, RedisKeys.response, 1)
    kept = {key for request in belongings.requests for key in keys_of(request)}
    gone += await responses.forget(sorted(kept))
    await responses.close()
    judged = TextCache(redis, RedisKeys.judged, 1)
    for message in belongings.completed:
        pairs = json.loads(await judged.get(pairs_key(message)) or "[]")
        gone += await judged.forget(
            [pairs_key(message), *(votes_key(message, first, second) for first, second in pairs)]
        )
    await judged.close()
    await answers.close()
    await texts.close()
    return gone


def _date(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="minutes")
