"""The re-clusterer: what it remembers, when it clusters, what its tables say."""

import time
from dataclasses import replace
from datetime import UTC, datetime

import numpy as np
import pytest
from answered import answer, completed
from support import ENCODER, table

from services.reclusterer import recluster
from services.reclusterer.memory import Evidence
from services.reclusterer.ranking import rank
from services.reclusterer.recluster import propose
from services.reclusterer.settings import ReclustererSettings
from services.reclusterer.trigger import Trigger
from shared.catalog import models as catalog
from shared.catalog.models import Price
from shared.contracts.evaluations import Evaluated, Shown
from shared.contracts.places import Embedding, EncoderRef
from shared.contracts.raters import Rater, RaterKind, Votes
from shared.contracts.vector import pack
from shared.routing.deciding.form import SIZE, form
from shared.routing.deciding.projection import Projection
from shared.routing.deciding.table import RoutingTable
from shared.routing.learning.bradley_terry import Comparisons
from shared.routing.learning.clustering import CLUSTERINGS, EVOLVING
from shared.routing.learning.fitting import fit_estimator
from shared.routing.learning.regressing import FEWEST


def embedding(vector: np.ndarray, form: np.ndarray | None = None) -> Embedding:
    return Embedding(
        vector=pack(vector.astype(np.float32)),
        encoder=EncoderRef.of(ENCODER),
        latency_s=0.0,
        batch=1,
        form=None if form is None else pack(form),
    )


def learnt(
    count: int = 200,
    skills: tuple[float, ...] = (0.0, 1.0, 2.0),
    shuffled: int | None = None,
    *,
    forms: bool = False,
) -> Evidence:
    """A memory of two tasks on which models differ, told in order or shuffled."""
    rng = np.random.default_rng(0)
    pool = [m.name for m in catalog.load().profile("study-2023")][:3]
    told: list[object] = []
    for i in range(count):
        side = i % 2
        vector = np.array([1.0, 0, 0, 0] if side else [0, 1.0, 0, 0]) + rng.normal(0, 0.05, 4)
        vector /= np.linalg.norm(vector)
        message = completed(*(answer(m, cost=0.001 * (j + 1)) for j, m in enumerate(pool)))
        message = message.model_copy(
            update={
                "request_id": f"r{i}",
                "embedding": embedding(vector, form(f"prompt {i}") if forms else None),
            }
        )
        told += [("embedded", message), ("completed", message)]
        strength = skills if side else skills[::-1]
        quality = [s + rng.gumbel() for s in strength]
        first, second = sorted(rng.choice(3, 2, replace=False))
        a, b = sorted((pool[first], pool[second]))
        won = quality[pool.index(a)] > quality[pool.index(b)]
        votes = (
            Votes(straight_first=3, turned_second=3)
            if won
            else Votes(straight_second=3, turned_first=3)
        )
        shown = tuple(Shown(model=m, cost_usd=0.001, latency_s=1.0) for m in (a, b))
        evaluation = Evaluated(
            request_id=f"r{i}",
            first=a,
            second=b,
            rater=Rater(kind=RaterKind.judge, name="j"),
            votes=votes,
            embedding=message.embedding,
            answers=shown,
        )
        told.append(("evaluated", evaluation))
    if shuffled is not None:
        told = [told[i] for i in np.random.default_rng(shuffled).permutation(len(told))]
    memory = Evidence(ReclustererSettings())
    for kind, message in told:  # type: ignore[misc]
        if kind == "embedded":
            memory.embedded(message)
        elif kind == "completed":
            memory.completed(message)
        else:
            memory.evaluated(message, 1000.0)
    return memory


def test_the_table_follows_from_what_is_known_and_not_from_the_order_in_which_it_came() -> None:
    pool = catalog.load().profile("study-2023")[:3]
    settings = ReclustererSettings(clusters=2)
    tables = []
    for shuffled in (None, 1, 2):
        memory = learnt(shuffled=shuffled)
        one = propose(memory, None, [], pool, settings, recluster=False)
        assert one is not None
        assert len(one.table.clusters) == 1
        two = propose(memory, one.table, ["c00"], pool, settings, recluster=True)
        assert two is not None
        tables.append(two.table)
    assert len({t.digest for t in tables}) == 1
    assert len(tables[0].clusters) == 2
    best = {tables[0].models[int(row.argmax())] for row in tables[0].strength}
    assert best == {pool[0].name, pool[2].name}
    assert tables[0].cost_usd[:, 0] == pytest.approx(0.001, rel=0.3)


