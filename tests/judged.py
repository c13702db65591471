"""Simulated comparisons by a judge that is right 80% of the time and follows the first position in
20%. What is true is known."""

from __future__ import annotations

import numpy as np

from shared.routing.learning.bradley_terry import Comparisons, fit_votes
from shared.routing.learning.votes import Ballots

Votes = dict[str, tuple[np.ndarray, Ballots]]


def traffic(
    rng: np.random.Generator,
    theta: np.ndarray,
    count: int,
    cluster: int | None = None,
    model: int | None = None,
) -> tuple[Comparisons, Votes]:
    """Six votes on each of `count` pairs, drawn at random or all of `model` in `cluster`; `theta`
    (clusters, models) is true."""
    clusters, models = theta.shape
    where = rng.integers(0, clusters, count) if cluster is None else np.full(count, cluster)
    first = rng.integers(0, models, count) if model is None else np.full(count, model)
    second = (first + rng.integers(1, models, count)) % models
    better = rng.random(count) < 1 / (1 + np.exp(theta[where, second] - theta[where, first]))
    right = rng.binomial(3, 0.84, count), rng.binomial(3, 0.64, count)
    straight, turned = (
        np.where(better, right[0], 3 - right[1]),
        np.where(better, right[1], 3 - right[0]),
    )
    counts = np.stack([straight, 3 - straight, 3 - turned, turned], axis=1)
    return Comparisons(where, first, second, np.ones(count), np.arange(count)), {
        "judge": (np.arange(count), Ballots.of(counts))
    }


def append(
    data: Comparisons, ballots: Votes, more: Comparisons, votes: Votes
) -> tuple[Comparisons, Votes]:
    """The two, one after the other."""
    joined = Comparisons(
        *(
            np.concatenate([getattr(data, n), getattr(more, n)])
            for n in ("cluster", "first", "second", "weight", "prompt")
        )
    )
    joined.prompt[len(data) :] += len(data)
    cast = Ballots(
        *(
            np.concatenate([getattr(ballots["judge"][1], n), getattr(votes["judge"][1], n)])
            for n in Ballots.__dataclass_fields__
        )
    )
    return joined, {"judge": (np.arange(len(joined)), cast)}


def followed_after(
    seed: int, *, rises: bool, most: int, detect: bool = True, step: int = 4
) -> int | None:
    """Comparisons of a model in a cluster after which it has lost (or, if it `rises`, gained) the
    first place there; None: not by `most`.

    8 clusters, 5 models, 200 comparisons a cluster before; it falls 1.5 logits behind all others,
    or rises as far beyond them.
    """
    rng = np.random.default_rng(seed)
    theta = rng.normal(0, 1, (8, 5))
    after, model = theta.copy(), int(theta[0].argmin() if rises else theta[0].argmax())
    after[0, model] = theta[0].max() + 1.5 if rises else theta[0].min() - 1.5
    data, ballots = traffic(rng, theta, 8 * 200)
    for spent in range(step, most + 1, step):
        data, ballots = append(data, ballots, *traffic(rng, after, step, cluster=0, model=model))
        at = np.arange(float(len(data))) if detect else None
        strength = fit_votes(data, ballots, 8, 5, 0, {}, at=at)[0].strength[0]
        if (int(strength.argmax()) == model) == rises:
            return spent
    return None


def false_alarms(
    seed: int, *, clusters: int = 25, models: int = 7, comparisons: int = 10_000, looks: int = 100
) -> int:
    """How often a model counts as changed in stable traffic, a day of it by default, with `looks`
    tests."""
    rng = np.random.default_rng(seed)
    data, ballots = traffic(rng, rng.normal(0, 1, (clusters, models)), comparisons)
    rows, cast = ballots["judge"]
    at = np.arange(float(comparisons))
    told: set[tuple[int, int]] = set()
    alarms = 0
    for n in np.linspace(comparisons / looks, comparisons, looks).astype(int):
        part = Ballots(*(getattr(cast, name)[:n] for name in Ballots.__dataclass_fields__))
        ranking, _ = fit_votes(
            data.rows(rows[:n]), {"judge": (rows[:n], part)}, clusters, models, 0, {}, at=at[:n]
        )
        now = {(change.cluster, change.model) for change in ranking.changed}
        alarms += len(now - told)
        told = now
    return alarms
