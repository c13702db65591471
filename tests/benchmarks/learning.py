"""`make bench-learning`: what clustering and ranking take, in a process of their own. Prints
figures; judges nothing."""

from __future__ import annotations

import json
import resource
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
from judged import false_alarms, followed_after, traffic

from services.reclusterer.wiring import give_way
from shared.routing.learning.bradley_terry import fit_votes
from shared.routing.learning.clustering import evolve, kmeans

SEEDS = 12
DAYS = 6
"""Of stable traffic, 25 clusters and 7 models, 10,000 comparisons and 100 looks each."""
MOST = 160
"""Comparisons after which it is not looked any further."""


def embeddings(count: int, tasks: int, seed: int = 0) -> np.ndarray:
    """Unit vectors of 384 dimensions around this many directions."""
    rng = np.random.default_rng(seed)
    centres = rng.normal(size=(tasks, 384)).astype(np.float32)
    centres /= np.linalg.norm(centres, axis=1, keepdims=True)
    found = centres[rng.integers(0, tasks, count)] + 0.04 * rng.standard_normal(
        (count, 384), dtype=np.float32
    )
    return (found / np.linalg.norm(found, axis=1, keepdims=True)).astype(np.float32)


def keep_clustering(begun: Any, stop: Any) -> None:
    """Cluster 100,000 embeddings over and over, as the re-clusterer does it: in a thread that gives
    way to others."""
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
    rng = np.random.default_rng(0)
    data, ballots = traffic(rng, rng.normal(0, 1, (100, 20)), 200_000)
    began = time.perf_counter()
    fit_votes(data, ballots, 100, 20, 0, {}, at=np.arange(float(len(data))))
    found["rank_200k_evaluations_s"] = round(time.perf_counter() - began, 2)
    found["peak_memory_gb"] = round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20, 2)
    for rises, name in ((False, "fall"), (True, "rise")):
        for detect in (True, False):
            took = [
                followed_after(seed, rises=rises, most=MOST, detect=detect) or MOST
                for seed in range(SEEDS)
            ]
            how = "" if detect else "_without_detection"
            found[f"comparisons_until_a_{name}_is_followed{how}"] = {
                "median": float(np.median(took)),
                "worst": max(took),
            }
    alarms = [false_alarms(seed) for seed in range(DAYS)]
    found["false_alarms_a_day"] = {
        "mean": float(np.mean(alarms)),
        "worst": max(alarms),
        "days": DAYS,
    }
    print(json.dumps(found, indent=2))


if __name__ == "__main__":
    main()
