"""The map's layout: similar tasks near each other, clusters where they were, labels that cover
nothing."""

import numpy as np
import pytest

from services.console.layout import HALF, HIGH, LETTER, LINE, WIDE, labelled, laid_out, on_picture


def centroids(count: int, seed: int = 0) -> np.ndarray:
    """Tasks of eight families."""
    rng = np.random.default_rng(seed)
    families = rng.normal(size=(8, 64))
    points = families[np.arange(count) % 8] + 0.5 * rng.normal(size=(count, 64))
    return (points / np.linalg.norm(points, axis=1, keepdims=True)).astype(np.float32)


def names(count: int) -> list[str]:
    return [f"c{i}" for i in range(count)]


@pytest.mark.parametrize("count", [5, 25, 150])
def test_tasks_of_a_family_lie_near_each_other(count: int) -> None:
    places = laid_out(names(count), centroids(count), {})
    spots = np.array([places[name] for name in names(count)])
    gaps = np.linalg.norm(spots[:, None] - spots[None], axis=2)
    family = np.arange(count) % 8
    same = (family[:, None] == family) & ~np.eye(count, dtype=bool)
    if same.any():
        assert gaps[same].mean() < 0.5 * gaps[~same].mean()
    assert spots.min() >= -1e-6
    assert spots.max() <= 1 + 1e-6


def test_clusters_stay_where_they_were_when_others_come_and_go_and_all_are_turned() -> None:
    points = centroids(30)
    before = laid_out(names(30), points, {})
    rng = np.random.default_rng(1)
    moved = points + 0.01 * rng.normal(size=points.shape).astype(np.float32)
    ids = [*names(30)[3:], "new-1", "new-2"]
    after = laid_out(ids, np.vstack([moved[3:], centroids(2, seed=5)]), before)
    shifts = [np.hypot(*(np.array(after[i]) - before[i])) for i in ids if i in before]
    assert np.mean(shifts) < 0.06
    assert max(shifts) < 0.25
    assert set(after) == set(ids)


@pytest.mark.parametrize("count", [1, 2, 5, 25, 150])
def test_labels_and_circles_cover_nothing_and_stay_within_the_frame(count: int) -> None:
    places = laid_out(names(count), centroids(count), {})
    radii = np.linspace(5, 28, count) * min(1.0, (40 / count) ** 0.5)
    spots = on_picture(np.array([places[n] for n in names(count)]), radii)
    gaps = np.linalg.norm(spots[:, None] - spots[None], axis=2) + np.eye(count) * 1e9
    assert (gaps >= (radii[:, None] + radii) * 0.97).all(), "circles overlap"
    texts = ["Summarise a meeting transcript for those who were absent"] * count
    labels = labelled(spots, radii, texts, list(radii))
    boxes = []
    for label in labels:
        if label is None:
            continue
        assert all(len(line) <= HALF + 1 for line in label.lines)
        wide = LETTER * max(map(len, label.lines))
        left = label.x - {"start": 0, "middle": wide / 2, "end": wide}[label.anchor]
        boxes.append((left, label.y - 12, left + wide, label.y - 12 + LINE * len(label.lines)))
    assert len(boxes) >= min(count, 5)
    for i, a in enumerate(boxes):
        assert a[0] >= 0
        assert a[1] >= 0
        assert a[2] <= WIDE
        assert a[3] <= HIGH
        for b in boxes[:i]:
            assert (
                a[2] <= b[0] + 0.2 or b[2] <= a[0] + 0.2 or a[3] <= b[1] + 0.2 or b[3] <= a[1] + 0.2
            )
