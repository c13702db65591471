"""What a rate reaches over the traffic, and the rate that reaches a goal.

The frontier is measured where outcomes are known. A table that has not seen a prompt decides it, at
each of `STEPS` rates, and the true score and cost count. What the table itself expected
of the same choices is kept beside it, since the best of several estimates promises more than it
holds: `success - expected_success` is what a promise is to be corrected by.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from shared.routing.deciding.choosing import best_of, breakpoints
from shared.routing.deciding.rates import PROFILES, Goal, Rates

Array = npt.NDArray[np.float32]
Vector = npt.NDArray[np.float64]

STEPS = 200
"""Rates of a frontier."""


@dataclass(frozen=True, eq=False, slots=True)
class Frontier:
    """For each of g rates, rising, what is reached over the traffic; all arrays (g,) float32,
    latency left aside."""

    usd_per_point: Array
    success: Array
    """Mean success of the models that are chosen."""
    cost_usd: Array
    """Their mean cost."""
    expected_success: Array
    """What the table expected of them, on the same prompts."""
    expected_cost_usd: Array
    single: str
    """The best model where one answers all prompts."""
    single_success: float
    single_cost_usd: float
    prompts: int
    """Prompts that this was found on."""
    measured: bool
    """Whether success and cost are true outcomes; else they are what the table expects."""
    expected_single_success: float | None = None
    """The same of the single model. None where that is `single_success`, and in tables of before,
    which do not say."""

    @property
    def single_correction(self) -> float:
        """What to add to an expected success of the single model."""
        expected = self.expected_single_success
        return 0.0 if expected is None else self.single_success - expected

    @property
    def best_correction(self) -> float:
        """What to add to the highest of all expected successes."""
        return float(self.success[-1] - self.expected_success[-1])

    def correction(self, usd_per_point: float) -> tuple[float, float]:
        """What to add to an expected success, and to multiply an expected cost by, at that rate."""
        gain, times = self.corrections(np.array([usd_per_point]))
        return float(gain[0]), float(times[0])

    def corrections(self, rates: Vector) -> tuple[Vector, Vector]:
        """The same at each of `rates` (n,)."""
        at = np.log(rates)
        grid = np.log(self.usd_per_point)
        gain = np.interp(at, grid, self.success - self.expected_success)
        expected = np.interp(at, grid, self.expected_cost_usd)
        cost = np.interp(at, grid, self.cost_usd)
        return gain, np.where(expected > 0, cost / np.where(expected > 0, expected, 1.0), 1.0)


def reached(
    rates: Vector, success: Vector, cost: Vector, single_success: float, goal: Goal
) -> float:
    """USD a point of success must be worth, so that the goal is reached, given what each of the
    rising `rates` reaches.

    For `keep` the least that keeps enough, or, where none does, the least of those that keep the
    most. For `spend` the most that does not spend more, or, where all do, the least. Between two
    rates it is interpolated.
    """
    logs = np.log(rates)
    if goal.keep is not None:
        line = np.maximum.accumulate(success)
        target = min(goal.keep * single_success, float(line[-1]))
        above = int(np.argmax(line >= target - 1e-12))
        return float(np.exp(_between(logs, line, above, target)))
    assert goal.spend_usd is not None
    line = np.maximum.accumulate(cost)
    over = np.flatnonzero(line > goal.spend_usd)
    if not len(over):
        return float(rates[-1])
    return float(np.exp(_between(logs, line, int(over[0]), goal.spend_usd)))


def _between(logs: Vector, line: Vector, above: int, target: float) -> float:
    """Where `line`, which reaches `target` at index `above`, crosses it."""
    if above == 0:
        return float(logs[0])
    low = line[above - 1]
    high = line[above]
    part = (target - low) / (high - low) if high > low else 1.0
    return float(logs[above - 1] + min(1.0, max(0.0, part)) * (logs[above] - logs[above - 1]))


def rates_for(frontier: Frontier | None, goal: Goal) -> Rates:
    """The rates that reach `goal` over traffic like that of the frontier; without one those of the
    profile balanced."""
    if frontier is None:
        return Rates(PROFILES["balanced"].usd_per_point, goal.s_per_point)
    rates = frontier.usd_per_point.astype(np.float64)
    success = frontier.success.astype(np.float64)
    cost = frontier.cost_usd.astype(np.float64)
    index = reached(rates, success, cost, frontier.single_success, goal)
    return Rates(index, goal.s_per_point)


def frontier_of(
    success: Vector,
    cost: Vector,
    models: Sequence[str],
    outcomes: tuple[Vector, Vector] | None = None,
    steps: int = STEPS,
) -> Frontier:
    """The frontier over n prompts, given what is expected of all models for them, both (n, models).

    `outcomes` are true scores and costs of the same prompts, (n, models) each, NaN where a model
    did not answer. There counts what is expected, less what it misses where there are answers.
    Without outcomes, what is expected stands for what is true."""
    true, paid = (success, cost) if outcomes is None else outcomes
    answered = np.isfinite(true)
    missed = np.where(answered, true - success, 0.0)
    paid = np.where(np.isfinite(paid), paid, cost)
    count = answered.sum(axis=0)
    means = np.where(answered, true, 0.0).sum(axis=0) / np.maximum(count, 1)
    single = int(np.where(count > 0, means, -np.inf).argmax())
    rows = np.arange(len(success))

    def reaches(picks: npt.NDArray[np.intp]) -> tuple[float, float, float, float]:
        """Mean success and cost of these choices, and what was expected of both."""
        expected = float(success[rows, picks].mean())
        known = int(answered[rows, picks].sum())
        got = expected + float(missed[rows, picks].sum()) / max(known, 1)
        return got, float(paid[rows, picks].mean()), expected, float(cost[rows, picks].mean())

    grid = breakpoints(success, cost, steps)
    lines = np.array([reaches(best_of(success - cost / rate, cost)) for rate in grid])
    got, spent, expected, expected_cost = lines.T.astype(np.float32)
    single_got, single_spent, single_expected, _ = reaches(np.full(len(success), single))
    return Frontier(
        grid.astype(np.float32),
        got,
        spent,
        expected,
        expected_cost,
        models[single],
        single_got,
        single_spent,
        len(success),
        outcomes is not None,
        None if outcomes is None else single_expected,
    )
