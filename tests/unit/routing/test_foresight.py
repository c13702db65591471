"""What is foreseen leads where the description would have led, or is not sure."""

from dataclasses import replace

import numpy as np
import pytest
from support import table

from shared.routing.deciding.assignment import assign
from shared.routing.deciding.form import SIZE
from shared.routing.deciding.rates import PROFILES, Rates
from shared.routing.deciding.selection import Limits, routes, select
from shared.routing.deciding.table import Encoder, RoutingTable
from shared.routing.errors import RoutingError
from shared.routing.learning.foresight import (
    NEIGHBOURS,
    Foresight,
    _threshold,
    foresee,
    learn,
    same_without_edges,
)

D = 32
SPACE = Encoder("test/encoder", "1", D, "mean", "none")
TASKS = 6


def unit(x: np.ndarray) -> np.ndarray:
    return (x / np.linalg.norm(x, axis=1, keepdims=True)).astype(np.float32)


class World:
    """Prompts of some tasks: each lies around its task's place, and its description, turned and
    less scattered, elsewhere."""

    def __init__(self, seed: int = 0, noise: float = 0.25) -> None:
        self.rng, self.noise = np.random.default_rng(seed), noise
        self.places = unit(self.rng.normal(size=(TASKS, D)))
        self.turn = np.linalg.qr(self.rng.normal(size=(D, D)))[0]

    def draw(
        self, count: int, tasks: range = range(TASKS)
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        which = self.rng.choice(list(tasks), count)
        prompts = self.places[which] + 0.2 * self.rng.normal(size=(count, D))
        said = prompts @ self.turn + self.noise * self.rng.normal(size=(count, D))
        return unit(prompts), unit(said), np.zeros((count, SIZE), np.float32)

    def table(self) -> RoutingTable:
        return table(
            TASKS,
            ("a", "b", "c", "d"),
            encoder=SPACE,
            centroids=unit(self.places @ self.turn),
            seed=3,
            top_p=2,
        )


def same(
    known: Foresight, world: World, prompts: np.ndarray, said: np.ndarray, forms: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """(n, profiles) each: whether it is sure, and whether the route is the same."""
    tab, profiles = world.table(), tuple(PROFILES.values())
    found = [foresee(known, prompts, forms, tab, weights) for weights in profiles]
    return np.stack([f.sure for f in found], axis=1), routes(
        tab, found[0].vectors, profiles
    ) == routes(tab, said, profiles)


def test_the_sure_are_routed_as_by_their_own_descriptions() -> None:
    world = World()
    known = learn(*world.draw(1500), world.table())
    sure, alike = same(known, world, *world.draw(2000))
    assert sure.mean() > 0.3
    for profile in range(len(PROFILES)):
        if sure[:, profile].any():
            assert alike[sure[:, profile], profile].mean() > 0.96
    assert alike[~sure].mean() < alike[sure].mean() - 0.03, "being sure says something"


def test_what_an_edge_changes_is_not_the_same_without_it() -> None:
    world = World()
    prompts, said, forms = world.draw(1500)
    known, tab, weights = (
        learn(prompts, said, forms, world.table()),
        world.table(),
        PROFILES["quality"],
    )
    whole = foresee(known, prompts[:300], forms[:300], tab, weights).vectors
    own = np.stack([prompts[:300], prompts[:300]], axis=1)
    assert same_without_edges(known, whole, own, forms[:300], tab, weights).all()
    other = np.roll(prompts[:300], 1, axis=0)
    same = same_without_edges(
        known, whole, np.stack([prompts[:300], other], axis=1), forms[:300], tab, weights
    )
    model = routes(tab, whole, (weights,))[:, 0]
    assert (same == (model == np.roll(model, 1))).all()
    assert 0 < same.mean() < 1


def test_rates_that_are_no_profiles_are_held_to_the_strictest() -> None:
    world = World()
    prompts, said, forms = world.draw(1500)
    known = learn(prompts, said, forms, world.table())
    found = foresee(known, prompts[:200], forms[:200], world.table(), Rates(0.05, 77.0))
    assert (found.agreement[found.sure] >= known.agreement.max()).all()


def test_where_descriptions_are_all_noise_nothing_is_sure() -> None:
    world = World(noise=50.0)
    known = learn(*world.draw(800), world.table())
    assert not same(known, world, *world.draw(500))[0].any()


def test_a_task_that_was_never_seen_is_not_sure() -> None:
    world = World()
    known = learn(*world.draw(1500, range(TASKS - 1)), world.table())
    sure, _ = same(known, world, *world.draw(500, range(TASKS - 1, TASKS)))
    usual, _ = same(known, world, *world.draw(500, range(TASKS - 1)))
    assert sure.mean() < 0.1 * usual.mean()


def test_residuals_are_those_of_a_map_learnt_without_the_row() -> None:
    world = World()
    prompts, said, forms = world.draw(60)
    known = learn(prompts, said, forms, world.table())
    for row in (0, 17):
        rest = np.arange(60) != row
        x, y = prompts[rest].astype(float), said[rest].astype(float)
        centered = x - x.mean(axis=0)
        line = np.linalg.solve(
            centered.T @ centered + 0.3 * np.eye(D), centered.T @ (y - y.mean(axis=0))
        )
        left_out = said[row] - ((prompts[row] - x.mean(axis=0)) @ line + y.mean(axis=0))
        np.testing.assert_allclose(known.residuals[row], left_out, atol=1e-5)


def test_too_few_prompts_are_an_error_that_says_how_many() -> None:
    with pytest.raises(RoutingError, match=f"more than {NEIGHBOURS}"):
        learn(*World().draw(NEIGHBOURS), World().table())


def test_the_threshold_is_the_least_at_which_the_target_holds() -> None:
    agreement = np.repeat([1.0, 0.9, 0.8, 0.7], 100)
    same = np.concatenate(
        [np.ones(100), np.ones(100), np.tile([1.0, 0.5], 50), np.tile([1.0, 0.0], 50)]
    )
    assert _threshold(agreement, same, 0.97) == 0.9
    assert _threshold(agreement, same, 0.9) == 0.8
    assert _threshold(agreement, np.zeros(400), 0.97) > 1
    assert _threshold(agreement[:10], same[:10], 0.97) > 1, "ten prompts prove nothing"
    assert _threshold(agreement[:0], same[:0], 0.97) > 1


@pytest.mark.parametrize("unproven", [None, 0.35])
def test_routes_are_what_select_selects(unproven: float | None) -> None:
    tab = replace(
        table(5, ("a", "b", "c", "d"), encoder=SPACE, seed=5, top_p=3), unproven_error=unproven
    )
    points = np.random.default_rng(1).normal(size=(200, D)).astype(np.float32)
    for j, weights in enumerate(PROFILES.values()):
        chosen = routes(tab, points, tuple(PROFILES.values()))[:, j]
        assert [tab.models[i] for i in chosen] == [
            select(tab, a, weights, Limits(), {}).candidates[0].model for a in assign(points, tab)
        ]
