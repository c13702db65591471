"""Lessons are many, in many languages, and none of them is what the library keeps for testing."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

from shared.catalog import lessons as package
from shared.catalog.lessons import lessons
from shared.catalog.tasks import library

FILES = sorted(Path(package.__file__).parent.glob("*.jsonl"))


def plain(text: str) -> str:
    return " ".join(text.lower().split())


def test_each_lesson_has_descriptions_and_prompts_of_its_own() -> None:
    assert len(lessons()) >= 1500
    assert len({lesson.id for lesson in lessons()}) == len(lessons())
    for lesson in lessons():
        assert len(set(lesson.descriptions)) >= 4, lesson.name
        assert len(lesson.train) >= 2, lesson.name
    prompts = Counter(plain(prompt) for lesson in lessons() for prompt in lesson.train)
    assert [prompt for prompt, times in prompts.items() if times > 1] == []


def test_lessons_are_in_many_languages() -> None:
    rows = [json.loads(line) for path in FILES for line in path.read_text().splitlines()]
    languages = Counter(prompt["language"] for row in rows for prompt in row["prompts"])
    assert languages["en"] < 0.6 * languages.total()
    assert sum(times >= 90 for times in languages.values()) >= 15


def test_nothing_that_is_kept_for_testing_is_a_lesson() -> None:
    kept = {plain(prompt) for task in library() for prompt in task.test}
    assert not kept & {plain(prompt) for lesson in lessons() for prompt in lesson.train}
    names = {
        plain(text).rstrip(".")
        for task in library()
        if task.kept
        for text in (task.name, *task.descriptions)
    }
    words = {
        plain(text).rstrip(".")
        for lesson in lessons()
        for text in (lesson.name, *lesson.descriptions)
    }
    assert not names & words
