"""Which cluster continues which does not hang on the order they come in, and no id is ever used
twice."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from shared.routing.learning.matching import lineage, pair


def points(seed: int, count: int) -> np.ndarray:
    found = np.random.default_rng(seed).normal(size=(count, 6)).astype(np.float32)
    return found / np.linalg.norm(found, axis=1, keepdims=True)


sizes = st.integers(1, 12)
seeds = st.integers(0, 10_000)


@given(seeds, sizes, st.randoms(use_true_random=False))
def test_clusters_that_stay_are_found_again_in_whatever_order(
    seed: int, count: int, random: object
) -> None:
    old = points(seed, count)
    order = list(range(count))
    random.shuffle(order)  # type: ignore[attr-defined]
    moved = old[order] + np.random.default_rng(seed + 1).normal(scale=1e-3, size=old.shape).astype(
        np.float32
    )
    nearest = np.linalg.norm(old[:, None] - old[None], axis=2) + 9 * np.eye(count)
    if count == 1 or nearest.min() > 0.05:
        assert pair(old, moved, 0.02) == order


@given(seeds, sizes, sizes, st.floats(0.05, 2.0))
def test_no_cluster_continues_in_two_and_none_out_of_reach(
    seed: int, before: int, after: int, reach: float
) -> None:
    old, new = points(seed, before), points(seed + 1, after)
    found = pair(old, new, reach)
    taken = [j for j in found if j >= 0]
    assert len(taken) == len(set(taken))
    assert all(
        np.linalg.norm(new[i] - old[j]) <= reach + 1e-5 for i, j in enumerate(found) if j >= 0
    )


@given(seeds, sizes, sizes, st.randoms(use_true_random=False))
def test_the_order_of_the_new_clusters_does_not_matter(
    seed: int, before: int, after: int, random: object
) -> None:
    old, new = points(seed, before), points(seed + 1, after)
    order = list(range(after))
    random.shuffle(order)  # type: ignore[attr-defined]
    straight, shuffled = pair(old, new, 1.0), pair(old, new[order], 1.0)
    assert [straight[i] for i in order] == shuffled


@given(seeds, sizes, sizes, st.integers(0, 40))
def test_ids_that_are_gone_never_come_back(seed: int, before: int, after: int, gone: int) -> None:
    rng = np.random.default_rng(seed)
    used = [f"c{i:02d}" for i in range(gone + before)]
    old_ids = used[gone:]
    kept = pair(points(seed, before), points(seed + 1, after), 0.9)
    labels = rng.integers(0, before, 50), rng.integers(0, after, 50)
    found = lineage(old_ids, used, kept, *labels)
    assert len(set(found.ids)) == after
    born = [name for name, j in zip(found.ids, kept, strict=True) if j < 0]
    assert not set(born) & set(used)
    assert {name for name, j in zip(found.ids, kept, strict=True) if j >= 0} <= set(old_ids)
