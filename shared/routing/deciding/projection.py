"""From a prompt's embedding and form to the point that clusters are made of: a linear map that is
learnt, and travels with its table.

Every kind is one matrix, so that a table with a projection is placed as fast as one without, and
needs no pickle. `features` are embeddings (n, dimension), or embeddings with the prompt's form
appended (n, dimension + form.SIZE).

- contrastive: prompts on which the models fare alike come to lie close together. The map leads onto
  the leading directions of the ridge regression of outcomes on features. Of all linear maps these
  minimise the spectral contrastive loss (HaoChen et al., arXiv 2106.04156), for pairs drawn by how
  alike their outcomes are. They are added to the encoder's own directions, and the whole is cut to
  its main axes.
- delta: the embedding of the response less that of the prompt; a new prompt, which has no response
  yet, is placed by ridge regression.
- keys: the embedding of the response; a new prompt is looked up by the response it is expected to
  get.
- tasks: what the default encoder says of the task, which it learnt from the library of tasks; not
  learnt from outcomes.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from shared.routing.deciding.form import SIZE
from shared.routing.errors import OutcomesInvalid

Array = npt.NDArray[np.float32]
Matrix = npt.NDArray[np.float64]

TASK = 128
"""Numbers of an embedding, from its first, that tell the task, where the encoder has a task
head."""
TASK_SHARE = 0.8
"""Their fraction of its squared length."""
DIMENSIONS = 64
"""Axes kept; 32 to 384 routed alike, and fewer are faster
(docs/decisions/0007-representations.md)."""
RIDGE = 3.0
"""Penalty of the regressions. 1 to 10 routed alike."""
FORM_WEIGHT = 0.2
"""Length of a prompt's form beside its embedding, which has length 1."""
OUTCOME_WEIGHT = 0.7
"""How far the outcomes expected by the regression pull prompts apart, in units of the score."""
FORM_CLIP = 3.0
"""Standard deviations beyond which a form is as unusual as it can be."""


@dataclass(frozen=True, eq=False, slots=True)
class Projection:
    """`matrix` (inputs, dimensions), `offset` (dimensions,); `center` and `spread` (form.SIZE,) of
    forms, empty where none is used."""

    kind: str
    matrix: Array
    offset: Array
    center: Array
    spread: Array

    def __call__(self, features: Array) -> Array:
        """(n, dimensions) float32, of features (n, inputs)."""
        projected: Array = (
            _inputs(features, self.center, self.spread) @ self.matrix + self.offset
        ).astype(np.float32)
        return projected


def onto_task() -> Projection:
    """What an embedding says of the task alone, with length 1."""
    none = np.zeros(0, np.float32)
    matrix = np.eye(TASK, dtype=np.float32) / np.float32(np.sqrt(TASK_SHARE))
    return Projection("tasks", matrix, np.zeros(TASK, np.float32), none, none)


@dataclass(frozen=True, slots=True)
class Fitted:
    """A projection, and where the prompts it was learnt from lie (n, dimensions) when their
    clusters are made."""

    projection: Projection
    points: Array


def contrastive(
    features: Array,
    scores: Matrix,
    *,
    dimensions: int = DIMENSIONS,
    ridge: float = RIDGE,
    form_weight: float = FORM_WEIGHT,
    outcome_weight: float = OUTCOME_WEIGHT,
) -> Fitted:
    """Learn from outcomes `scores` (n, models), NaN where a model did not answer; `features` (n, …)
    with or without forms."""
    width = features.shape[1]
    forms = features[:, width - SIZE :] if width > SIZE else features[:, :0]
    center = forms.mean(axis=0)
    spread = np.maximum(forms.std(axis=0), 0.02)
    inputs = _inputs(features, center, spread).astype(np.float64)
    weigh = np.ones(width)
    weigh[width - forms.shape[1] :] = form_weight * 2.0 / np.sqrt(SIZE)
    inputs = inputs * weigh
    wanted = np.nan_to_num(scores - np.nanmean(scores, axis=0))
    outcome = np.linalg.solve(inputs.T @ inputs + ridge * np.eye(width), inputs.T @ wanted)
    pulled = np.hstack([np.eye(width), outcome_weight * outcome])
    axes = _axes(inputs @ pulled, dimensions)
    matrix = pulled @ axes
    projection = Projection(
        "contrastive",
        (weigh[:, None] * matrix).astype(np.float32),
        (-inputs.mean(axis=0) @ matrix).astype(np.float32),
        center.astype(np.float32),
        spread.astype(np.float32),
    )
    return Fitted(projection, projection(features))


def delta(
    vectors: Array, responses: Array, *, dimensions: int = DIMENSIONS, ridge: float = RIDGE
) -> Fitted:
    """Learn from the mean embedding of each prompt's reference answers, `responses` (n,
    dimension)."""
    return _by_response("delta", vectors, responses, dimensions, ridge)


def keys(
    vectors: Array, responses: Array, *, dimensions: int = DIMENSIONS, ridge: float = RIDGE
) -> Fitted:
    """As `delta`, but clusters are made of the responses themselves, and prompts looked up by the
    response they should get."""
    return _by_response("keys", vectors, responses, dimensions, ridge)


def _by_response(
    kind: str, vectors: Array, responses: Array, dimensions: int, ridge: float
) -> Fitted:
    if vectors.shape != responses.shape:
        raise OutcomesInvalid(
            f"{kind} needs a response for each prompt: {len(responses)} for {len(vectors)}"
        )
    x = vectors.astype(np.float64)
    y = responses - x if kind == "delta" else responses.astype(np.float64)
    mean_x = x.mean(axis=0)
    mean_y = y.mean(axis=0)
    centered = x - mean_x
    line = np.linalg.solve(
        centered.T @ centered + ridge * np.eye(x.shape[1]), centered.T @ (y - mean_y)
    )
    axes = _axes(y, dimensions)
    none = np.zeros(0, np.float32)
    projection = Projection(
        kind,
        (line @ axes).astype(np.float32),
        (-mean_x @ line @ axes).astype(np.float32),
        none,
        none,
    )
    return Fitted(projection, ((y - mean_y) @ axes).astype(np.float32))


def _inputs(features: Array, center: Array, spread: Array) -> Array:
    """Embeddings, with standardised forms where they are used."""
    if not len(center):
        return features
    size = features.shape[1] - len(center)
    form = np.clip((features[:, size:] - center) / spread, -FORM_CLIP, FORM_CLIP)
    return np.hstack([features[:, :size], form]).astype(np.float32)


def _axes(points: Matrix, count: int) -> Matrix:
    """(inputs, count): the main axes of the points; the sign of each is fixed, so that the same
    points give the same bytes."""
    centered = points - points.mean(axis=0)
    _, vectors = np.linalg.eigh(centered.T @ centered)
    axes: Matrix = vectors[:, ::-1][:, : min(count, vectors.shape[1])]
    return axes * np.where(
        axes[np.abs(axes).argmax(axis=0), np.arange(axes.shape[1])] < 0, -1.0, 1.0
    )
