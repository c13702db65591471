"""`make bench-learning`: what clustering and ranking take, in a process of their own. Prints figures; judges nothing."""

from __future__ import annotations

import json
import resource
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np

from services.reclusterer.app import give_way
from shared.routing.bradley_terry import Comparisons, fit_votes
from shared.routing.clustering import evolve, kmeans
from shared.routing.votes import Ballots


def embeddings(count: int, tasks: int, seed: int = 0) -> np.ndarray:
    """Unit vectors of 384 dimensions around so many directions."""
    rng = np.random.default_rng(seed)
    centres = rng.normal(size=(tasks, 384)).astype(np.float32)
    centres /= np.linalg.norm(centres, axis=1, keepdims=True)
    found = centres[rng.integers(0, tasks, count)] + 0.04 * rng.standard_normal((count, 384), dtype=np.float32)
    return (found / np.linalg.norm(found, axis=1, keepdims=True)).astype(np.float32)


def evaluations(count: int, clusters: int, models: int, seed: int = 0) -> tuple[Comparisons, Ballots]:
    """Six votes each on pairs of answers whose quality is known to the votes alone."""
    rng = np.random.default_rng(seed)
    theta = rng.normal(0, 1, (clusters, models))
    cluster, first = rng.integers(0, clusters, count), rng.integers(0, models, count)
    second = (first + rng.integers(1, models, count)) % models
    better = rng.random(count) < 1 / (1 + np.exp(theta[cluster, second] - theta[cluster, first]))
    right = rng.binomial(3, 0.84, count), rng.binomial(3, 0.64, count)
    straight_first = np.where(better, right[0], 3 - right[1])
    turned_second = np.where(better, right[1], 3 - right[0])
    counts = np.stack([straight_first, 3 - straight_first, 3 - turned_second, turned_second], axis=1)
    return Comparisons(cluster, first, second, np.ones(count), np.arange(count)), Ballots.of(counts)  # type: ignore[arg-type]


def keep_clustering(begun: Any, stop: Any) -> None:
    """Cluster 100,000 embeddings over and over, as the re-clusterer does it: in a thread that gives way to others."""
    vectors = embeddings(100_000, 100)
    start = kmeans(vectors[:20_000], 100, 0)

    def work() -> None:
        begun.set()
        while not stop.is_set():
            evolve(vectors, start.centroids, start.radii, 20, 1000)

    with ThreadPoolExecutor(1, initializer=give_way) as thread:
        thread.submit(work).result()


def main() -> None:
    found: dict[str, Any] = {}
    vectors = embeddings(100_000, 100)
    start = kmeans(vectors[:20_000], 100, 0)
    began = time.perf_counter()
    evolve(vectors, start.centroids, start.radii, 20, 1000)
    found["recluster_100k_s"] = round(time.perf_counter() - began, 2)
    began = time.perf_counter()
    kmeans(vectors, 100, 0)
    found["kmeans_100k_s"] = round(time.perf_counter() - began, 2)
    data, ballots = evaluations(200_000, 100, 20)
    began = time.perf_counter()
    fit_votes(data, {"judge": (np.arange(len(data)), ballots)}, 100, 20, 0, {}, at=np.arange(float(len(data))))
    found["rank_200k_evaluations_s"] = round(time.perf_counter() - began, 2)
    found["peak_memory_gb"] = round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20, 2)
    print(json.dumps(found, indent=2))


if __name__ == "__main__":
    main()
