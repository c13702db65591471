"""Ask the cheap model first: was its answer good enough, or must a better one be asked?

`Heads` say how probably an answer is good, once it is there. They see one of these, made of the
embeddings of prompt and answer and their forms:

- prompt: the prompt alone, as every router that decides before there is an answer.
- delta: the answer's embedding less the prompt's.
- joint: both, their difference and their product, and both forms.
- checked: the same, and whether the sums that the answer shows come out
  (`shared.routing.deciding.sums`). The product learns these; joint is that of older tables.

Logistic regression makes a probability of it. Before anything is asked, `plan` weighs asking the
cheap model first against asking any model alone. Once the cheap answer is there, accepting it is
worth its probability of being good; asking the other is worth that one's success less its cost and
its time. So the answer is accepted from that value on (`accept_at`). Beforehand, the cascade is
worth the mean of the better of the two, less what the cheap model costs. (Optimal stopping;
Weitzman 1979.)"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from math import inf
from typing import Literal, get_args

import numpy as np
import numpy.typing as npt

from shared.routing.deciding.form import SIZE, forms
from shared.routing.deciding.predictor import logit
from shared.routing.deciding.rates import Rates
from shared.routing.deciding.sums import SIZE as SUMS
from shared.routing.deciding.sums import sums_of
from shared.routing.errors import OutcomesInvalid

Array = npt.NDArray[np.float32]
Matrix = npt.NDArray[np.float64]
Rows = npt.NDArray[np.intp]
Sees = Literal["prompt", "delta", "joint", "checked"]
SEES: tuple[Sees, ...] = get_args(Sees)

STRENGTH = 0.3
"""scikit-learn's C: the inverse of the penalty. 0.1 to 1 did alike."""
FORM_WEIGHT = 0.25
PRODUCT_WEIGHT = 20.0
"""Products of coordinates of two vectors of length 1 are small."""
SUMS_WEIGHT = 2.0
"""0.5 to 3 did alike."""
FEWEST = 100
"""Answers that a head is learnt from, at the least."""
FOLDS = 3
NODES, NODE_WEIGHTS = np.polynomial.hermite_e.hermegauss(15)
"""To take means over a normal distribution."""


@dataclass(frozen=True, slots=True)
class Answered:
    """Prompts and one model's answers to them: embeddings (n, dimension), forms (n, form.SIZE) and
    the answers' sums (n, sums.SIZE)."""

    prompt: Array
    prompt_form: Array
    answer: Array
    answer_form: Array
    answer_sums: Array

    @classmethod
    def of(cls, prompt: Array, prompt_form: Array, answer: Array, texts: Sequence[str]) -> Answered:
        """`texts`: the answers themselves."""
        return cls(prompt, prompt_form, answer, forms(texts), sums_of(texts))

    def rows(self, rows: Rows) -> Answered:
        """The same for some of the prompts."""
        return Answered(*(getattr(self, part.name)[rows] for part in fields(self)))


@dataclass(frozen=True, eq=False, slots=True)
class Heads:
    """For each of c cheap models, how probably an answer of its is good.

    All float32: `weights` (c, inputs); `intercept` (c,); `center` and `spread` (c, 2 * form.SIZE)
    of the forms; `told` (c,), the standard deviation of the log-odds that the answer adds to the
    prompt's."""

    sees: str
    models: tuple[str, ...]
    weights: Array
    intercept: Array
    center: Array
    spread: Array
    told: Array

    def __post_init__(self) -> None:
        if self.sees not in SEES:
            raise ValueError(
                f"heads that see {self.sees!r} are of another version; build the table again"
            )
        extra = SUMS if self.sees == "checked" else 0
        if self.sees in {"joint", "checked"} and (self.weights.shape[1] - 3 * SIZE - extra) % 4:
            raise ValueError(
                f"heads with {self.weights.shape[1]} inputs can't see {self.sees!r}; build the "
                "table again"
            )

    def __call__(self, model: str, answered: Answered) -> Matrix:
        """(n,): the probability that each answer of `model` is good enough."""
        i = self.models.index(model)
        inputs = _inputs(self.sees, answered, self.center[i], self.spread[i])
        chance: Matrix = 1.0 / (
            1.0 + np.exp(-(inputs @ self.weights[i].astype(np.float64) + float(self.intercept[i])))
        )
        return chance


def fit_head(sees: Sees, model: str, answered: Answered, score: Matrix) -> Heads:
    """Learn from scores (n,) of the model's answers. Raises `OutcomesInvalid` if they are all good
    or all bad."""
    from sklearn.linear_model import LogisticRegression

    good = score > 0.5
    if good.all() or not good.any():
        raise OutcomesInvalid(
            "the cheap model's answers are all good or all bad, so there is nothing to learn; add "
            "prompts"
        )
    form = np.hstack([answered.prompt_form, answered.answer_form])
    center = form.mean(axis=0)
    spread = np.maximum(form.std(axis=0), 0.02)
    regression = LogisticRegression(C=STRENGTH, max_iter=2000).fit(
        _inputs(sees, answered, center, spread), good
    )
    line = (regression.coef_, regression.intercept_, center[None], spread[None], np.zeros(1))
    return Heads(sees, (model,), *(part.astype(np.float32) for part in line))


