"""Finding tasks among embeddings. scikit-learn does the work; it is imported only when asked for."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from shared.routing.table import Array

Labels = npt.NDArray[np.int64]

MINI_BATCH_FROM = 50_000
"""Embeddings from which mini-batch k-means takes over."""

RADIUS_QUANTILE = 0.99
RADIUS_SLACK = 1.05
"""A prompt is novel beyond 1.05 times the distance within which 99% of a cluster's own prompts lie."""


@dataclass(frozen=True, slots=True)
class Clustering:
    """Centroids (k, dim) float32, a label for each vector (n,), and each cluster's radius (k,) float32."""

    centroids: Array
    labels: Labels
    radii: Array


def warm() -> None:
    """Import what `kmeans` imports, which takes a second or two; for a thread, while something else is waited for."""
    import sklearn.cluster  # noqa: F401


def kmeans(vectors: Array, k: int, seed: int) -> Clustering:
    """k-means over vectors (n, dim) float32 with n >= k; deterministic under `seed`.

    The clusters come in the order of their first vector, so that the same vectors give the same ids.
    """
    from sklearn.cluster import KMeans, MiniBatchKMeans

    k = min(k, len(np.unique(vectors, axis=0)))
    method: Callable[..., KMeans | MiniBatchKMeans] = KMeans if len(vectors) < MINI_BATCH_FROM else MiniBatchKMeans
    found = method(n_clusters=k, n_init=3, random_state=seed).fit(vectors)
    used, first, labels = np.unique(found.labels_, return_index=True, return_inverse=True)
    order = np.argsort(first)
    rank = np.empty_like(order)
    rank[order] = np.arange(len(order))
    labels = rank[labels].astype(np.int64)
    centroids = found.cluster_centers_[used[order]].astype(np.float32)
    return Clustering(centroids, labels, radii(vectors, centroids, labels))


def radii(vectors: Array, centroids: Array, labels: Labels) -> Array:
    """(k,) float32: how far a cluster reaches. Few prompts say little, so it is never below that of all together."""
    distances = np.linalg.norm(vectors - centroids[labels], axis=1)
    overall = np.quantile(distances, RADIUS_QUANTILE)
    own = np.array([np.quantile(distances[labels == c], RADIUS_QUANTILE) for c in range(len(centroids))])
    return (RADIUS_SLACK * np.maximum(own, overall)).astype(np.float32)
