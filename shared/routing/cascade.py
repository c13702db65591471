"""Ask the cheap model first: was its answer good enough, or must the strong one be asked?

A performance predictor that sees the answer as well as the prompt. It reads one of these, made of the embeddings of both and their forms:

- prompt: the prompt alone, as every router that decides before there is an answer.
- delta: the answer's embedding less the prompt's.
- joint: both, their difference and their product, and both forms.

Logistic regression (scikit-learn) makes a probability of it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal, get_args

import numpy as np
import numpy.typing as npt

from shared.routing.errors import OutcomesInvalid
from shared.routing.evaluation import GapMeasures, Rows
from shared.routing.measures import recovered
from shared.routing.predictor import calibration_error
from shared.routing.table import Array

Matrix = npt.NDArray[np.float64]
Sees = Literal["prompt", "delta", "joint"]
SEES: tuple[Sees, ...] = get_args(Sees)

STRENGTH = 0.3
"""scikit-learn's C: the inverse of the penalty. 0.1 to 1 did alike."""
FORM_WEIGHT = 0.25
PRODUCT_WEIGHT = 20.0
"""Products of coordinates of two vectors of length 1 are small."""


@dataclass(frozen=True, slots=True)
class Answered:
    """Prompts and a cheap model's answers to them: embeddings (n, dimension) and forms (n, form.SIZE)."""

    prompt: Array
    prompt_form: Array
    answer: Array
    answer_form: Array

    def rows(self, rows: Rows) -> Answered:
        """The same for some of the prompts."""
        return Answered(self.prompt[rows], self.prompt_form[rows], self.answer[rows], self.answer_form[rows])


@dataclass(slots=True)
class Cascade:
    """Learns whether an answer was good enough; `sees` is what it looks at."""

    sees: Sees
    _model: object = None
    _center: Array | None = None
    _spread: Array | None = None

    def fit(self, answered: Answered, score: Matrix) -> Cascade:
        """Learn from scores (n,) of the cheap model's answers. Raises `OutcomesInvalid` if they are all good or all bad."""
        from sklearn.linear_model import LogisticRegression

        good = score > 0.5
        if good.all() or not good.any():
            raise OutcomesInvalid("the cheap model's answers are all good or all bad, so there is nothing to learn; add prompts")
        form = np.hstack([answered.prompt_form, answered.answer_form])
        self._center, self._spread = form.mean(axis=0), np.maximum(form.std(axis=0), 0.02)
        self._model = LogisticRegression(C=STRENGTH, max_iter=2000).fit(self._inputs(answered), good)
        return self

    def __call__(self, answered: Answered) -> Matrix:
        """(n,): the probability that each answer is good enough."""
        found: Matrix = self._model.predict_proba(self._inputs(answered))[:, 1]  # type: ignore[attr-defined]
        return found

    def _inputs(self, a: Answered) -> Array:
        assert self._center is not None
        assert self._spread is not None
        form = FORM_WEIGHT * np.clip((np.hstack([a.prompt_form, a.answer_form]) - self._center) / self._spread, -3.0, 3.0)
        size = a.prompt_form.shape[1]
        own, other = form[:, :size], form[:, size:]
        if self.sees == "prompt":
            return np.hstack([a.prompt, own])
        if self.sees == "delta":
            return np.hstack([a.answer - a.prompt, other - own])
        return np.hstack([a.prompt, a.answer, a.answer - a.prompt, PRODUCT_WEIGHT * a.prompt * a.answer, own, other, other - own])


@dataclass(slots=True)
class CascadeResult(GapMeasures):
    """What a cascade reached, split by split; shares are of prompts that are escalated to the strong model."""

    calibration_error: list[float] = field(default_factory=list)
    curve: list[Matrix] = field(default_factory=list)
    """The gap recovered at 0, 1, … 100% escalated."""


def evaluate_cascades(answered: Answered, weak: Matrix, strong: Matrix, splits: Sequence[tuple[Rows, Rows]]) -> dict[Sees, CascadeResult]:
    """Cascades by what they see. `weak` and `strong` are scores (n,) of the model asked first and of the one escalated to."""
    found: dict[Sees, CascadeResult] = {sees: CascadeResult() for sees in SEES}
    for train, test in splits:
        for sees, one in found.items():
            good = Cascade(sees).fit(answered.rows(train), weak[train])(answered.rows(test))
            gap = recovered(-good, weak[test], strong[test])
            one.note(gap)
            one.calibration_error.append(calibration_error(good[:, None], weak[test][:, None]))
            one.curve.append(np.interp(np.linspace(0, 1, 101), np.linspace(0, 1, len(gap)), gap))
    return found
