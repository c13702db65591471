"""Finding tasks among embeddings. scikit-learn does the work; it is imported only when asked
for."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np
import numpy.typing as npt

from shared.routing.deciding.table import Array

Labels = npt.NDArray[np.int64]

MINI_BATCH_FROM = 50_000
"""Embeddings from which mini-batch k-means takes over."""

MERGE_WITHIN = 0.25
"""Two clusters merge if their centroids are closer than this fraction of the reach."""
RETIRE_FROM = 50
"""Mean number of prompts a cluster from which an empty cluster is retired."""
SPLIT_FROM = 300
"""Prompts of a cluster that are looked at to see whether it is two."""
SPLIT_AXES = 24
SPLIT_HEAPS = 4
SPLIT_CLEARLY = 1.15
LLOYD_STEPS = 25
RESTS = 1e-4

RADIUS_QUANTILE = 0.99
RADIUS_SLACK = 1.05
"""A prompt is novel beyond 1.05 times the distance within which 99% of a cluster's own prompts
lie."""


@dataclass(frozen=True, slots=True)
class Clustering:
    """Centroids (k, dim) float32, a label for each vector (n,), and each cluster's radius (k,)
    float32."""

    centroids: Array
    labels: Labels
    radii: Array


def warm() -> None:
    """Import what `kmeans` imports, which takes a second or two; for a thread, while something else
    is waited for."""
    import sklearn.cluster  # noqa: F401


def kmeans(vectors: Array, k: int, seed: int, tries: int = 3) -> Clustering:
    """k-means over vectors (n, dim) float32 with n >= k, the best of some `tries`; deterministic
    under `seed`.

    The clusters come in the order of their first vector, so that the same vectors give the same
    ids.
    """
    from sklearn.cluster import KMeans, MiniBatchKMeans

    k = min(k, distinct(vectors))
    method: Callable[..., KMeans | MiniBatchKMeans] = (
        KMeans if len(vectors) < MINI_BATCH_FROM else MiniBatchKMeans
    )
    fitted = method(n_clusters=k, n_init=tries, random_state=seed).fit(vectors)
    used, first, labels = np.unique(fitted.labels_, return_index=True, return_inverse=True)
    order = np.argsort(first)
    rank = np.empty_like(order)
    rank[order] = np.arange(len(order))
    labels = rank[labels].astype(np.int64)
    centroids = fitted.cluster_centers_[used[order]].astype(np.float32)
    return Clustering(centroids, labels, radii(vectors, centroids, labels))


def distinct(vectors: Array) -> int:
    """How many of the vectors (n, dim) differ by more than rounding: there can be no more
    clusters."""
    return len(np.unique(np.round(vectors, 4), axis=0))


@dataclass(frozen=True, slots=True)
class ClusteringOptions:
    """What a clustering is told; each takes what it needs."""

    clusters: int
    """Number of clusters, for clusterings that need it."""
    seed: int
    min_size: int
    """Fewest prompts of a cluster, for clusterings by density."""
    reach: float
    """Largest Euclidean distance between neighbours (DBSCAN's eps). Embeddings have length 1."""


Clusterer = Callable[[Array, ClusteringOptions], Clustering]
"""Vectors (n, dim), n >= 1, into clusters; every vector gets one. Deterministic, without warnings.
Import heavy packages inside the function, so that services start fast."""


def by_kmeans(vectors: Array, wanted: ClusteringOptions) -> Clustering:
    """k-means; see `kmeans`."""
    return kmeans(vectors, wanted.clusters, wanted.seed)


def by_dbscan(vectors: Array, wanted: ClusteringOptions) -> Clustering:
    """DBSCAN; prompts in no dense place go to the nearest centroid."""
    from sklearn.cluster import DBSCAN

    fitted = DBSCAN(eps=wanted.reach, min_samples=wanted.min_size).fit(vectors)
    return _of_dense_places(vectors, fitted.labels_)


def by_hdbscan(vectors: Array, wanted: ClusteringOptions) -> Clustering:
    """HDBSCAN; prompts in no dense place go to the nearest centroid."""
    from sklearn.cluster import HDBSCAN

    fewest = max(2, wanted.min_size)
    if len(vectors) < fewest:  # scikit-learn refuses them; DBSCAN finds nothing dense
        return _of_dense_places(vectors, np.full(len(vectors), -1))
    fitted = HDBSCAN(min_cluster_size=fewest, copy=True).fit(vectors)
    return _of_dense_places(vectors, fitted.labels_)


def _of_dense_places(vectors: Array, labels: npt.NDArray[np.intp]) -> Clustering:
    """A cluster for each label from 0 on. -1 is noise; if all is noise, it is one cluster."""
    dense = [label for label in np.unique(labels) if label >= 0]
    centroids = (
        np.stack([vectors[labels == label].mean(axis=0) for label in dense])
        if dense
        else vectors.mean(axis=0, keepdims=True)
    )
    return settle(vectors, centroids.astype(np.float32))


CLUSTERINGS: Mapping[str, Clusterer] = MappingProxyType(
    {"kmeans": by_kmeans, "dbscan": by_dbscan, "hdbscan": by_hdbscan}
)
"""By the name that POINTSMAN_RECLUSTERER_METHOD takes. A new one is a function and a line here."""
EVOLVING = "kmeans"
"""The one whose clusters go on from table to table; see `evolve`."""


def evolve(vectors: Array, centroids: Array, reach: Array, min_size: int, most: int) -> Clustering:
    """k-means from the clusters there are: prompts beyond `reach` (clusters,) of all of them start
    new ones, where they lie together.

    So a task that is new gets a cluster of its own while the others stay where they were; one that
    has grown inside a wide cluster splits off if the two parts lie further apart than halves of a
    single cluster would (`_split`). A cluster that lies close to a larger one (`MERGE_WITHIN`)
    joins it. One without a prompt among these `vectors` (n, dim) stays where it is. With enough of
    them (`RETIRE_FROM` a cluster) it retires."""
    distances, nearest = nearest_of(vectors, centroids)
    novel = np.flatnonzero(distances > reach[nearest])
    near = float(np.median(reach))
    start = np.concatenate([centroids, *_crowds(vectors[novel], near, min_size)])[:most]
    start = _merged(
        start, np.bincount(nearest_of(vectors, start)[1], minlength=len(start)), MERGE_WITHIN * near
    )
    centres, labels = lloyd(vectors, start)
    if len(split := _split(vectors, centres, labels, min_size)) > len(centres):
        centres, labels = lloyd(vectors, split[:most])
    sizes = np.bincount(labels, minlength=len(centres))
    living = (
        np.flatnonzero(sizes > 0)
        if len(vectors) >= RETIRE_FROM * len(centres)
        else np.arange(len(centres))
    )
    rank = np.cumsum(np.isin(np.arange(len(centres)), living)) - 1
    labels = rank[labels].astype(np.int64)
    return Clustering(centres[living], labels, radii(vectors, centres[living], labels))


def lloyd(vectors: Array, start: Array) -> tuple[Array, Labels]:
    """k-means steps from given centroids (k, dim) until they rest. scikit-learn moves a centroid
    without vectors; here it stays."""
    centroids = start.astype(np.float32)
    for _ in range(LLOYD_STEPS):
        _, labels = nearest_of(vectors, centroids)
        counts = np.bincount(labels, minlength=len(centroids))
        used = np.flatnonzero(counts)
        moved = centroids.copy()
        moved[used] = (sums(vectors, labels, len(centroids))[used] / counts[used, None]).astype(
            np.float32
        )
        shift = float(np.abs(moved - centroids).max())
        centroids = moved
        if shift < RESTS:
            break
    return centroids, nearest_of(vectors, centroids)[1]


def sums(vectors: Array, labels: Labels, count: int, block: int = 8192) -> npt.NDArray[np.float64]:
    """(count, dim): the sum of the vectors with each label; in blocks, since a copy of them all
    would crowd others out of the cache."""
    from scipy.sparse import csr_array

    sums = np.zeros((count, vectors.shape[1]))
    for i in range(0, len(vectors), block):
        part = vectors[i : i + block].astype(np.float64)
        ends = np.arange(len(part) + 1)
        sums += (
            csr_array((np.ones(len(part)), labels[i : i + block], ends), shape=(len(part), count)).T
            @ part
        )
    return sums


def settle(vectors: Array, centroids: Array) -> Clustering:
    """Each vector to its nearest centroid; centroids that have none are left out."""
    _, labels = nearest_of(vectors, centroids)
    used, labels = np.unique(labels, return_inverse=True)
    used_centroids = centroids[used]
    return Clustering(
        used_centroids, labels.astype(np.int64), radii(vectors, used_centroids, labels)
    )


def nearest_of(vectors: Array, centroids: Array, block: int = 8192) -> tuple[Array, Labels]:
    """Distance to the nearest centroid and which it is, each (n,); in blocks, so that memory stays
    small."""
    norms = (centroids**2).sum(axis=1)
    found = np.empty(len(vectors), np.int64)
    distance = np.empty(len(vectors), np.float32)
    for i in range(0, len(vectors), block):
        part = vectors[i : i + block]
        squared = norms - 2.0 * (part @ centroids.T)
        best = squared.argmin(axis=1)
        found[i : i + block] = best
        exact = np.take_along_axis(squared, best[:, None], axis=1)[:, 0] + (part**2).sum(axis=1)
        distance[i : i + block] = np.sqrt(np.maximum(exact, 0.0))
    return distance, found


def _crowds(vectors: Array, reach: float, min_size: int) -> list[Array]:
    """Centroids (1, dim) of groups of at least `min_size` novel vectors that lie within `reach` of
    their middle."""
    crowds = []
    left = vectors
    while len(left) >= min_size:
        norms = (left[:2000] ** 2).sum(axis=1)
        squared = norms[:, None] + norms - 2.0 * (left[:2000] @ left[:2000].T)
        crowded = (squared < reach**2).sum(axis=1)
        middle = left[:2000][squared[int(crowded.argmax())] < reach**2].mean(axis=0, keepdims=True)
        inside = np.linalg.norm(left - middle, axis=1) <= reach
        if inside.sum() < min_size:
            break
        crowds.append(left[inside].mean(axis=0, keepdims=True).astype(np.float32))
        left = left[~inside]
    return crowds


def _split(vectors: Array, centroids: Array, labels: Labels, min_size: int) -> Array:
    """Centroids with those clusters in two that are really two: SigClust (Liu, Hayes, Nobel and
    Marron 2008).

    A cluster's best division explains a fraction of its spread; so it does for random Gaussian data
    of the same covariance. Only a fraction that is clearly larger than for several such data sets
    counts."""
    grown = [centroids]
    rng = np.random.default_rng(0)
    for c in range(len(centroids)):
        members = np.flatnonzero(labels == c)
        if len(members) < 2 * min_size:
            continue
        offsets = vectors[members[:SPLIT_FROM]] - centroids[c]
        offsets = offsets - offsets.mean(axis=0)
        _, spread, axes = np.linalg.svd(offsets, full_matrices=False)
        scores = (offsets @ axes[:SPLIT_AXES].T).astype(np.float32)
        share, halves = _halved(scores)
        small = min(int(halves.sum()), len(halves) - int(halves.sum()))
        if small * len(members) / len(offsets) < min_size:
            continue
        scale = spread[:SPLIT_AXES] / np.sqrt(len(offsets))
        chance = max(
            _halved((rng.normal(size=scores.shape) * scale).astype(np.float32))[0]
            for _ in range(SPLIT_HEAPS)
        )
        if share > SPLIT_CLEARLY * chance:
            part = vectors[members[:SPLIT_FROM]]
            smaller = halves if halves.sum() == small else ~halves
            grown[0] = grown[0].copy()
            grown[0][c] = part[~smaller].mean(axis=0)
            grown.append(part[smaller].mean(axis=0, keepdims=True))
    return np.concatenate(grown)


def _halved(scores: Array) -> tuple[float, npt.NDArray[np.bool_]]:
    """The fraction of the spread that the best division in two explains, and the division; 2-means
    from each of the first axes."""
    best = -1.0
    found = np.zeros(len(scores), np.bool_)
    total = float((scores**2).sum()) or 1.0
    for axis in range(min(3, scores.shape[1])):
        side = scores[:, axis] > 0
        for _ in range(20):
            if side.all() or not side.any():
                break
            a = scores[side].mean(axis=0)
            b = scores[~side].mean(axis=0)
            moved = ((scores - a) ** 2).sum(axis=1) < ((scores - b) ** 2).sum(axis=1)
            if (moved == side).all():
                break
            side = moved
        if side.all() or not side.any():
            continue
        inside = sum(
            float(((part - part.mean(axis=0)) ** 2).sum()) for part in (scores[side], scores[~side])
        )
        if 1.0 - inside / total > best:
            best = 1.0 - inside / total
            found = side
    return best, found


def _merged(centroids: Array, sizes: npt.NDArray[np.intp], near: float) -> Array:
    """Without those that lie nearer than `near` to a larger one."""
    order = np.argsort(-sizes, kind="stable")
    survivors: list[int] = []
    for i in order:
        if all(np.linalg.norm(centroids[i] - centroids[j]) >= near for j in survivors):
            survivors.append(int(i))
    return centroids[sorted(survivors)]


def radii(vectors: Array, centroids: Array, labels: Labels) -> Array:
    """(k,) float32: how far a cluster reaches. Few prompts say little, so it is never below that of
    all together."""
    distances = np.linalg.norm(vectors - centroids[labels], axis=1)
    overall = np.quantile(distances, RADIUS_QUANTILE)
    radius = np.full(len(centroids), overall)
    for c in np.unique(labels):
        radius[c] = np.quantile(distances[labels == c], RADIUS_QUANTILE)
    return (RADIUS_SLACK * np.maximum(radius, overall)).astype(np.float32)