def fit_heads(
    answered: Mapping[str, tuple[Rows, Answered]],
    scores: Matrix,
    models: Sequence[str],
    seed: int = 0,
) -> Heads | None:
    """Heads that see prompt and answer, for all models of which enough answers are there; None
    without any.

    `answered`: for each model the rows of `scores` (n, models) that it answered, and its answers to
    them.
    """
    heads = []
    for model, (rows, given) in answered.items():
        known = np.flatnonzero(np.isfinite(scores[rows, list(models).index(model)]))
        own = given.rows(known)
        score = scores[rows[known], list(models).index(model)]
        if len(known) < FEWEST or min((score > 0.5).sum(), (score <= 0.5).sum()) < FOLDS:
            continue
        heads.append((fit_head("checked", model, own, score), _told(model, own, score, seed)))
    if not heads:
        return None
    parts = {
        name: np.concatenate([getattr(head, name) for head, _ in heads])
        for name in ("weights", "intercept", "center", "spread")
    }
    told = np.array([told for _, told in heads], np.float32)
    return Heads("checked", tuple(head.models[0] for head, _ in heads), **parts, told=told)


def _told(model: str, answered: Answered, score: Matrix, seed: int) -> float:
    """How much an answer tells beyond its prompt: the standard deviation of the difference in
    log-odds, on answers left out."""
    fold = np.random.default_rng(seed).permutation(len(score)) % FOLDS
    predicted = []
    for held in range(FOLDS):
        train = answered.rows(np.flatnonzero(fold != held))
        test = answered.rows(np.flatnonzero(fold == held))
        kept = score[fold != held]
        if (kept > 0.5).all() or not (kept > 0.5).any():
            continue
        before, after = (
            logit(fit_head(sees, model, train, kept)(model, test)) for sees in ("prompt", "checked")
        )
        predicted.append(after - before)
    return float(np.concatenate(predicted).std()) if predicted else 0.0


def _inputs(sees: str, a: Answered, center: Array, spread: Array) -> Array:
    """(n, inputs) of a head."""
    form = FORM_WEIGHT * np.clip(
        (np.hstack([a.prompt_form, a.answer_form]) - center) / spread, -3.0, 3.0
    )
    own = form[:, :SIZE]
    other = form[:, SIZE:]
    if sees == "prompt":
        return np.hstack([a.prompt, own])
    if sees == "delta":
        return np.hstack([a.answer - a.prompt, other - own])
    parts = [
        a.prompt,
        a.answer,
        a.answer - a.prompt,
        PRODUCT_WEIGHT * a.prompt * a.answer,
        own,
        other,
        other - own,
    ]
    return np.hstack([*parts, SUMS_WEIGHT * a.answer_sums] if sees == "checked" else parts)


@dataclass(frozen=True, slots=True)
class Alone:
    """What is expected of one model where it answers alone."""

    model: str
    success: float
    cost_usd: float
    latency_s: float

    def penalty(self, rates: Rates) -> float:
        """What its answer costs and takes, in points of success."""
        return self.cost_usd / rates.usd_per_point + self.latency_s / rates.s_per_point


@dataclass(frozen=True, slots=True)
class Plan:
    """Ask `first`; accept its answer if it is good with probability `accept_at` or more, else ask
    `then`."""

    first: str
    then: str
    accept_at: float
    success: float
    """Expected score of the answer that is given in the end."""
    cost_usd: float
    """Expected cost of both."""
    latency_s: float
    escalated: float
    """How probably the second is asked."""
    gain: float
    """Points of utility beyond the best model alone."""


def plan(
    candidates: Sequence[Alone],
    heads: Heads,
    rates: Rates,
    alone: float,
    most_usd: float = inf,
    most_s: float = inf,
) -> Plan | None:
    """The cascade of two of the `candidates` that is worth most, if it is worth more than `alone`,
    the best single utility. Both answers together cost and take at most `most_usd` and `most_s`."""
    best: Plan | None = None
    for first in candidates:
        if first.model not in heads.models:
            continue
        chance, weight = _after(first.success, float(heads.told[heads.models.index(first.model)]))
        for then in candidates:
            if (
                then.success <= first.success
                or first.cost_usd + then.cost_usd > most_usd
                or first.latency_s + then.latency_s > most_s
            ):
                continue
            accept_at = then.success - then.penalty(rates)
            worth = float(weight @ np.maximum(chance, accept_at)) - first.penalty(rates)
            if worth <= alone + MARGIN or (best is not None and worth - alone <= best.gain):
                continue
            asked = float(weight @ (chance < accept_at))
            expected = float(weight @ np.where(chance < accept_at, 0.0, chance))
            best = Plan(
                first.model,
                then.model,
                accept_at,
                expected + asked * then.success,
                first.cost_usd + asked * then.cost_usd,
                first.latency_s + asked * then.latency_s,
                asked,
                worth - alone,
            )
    return best


MARGIN = 1e-4
"""Points that a cascade must be ahead, to be worth its trouble."""


def _after(success: float, told: float) -> tuple[Matrix, Matrix]:
    """What the probability of a good answer may become once it is there, and how probably; its mean
    is `success`."""
    middle = float(logit(np.array(success))) * np.sqrt(1.0 + np.pi * told**2 / 8.0)  # MacKay 1992
    chance = 1.0 / (1.0 + np.exp(-(middle + told * NODES)))
    return chance, NODE_WEIGHTS / NODE_WEIGHTS.sum()
