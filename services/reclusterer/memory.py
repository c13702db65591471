"""What the re-clusterer remembers, bounded, and the same whatever the order in which it was
told."""

from __future__ import annotations

import heapq
import time
from collections import Counter, OrderedDict
from dataclasses import dataclass, field, replace

import numpy as np

from services.reclusterer.settings import ReclustererSettings
from shared.catalog.models import Price
from shared.contracts.evaluations import Evaluated
from shared.contracts.messages import Completed, Embedded
from shared.contracts.raters import RaterKind, Votes
from shared.routing.deciding.table import Array, Encoder, RoutingTable, Text
from shared.routing.learning.chance import chance

LABEL = 100
SLACK = 2000
"""How much more than wanted is kept between two trimmings."""
PENDING = 10_000


@dataclass(frozen=True, slots=True)
class Sample:
    """One embedding."""

    request_id: str
    vector: Array
    text: str
    at: float = 0.0
    """When the prompt was submitted, seconds since 1970; 0 where that is not known."""
    tokens: float = 0.0
    """About how long the prompt is."""
    read: Text = "description"
    """What of the prompt `vector` stands for."""


@dataclass(frozen=True, slots=True)
class RecordedVotes:
    """One evaluation, as far as rankings need it."""

    evaluation_id: str
    comparison_id: str
    request_id: str
    first: str
    second: str
    kind: RaterKind
    rater: str
    votes: Votes
    at: float
    """Seconds since 1970."""
    vector: Array
    simulated: bool
    read: Text = "description"


@dataclass(frozen=True, slots=True)
class ObservedAnswer:
    """What one answer took."""

    key: str
    model: str
    cost_usd: float
    latency_s: float
    at: float
    vector: Array
    prompt_tokens: int = 0
    completion_tokens: int = 0
    priced: bool = False
    """Whether `cost_usd` is tokens times the catalogue's price of that day, rather than what the
    provider said."""

    read: Text = "description"
    simulated: bool = False

    def answer_usd(self, price: Price) -> float:
        """What the answer itself cost, without the prompt: at today's price where the catalogue's
        counted."""
        if self.priced:
            return price.cost_usd(0, self.completion_tokens)
        return max(0.0, self.cost_usd - price.cost_usd(self.prompt_tokens, 0))


