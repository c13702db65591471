"""The library of tasks: what people ask language models for, with prompts to learn from and
prompts to test with.

One file a task, in the folder of its family. Topics are crossed: taxes, cats and bread come up
under every task, so that what the prompts of a task have in common is the task. `methodology` holds
the 25 tasks that the rankings of docs/decisions/0003 are made with.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import yaml

METHODOLOGY = "methodology"
"""The folder of the 25; each of its files names its family."""
_Loader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


@dataclass(frozen=True, slots=True)
class Mark:
    """What is known of a prompt beside its task."""

    language: str
    """ISO 639-1."""
    topic: str
    description: str | None = None
    """What a good describer would say of this very prompt, where somebody wrote it."""


@dataclass(frozen=True, slots=True)
class Task:
    """One task. No prompt stands in both `train` and `test`."""

    id: str
    family: str
    name: str
    """Reads as a task description: "Translate legal text"."""
    descriptions: tuple[str, ...]
    """One sentence each, as different describers would put it; the plainest first."""
    train: tuple[str, ...]
    """Empty for a task that is kept whole, to test with what was never learnt."""
    test: tuple[str, ...]
    marks: Mapping[str, Mark] = field(default_factory=dict)
    """By prompt; those of the methodology have none."""

    @property
    def description(self) -> str:
        return self.descriptions[0]

    @property
    def sentences(self) -> tuple[str, ...]:
        """The descriptions of single prompts to learn from."""
        marks = (self.marks.get(prompt) for prompt in self.train)
        return tuple(mark.description for mark in marks if mark and mark.description)

    @property
    def kept(self) -> bool:
        """Whether nothing may be learnt from this task."""
        return not self.train


@cache
def methodology() -> tuple[Task, ...]:
    """The 25 tasks of the methodology, in the order of their ids."""
    return tuple(_read(path) for path in sorted((Path(__file__).parent / METHODOLOGY).glob("*")))


@cache
def library() -> tuple[Task, ...]:
    """All tasks: the 25, then the others by family and id."""
    others = sorted(Path(__file__).parent.glob("*/*.yaml"))
    return methodology() + tuple(_read(path) for path in others if path.parent.name != METHODOLOGY)


def _read(path: Path) -> Task:
    data = yaml.load(path.read_text(), Loader=_Loader)  # noqa: S506, a safe loader either way
    marks: dict[str, Mark] = {}
    parts: dict[str, tuple[str, ...]] = {}
    for part in ("train", "test"):
        prompts = []
        for entry in data.get(part, ()):
            text = (entry if isinstance(entry, str) else entry["text"]).strip()
            if not isinstance(entry, str):
                marks[text] = Mark(entry["language"], entry["topic"], entry.get("description"))
            prompts.append(text)
        parts[part] = tuple(prompts)
    descriptions = data.get("descriptions") or [data["description"]]
    family = data.get("family") or path.parent.name
    return Task(
        path.stem, family, data["name"], tuple(descriptions), parts["train"], parts["test"], marks
    )
