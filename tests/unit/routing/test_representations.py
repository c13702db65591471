"""What clusters are made of: forms, projections, predictors and signatures."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support import ENCODER, table

from shared.routing.deciding.assignment import assign, check
from shared.routing.deciding.form import NAMES, SIZE, SYMBOLS, form, forms
from shared.routing.deciding.predictor import Predictor, calibrated, calibration_error
from shared.routing.deciding.projection import FORM_CLIP, contrastive, delta, keys
from shared.routing.deciding.rates import PROFILES, Rates
from shared.routing.deciding.selection import Limits, choices, expectations, predict, routes, select
from shared.routing.deciding.table import Encoder, RoutingTable
from shared.routing.errors import EmbeddingInvalid, OutcomesInvalid, TableInvalid
from shared.routing.learning.fitting import fit_estimator, fit_logistic
from shared.routing.learning.task2vec import corresponding, distances, signatures, similar
from shared.routing.offline.outcomes import Outcomes, Recipe, build_table, choose, recipes

DIM = 12
SPACE = Encoder("wide", "1", DIM, "mean", "none")
NONE = np.zeros(2)


def hidden(count: int = 600, seed: int = 0) -> tuple[Outcomes, np.ndarray]:
    """Which of two models succeeds hangs on one weak direction; five strong ones make clusters that
    say nothing about it."""
    rng = np.random.default_rng(seed)
    vectors = np.hstack([rng.normal(0, 1.0, (count, 5)), rng.normal(0, 0.1, (count, DIM - 5))])
    vectors[:, 8] = rng.choice([-0.6, 0.6], count)
    side = vectors[:, 8] > 0
    chance = np.where(side[:, None], [[0.9, 0.2]], [[0.2, 0.9]])
    scores = (rng.random((count, 2)) < chance).astype(float)
    features = np.hstack(
        [vectors / np.linalg.norm(vectors, axis=1, keepdims=True), rng.random((count, SIZE))]
    )
    return Outcomes(
        tuple(f"prompt {i}" for i in range(count)), ("a", "b"), scores, NONE, NONE
    ), features.astype(np.float32)


def learnt(
    representation: str = "contrastive", *, estimator: bool = True
) -> tuple[RoutingTable, np.ndarray, Outcomes]:
    outcomes, features = hidden()
    made = build_table(
        outcomes, features, SPACE, Recipe(representation, estimator, 8), source="t", simulated=True
    )
    return made, features, outcomes


@given(st.text(max_size=300))
def test_a_form_is_finite_small_and_the_same_for_any_text(text: str) -> None:
    found = form(text)
    assert found.shape == (SIZE,) == (len(NAMES),)
    assert np.isfinite(found).all()
    assert (found >= 0).all()
    assert (found <= 2.5).all()
    assert (found == form(text)).all()


@given(st.text(max_size=200))
def test_a_forms_shares_are_those_of_a_count_letter_by_letter(text: str) -> None:
    found, size = dict(zip(NAMES, form(text), strict=True)), max(1, len(text))
    for name, counts in (
        ("digits", str.isdigit),
        ("symbols", SYMBOLS.__contains__),
        ("foreign", lambda c: ord(c) > 127),
    ):
        assert found[name] == np.float32(min(1.0, 4.0 * sum(map(counts, text)) / size)), name


def test_a_form_tells_code_from_a_question_and_does_not_look_at_capitals() -> None:
    at = {name: i for i, name in enumerate(NAMES)}
    code, asked = form("Write it:\ndef area(r):\n    return 3.14 * r"), form("Who wrote Hamlet?")
    assert code[at["code"]] == 1 > asked[at["code"]] == 0
    assert asked[at["asks"]] == asked[at["question"]] == 1 > code[at["asks"]]
    assert form("Solve $x^2 = 4$")[at["formula"]] == 1
    assert (form("who wrote HAMLET?") == asked).all()
    assert not form("").any()
    assert forms([]).shape == (0, SIZE)


def test_contrastive_finds_the_direction_on_which_models_differ() -> None:
    outcomes, features = hidden()
    train, test = np.arange(400), np.arange(400, 600)
    reached = {}
    for name in ("plain", "contrastive"):
        made = build_table(
            outcomes.rows(train),
            features[train],
            SPACE,
            Recipe(name, k=8),
            source="t",
            simulated=True,
        )
        chosen = routes(made, features[test], [PROFILES["quality"]])[:, 0]
        reached[name] = outcomes.scores[test][np.arange(len(test)), chosen].mean()
    assert reached["contrastive"] > reached["plain"] + 0.1
    assert reached["contrastive"] > 0.75


def test_prompts_on_which_models_fare_alike_come_to_lie_close() -> None:
    outcomes, features = hidden()
    points = contrastive(features, outcomes.scores).points
    before = features[:, :DIM]
    side = before[:, 8] > 0

    def share(x: np.ndarray) -> float:
        """Of the spread, what lies between the two sides."""
        return float(((x[side].mean(0) - x[~side].mean(0)) ** 2).sum() / x.var(axis=0).sum())

    assert share(points) > 1.5 * share(before)


def test_delta_and_keys_place_a_new_prompt_where_its_response_is_expected() -> None:
    rng = np.random.default_rng(0)
    vectors = rng.normal(size=(300, DIM)).astype(np.float32)
    turn = np.linalg.qr(rng.normal(size=(DIM, DIM)))[0]
    responses = (vectors @ turn + 0.01 * rng.normal(size=vectors.shape)).astype(np.float32)
    for learn, wanted in ((delta, responses - vectors), (keys, responses)):
        made = learn(vectors[:200], responses[:200], dimensions=DIM, ridge=0.1)
        placed = made.projection(vectors[200:])
        # the axes are a rotation of the wanted space, so distances between prompts are those
        # between their responses
        a, b = (np.linalg.norm(x[:50, None] - x[None, :50], axis=2) for x in (placed, wanted[200:]))
        np.testing.assert_allclose(a, b, atol=0.25)
        assert np.corrcoef(a.ravel(), b.ravel())[0, 1] > 0.99
    with pytest.raises(OutcomesInvalid, match="a response for each prompt"):
        delta(vectors, responses[:5])


def test_representations_that_need_responses_say_so() -> None:
    outcomes, features = hidden(50)
    with pytest.raises(
        OutcomesInvalid, match="the representation delta is learnt from the models' responses"
    ):
        build_table(outcomes, features, SPACE, Recipe("delta", k=2), source="t", simulated=True)
    answered = replace(outcomes, responses=np.roll(features[:, :DIM], 1, axis=1))
    for name in ("delta", "keys"):
        made = build_table(answered, features, SPACE, Recipe(name, k=2), source="t", simulated=True)
        assert made.projection is not None
        assert made.projection.kind == name
        assert made.inputs == DIM


def test_a_learnt_table_survives_its_bytes_and_an_older_one_keeps_its_digest() -> None:
    made, features, _ = learnt()
    again = RoutingTable.from_bytes(made.to_bytes())
    assert again == made
    assert again.space == made.space
    np.testing.assert_array_equal(again.points(features), made.points(features))
    said = [predict(t, features[:9], t.points(features[:9])) for t in (again, made)]
    for one, other in zip(*said, strict=True):
        assert one is not None
        assert other is not None
        np.testing.assert_array_equal(one.probability, other.probability)
    assert not set(json.loads(table().to_bytes())) & {
        "projection",
        "predictor",
        "estimator",
        "signatures",
        "frontier",
        "cascade",
    }
    assert learnt()[0].to_bytes() == made.to_bytes(), "the same data and seed give the same bytes"
    with pytest.raises(TableInvalid, match="the estimator knows 2 models"):
        replace(table(), estimator=made.estimator)
    with pytest.raises(TableInvalid, match="signatures"):
        replace(table(), signatures=np.ones((1, 1)))


def test_features_without_a_form_are_refused_where_one_is_needed() -> None:
    made, features, _ = learnt()
    assert made.inputs == DIM + SIZE
    with pytest.raises(EmbeddingInvalid, match="the prompt's form is missing"):
        made.points(features[:, :DIM])
    plain = table()
    assert plain.points(np.ones((1, ENCODER.dimension + SIZE), np.float32)).shape == (
        1,
        ENCODER.dimension,
    )
    vector = np.ones(ENCODER.dimension, np.float32)
    check(vector, np.ones(SIZE, np.float32), ENCODER, plain)
    with pytest.raises(EmbeddingInvalid, match="the form has 3 numbers"):
        check(vector, np.ones(3, np.float32), ENCODER, plain)
    with pytest.raises(EmbeddingInvalid, match="the form holds NaN"):
        check(vector, np.full(SIZE, np.nan, np.float32), ENCODER, plain)


def test_an_unusual_form_does_not_throw_a_prompt_out_of_its_cluster() -> None:
    made, features, _ = learnt()
    strange = features[:1].copy()
    strange[0, DIM:] = 1e6
    center, spread = made.projection.center, made.projection.spread
    clipped = features[:1].copy()
    clipped[0, DIM:] = center + FORM_CLIP * spread
    np.testing.assert_allclose(made.points(strange), made.points(clipped), atol=1e-3)


def test_spaces_are_distinguished() -> None:
    made, _, _ = learnt()
    other = build_table(
        *hidden(seed=1), SPACE, Recipe("contrastive", k=8), source="t", simulated=True
    )
    plain = build_table(*hidden(seed=1), SPACE, Recipe(k=8), source="t", simulated=True)
    assert len({made.space, other.space, plain.space}) == 3
    assert plain.space == replace(plain, top_p=2).space


@pytest.mark.slow
def test_the_recipe_is_chosen_by_what_routes_best() -> None:
    outcomes, features = hidden()
    said: list[Recipe] = []
    tried = recipes(len(features), numbers=(4, 8))
    found = choose(
        outcomes, {"prompt": features}, SPACE, tried, say=lambda recipe, _: said.append(recipe)
    )
    assert said == tried
    assert found.estimator


def test_the_calibration_error_is_the_mean_gap_of_the_bins() -> None:
    predicted = np.array([[0.1, 0.1, 0.9, 0.9]])
    assert calibration_error(predicted, np.array([[0.0, 0.0, 1.0, 1.0]]), bins=10) == pytest.approx(
        0.1
    )
    assert calibration_error(
        predicted, np.array([[0.0, np.nan, 1.0, 1.0]]), bins=2
    ) == pytest.approx(0.1)
    assert calibration_error(np.full((1, 4), 0.5), np.array([[0.0, 1.0, 1.0, 0.0]])) == 0.0


def test_an_estimator_knows_the_chances_and_says_how_sure_it_is() -> None:
    outcomes, features = hidden(900)
    found = fit_estimator(features[:600], outcomes.scores[:600])
    chance, spread = found(features[600:])
    side = features[600:, 8] > 0
    assert chance[side, 0].mean() > 0.7 > 0.4 > chance[~side, 0].mean()
    assert calibration_error(chance, outcomes.scores[600:]) < 0.12
    assert (spread > 0).all()
    assert ((chance > 0) & (chance < 1)).all()
    assert len(found.members(features[:3])) == 5, (
        "a regression, and two committees in each of two spaces"
    )
    few, _ = hidden(90)
    assert fit_estimator(features[:90], few.scores).error.mean() > found.error.mean()


def test_an_estimate_of_noise_is_the_mean() -> None:
    """With nothing to learn, all stay near a model's mean score: the best single model is
    chosen."""
    rng = np.random.default_rng(3)
    _, features = hidden(600)
    scores = (rng.random((600, 2)) < [0.5, 0.7]).astype(float)
    found = fit_estimator(features[:400], scores[:400])
    chance, _ = found(features[400:])
    assert np.abs(chance - scores[:400].mean(axis=0)).mean() < 0.08
    assert (chance[:, 1] > chance[:, 0]).mean() > 0.95


def test_an_estimators_regression_is_scikit_learns() -> None:
    """Newton's method beside a library's L-BFGS, at the same penalty."""
    from sklearn.linear_model import LogisticRegression

    rng = np.random.default_rng(0)
    x = rng.normal(size=(300, 6))
    y = (rng.random((300, 2)) < 1 / (1 + np.exp(-(x[:, :2] * 2 + 0.5)))).astype(float)
    found = fit_logistic(x, y, penalty=2.0)
    for column in (0, 1):
        other = LogisticRegression(C=0.5, tol=1e-10, max_iter=1000).fit(
            x - x.mean(axis=0), y[:, column]
        )
        np.testing.assert_allclose(found.matrix[:, column], other.coef_[0], atol=2e-3)
        assert found.offset[column] + x.mean(axis=0) @ found.matrix[:, column] == pytest.approx(
            other.intercept_[0], abs=2e-3
        )


@pytest.mark.slow
def test_a_line_calibrates_and_never_changes_which_model_is_best() -> None:
    outcomes, features = hidden()
    made = build_table(
        outcomes,
        features,
        SPACE,
        Recipe("plain", True, 8),
        source="t",
        simulated=True,
        measure=True,
    )
    bare = build_table(
        outcomes, features, SPACE, Recipe("plain", True, 8), source="t", simulated=True
    )
    assert made.estimator is not None
    assert bare.estimator is not None
    assert (made.estimator.slope, made.estimator.intercept) != (1.0, 0.0)
    one, other = made.estimator(features)[0], bare.estimator(features)[0]
    assert (one.argmax(axis=1) == other.argmax(axis=1)).all()


def test_probabilities_are_calibrated_by_one_line() -> None:
    rng = np.random.default_rng(0)
    raw = rng.uniform(0.05, 0.95, (4000, 2))
    true = 1 / (1 + np.exp(-(0.5 * np.log(raw / (1 - raw)) - 0.7)))
    scores = (rng.random(raw.shape) < true).astype(float)
    slope, intercept = calibrated(raw, scores)
    assert slope == pytest.approx(0.5, abs=0.05)
    assert intercept == pytest.approx(-0.7, abs=0.05)
    holed = scores.copy()
    holed[::2, 0] = np.nan
    assert calibrated(raw, holed)[0] == pytest.approx(0.5, abs=0.07)
    assert calibrated(1 - raw, scores)[0] == 0.1, (
        "a predictor that is wrong way round is not turned"
    )


@pytest.mark.slow
def test_the_estimators_share_moves_the_choice_and_is_explained() -> None:
    made, features, _ = learnt()
    strength = -made.strength + made.strength[:, :1]  # rankings that say the opposite
    wrong = replace(
        made, strength=strength - strength[:, [made.models.index(made.reference_model)]]
    )
    points = wrong.points(features[:200])
    turned = 0
    for feature, point, place in zip(features, points, assign(points, wrong), strict=False):
        chosen = {}
        for share in (0.0, 0.5, 1.0):
            prediction = predict(wrong, feature[None], point[None], share)[0]
            found = select(wrong, place, PROFILES["quality"], Limits(), {}, prediction)
            chosen[share] = found.candidates[0].model
            assert found.share == share
            if share:
                assert found.candidates[0].predicted is not None
                assert f"counts for {share:.0%} of the success" in found.why
            else:
                assert "predicted" not in found.why
        turned += chosen[0.0] != chosen[1.0]
    assert turned > 100


def old_table(made: RoutingTable) -> RoutingTable:
    """As the version before made it: of format 1, with a predictor of its kind."""
    rng = np.random.default_rng(2)
    centroids = rng.normal(size=(7, made.dimension)).astype(np.float32)
    predictor = Predictor(
        (3, 4), centroids, rng.uniform(0.1, 0.9, (7, 2)).astype(np.float32), 1.2, -0.1, 4, 9.0, 1.0
    )
    return replace(made, estimator=None, predictor=predictor, reference_success=None, text=None)


@pytest.mark.parametrize("share", [None, 0.0, 0.4])
@pytest.mark.parametrize("old", [False, True])
@pytest.mark.slow
def test_many_prompts_at_once_are_decided_as_one_by_one(share: float | None, old: bool) -> None:
    rng = np.random.default_rng(1)
    made, features, _ = learnt()
    k, m = made.strength.shape
    made = replace(
        made, cost_usd=rng.uniform(1e-5, 1e-2, (k, m)), latency_s=rng.uniform(0.5, 9, (k, m))
    )
    made = old_table(made) if old else made
    assert RoutingTable.from_bytes(made.to_bytes()) == made
    points = made.points(features[:150])
    together = expectations(made, features[:150], None, share)
    for wanted in (*PROFILES.values(), Rates(1e-6, 1.0), Rates(0.03, 40.0)):
        batch = [made.models[i] for i in choices(together, wanted)]
        single = [
            select(made, place, wanted, Limits(), {}, predict(made, f[None], point[None], share)[0])
            .candidates[0]
            .model
            for f, point, place in zip(features, points, assign(points, made), strict=False)
        ]
        assert batch == single


def test_tasks_have_signatures_by_which_they_are_found_again() -> None:
    rng = np.random.default_rng(0)
    axes = np.abs(np.linalg.qr(rng.normal(size=(DIM, DIM)))[0]) + 0.05
    vectors = np.concatenate([axes[t] + 0.1 * rng.normal(size=(80, DIM)) for t in range(4)]).astype(
        np.float32
    )
    task = np.repeat(np.arange(4), 80)
    scores = (rng.random((320, 2)) < 0.5).astype(float)
    one, other = (
        signatures(vectors[half::2], scores[half::2], task[half::2], 4) for half in (0, 1)
    )
    assert np.linalg.norm(one, axis=1) == pytest.approx(1.0)
    apart = distances(one, other)
    assert (apart.argmin(axis=1) == np.arange(4)).all()
    assert distances(one, one).diagonal() == pytest.approx(0.0, abs=1e-6)
    np.testing.assert_allclose(distances(one, other), distances(other, one).T)
    old = table(4, encoder=SPACE, centroids=np.zeros((4, DIM)), signatures=one)
    new = replace(old, signatures=other[[2, 0, 3, 1]])
    assert corresponding(old, new, within=0.2) == [2, 0, 3, 1]
    assert corresponding(old, new, within=1e-9) == [-1] * 4
    assert [i for i, _ in similar(old, 0)] == [
        int(i) for i in np.argsort(distances(one[[0]], one)[0]) if i != 0
    ]
    bare = replace(old, signatures=None)
    assert similar(bare, 0) == []
    with pytest.raises(TableInvalid, match="signatures can be compared"):
        corresponding(bare, new)
