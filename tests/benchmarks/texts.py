"""Prompts for benchmarks: as many as are wanted, no two with the same description, so that no cache
helps."""

from __future__ import annotations

import itertools
import random
import uuid

from shared.catalog import tasks
from shared.routing.deciding.extraction import extract

ADJECTIVES = [
    "small",
    "busy",
    "rural",
    "elderly",
    "Danish",
    "coastal",
    "second-hand",
    "careful",
    "seasonal",
    "noisy",
    "modern",
    "sceptical",
    "bilingual",
    "retired",
    "eager",
    "quiet",
]
NOUNS = [
    "bakery",
    "clinic",
    "orchestra",
    "start-up",
    "museum",
    "ferry",
    "orchard",
    "school",
    "law",
    "firm",
    "brewery",
    "airport",
    "library",
    "farm",
    "shipyard",
    "hotel",
    "theatre",
]


def distinct_prompts(count: int, seed: int) -> list[str]:
    """The prompts of the 25 tasks for one business after another: no two have the same
    description."""
    rng = random.Random(seed)
    base = [prompt for task in tasks.methodology() for prompt in task.train + task.test]
    whom = [
        f"a {a} {n} in {m}"
        for a, n, m in itertools.product(
            ADJECTIVES, NOUNS, ("spring", "summer", "autumn", "winter", "a hurry")
        )
    ]
    made: list[str] = []
    seen: set[str] = set()
    while len(made) < count:
        prompt = (
            f"{rng.choice(base)} It is for {rng.choice(whom)} "
            f"{uuid.UUID(int=rng.getrandbits(128)).hex[:4]}."
        )
        if (description := extract(prompt)) in seen:
            prompt = f"Write for {rng.choice(whom)} {len(made)}x: {prompt}"
            description = extract(prompt)
        if description not in seen:
            seen.add(description)
            made.append(prompt)
    return made


def of_length(length: int, count: int, seed: int) -> list[str]:
    """Distinct prompts of about this many characters: a task, and material for it."""
    rng = random.Random(seed)
    base = distinct_prompts(count, seed)
    words = " ".join(base).split()
    made = []
    for prompt in base:
        text = prompt[:length]
        while len(text) < length:
            text += " " + " ".join(rng.choices(words, k=64))
        made.append(text[:length])
    return made
