"""Soft assignment: the nearest centroids of each point, weighed by a softmax of how near they
are."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float32]
Rows = npt.NDArray[np.intp]


def soft(
    points: Array, centroids: Array, squared_norms: Array, top: int, sharpness: float
) -> tuple[Rows, Array, Array]:
    """The up to `top` nearest of `centroids` (k, dimension) for points (n, dimension): which, their
    weights, their distances.

    Each (n, min(top, k)), nearest first. Weights are a softmax of -sharpness times the Euclidean
    distance (beta in arXiv 2508.12631); `squared_norms` (k,) are the centroids'.
    """
    squared = (
        squared_norms
        + np.einsum("nd,nd->n", points, points)[:, None]
        - 2.0 * (points @ centroids.T)
    )
    distances = np.sqrt(np.maximum(squared, 0.0))
    nearest = _smallest(distances, min(top, len(centroids)))
    near = np.take_along_axis(distances, nearest, axis=1)
    weights = np.exp(-sharpness * (near - near[:, :1]))
    weights /= weights.sum(axis=1, keepdims=True)
    return nearest, weights, near


def _smallest(distances: Array, count: int) -> Rows:
    """(n, count): the nearest first; equal distances in the order of the clusters."""
    if count < distances.shape[1]:
        rough = np.sort(np.argpartition(distances, count - 1, axis=1)[:, :count], axis=1)
    else:
        rough = np.broadcast_to(np.arange(count), distances.shape)
    order = np.argsort(np.take_along_axis(distances, rough, axis=1), axis=1, kind="stable")
    return np.take_along_axis(rough, order, axis=1)
