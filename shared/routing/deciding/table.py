"""The routing table: one immutable value that holds everything the hot path needs to know.

Its bytes are canonical: equal tables have equal bytes, and the digest is their SHA-256. Arrays
travel as base64 of little-endian float32, so a table read back is the table that was written, bit
for bit. Which table came before which is not part of the value: see `shared.contracts.tables`.
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from functools import cached_property
from typing import Any, Literal, get_args

import numpy as np
import numpy.typing as npt

from shared.routing.deciding.cascade import Heads
from shared.routing.deciding.estimator import Estimator
from shared.routing.deciding.form import SIZE
from shared.routing.deciding.frontier import Frontier
from shared.routing.deciding.predictor import Predictor
from shared.routing.deciding.projection import Projection
from shared.routing.errors import EmbeddingInvalid, TableInvalid

Array = npt.NDArray[np.float32]

FORMATS = (1, 2, 3)
"""1: without `reference_success`, decided as they were (`shared.routing.deciding.scaled`); 2: with
it; 3: with heads of cascades that check sums, which readers of 2 would misread."""
Text = Literal["prompt", "description", "both"]
"""What the embedder reads of a prompt."""


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
    """In words, for people."""
    simulated: bool
    prompts: int
    seed: int


@dataclass(frozen=True, eq=False)
class RoutingTable:
    """Centroids, and for each cluster the ranking of models with strength, cost and latency.

    Arrays are read-only: `centroids` (clusters, dimension); `strength` (a logit, 0 for the
    reference model), `standard_error`, `cost_usd` and `latency_s`, each (clusters, models); all
    float32. Raises `TableInvalid` when shapes disagree, a number is not finite, or an id comes
    twice.
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
    """A model whose standard error exceeds this is unproven: its success is taken to be the lower
    end of its interval. None: no such rule."""
    projection: Projection | None = None
    """From a prompt's features to the space that the centroids lie in. None: the encoder's own."""
    predictor: Predictor | None = None
    """How probably each model succeeds, beside the clusters' rankings. Of tables of format 1."""
    estimator: Estimator | None = None
    """Expected success of each model, beside the clusters' rankings. None: the rankings alone
    decide."""
    signatures: Array | None = None
    """(clusters, encoder's dimension) float32: what it takes to tell each cluster's outcomes apart
    (`task2vec`)."""
    reference_success: Array | None = None
    """(clusters,) float32 in 0..1: the reference's success in each cluster, 0.5 where rankings come
    from votes. None: format 1."""
    usd_per_token: Array | None = None
    """(models,) float32: what one more token of a prompt costs. None: costs don't depend on a
    prompt's length."""
    prompt_tokens: Array | None = None
    """(clusters,) float32: mean length of the prompts that `cost_usd` holds for; given with
    `usd_per_token`."""
    text: Text | None = None
    """What the embedder reads of a prompt for this table. None: what the embedder's setting
    says."""
    cascade: Heads | None = None
    """How probably answers of cheap models are good, once they are there."""
    frontier: Frontier | None = None
    """What a rate reaches over the traffic: success and cost by what a point of success is
    worth."""
    digest: str = field(init=False)

    def __post_init__(self) -> None:
        for name in ARRAYS:
            object.__setattr__(self, name, frozen(getattr(self, name)))
        for name in OPTIONAL:
            if getattr(self, name) is not None:
                object.__setattr__(self, name, frozen(getattr(self, name)))
        self._check()
        object.__setattr__(self, "digest", hashlib.sha256(self.to_bytes()).hexdigest())

    def _check(self) -> None:
        k = len(self.clusters)
        m = len(self.models)
        wanted = {"centroids": (k, self.dimension)} | dict.fromkeys(ARRAYS[1:], (k, m))
        for name, shape in wanted.items():
            array: Array = getattr(self, name)
            if array.shape != shape:
                raise TableInvalid(
                    f"{name} has shape {array.shape}; {k} clusters and {m} models want {shape}"
                )
            if not np.isfinite(array).all():
                raise TableInvalid(f"{name} holds NaN or infinity")
        if not k or not m:
            raise TableInvalid("a routing table needs at least one cluster and one model")
        if len({c.id for c in self.clusters}) != k or len(set(self.models)) != m:
            raise TableInvalid("cluster ids and model names must each be unique")
        if self.reference_model not in self.models:
            raise TableInvalid(
                f"the reference model {self.reference_model} is not among the models"
            )
        for name in ("standard_error", "cost_usd", "latency_s"):
            if (getattr(self, name) < 0).any():
                raise TableInvalid(f"{name} holds a negative number")
        shapes: dict[str, tuple[int, ...]] = {
            "signatures": (k, self.encoder.dimension),
            "reference_success": (k,),
            "usd_per_token": (m,),
            "prompt_tokens": (k,),
        }
        for name, wide in shapes.items():
            extra: Array | None = getattr(self, name)
            if extra is not None and (extra.shape != wide or not np.isfinite(extra).all()):
                raise TableInvalid(f"{name} must be finite and have shape {wide}")
        if (
            self.reference_success is not None
            and not ((self.reference_success >= 0) & (self.reference_success <= 1)).all()
        ):
            raise TableInvalid("reference_success must lie in 0..1")
        if (self.usd_per_token is None) != (self.prompt_tokens is None):
            raise TableInvalid("usd_per_token and prompt_tokens must be given together")
        if self.text is not None and self.text not in get_args(Text):
            raise TableInvalid(f"text must be one of {', '.join(get_args(Text))}")
        if self.frontier is not None and self.frontier.single not in self.models:
            raise TableInvalid(
                f"the frontier names {self.frontier.single}, which is not among the models"
            )
        if self.predictor is not None and self.predictor.rates.shape[1] != m:
            raise TableInvalid(
                f"the predictor knows {self.predictor.rates.shape[1]} models, the table {m}"
            )
        if self.estimator is not None and len(self.estimator.error) != m:
            raise TableInvalid(
                f"the estimator knows {len(self.estimator.error)} models, the table {m}"
            )
        if self.predictor is not None and self.predictor.centroids.shape[1] != self.dimension:
            raise TableInvalid(
                f"the predictor reads {self.predictor.centroids.shape[1]} numbers a point, and "
                f"points have {self.dimension}"
            )
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
        return (
            self.encoder.dimension if self.projection is None else self.projection.matrix.shape[1]
        )

    @property
    def inputs(self) -> int:
        """Numbers of a prompt's features that are read: the embedding's, or the embedding's and the
        form's."""
        if self.estimator is not None:
            return self.encoder.dimension + SIZE
        return self._wide

    @property
    def _wide(self) -> int:
        """Numbers of the features that a point is made of."""
        return self.encoder.dimension if self.projection is None else len(self.projection.matrix)

    @cached_property
    def space(self) -> str:
        """Names the space that centroids lie in: equal for tables whose points can be compared."""
        part = self.projection
        known = [
            str(self.encoder),
            *(() if part is None else (_written(getattr(part, f.name)) for f in fields(part))),
        ]
        return hashlib.sha256(json.dumps(known).encode()).hexdigest()

    def points(self, features: Array) -> Array:
        """Features (n, at least `inputs`) as points (n, dimension) of this table's space.

        Features are a prompt's embedding, and its form behind it. Raises `EmbeddingInvalid` if they
        are too short.
        """
        self.require(features.shape[1])
        wide = features[:, : self._wide]
        return wide if self.projection is None else self.projection(wide)

    def points_of(self, features: Sequence[Array]) -> Array:
        """As `points`, of features one by one, some with forms and some without where no form is
        read; (0, dimension) of none."""
        if not len(features):
            return np.zeros((0, self.dimension), np.float32)
        self.require(min(map(len, features)))
        return self.points(np.stack([one[: self.inputs] for one in features]))

    def require(self, numbers: int) -> None:
        """Raise `EmbeddingInvalid` if this many numbers of a prompt's features are too few."""
        if numbers < self.inputs:
            raise EmbeddingInvalid(
                f"{numbers} numbers stand for a prompt, and table {self.digest[:12]} reads "
                f"{self.inputs}: "
                "the prompt's form is missing, which older embedders did not send; run this "
                "version's"
            )

    @cached_property
    def squared_norms(self) -> Array:
        """(clusters,) float32: of the centroids, worked out once for `assign`."""
        norms: Array = np.einsum("kd,kd->k", self.centroids, self.centroids)
        return norms

    @property
    def unranked(self) -> bool:
        """Whether nothing tells its models apart yet: each is as strong as the reference,
        everywhere."""
        return not self.strength.any()

    @cached_property
    def success(self) -> Array:
        """(clusters, models) float32 on 0..1: expected score, or probability of winning against the
        reference.

        Of format 1, which does not say what the reference's is: the probability of winning against
        it.
        """
        return frozen(self._success(self.strength.astype(np.float64)))

    def success_interval(self, errors: float) -> tuple[Array, Array]:
        """`success` with that many standard errors less and more, on the scale of log-odds, where
        they are symmetric."""
        strength = self.strength.astype(np.float64)
        error = self.standard_error.astype(np.float64)
        return frozen(self._success(strength - errors * error)), frozen(
            self._success(strength + errors * error)
        )

    def _success(self, strength: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        base = (
            np.full(len(self.clusters), 0.5)
            if self.reference_success is None
            else self.reference_success.astype(np.float64)
        )
        base = np.clip(base, 1e-6, 1.0 - 1e-6)
        success: npt.NDArray[np.float64] = 1.0 / (
            1.0 + np.exp(-strength) * ((1.0 - base) / base)[:, None]
        )
        return success

    @cached_property
    def positions(self) -> dict[str, int]:
        """Where each cluster stands in the arrays, by its id."""
        return {cluster.id: i for i, cluster in enumerate(self.clusters)}

    @cached_property
    def radii(self) -> Array:
        """(clusters,) float32."""
        return np.array([c.radius for c in self.clusters], np.float32)

    @property
    def format(self) -> int:
        """One of `FORMATS`."""
        if self.cascade is not None and self.cascade.sees == "checked":
            return 3
        return 1 if self.reference_success is None else 2

    def to_bytes(self) -> bytes:
        """The canonical form: JSON with sorted keys and no spaces."""
        value: dict[str, Any] = {
            "format": self.format,
            "encoder": _plain(self.encoder),
            "models": self.models,
            "reference_model": self.reference_model,
            "clusters": [_plain(c) for c in self.clusters],
            "provenance": _plain(self.provenance),
            "top_p": self.top_p,
            "sharpness": self.sharpness,
        }
        if (
            self.unproven_error is not None
        ):  # left out where it means nothing, so that older tables keep their digests
            value["unproven_error"] = self.unproven_error
        if self.text is not None:
            value["text"] = self.text
        for name in PARTS:
            if (part := getattr(self, name)) is not None:
                written = {f.name: _written(getattr(part, f.name)) for f in fields(part)}
                value[name] = {n: v for n, v in written.items() if v is not None}
        for name in OPTIONAL:
            if (array := getattr(self, name)) is not None:
                value[name] = _written(array)
        value |= {name: base64.b64encode(getattr(self, name).tobytes()).decode() for name in ARRAYS}
        return json.dumps(
            value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False
        ).encode()

    @classmethod
    def from_bytes(cls, data: bytes) -> RoutingTable:
        """Read what `to_bytes` wrote. Raises `TableInvalid`."""
        try:
            value = json.loads(data)
            if (form := value.pop("format")) not in FORMATS:
                raise TableInvalid(
                    f"the table has format {form}, this version of Pointsman reads up to "
                    f"{FORMATS[-1]}; upgrade it"
                )
            encoder = Encoder(**value.pop("encoder"))
            clusters = tuple(Cluster(**c) for c in value.pop("clusters"))
            models = tuple(value.pop("models"))
            arrays: dict[str, Any] = {
                n: np.frombuffer(base64.b64decode(value.pop(n), validate=True), "<f4").reshape(
                    len(clusters), -1
                )
                for n in ARRAYS
            }
            provenance = Provenance(**value.pop("provenance"))
            for name, kind in PARTS.items():
                if name in value:
                    arrays[name] = kind(**{n: _read(v) for n, v in value.pop(name).items()})
            for name in OPTIONAL:
                if name in value:
                    arrays[name] = _read(value.pop(name))
            return cls(
                encoder=encoder,
                clusters=clusters,
                models=models,
                provenance=provenance,
                **arrays,
                **value,
            )
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise TableInvalid(f"not a routing table: {error}") from None


ARRAYS = ("centroids", "strength", "standard_error", "cost_usd", "latency_s")
OPTIONAL = ("signatures", "reference_success", "usd_per_token", "prompt_tokens")
PARTS: Mapping[str, Callable[..., Any]] = {
    "projection": Projection,
    "predictor": Predictor,
    "estimator": Estimator,
    "cascade": Heads,
    "frontier": Frontier,
}


def frozen(array: npt.NDArray[Any]) -> Array:
    """A read-only float32 copy."""
    read_only: Array = np.array(array, dtype="<f4", order="C")
    read_only.setflags(write=False)
    return read_only


def _written(value: Any) -> Any:
    if isinstance(value, np.ndarray):
        return {
            "shape": list(value.shape),
            "float32": base64.b64encode(np.asarray(value, "<f4").tobytes()).decode(),
        }
    return value


def _read(value: Any) -> Any:
    if isinstance(value, dict):
        return np.frombuffer(base64.b64decode(value["float32"], validate=True), "<f4").reshape(
            value["shape"]
        )
    return tuple(value) if isinstance(value, list) else value


def _plain(value: Encoder | Cluster | Provenance) -> dict[str, Any]:
    return {f.name: getattr(value, f.name) for f in fields(value)}
