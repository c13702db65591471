"""The library of tasks: large, crossed, and split so that what is kept was never learnt from."""

from __future__ import annotations

from collections import Counter, defaultdict
from pathlib import Path

import numpy as np
import pytest

from shared.catalog import tasks
from shared.catalog.tasks.points import PLACES, Points, beside, load

LIBRARY = tasks.library()
OTHERS = [task for task in LIBRARY if task.marks]


def test_the_25_of_the_methodology_are_part_of_it() -> None:
    assert LIBRARY[:25] == tasks.methodology()
    assert all(task.train and task.test and not task.kept for task in tasks.methodology())


def test_there_are_at_least_150_tasks_in_families_that_read_as_descriptions() -> None:
    assert len(LIBRARY) >= 150
    assert len({task.name for task in LIBRARY}) == len(LIBRARY) == len({t.id for t in LIBRARY})
    families = Counter(task.family for task in LIBRARY)
    assert set(families) == {
        "write", "transform", "extract", "classify", "answer", "reason", "code", "plan", "converse",
    }  # fmt: skip
    assert min(families.values()) >= 10
    for task in OTHERS:
        assert task.name[0].isupper()
        assert len(task.name.split()) <= 10
        assert len(task.descriptions) >= 4
        assert all(5 <= len(line.split()) <= 30 for line in task.descriptions)


def test_each_task_has_at_least_16_prompts_in_at_least_6_languages() -> None:
    for task in OTHERS:
        marks = [task.marks[prompt] for prompt in task.train + task.test]
        assert len(marks) >= 16
        assert len({mark.language for mark in marks}) >= 6, task.id


def test_topics_are_crossed() -> None:
    tasks_of_topic = defaultdict(set)
    for task in OTHERS:
        topics = [mark.topic for mark in task.marks.values()]
        assert len(set(topics)) == len(topics), f"{task.id} has a topic twice"
        for topic in topics:
            tasks_of_topic[topic].add(task.id)
    assert len(tasks_of_topic) >= 40
    assert min(map(len, tasks_of_topic.values())) >= 100


def test_a_fifth_of_the_tasks_and_a_fifth_of_each_task_are_kept() -> None:
    kept = [task for task in OTHERS if task.kept]
    assert 0.18 <= len(kept) / len(OTHERS) <= 0.22
    assert {task.family for task in kept} == {task.family for task in OTHERS}
    for task in OTHERS:
        if not task.kept:
            assert 0.18 <= len(task.test) / len(task.train + task.test) <= 0.25


def test_no_prompt_stands_twice() -> None:
    prompts = [" ".join(p.lower().split()) for t in LIBRARY for p in t.train + t.test]
    assert [prompt for prompt, times in Counter(prompts).items() if times > 1] == []


def test_descriptions_of_single_prompts_are_of_prompts_to_learn_from() -> None:
    assert sum(len(task.sentences) for task in LIBRARY) >= 500
    for task in OTHERS:
        described = [prompt for prompt, mark in task.marks.items() if mark.description]
        assert not set(described) - set(task.train)


@pytest.mark.parametrize("place", PLACES.values(), ids=PLACES)
def test_the_points_of_our_encoders_are_those_of_the_library(place: Path) -> None:
    known = load(place)
    assert known.names == tuple(task.name for task in LIBRARY)
    assert known.families == tuple(task.family for task in LIBRARY)
    nearest, sure = known.nearest(known.vectors)
    assert list(nearest) == list(range(len(LIBRARY)))
    assert (sure > 0.5).all()


def test_points_are_read_as_they_were_written(tmp_path: Path) -> None:
    vectors = np.eye(3, 128, dtype=np.float32)
    made = Points("a@1", ("x", "y", "z"), ("f", "g", "h"), vectors, 0.5, (-1.0, 2.0, 3.0))
    made.save(tmp_path / "points.npz")
    again = load(tmp_path / "points.npz")
    assert (again.names, again.families, again.reach) == (made.names, made.families, 0.5)
    np.testing.assert_allclose(again.vectors, vectors)
    assert beside("a@1", tmp_path).names == again.names
    with pytest.raises(LookupError, match="train-tasks"):
        beside("b@1", tmp_path)
