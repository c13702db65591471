"""Simulated outcomes with known truth, for the demonstration and for tests. Whatever shows them
says that they are simulated."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from shared.routing.offline.outcomes import Matrix


def simulated_skills(tasks: int, price_ranks: Sequence[float], seed: int) -> Matrix:
    """(tasks, models): the probability that a model answers a prompt of a task well.

    More expensive models are better on the whole, and each model has tasks that it is better or
    worse at than its price says. `price_ranks` (models,) in 0..1."""
    random = np.random.default_rng(seed)
    difficulty = random.normal(0.6, 0.6, (tasks, 1))
    general = 1.2 * (np.asarray(price_ranks)[None, :] - 0.5)
    bent = random.normal(0.0, 0.9, (tasks, len(price_ranks)))
    skills: Matrix = 1.0 / (1.0 + np.exp(-(difficulty + general + bent)))
    return skills


def simulated_scores(skills: Matrix, prompts_per_task: int, seed: int) -> Matrix:
    """(tasks * prompts_per_task, models) of 0 and 1, task by task."""
    random = np.random.default_rng(seed + 1)
    chances = np.repeat(skills, prompts_per_task, axis=0)
    scores: Matrix = (random.random(chances.shape) < chances).astype(np.float64)
    return scores