def test_a_table_counts_its_evaluations_and_without_any_it_is_unranked() -> None:
    pool, settings = catalog.load().profile("study-2023")[:3], ReclustererSettings(clusters=2)
    memory = learnt()
    voted = propose(memory, None, [], pool, settings, recluster=False)
    assert voted is not None
    assert (voted.evaluations, voted.table.unranked) == (len(memory.opinions), False)
    memory.opinions.clear()
    silent = propose(memory, None, [], pool, settings, recluster=False)
    assert silent is not None
    assert (silent.evaluations, silent.table.unranked) == (0, True)


@pytest.mark.parametrize("method", sorted(CLUSTERINGS.keys() - {EVOLVING}))
def test_every_clustering_but_the_evolving_may_find_the_clusters_of_a_table(method: str) -> None:
    pool = catalog.load().profile("study-2023")[:3]
    memory, settings = learnt(), ReclustererSettings(method=method, reach=0.4)
    first = propose(memory, None, [], pool, settings, recluster=False)
    assert first is not None
    again = propose(
        memory, first.table, [c.id for c in first.table.clusters], pool, settings, recluster=True
    )
    assert again is not None
    assert len(again.table.clusters) == 2
    assert [c.id for c in again.table.clusters] == [c.id for c in first.table.clusters]
    best = {again.table.models[int(row.argmax())] for row in again.table.strength}
    assert best == {pool[0].name, pool[2].name}


def test_a_raters_second_vote_replaces_the_first_and_unknown_models_are_left_out() -> None:
    memory = learnt(4)
    before = len(memory.opinions)
    known = next(iter(memory.opinions.values()))
    again = Evaluated(
        request_id=known.request_id,
        first=known.first,
        second=known.second,
        rater=Rater(kind=RaterKind.judge, name="j"),
        votes=Votes(),
    )
    assert memory.evaluated(again, 2000.0)
    assert len(memory.opinions) == before
    assert memory.opinions[known.evaluation_id].votes == Votes()
    stranger = again.model_copy(update={"request_id": "never-heard-of"})
    assert not memory.evaluated(stranger, 2000.0)


def test_an_answer_costs_the_same_whether_judges_tell_of_it_or_the_dispatcher() -> None:
    price = Price(input=5.0, output=25.0)
    given = answer("large", cost=0.0525).model_copy(
        update={"prompt_tokens": 8000, "completion_tokens": 500}
    )
    message = completed(given)
    told = Shown(
        model="large",
        cost_usd=0.0525,
        latency_s=1.0,
        prompt_tokens=8000,
        completion_tokens=500,
    )
    older = Shown(model="large", cost_usd=0.0525, latency_s=1.0)
    votes = Evaluated(
        request_id=message.request_id,
        first="large",
        second="small",
        rater=Rater(kind=RaterKind.judge, name="j"),
        votes=Votes(ties=6),
        embedding=message.embedding,
    )
    for dispatched, shown in ((True, told), (True, older), (False, told)):
        memory = Evidence(ReclustererSettings())
        if dispatched:
            memory.completed(message)
        memory.evaluated(votes.model_copy(update={"answers": (shown, older)}), 4e9)
        observed = memory.seen[f"{message.request_id}\0large"]
        assert observed.answer_usd(price) == pytest.approx(0.0125)


def test_a_vote_from_the_future_does_not_make_all_others_old() -> None:
    memory = learnt(20)
    newest = memory.newest
    one = next(iter(memory.opinions.values()))
    pair = Evaluated(
        request_id="r0",
        first=one.first,
        second=one.second,
        rater=Rater(kind=RaterKind.human, name="ann"),
        votes=Votes(ties=1),
        at=datetime(2062, 1, 1, tzinfo=UTC),
    )
    memory.evaluated(pair, newest + 1)
    assert memory.newest == newest + 1
    memory.evaluated(pair, datetime(2062, 1, 1, tzinfo=UTC).timestamp())
    assert memory.newest <= time.time()


