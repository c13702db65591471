"""Where a prompt lies: its description, its embedding, its clusters in one table."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

import numpy as np
import numpy.typing as npt
from pydantic import Field

from shared.contracts.base import NonNegative, Part, Probability
from shared.contracts.vector import Vector, unpack
from shared.routing.deciding.selection import Prediction, share_of
from shared.routing.deciding.table import Encoder, RoutingTable, Text
from shared.routing.errors import TableInvalid


class EncoderRef(Part):
    """The space an embedding lies in."""

    id: str
    revision: str
    dimension: Annotated[int, Field(ge=1)]
    pooling: str
    quantization: str

    @classmethod
    def of(cls, encoder: Encoder) -> EncoderRef:
        return cls(
            id=encoder.id,
            revision=encoder.revision,
            dimension=encoder.dimension,
            pooling=encoder.pooling,
            quantization=encoder.quantization,
        )

    def encoder(self) -> Encoder:
        return Encoder(self.id, self.revision, self.dimension, self.pooling, self.quantization)


class Source(StrEnum):
    """Who wrote a task description."""

    llm = "llm"
    """A language model, just now."""
    cache = "cache"
    """A language model, before: for the same prompt, or, where the description is `foreseen`, for
    others like it."""
    local = "local"
    """The extractive rules, without a language model."""
    prompt = "prompt"
    """Nobody: it is the prompt itself (POINTSMAN_DESCRIBER_BACKEND=prompt)."""


class Foreseen(Part):
    """Where the description that was not asked for would lie
    (`shared.routing.learning.foresight`)."""

    vector: Vector
    encoder: EncoderRef
    agreement: Probability
    """Fraction of the descriptions it might get by which the same models are selected."""


class LibraryTask(Part):
    """The task of the library that a prompt lies nearest to (`shared.catalog.tasks`)."""

    name: str
    """Empty where no task is near enough: then rules wrote the description."""
    confidence: Probability
    """How probably the nearest task is the right one."""
    vector: Vector
    """The prompt's own embedding, so that later services in this space do not compute it again."""
    encoder: EncoderRef


class Description(Part):
    """The task description: one sentence naming the task, not its content."""

    text: Annotated[str, Field(min_length=1)]
    source: Source
    model: str | None = None
    """The language model that wrote it, if one did."""
    simulated: bool = False
    """True if that language model was simulated."""
    fallback: str | None = None
    """Why the language model did not write it, when it should have."""
    foreseen: Foreseen | None = None
    """Its point, where it was foreseen and the language model not asked; `text` is then the nearest
    cluster's label."""
    library: LibraryTask | None = None
    """The task of the library that it names; `source` is then `local`, which services of the
    version before read, too."""
    latency_s: NonNegative
    cost_usd: NonNegative

    @property
    def origin(self) -> str:
        """Who wrote it, as metrics and machines are told: `source`, or foreseen, or library."""
        if self.library is not None and self.library.name:
            return "library"
        return "foreseen" if self.foreseen is not None else self.source.value

    @property
    def byline(self) -> str:
        """The same as people are told: a local description quotes the prompt."""
        return "quoted" if self.origin == Source.local else self.origin


class Embedding(Part):
    """The task description as a point, with the space it lies in."""

    vector: Vector
    encoder: EncoderRef
    latency_s: NonNegative
    """Seconds in the encoder, of the batch it was in."""
    batch: Annotated[int, Field(ge=1)]
    """Texts encoded together with it, itself counted."""
    form: Vector | None = None
    """The form of the prompt itself: how long it is and what it is made of
    (`shared.routing.deciding.form`)."""

    text: Text = "description"
    """What was embedded."""
    views: tuple[Vector, ...] = ()
    """The text without its edges (`shared.routing.deciding.views`), where POINTSMAN_EMBEDDER_GUARD
    asks for it and enough is left."""

    def features(self, view: int | None = None) -> npt.NDArray[np.float32]:
        """(dimension,) or, with the form behind it, (dimension + form.SIZE,) float32: what a
        table's points are made of."""
        vector = unpack(self.vector if view is None else self.views[view])
        return vector if self.form is None else np.concatenate([vector, unpack(self.form)])


class TableRef(Part):
    """One version of the routing table. Versions are ordered by epoch, then by sequence."""

    epoch: Annotated[int, Field(ge=0)]
    sequence: Annotated[int, Field(ge=0)]
    digest: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]

    @property
    def version(self) -> tuple[int, int]:
        return self.epoch, self.sequence

    def __str__(self) -> str:
        return f"{self.epoch}.{self.sequence}"


class ClusterWeight(Part):
    """One cluster of an assignment."""

    id: str
    label: str
    weight: Probability
    distance: NonNegative


class Predicted(Part):
    """How probably one model succeeds."""

    model: str
    probability: Probability
    spread: NonNegative
    """Standard deviation within the committee that predicts."""


class Place(Part):
    """Up to `top_p` clusters, nearest first; the weights sum to 1."""

    clusters: Annotated[tuple[ClusterWeight, ...], Field(min_length=1)]
    novel: bool
    predicted: tuple[Predicted, ...] = ()
    """How probably each model of the table succeeds, where the table has a predictor."""

    def prediction(self, table: RoutingTable, share: float | None = None) -> Prediction | None:
        """For `select`; `share` replaces the table's own. Raises `TableInvalid` if the table is not
        the one that predicted."""
        if not self.predicted or (table.estimator is None and table.predictor is None):
            return None
        if tuple(p.model for p in self.predicted) != table.models:
            raise TableInvalid(
                f"the prediction was made for other models than those of table {table.digest[:12]}"
            )
        used = share_of(table, share)
        probability, spread = (
            np.array(v)
            for v in ([p.probability for p in self.predicted], [p.spread for p in self.predicted])
        )
        return Prediction(probability, spread, used) if used > 0 else None


class Assigned(Place):
    """Where a prompt lies in one routing table."""

    table: TableRef
    views: tuple[Place, ...] = ()
    """Where its views lie, one for each of the embedding's."""
