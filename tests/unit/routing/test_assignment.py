"""Assignment is exact nearest-centroid search with softmax weights."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support import ENCODER, table

from shared.routing.deciding.assignment import assign, check
from shared.routing.deciding.table import Encoder
from shared.routing.errors import EmbeddingInvalid, EncoderMismatch


@given(st.integers(0, 10_000), st.integers(1, 12), st.integers(1, 6))
def test_it_agrees_with_distances_worked_out_one_by_one(seed: int, k: int, top_p: int) -> None:
    tab = table(k, seed=seed, top_p=top_p)
    vectors = np.random.default_rng(seed).normal(size=(5, 4)).astype(np.float32)
    for vector, found in zip(vectors, assign(vectors, tab), strict=True):
        distances = np.array([np.sqrt(((vector - c) ** 2).sum()) for c in tab.centroids])
        nearest = np.argsort(distances, kind="stable")[: min(top_p, k)]
        np.testing.assert_allclose(
            found.distances, distances[nearest], atol=2e-3
        )  # float32 cancels where a vector meets a centroid
        weights = np.exp(-tab.sharpness * distances[nearest])
        np.testing.assert_allclose(found.weights, weights / weights.sum(), atol=1e-2)
        assert found.weights.sum() == pytest.approx(1.0, abs=1e-5)
        assert (np.diff(found.distances) >= 0).all()


def test_a_prompt_beyond_its_clusters_radius_is_novel() -> None:
    tab = table(2, centroids=np.array([[1.0, 0, 0, 0], [0, 1.0, 0, 0]]))  # radius 1.0 each
    near, far = assign(np.array([[1, 0.2, 0, 0], [-1, 0, 0, 0]], np.float32), tab)
    assert not near.novel
    assert far.novel


def test_equal_distances_go_by_the_order_of_the_clusters() -> None:
    tab = table(4, centroids=np.ones((4, 4)), top_p=2)
    assert assign(np.zeros((1, 4), np.float32), tab)[0].clusters.tolist() == [0, 1]


def test_another_encoder_is_refused_though_its_dimension_is_equal() -> None:
    other = Encoder("other", "1", 4, "mean", "none")
    with pytest.raises(EncoderMismatch, match="run embedders with that encoder, or build a table"):
        check(np.zeros(4, np.float32), None, other, table())
    with pytest.raises(EncoderMismatch):
        check(
            np.zeros(4, np.float32), None, Encoder("test/encoder", "1", 4, "mean", "int8"), table()
        )


@pytest.mark.parametrize(
    ("vector", "words"),
    [
        (np.zeros(3), "3 numbers"),
        (np.array([0, np.nan, 0, 0]), "NaN"),
        (np.full(4, np.inf), "NaN or inf"),
    ],
)
def test_a_vector_that_is_no_point_is_refused(vector: np.ndarray, words: str) -> None:
    with pytest.raises(EmbeddingInvalid, match=words):
        check(vector.astype(np.float32), None, ENCODER, table())