def test_single_prompts_are_learnt_from_the_comparisons_that_the_ranking_counts(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Not from those of before a model changed, and with what each rater's votes count."""
    memory = learnt(FEWEST + 40, forms=True)
    pool = catalog.load().profile("study-2023")[:3]
    settings = ReclustererSettings(clusters=2)
    proposal = propose(memory, None, [], pool, settings, recluster=False)
    assert proposal is not None
    evidence = memory.seen_by(None)
    names = [model.name for model in pool]
    ranking, _ = rank(evidence, proposal.table.centroids, names, 0, settings)
    assert ranking.ratio is not None
    told: list[tuple[int, np.ndarray]] = []

    def fitted(_x: object, data: Comparisons, ratio: np.ndarray, *_: object) -> None:
        told.append((len(data), ratio))

    monkeypatch.setattr(recluster, "fit_votes_estimator", fitted)
    for fresh in (np.arange(FEWEST + 40), np.arange(30, FEWEST + 40), np.arange(50)):
        counted = replace(ranking, fresh=fresh)
        recluster._estimator(memory, evidence, proposal.table, counted, None, settings)
    assert [count for count, _ in told] == [FEWEST + 40, FEWEST + 10], "too few are none"
    assert sorted(told[1][1]) == pytest.approx(sorted(ranking.ratio[30:]))


def test_what_votes_tell_of_single_prompts_is_on_the_tables_scale() -> None:
    rng = np.random.default_rng(0)
    features = rng.normal(size=(300, ENCODER.dimension + SIZE)).astype(np.float32)
    made = fit_estimator(features, (features[:, :3] > 0).astype(float), seed=0)
    for score in (0.5, 0.85):
        tab = table(2, reference_success=np.full(2, score))
        moved = recluster._on_scale(made, tab)
        lifted = moved.offset - made.offset
        assert lifted == pytest.approx(np.log(score / (1 - score)), abs=1e-5)


@pytest.mark.slow
def test_memory_is_bounded_and_its_sample_does_not_depend_on_the_order() -> None:
    settings = ReclustererSettings(embeddings=100, observations=100)
    kept = []
    for order in (range(1000), reversed(range(1000))):
        memory = Evidence(settings)
        for i in order:
            message = completed(answer("small")).model_copy(
                update={"request_id": f"r{i}", "embedding": embedding(np.ones(4))}
            )
            memory.embedded(message)
            memory.completed(message)
        assert len(memory.samples) == 100
        memory.trim()
        assert len(memory.seen) == 100
        kept.append(set(memory.samples))
    assert kept[0] == kept[1]


def test_a_table_that_was_brought_is_combined_with_what_traffic_shows() -> None:
    pool = catalog.load().profile("study-2023")[:3]
    names = tuple(m.name for m in pool)
    sure = table(
        1, names, strength=np.array([[-3.0, 3.0, 0.0]]), standard_error=np.full((1, 3), 0.05)
    )
    found = propose(learnt(20), sure, [], pool, ReclustererSettings(), recluster=False, anchor=sure)
    assert found is not None
    assert found.table.models[int(found.table.strength[0].argmax())] == names[1]
    vague = table(
        1, names, strength=np.array([[-3.0, 3.0, 0.0]]), standard_error=np.full((1, 3), 50.0)
    )
    free = propose(
        learnt(20), vague, [], pool, ReclustererSettings(), recluster=False, anchor=vague
    )
    alone = propose(learnt(20), vague, [], pool, ReclustererSettings(), recluster=False)
    assert free is not None
    assert alone is not None
    np.testing.assert_allclose(free.table.strength, alone.table.strength, atol=0.05)


def projected(names: tuple[str, ...]) -> RoutingTable:
    """A brought table whose centroids lie in a space of three dimensions that reads the form, too,
    and which predicts."""
    rng = np.random.default_rng(0)
    space = Projection(
        "contrastive",
        rng.normal(0, 1.0, (4 + SIZE, 3)).astype(np.float32)
        * np.r_[np.ones(4), np.full(SIZE, 0.01)][:, None].astype(np.float32),
        np.zeros(3, np.float32),
        np.full(SIZE, 0.3, np.float32),
        np.full(SIZE, 0.2, np.float32),
    )
    sides = np.hstack(
        [np.array([[1.0, 0, 0, 0], [0, 1.0, 0, 0]]), np.tile(form("prompt 1"), (2, 1))]
    ).astype(np.float32)
    scores = (rng.random((40, 3)) < 0.5).astype(float)
    features = np.repeat(sides, 20, axis=0) + rng.normal(0, 0.01, (40, 4 + SIZE)).astype(np.float32)
    return replace(
        table(2, names, top_p=1),
        centroids=space(sides),
        projection=space,
        estimator=fit_estimator(features, scores),
    )


def test_what_is_learnt_stays_in_the_space_of_the_table_that_was_brought() -> None:
    pool = catalog.load().profile("study-2023")[:3]
    brought = projected(tuple(m.name for m in pool))
    memory, settings = learnt(forms=True), ReclustererSettings(clusters=2)
    ranked = propose(memory, brought, [], pool, settings, recluster=False, anchor=brought)
    assert ranked is not None
    assert ranked.table.space == brought.space
    assert ranked.table.estimator is not None, "while votes can't tell, what was brought stays"
    np.testing.assert_array_equal(ranked.table.estimator.matrix, brought.estimator.matrix)
    np.testing.assert_array_equal(ranked.table.centroids, brought.centroids)
    assert "and test" in ranked.table.provenance.source, (
        "what the brought table knows is combined with the votes"
    )
    assert sum(c.size for c in ranked.table.clusters) == len(memory.samples)
    again = propose(
        memory, ranked.table, [c.id for c in brought.clusters], pool, settings, recluster=True
    )
    assert again is not None
    assert again.table.space == brought.space
    assert again.table.centroids.shape[1] == 3
    best = {again.table.models[int(row.argmax())] for row in again.table.strength}
    assert best == {pool[0].name, pool[2].name}
    again = propose(
        memory, ranked.table, [c.id for c in brought.clusters], pool, settings, recluster=True
    )
    assert again is not None
    assert again.table == again.table
    plain = table(2, tuple(m.name for m in pool))
    apart = propose(memory, brought, [], pool, settings, recluster=False, anchor=plain)
    assert apart is not None
    assert " and test" not in apart.table.provenance.source, (
        "a table of another space has nothing to say here"
    )


def test_what_has_no_form_is_left_aside_where_one_is_needed() -> None:
    pool = catalog.load().profile("study-2023")[:3]
    brought = projected(tuple(m.name for m in pool))
    assert (
        propose(learnt(forms=False), brought, [], pool, ReclustererSettings(), recluster=False)
        is None
    )
    watch = Trigger(ReclustererSettings())
    watch.saw(np.ones(4, np.float32), brought)
    assert (watch.count, watch.distance) == (1, 0.0)
    watch.saw(np.concatenate([np.ones(4), form("x")]).astype(np.float32), brought)
    assert watch.distance > 0.0


def test_clusters_are_made_again_for_growth_novelty_drift_and_age() -> None:
    tab = table(1, centroids=np.array([[1.0, 0, 0, 0]]))
    near, far = np.array([1.0, 0, 0, 0], np.float32), np.array([0, 1.0, 0, 0], np.float32)

    def after(
        vectors: list[np.ndarray], at_last: int, usual: float = 0.0, now: float = 10.0
    ) -> str:
        watch = Trigger(ReclustererSettings(min_size=20))
        watch.done(at_last, usual, 0.0)
        for vector in vectors:
            watch.saw(vector, tab)
        return watch.due(now)

    assert after([near] * 5, 0) == ""
    assert "50 new prompts" in after([near] * 50, 100)
    assert after([near] * 30, 1000) == ""
    assert "novel" in after([near] * 30 + [far] * 20, 1000)
    farther = np.array([0.9, 0.4, 0, 0], np.float32)
    assert after([farther] * 40, 1000, usual=0.2) == "", "a few always lie further"
    assert "further" in after([farther] * 60, 1000, usual=0.2)
    assert "hours old" in after([near] * 30, 1000, now=1e6)


def test_nothing_simulated_counts_once_anything_is_real_and_not_before() -> None:
    memory = Evidence(ReclustererSettings())
    vector = np.array([1.0, 0, 0, 0], np.float32)

    def voted(request: str, kind: RaterKind, *, simulated: bool) -> None:
        rater = Rater(kind=kind, name="x", simulated=simulated)
        one = Evaluated(
            request_id=request,
            first="a",
            second="b",
            rater=rater,
            votes=Votes(straight_first=1),
            embedding=embedding(vector),
        )
        memory.evaluated(one, 1.0)

    voted("pretended", RaterKind.judge, simulated=True)
    voted("pretended", RaterKind.human, simulated=False)  # as the version before wrote it
    assert len(memory.seen_by(None).opinions) == 2, "a person's old vote makes nothing real"
    voted("real", RaterKind.judge, simulated=False)
    left = memory.seen_by(None).opinions.values()
    assert [(o.request_id, o.kind) for o in left] == [("real", RaterKind.judge)]
