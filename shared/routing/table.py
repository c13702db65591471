"""The routing table: one immutable value that holds everything the hot path needs to know.

Its bytes are canonical: equal tables have equal bytes, and the digest is their SHA-256. Arrays travel as
base64 of little-endian float32, so a table read back is the table that was written, bit for bit.
Which table came before which is not part of the value: see `shared.contracts.tables`.
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass, field, fields
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from shared.routing.errors import EmbeddingInvalid, TableInvalid
from shared.routing.predictor import Predictor
from shared.routing.projection import Projection

Array = npt.NDArray[np.float32]

FORMAT = 1


@dataclass(frozen=True, slots=True)
class Encoder:
    """The space that centroids lie in. Two encoders are the same only if all of this is equal."""

    id: str
    revision: str
    """Identifies the weights, and the recipe by which they became a graph."""
    dimension: int
    pooling: str
    quantization: str

    def __str__(self) -> str:
        return f"{self.id}@{self.revision} ({self.dimension}, {self.pooling}, {self.quantization})"


@dataclass(frozen=True, slots=True)
class Cluster:
    """One task, as the table knows it."""

    id: str
    """Stays with the task over tables."""
    label: str
    """A task description that lies near the centroid."""
    size: int
    """Prompts it was learnt from."""
    radius: float
    """Euclidean distance beyond which a prompt is novel."""


@dataclass(frozen=True, slots=True)
class Provenance:
    """Where a table's rankings come from."""

    source: str
    simulated: bool
    prompts: int
    seed: int


