"""Bradley-Terry from votes: it finds what a simulated truth holds, whatever the order, the names
and the position."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from judged import append, false_alarms, followed_after, traffic

from shared.routing.learning.bradley_terry import (
    Comparisons,
    decay,
    difference_variances,
    fit,
    fit_votes,
    quasi_variances,
)
from shared.routing.learning.drift import SURE
from shared.routing.learning.votes import (
    Ballots,
    Hits,
    agreement,
    estimate_hits,
    log_ratio,
    verdicts,
)


def votes_of(
    theta: np.ndarray,
    prompts: int,
    seed: int,
    accuracy: float = 0.8,
    pull: float = 0.2,
    single: bool = False,
):
    """Comparisons of every pair on every prompt, six votes each; `single`: all with the first model
    in first position."""
    rng = np.random.default_rng(seed)
    k, m = theta.shape
    rows, counts = [], []
    for c in range(k):
        for p in range(prompts):
            quality = theta[c] + rng.gumbel(0, 1, m)
            for i in range(m):
                for j in range(i + 1, m):
                    count = [0, 0, 0, 0]
                    for vote in range(6):
                        straight = single or vote < 3
                        first_better = (quality[i] > quality[j]) == straight
                        says_first = rng.random() < pull or first_better == (
                            rng.random() < accuracy
                        )
                        count[(0 if straight else 2) + (not says_first)] += 1
                    rows.append((c, i, j, c * prompts + p))
                    counts.append(tuple(count))
    columns = np.array(rows).T
    data = Comparisons(columns[0], columns[1], columns[2], np.ones(len(rows)), columns[3])
    return data, {"judge:a": (np.arange(len(rows)), Ballots.of(counts))}


def truth(seed: int, clusters: int = 25, models: int = 5) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return np.stack([1.1 * rng.permutation(models) for _ in range(clusters)]) + rng.normal(
        0, 0.15, (clusters, models)
    )


def tau(one: np.ndarray, other: np.ndarray) -> float:
    i, j = np.triu_indices(len(one), 1)
    return float((np.sign(one[i] - one[j]) * np.sign(other[i] - other[j])).mean())


@pytest.mark.slow
def test_rankings_intervals_and_the_judges_faults_are_found() -> None:
    taus, covered = [], []
    for seed in range(50):
        theta = truth(seed)
        data, ballots = votes_of(theta, 12, seed)
        ranking, hits = fit_votes(data, ballots, 25, 5, 4, {})
        taus.append(np.mean([tau(theta[c], ranking.strength[c]) for c in range(25)]))
        inside = (
            np.abs(ranking.strength - (theta - theta[:, [4]])) <= 1.96 * ranking.reference_error
        )
        covered.append(inside[:, :4].mean())
        assert hits["judge:a"].pull == pytest.approx(0.2, abs=0.05)
        assert hits["judge:a"].accuracy == pytest.approx(0.8, abs=0.05)
    assert np.mean(taus) >= 0.9
    assert 0.90 <= np.mean(covered) <= 0.99


def test_votes_in_one_order_mislead_a_plain_count() -> None:
    theta = truth(3)
    data, ballots = votes_of(theta, 12, 3)
    both = fit_votes(data, ballots, 25, 5, 4, {})[0].strength
    one_order, alone = votes_of(theta, 12, 3, single=True)
    cast = alone["judge:a"][1]
    counted = np.zeros_like(theta)
    won = np.sign(
        cast.straight_first + cast.turned_second - cast.straight_second - cast.turned_first
    )
    np.add.at(counted, (one_order.cluster, one_order.first), won)
    np.add.at(counted, (one_order.cluster, one_order.second), -won)
    scores = [
        np.mean([tau(theta[c], found[c]) for c in range(25)])
        for found in (both, counted + 1e-9 * np.arange(5))
    ]
    assert scores[0] > scores[1] + 0.1


def test_a_cluster_with_little_leans_on_the_others_and_one_with_much_does_not() -> None:
    theta = np.zeros((3, 2))
    theta[:, 1] = [2.0, 2.0, -2.0]
    data, ballots = votes_of(theta, 60, 0, accuracy=1.0, pull=0.0)
    few = np.concatenate([np.flatnonzero(data.cluster < 2), np.flatnonzero(data.cluster == 2)[:2]])
    part = Comparisons(
        data.cluster[few], data.first[few], data.second[few], data.weight[few], data.prompt[few]
    )
    cast = ballots["judge:a"][1]
    some = {
        "judge:a": (
            np.arange(len(few)),
            Ballots(*(getattr(cast, n)[few] for n in Ballots.__dataclass_fields__)),
        )
    }
    sparse = fit_votes(part, some, 3, 2, 0, {})[0]
    full = fit_votes(data, ballots, 3, 2, 0, {})[0]
    assert full.strength[2, 1] < -1 < sparse.strength[2, 1]
    assert sparse.standard_error[2, 1] > 1.3 * full.standard_error[2, 1]


def test_six_votes_on_one_pair_of_answers_are_not_six_comparisons() -> None:
    once = Comparisons(
        np.zeros(8, int), np.zeros(8, int), np.ones(8, int), np.ones(8), np.arange(8)
    )
    one, six = (
        fit_votes(once, {"j": (np.arange(8), Ballots.of([(n, 0, 0, n)] * 8))}, 1, 2, 1, {})[0]
        for n in (1, 30)
    )
    assert six.strength[0, 0] < 1.6 * one.strength[0, 0]


@settings(max_examples=15, deadline=None)
@given(st.permutations(range(4)), st.integers(0, 5))
def test_names_and_order_do_not_matter(names: list[int], seed: int) -> None:
    theta = truth(seed, 3, 4)
    data, ballots = votes_of(theta, 6, seed)
    ratio = log_ratio(ballots["judge:a"][1], Hits(0.84, 0.64))
    plain = fit(data, ratio, 3, 4, 0)
    renamed = np.array(names)
    shuffled = np.random.default_rng(seed).permutation(len(data))
    other = fit(
        Comparisons(
            data.cluster[shuffled],
            renamed[data.first[shuffled]],
            renamed[data.second[shuffled]],
            data.weight[shuffled],
            data.prompt[shuffled],
        ),
        ratio[shuffled],
        3,
        4,
        int(renamed[0]),
    )
    np.testing.assert_allclose(other.strength[:, renamed], plain.strength, atol=2e-3)
    np.testing.assert_allclose(other.standard_error[:, renamed], plain.standard_error, rtol=2e-2)


def test_old_comparisons_fade() -> None:
    assert decay(np.array([0.0, 10.0, 20.0, -5.0]), 10.0) == pytest.approx([1, 0.5, 0.25, 1])
    rows = np.zeros(80, int)
    ratio = np.repeat([6.0, -6.0], 40)
    fresh = fit(Comparisons(rows, rows, rows + 1, np.ones(80), np.arange(80)), ratio, 1, 2, 1)
    faded = fit(
        Comparisons(rows, rows, rows + 1, np.repeat([0.02, 1.0], 40), np.arange(80)), ratio, 1, 2, 1
    )
    assert abs(fresh.strength[0, 0]) < 0.01
    assert faded.strength[0, 0] < -1


def test_without_comparisons_all_are_equal_and_nothing_is_sure() -> None:
    empty = np.zeros(0, int)
    ranking = fit(Comparisons(empty, empty, empty, np.zeros(0), empty), np.zeros(0), 2, 3, 0)
    assert (ranking.strength == 0).all()
    assert (ranking.standard_error > 1.5).all()


def test_quasi_variances_give_back_differences_of_independent_strengths() -> None:
    variances = np.array([0.1, 0.4, 0.2, 0.9])
    found = quasi_variances(difference_variances(np.diag(variances)[None]))
    np.testing.assert_allclose(found[0], variances)


def test_hits_bias_and_agreement_are_told() -> None:
    always_first = Ballots.of([(3, 0, 3, 0)] * 10)
    seen = verdicts(always_first, ties=4, abstentions=2)
    assert (seen.follows_position, seen.first_share, seen.votes) == (1.0, 1.0, 66)
    np.testing.assert_allclose(log_ratio(always_first, Hits(0.8, 0.7)), 0, atol=1e-12)
    sure = Ballots.of([(3, 0, 0, 3)] * 200 + [(0, 3, 3, 0)] * 200)
    hits = estimate_hits(sure, np.repeat([1.0, 0.0], 200))
    assert min(hits.first, hits.second) > 0.97
    one = {f"c{i}": 1 if i % 2 else -1 for i in range(40)}
    assert agreement(one, one).kappa == 1
    assert agreement(one, {key: -value for key, value in one.items()}).kappa == -1
    rng = np.random.default_rng(0)
    chance = agreement(
        {str(i): int(rng.choice([-1, 1])) for i in range(500)},
        {str(i): int(rng.choice([-1, 1])) for i in range(500)},
    )
    assert chance.low < 0 < chance.high
    assert agreement(one, {"other": 1}).both == 0


def test_stable_traffic_that_is_looked_at_again_and_again_raises_no_alarm() -> None:
    """`make bench-learning` looks at whole days."""
    assert sum(false_alarms(seed, comparisons=3000, looks=30) for seed in range(3)) <= 1


def test_a_model_that_has_changed_is_found_and_one_that_has_not_is_left_alone() -> None:
    alarms = cells = 0
    for seed in range(6):
        rng = np.random.default_rng(seed)
        theta = rng.normal(0, 1, (10, 5))
        data, ballots = traffic(rng, theta, 2000)
        found = fit_votes(data, ballots, 10, 5, 0, {}, at=np.arange(2000.0))[0]
        alarms, cells = alarms + len(found.changed), cells + 50
    assert alarms / cells <= 0.005
    rng = np.random.default_rng(6)
    theta = rng.normal(0, 1, (10, 5))
    after = theta.copy()
    best = int(theta[3].argmax())
    after[3, best] -= 5.0
    both, votes = append(*traffic(rng, theta, 2000), *traffic(rng, after, 600))
    found = fit_votes(both, votes, 10, 5, 0, {}, at=np.arange(2600.0))[0]
    (change,) = found.changed
    assert (change.cluster, change.model) == (3, best)
    assert 1950 <= change.at <= 2200
    assert change.won_before > 0.6 > 0.2 > change.won_since
    assert change.before + change.since < 700
    assert change.statistic > SURE
    of_it = (both.cluster == 3) & ((both.first == best) | (both.second == best))
    stale = np.flatnonzero(of_it & (np.arange(2600) < change.at))
    assert sorted({*range(2600)} - {*(found.fresh if found.fresh is not None else ())}) == [*stale]
    blind = fit_votes(both, votes, 10, 5, 0, {})[0]
    other = (best + 1) % 5
    true = after[3, best] - after[3, other]
    wrong = [abs(r.strength[3, best] - r.strength[3, other] - true) for r in (found, blind)]
    assert wrong[0] < wrong[1]


@pytest.mark.parametrize(("rises", "within"), [(False, 30), (True, 72)])
@pytest.mark.parametrize("seed", range(3))
def test_a_change_of_quality_is_followed_within_few_comparisons(
    rises: bool, within: int, seed: int
) -> None:
    assert followed_after(seed, rises=rises, most=within, step=6) is not None
