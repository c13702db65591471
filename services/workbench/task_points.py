"""Where the library's tasks lie in an encoder's space; and how sure a nearest task is, learnt from
prompts that the encoder was not taught."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt

from shared.adapters.onnx.encoder import OnnxEncoder
from shared.catalog.tasks import Task
from shared.catalog.tasks.points import Array, Points, space_of, task_part

REACH = 0.9
"""Fraction of a task's prompts within its reach."""
Encode = Callable[[Sequence[str]], Array]


def points_of(encoder: OnnxEncoder, library: Sequence[Task]) -> Points:
    """The points of all tasks. A task that is kept whole stands where its test prompts do."""
    means = _means(encoder.encode, library)
    known = np.array([not task.kept for task in library])
    prompts = [prompt for task in library for prompt in task.test]
    labels = np.repeat(np.arange(len(library)), [len(task.test) for task in library])
    cosines = task_part(encoder.encode(prompts)) @ means.T
    own = cosines[np.arange(len(labels)), labels][known[labels]]
    return Points(
        space_of(encoder.identity),
        tuple(task.name for task in library),
        tuple(task.family for task in library),
        means,
        float(np.quantile(np.sqrt(np.maximum(2.0 - 2.0 * own, 0.0)), REACH)),
        _calibrated(cosines[:, known], np.flatnonzero(known), labels),
    )


def _means(encode: Encode, library: Sequence[Task]) -> Array:
    """(tasks, TASK), of length 1: half a task's prompts, half its descriptions."""
    lines = [prompt for task in library for prompt in (task.train or task.test)]
    said = [line for task in library for line in (*task.descriptions, task.name)]
    prompts = task_part(encode(lines))
    words = task_part(encode(said))
    at = spoken = 0
    means = []
    for task in library:
        count = len(task.train or task.test)
        own = prompts[at : at + count].mean(axis=0)
        told = words[spoken : spoken + len(task.descriptions) + 1].mean(axis=0)
        at += count
        spoken += len(task.descriptions) + 1
        mean = own / np.linalg.norm(own) + told / np.linalg.norm(told)
        means.append(mean / np.linalg.norm(mean))
    return np.stack(means).astype(np.float32)


def _calibrated(
    cosines: Array, tasks: npt.NDArray[np.intp], labels: npt.NDArray[np.intp]
) -> tuple[float, float, float]:
    """A logistic regression of whether the nearest of `tasks` is the right one. The test prompts
    are of learnt tasks, and of other tasks, for which none is right."""
    from sklearn.linear_model import LogisticRegression

    best = tasks[cosines.argmax(axis=1)]
    ranked = np.sort(cosines, axis=1)
    inputs = np.stack([ranked[:, -1], ranked[:, -1] - ranked[:, -2]], axis=1)
    fitted = LogisticRegression(C=100.0).fit(inputs, best == labels)
    by_cosine, by_lead = (float(number) for number in fitted.coef_[0])
    return float(fitted.intercept_[0]), by_cosine, by_lead