@dataclass(frozen=True, eq=False)
class RoutingTable:
    """Centroids, and for each cluster the ranking of models with strength, cost and latency.

    Arrays are read-only: `centroids` (clusters, dimension); `strength` (a logit, 0 for the reference model),
    `standard_error`, `cost_usd` and `latency_s`, each (clusters, models); all float32.
    Raises `TableInvalid` when shapes disagree, a number is not finite, or an id comes twice.
    """

    encoder: Encoder
    models: tuple[str, ...]
    reference_model: str
    clusters: tuple[Cluster, ...]
    centroids: Array
    strength: Array
    standard_error: Array
    cost_usd: Array
    latency_s: Array
    provenance: Provenance
    top_p: int = 4
    """How many clusters an assignment has at most."""
    sharpness: float = 9.0
    """Weights are a softmax of -sharpness times distance (beta in arXiv 2508.12631)."""
    unproven_error: float | None = None
    """A model with a larger standard error stands before a proven one only where it would if it did as badly as the worst. None: it may."""
    projection: Projection | None = None
    """From a prompt's features to the space that the centroids lie in. None: the encoder's own."""
    predictor: Predictor | None = None
    """How probably each model succeeds, beside the clusters' rankings. None: the rankings alone decide."""
    signatures: Array | None = None
    """(clusters, encoder's dimension) float32: what it takes to tell each cluster's outcomes apart (`task2vec`)."""
    digest: str = field(init=False)

    def __post_init__(self) -> None:
        for name in ARRAYS:
            object.__setattr__(self, name, frozen(getattr(self, name)))
        if self.signatures is not None:
            object.__setattr__(self, "signatures", frozen(self.signatures))
        self._check()
        object.__setattr__(self, "digest", hashlib.sha256(self.to_bytes()).hexdigest())

    def _check(self) -> None:
        k, m = len(self.clusters), len(self.models)
        wanted = {"centroids": (k, self.dimension)} | dict.fromkeys(ARRAYS[1:], (k, m))
        for name, shape in wanted.items():
            array: Array = getattr(self, name)
            if array.shape != shape:
                raise TableInvalid(f"{name} has shape {array.shape}; {k} clusters and {m} models want {shape}")
            if not np.isfinite(array).all():
                raise TableInvalid(f"{name} holds NaN or infinity")
        if not k or not m:
            raise TableInvalid("a routing table needs at least one cluster and one model")
        if len({c.id for c in self.clusters}) != k or len(set(self.models)) != m:
            raise TableInvalid("cluster ids and model names must each be unique")
        if self.reference_model not in self.models:
            raise TableInvalid(f"the reference model {self.reference_model} is not among the models")
        for name in ("standard_error", "cost_usd", "latency_s"):
            if (getattr(self, name) < 0).any():
                raise TableInvalid(f"{name} holds a negative number")
        if self.signatures is not None and (self.signatures.shape != (k, self.encoder.dimension) or not np.isfinite(self.signatures).all()):
            raise TableInvalid(f"signatures must be finite and have shape {(k, self.encoder.dimension)}")
        if self.predictor is not None and self.predictor.rates.shape[1] != m:
            raise TableInvalid(f"the predictor knows {self.predictor.rates.shape[1]} models, the table {m}")
        if self.predictor is not None and self.predictor.centroids.shape[1] != self.dimension:
            raise TableInvalid(f"the predictor reads {self.predictor.centroids.shape[1]} numbers a point, and points have {self.dimension}")
        if self.top_p < 1 or not 0 < self.sharpness < float("inf"):
            raise TableInvalid("top_p must be at least 1 and sharpness above 0")
        if self.unproven_error is not None and not 0 < self.unproven_error < float("inf"):
            raise TableInvalid("unproven_error must be above 0")

    def __eq__(self, other: object) -> bool:
        return isinstance(other, RoutingTable) and self.digest == other.digest

    def __hash__(self) -> int:
        return hash(self.digest)

    @property
    def dimension(self) -> int:
        """Of the space that centroids lie in."""
        return self.encoder.dimension if self.projection is None else self.projection.matrix.shape[1]

    @property
    def inputs(self) -> int:
        """Numbers of a prompt's features that a point is made of: the embedding's, or the embedding's and the form's."""
        return self.encoder.dimension if self.projection is None else len(self.projection.matrix)

    @cached_property
    def space(self) -> str:
        """Names the space that centroids lie in: equal for tables whose points can be compared."""
        part = self.projection
        known = [str(self.encoder), *(() if part is None else (_written(getattr(part, f.name)) for f in fields(part)))]
        return hashlib.sha256(json.dumps(known).encode()).hexdigest()

    def points(self, features: Array) -> Array:
        """Features (n, at least `inputs`) as points (n, dimension) of this table's space.

        Features are a prompt's embedding, and its form behind it. Raises `EmbeddingInvalid` if they are too short.
        """
        self.require(features.shape[1])
        return features[:, : self.inputs] if self.projection is None else self.projection(features[:, : self.inputs])

    def points_of(self, features: Sequence[Array]) -> Array:
        """As `points`, of features one by one, some with forms and some without where no form is read; (0, dimension) of none."""
        if not len(features):
            return np.zeros((0, self.dimension), np.float32)
        self.require(min(map(len, features)))
        return self.points(np.stack([one[: self.inputs] for one in features]))

    def require(self, numbers: int) -> None:
        """Raise `EmbeddingInvalid` if so many numbers of a prompt's features are too few."""
        if numbers < self.inputs:
            raise EmbeddingInvalid(
                f"{numbers} numbers stand for a prompt, and table {self.digest[:12]} reads {self.inputs}: "
                "the prompt's form is missing, which older embedders did not send; run this version's"
            )

    @cached_property
    def squared_norms(self) -> Array:
        """(clusters,) float32: of the centroids, worked out once for `assign`."""
        norms: Array = np.einsum("kd,kd->k", self.centroids, self.centroids)
        return norms

    @cached_property
    def positions(self) -> dict[str, int]:
        """Where each cluster stands in the arrays, by its id."""
        return {cluster.id: i for i, cluster in enumerate(self.clusters)}

    @cached_property
    def radii(self) -> Array:
        """(clusters,) float32."""
        return np.array([c.radius for c in self.clusters], np.float32)

    def to_bytes(self) -> bytes:
        """The canonical form: JSON with sorted keys and no spaces."""
        value: dict[str, Any] = {
            "format": FORMAT,
            "encoder": _plain(self.encoder),
            "models": self.models,
            "reference_model": self.reference_model,
            "clusters": [_plain(c) for c in self.clusters],
            "provenance": _plain(self.provenance),
            "top_p": self.top_p,
            "sharpness": self.sharpness,
        }
        if self.unproven_error is not None:  # left out where it means nothing, so that older tables keep their digests
            value["unproven_error"] = self.unproven_error
        for name, part in (("projection", self.projection), ("predictor", self.predictor)):
            if part is not None:
                value[name] = {f.name: _written(getattr(part, f.name)) for f in fields(part)}
        if self.signatures is not None:
            value["signatures"] = _written(self.signatures)
        value |= {name: base64.b64encode(getattr(self, name).tobytes()).decode() for name in ARRAYS}
        return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False).encode()

    @classmethod
    def from_bytes(cls, data: bytes) -> RoutingTable:
        """Read what `to_bytes` wrote. Raises `TableInvalid`."""
        try:
            value = json.loads(data)
            if value.pop("format") != FORMAT:
                raise TableInvalid(f"this version of Pointsman reads table format {FORMAT}; upgrade it, or build the table anew")
            encoder = Encoder(**value.pop("encoder"))
            clusters = tuple(Cluster(**c) for c in value.pop("clusters"))
            models = tuple(value.pop("models"))
            arrays: dict[str, Any] = {
                n: np.frombuffer(base64.b64decode(value.pop(n), validate=True), "<f4").reshape(len(clusters), -1) for n in ARRAYS
            }
            provenance = Provenance(**value.pop("provenance"))
            for name, kind in (("projection", Projection), ("predictor", Predictor)):
                if name in value:
                    arrays[name] = kind(**{n: _read(v) for n, v in value.pop(name).items()})
            if "signatures" in value:
                arrays["signatures"] = _read(value.pop("signatures"))
            return cls(encoder=encoder, clusters=clusters, models=models, provenance=provenance, **arrays, **value)
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise TableInvalid(f"not a routing table: {error}") from None


ARRAYS = ("centroids", "strength", "standard_error", "cost_usd", "latency_s")


def frozen(array: npt.NDArray[Any]) -> Array:
    """A read-only float32 copy."""
    found: Array = np.array(array, dtype="<f4", order="C")
    found.setflags(write=False)
    return found


def _written(value: Any) -> Any:
    if isinstance(value, np.ndarray):
        return {"shape": list(value.shape), "float32": base64.b64encode(np.asarray(value, "<f4").tobytes()).decode()}
    return value


def _read(value: Any) -> Any:
    if isinstance(value, dict):
        return np.frombuffer(base64.b64decode(value["float32"], validate=True), "<f4").reshape(value["shape"])
    return tuple(value) if isinstance(value, list) else value


def _plain(value: Encoder | Cluster | Provenance) -> dict[str, Any]:
    return {f.name: getattr(value, f.name) for f in fields(value)}
