"""The strongest model stays while no other is clearly stronger; changes within noise are told as
such."""

import numpy as np
import pytest
from support import table

from shared.routing.learning.comparing import differences
from shared.routing.learning.settling import AHEAD, settled

ERROR = np.full((1, 3), 0.3)


def of(strength: list[float], error: np.ndarray = ERROR) -> object:
    return table(1, strength=np.array([strength]), standard_error=error)


def test_a_model_that_is_ahead_by_less_than_noise_does_not_take_the_first_place() -> None:
    before, after = of([1.0, 0.9, 0.0]), of([0.9, 1.1, 0.0])
    stays = settled(after, before)  # type: ignore[arg-type]
    small, middle, large = stays.strength[0]
    assert small == pytest.approx(middle + AHEAD, abs=1e-5)
    assert (small + middle) / 2 == pytest.approx(1.0, abs=1e-3), "the mean of the two stays"
    assert large == 0


def test_a_model_that_is_clearly_stronger_takes_the_first_place_at_once() -> None:
    before, after = of([1.0, 0.9, 0.0]), of([0.9, 1.5, 0.0])
    assert settled(after, before) == after  # type: ignore[arg-type]


def test_an_uncertain_newcomer_does_not_keep_a_fallen_model_first() -> None:
    before = of([1.0, -0.5, 0.0])
    after = of([-2.0, 0.05, 0.0], np.array([[0.1, 3.0, 0.1]]))
    assert settled(after, before) == after  # type: ignore[arg-type]


def test_the_reference_model_stays_the_measure_where_it_is_one_of_the_two() -> None:
    before, after = of([-0.2, -0.5, 0.0]), of([0.2, -0.5, 0.0])
    stays = settled(after, before)  # type: ignore[arg-type]
    assert stays.strength[0, 2] == 0
    assert int(stays.strength[0].argmax()) == 2


def test_nothing_is_held_where_nothing_was_known() -> None:
    unknown = of([0.0, 0.0, 0.0], np.full((1, 3), 9.0))
    after = of([0.1, 0.2, 0.0])
    assert settled(after, unknown) == after  # type: ignore[arg-type]
    assert settled(after, None) == after  # type: ignore[arg-type]


def test_differences_say_what_exceeds_noise_first_and_fold_the_rest() -> None:
    strength = np.array([[1.0, 0.9, 0.0]] * 12)
    then = np.array([[0.9, 1.0, 0.0]] * 11 + [[-2.0, 2.0, 0.0]])
    error = np.full((12, 3), 0.3)
    a = table(12, strength=strength, standard_error=error)
    b = table(12, strength=then, standard_error=error)
    first, last = differences(a, b)
    assert first.startswith("cluster c11 “task 11”: strongest was small, is middle, 6.8 standard")
    assert last.startswith("within noise, another model is strongest in 11 clusters: c00 small → ")
    assert last.endswith("and 5 more")
