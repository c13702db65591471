"""The 25 tasks: real-world applications of language models, each with prompts to learn from and
prompts to test with."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import yaml


@dataclass(frozen=True, slots=True)
class Task:
    """One task. No prompt stands in both `train` and `test`."""

    id: str
    name: str
    description: str
    """One sentence, as a describer would put it."""
    train: tuple[str, ...]
    test: tuple[str, ...]


def load() -> tuple[Task, ...]:
    """All tasks, in the order of their ids."""
    tasks = []
    for path in sorted(Path(__file__).parent.glob("*.yaml")):
        data = yaml.safe_load(path.read_text())
        prompts = {part: tuple(text.strip() for text in data[part]) for part in ("train", "test")}
        tasks.append(
            Task(path.stem, data["name"], data["description"], prompts["train"], prompts["test"])
        )
    return tuple(tasks)