@dataclass(slots=True)
class Evidence:
    """A uniform sample of embeddings (those with the least hashes), and the newest evaluations and
    observations."""

    settings: ReclustererSettings
    encoder: Encoder | None = None
    heap: list[tuple[float, str]] = field(default_factory=list)
    samples: dict[str, Sample] = field(default_factory=dict)
    opinions: dict[str, RecordedVotes] = field(default_factory=dict)
    seen: dict[str, ObservedAnswer] = field(default_factory=dict)
    pending: OrderedDict[str, list[tuple[Evaluated, float]]] = field(default_factory=OrderedDict)
    """Votes on requests whose embedding has not come yet, by request."""
    vectors: OrderedDict[str, tuple[Array, Text]] = field(default_factory=OrderedDict)
    """Of recent requests, for votes that come without; and what they stand for."""
    told: int = 0
    """Embeddings seen, whether kept or not."""
    since: list[float] = field(default_factory=list)
    foreign: int = 0
    """Messages from another encoder's space, left aside."""
    newest: float = 0.0
    forgotten: set[str] = field(default_factory=set)
    """Requests of which nothing is to be known."""

    def embedded(self, message: Embedded) -> Sample | None:
        """Take note of an embedding; returns it if it is new."""
        vector = self._vector(message)
        if (
            vector is None
            or message.request_id in self.samples
            or message.request_id in self.forgotten
        ):
            return None
        self._recent(message.request_id, vector, message.embedding.text)
        for evaluation, at in self.pending.pop(message.request_id, []):
            self.evaluated(evaluation, at)
        if (mark := chance(message.request_id)) >= self.settings.sample:
            return None
        self.told += 1
        at = message.submitted_at.timestamp() if message.submitted_at else 0.0
        tokens = message.prompt_tokens()
        sample = Sample(
            message.request_id,
            vector,
            message.description.text[:LABEL],
            at,
            tokens,
            message.embedding.text,
        )
        self.samples[message.request_id] = sample
        heapq.heappush(self.heap, (-mark, message.request_id))
        if len(self.heap) > self.settings.embeddings:
            _, gone = heapq.heappop(self.heap)
            del self.samples[gone]
        return sample

    def completed(self, message: Completed) -> None:
        """Take note of what its answers took."""
        vector = self._vector(message)
        if vector is not None and message.request_id not in self.forgotten:
            for answer in message.completion.answers:
                moment = message.submitted_at.timestamp() if message.submitted_at else 0.0
                self._observe(
                    ObservedAnswer(
                        f"{message.request_id}\0{answer.model}",
                        answer.model,
                        answer.cost_usd,
                        answer.latency_s,
                        moment,
                        vector,
                        answer.prompt_tokens,
                        answer.completion_tokens,
                        answer.cost_source == "catalogue",
                        message.embedding.text,
                        answer.simulated,
                    )
                )

    def evaluated(self, message: Evaluated, at: float) -> bool:
        """Take note of votes; a rater's later votes on the same pair replace the earlier. False if
        its embedding is not known."""
        if message.request_id in self.forgotten:
            return True
        if message.embedding is not None and self._known(message.embedding.encoder.encoder()):
            known: tuple[Array, Text] | None = message.embedding.features(), message.embedding.text
        else:
            known = self.vectors.get(message.request_id)
        if known is None:
            self.pending.setdefault(message.request_id, []).append((message, at))
            while len(self.pending) > PENDING:
                self.pending.popitem(last=False)
            return False
        vector, text = known
        moment = min(message.at.timestamp() if message.at else at, at, time.time())
        self.newest = max(self.newest, moment)
        opinion = RecordedVotes(
            message.evaluation_id,
            message.comparison_id,
            message.request_id,
            message.first,
            message.second,
            message.rater.kind,
            message.rater.name,
            message.votes,
            moment,
            vector,
            message.rater.simulated,
            text,
        )
        before = self.opinions.get(opinion.evaluation_id)
        if before is None or before.at <= opinion.at:
            self.opinions[opinion.evaluation_id] = opinion
        for answer in message.answers:
            key = f"{message.request_id}\0{answer.model}"
            self._observe(
                ObservedAnswer(
                    key,
                    answer.model,
                    answer.cost_usd,
                    answer.latency_s,
                    moment,
                    vector,
                    answer.prompt_tokens,
                    answer.completion_tokens,
                    answer.cost_source == "catalogue",
                    text,
                    message.rater.simulated,
                )
            )
        if len(self.opinions) > self.settings.evaluations + SLACK:
            self.trim()
        return True

    def forget(self, request_id: str) -> None:
        """Drop all that is known of a request, and take nothing more of it."""
        self.forgotten.add(request_id)
        if self.samples.pop(request_id, None) is not None:
            self.heap = [entry for entry in self.heap if entry[1] != request_id]
            heapq.heapify(self.heap)
        self.pending.pop(request_id, None)
        self.vectors.pop(request_id, None)
        self.opinions = {
            key: one for key, one in self.opinions.items() if one.request_id != request_id
        }
        self.seen = {
            key: one for key, one in self.seen.items() if key.partition("\0")[0] != request_id
        }

    def trim(self) -> None:
        """Drop what is too old to be kept. What is left does not depend on when this is done."""
        for records, most in (
            (self.opinions, self.settings.evaluations),
            (self.seen, self.settings.observations),
        ):
            for key, _ in sorted(records.items(), key=lambda item: (item[1].at, item[0]))[
                : max(0, len(records) - most)
            ]:
                del records[key]

    def matrix(self) -> tuple[list[Sample], Array]:
        """The samples in the order of their hashes, and their vectors (n, dim)."""
        ordered = sorted(self.samples.values(), key=lambda s: (chance(s.request_id), s.request_id))
        return ordered, np.stack([s.vector for s in ordered]) if ordered else np.zeros(
            (0, 1), np.float32
        )

    @property
    def text(self) -> Text:
        """What most embeddings stand for."""
        counts = Counter(sample.read for sample in self.samples.values())
        return max(counts, key=lambda text: (counts[text], text), default="description")

    def seen_by(self, table: RoutingTable | None) -> Evidence:
        """A copy whose vectors are points of the table's space; of the encoder's own, if there is
        none or it has another encoder.

        Once there is anything real, nothing simulated counts. What has no form, from an embedder
        of an older version, is left out where the table's projection needs one; and what stands for
        another part of the prompt than the table reads.
        """
        space = table if table is not None and table.encoder == self.encoder else None
        inputs = space.inputs if space else self.encoder.dimension if self.encoder else 0
        read = (table.text or "description") if table is not None else self.text
        copy = Evidence(self.settings, self.encoder, newest=self.newest)
        pretended = {o.request_id for o in self.opinions.values() if o.simulated} | {
            key.partition("\0")[0] for key, one in self.seen.items() if one.simulated
        }
        real = any(
            o.kind is RaterKind.judge and not o.simulated for o in self.opinions.values()
        ) or any(key.partition("\0")[0] not in pretended for key in self.seen)
        for name in ("samples", "opinions", "seen"):
            mine = {
                key: item
                for key, item in getattr(self, name).items()
                if len(item.vector) >= inputs
                and item.read == read
                and not (
                    real
                    and (
                        getattr(item, "simulated", False)
                        or (name == "opinions" and item.request_id in pretended)
                    )
                )
            }
            if mine:
                features = np.stack([item.vector[:inputs] for item in mine.values()])
                points = space.points(features) if space else features
                mine = {
                    key: replace(item, vector=point)
                    for (key, item), point in zip(mine.items(), points, strict=True)
                }
            setattr(copy, name, mine)
        return copy

    def _vector(self, message: Embedded) -> Array | None:
        if not self._known(message.embedding.encoder.encoder()):
            self.foreign += 1
            return None
        vector = message.embedding.features()
        return vector if np.isfinite(vector).all() else None

    def _known(self, encoder: Encoder) -> bool:
        if self.encoder is None:
            self.encoder = encoder
        return encoder == self.encoder

    def _recent(self, request_id: str, vector: Array, read: Text) -> None:
        self.vectors[request_id] = vector, read
        while len(self.vectors) > self.settings.observations:
            self.vectors.popitem(last=False)

    def _observe(self, one: ObservedAnswer) -> None:
        """The later counts; but one that tells its tokens before one that does not, as judges of
        before told none."""

        def rank(of: ObservedAnswer) -> tuple[bool, float, float, float]:
            return of.prompt_tokens > 0, of.at, of.cost_usd, of.latency_s

        before = self.seen.get(one.key)
        if before is None or rank(before) < rank(one):
            self.seen[one.key] = one
        if len(self.seen) > self.settings.observations + SLACK:
            self.trim()
