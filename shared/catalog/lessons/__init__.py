"""Lessons for the task encoder: many more tasks than the library has, each with four descriptions
and a few prompts.

From them the encoder learns that a description lies near to the prompts of its task, however it is
worded (`shared.adapters.onnx.finetuning`). They are for training alone: no prompt is placed among
them, and none of them is a task that the library keeps for testing. One file a field of work, one
task a line: `task`, `descriptions`, `prompts` with `text` and `language` (ISO 639-1).
"""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path

from shared.catalog.tasks import Task


@cache
def lessons() -> tuple[Task, ...]:
    """All lessons; the family of each is its file's name."""
    found = []
    for path in sorted(Path(__file__).parent.glob("*.jsonl")):
        for line in path.read_text("utf-8").splitlines():
            row = json.loads(line)
            found.append(
                Task(
                    f"{path.stem}/{row['task'].lower().replace(' ', '-')}",
                    path.stem,
                    row["task"],
                    tuple(row["descriptions"]),
                    tuple(prompt["text"] for prompt in row["prompts"]),
                    (),
                )
            )
    return tuple(found)
