"""The selector: what a request cares about, and what is decided."""

import json
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from support import described, embedded, model_of, placed, submitted, table, wish

from services.assigner.assign import place
from services.selector.decide import Pacers, Wish, decide, listed
from services.selector.settings import SelectorSettings
from services.selector.wiring import Selecting
from shared.contracts.decisions import Decision
from shared.contracts.errors import InvalidMessage
from shared.contracts.messages import Decided, Placed, Submitted, read, to_json
from shared.contracts.places import TableRef
from shared.contracts.vector import pack
from shared.contracts.wishes import Constraints, ConversationSoFar, Preferences, Profile, RatesUsed
from shared.routing.deciding.rates import MOST_USD, PROFILES, Goal, Rates
from shared.routing.deciding.table import RoutingTable
from shared.routing.errors import TableInvalid


def test_preferences_beat_the_default_profile_and_the_weights_used_are_told() -> None:
    tab = table()
    plain = decide(placed(tab), tab, {}, wish("quality")).decision
    assert plain.preferences == Preferences(performance=1.0)
    assert plain.rates == RatesUsed(usd_per_point=2.0, s_per_point=3600.0)
    own = placed(
        tab, embedded(described(submitted(preferences=Preferences(performance=1, cost=3))))
    )
    told = decide(own, tab, {}, Wish(own.wanted(Profile.quality))).decision
    assert (told.preferences.performance, told.preferences.cost) == (
        pytest.approx(0.25),
        pytest.approx(0.75),
    )
    assert told.rates is not None
    assert told.rates.usd_per_point == pytest.approx(0.04 / 3)


def test_a_wish_is_what_is_stated_else_the_profile_else_the_default_and_settings_may_say_what_profiles_mean() -> (
    None
):
    assert submitted().wanted(Profile.fast) == PROFILES["fast"]
    assert submitted(profile=Profile.economy).wanted(Profile.fast) == PROFILES["economy"]
    stated = submitted(preferences=Preferences(usd_per_point=0.3))
    assert stated.wanted(Profile.fast) == Rates(0.3)
    assert submitted(preferences=Preferences(s_per_point=50)).wanted(Profile.fast) == Rates(
        MOST_USD, 50
    )
    assert submitted(preferences=Preferences(keep=0.9, s_per_point=50)).wanted(
        Profile.fast
    ) == Goal(keep=0.9, s_per_point=50)
    assert submitted(preferences=Preferences(spend_usd_per_1000=2)).wanted(Profile.fast) == Goal(
        spend_usd=0.002
    )
    mine = {Profile.balanced: Preferences(keep=0.97)}
    assert submitted().wanted(Profile.balanced, mine) == Goal(keep=0.97)
    assert submitted(profile=Profile.fast).wanted(Profile.balanced, mine) == PROFILES["fast"]
    assert stated.wanted(Profile.balanced, mine) == Rates(0.3)


@pytest.mark.parametrize(
    ("said", "words"),
    [
        ({"keep": 0.9, "spend_usd_per_1000": 2}, "give one of keep and spend_usd_per_1000"),
        ({"usd_per_point": 1, "keep": 0.9}, "give one of usd_per_point and keep"),
        (
            {"usd_per_point": 1, "performance": 1},
            "give either weights or what a point of success is worth",
        ),
        ({"performance": 0}, "at least one weight must be above 0, or one of usd_per_point"),
        ({"keep": 1.2}, "less than or equal to 1"),
        ({"usd_per_point": 0}, "greater than 0"),
        ({"kep": 0.9}, "there is no such field"),
    ],
)
def test_preferences_that_say_two_things_are_refused_with_words(
    said: dict[str, float], words: str
) -> None:
    with pytest.raises(InvalidMessage, match=words):
        read(Submitted, json.dumps({"prompt": "x", "preferences": said}).encode())


def test_a_goal_is_told_with_the_rates_that_it_led_to() -> None:
    tab = table()
    pacers = Pacers()
    goal = Goal(keep=0.9)
    wish_ = pacers.wish(goal, tab)
    assert wish_ == Wish(Rates(0.10), goal), "without a frontier, those of the profile balanced"
    decided = decide(placed(tab), tab, {}, wish_)
    pacers.decided(wish_, decided.decision, tab)
    assert decided.decision.rates is not None
    assert decided.decision.rates.keep == 0.9
    assert decided.decision.why.endswith("(keep 90% of the best model's success)")
    assert read(Decided, to_json(decided)) == decided
    assert pacers.wish(Rates(0.5), tab) == Wish(Rates(0.5))


def test_impossible_constraints_are_a_decision_that_says_so() -> None:
    tab = table()
    message = placed(
        tab, embedded(described(submitted(constraints=Constraints(allow=frozenset({"nobody"})))))
    )
    decided = decide(message, tab, {}, wish("balanced"))
    assert decided.decision.status == "no_eligible_model"
    assert decided.decision.model is None
    assert {r.model for r in decided.decision.ruled_out} == set(tab.models)
    assert read(Decided, to_json(decided)) == decided
    alone = placed(
        tab, embedded(described(submitted(constraints=Constraints(allow=frozenset({"small"})))))
    )
    decided = decide(alone, tab, {}, wish("balanced"))
    assert decided.decision.runner_up is None
    assert read(Decided, to_json(decided)) == decided


def test_what_the_prompt_itself_needs_of_context_is_seen_to() -> None:
    tab = table()
    message = placed(tab, embedded(described(submitted("word " * 10_000))))
    ruled = decide(
        message, tab, {"small": model_of("small", 4096), "middle": model_of("middle")}, wish()
    ).decision.ruled_out
    assert [(r.model, r.reason) for r in ruled] == [
        ("small", "reads 4096 tokens, 11256 are needed")
    ]


def test_a_decision_is_made_with_the_assignments_own_table_and_no_other() -> None:
    tab = table()
    with pytest.raises(TableInvalid, match="was made with table"):
        decide(placed(tab), table(seed=1), {}, wish("balanced"))
    message = placed(tab)
    strange = message.assignment.clusters[0].model_copy(update={"id": "c99"})
    with pytest.raises(TableInvalid, match="c99"):
        decide(
            message.model_copy(
                update={
                    "assignment": message.assignment.model_copy(update={"clusters": (strange,)})
                }
            ),
            tab,
            {},
            wish(),
        )


def test_a_message_lists_the_best_candidates_and_the_single_model_that_goals_are_measured_by() -> (
    None
):
    tab = table(models=tuple(f"m{i}" for i in range(30)))
    whole = decide(placed(tab), tab, {}, wish("balanced"))
    names = [c.model for c in whole.decision.candidates]
    assert len(names) == 30
    assert [c.model for c in listed(whole, 5).decision.candidates] == names[:5]
    decision = whole.decision.model_copy(update={"single": names[20]})
    single = whole.model_copy(update={"decision": decision})
    assert [c.model for c in listed(single, 5).decision.candidates] == [*names[:5], names[20]]


class OneTable:
    """In place of the tables in Redis."""

    def __init__(self, only: RoutingTable) -> None:
        self._only = only

    async def get(self, _: TableRef) -> RoutingTable:
        return self._only


@pytest.mark.parametrize("goal", [{"keep": 0.9}, {"spend_usd_per_1000": 3}])
async def test_a_goal_is_held_the_same_however_few_candidates_are_listed(
    goal: dict[str, float],
) -> None:
    rng = np.random.default_rng(3)
    names = tuple(f"m{i:02}" for i in range(14))
    tab = table(
        14,
        names,
        top_p=1,
        strength=np.linspace(-2, 2, 14) + rng.normal(0, 0.5, (14, 14)),
        cost_usd=np.tile(np.geomspace(0.0001, 0.02, 14), (14, 1)),
        latency_s=np.ones((14, 14)),
    )
    asked = described(submitted(preferences=Preferences(**goal)))
    messages = [placed(tab, embedded(asked, rng.normal(size=4))) for _ in range(400)]

    async def chosen(candidates: int) -> list[str | None]:
        selecting = Selecting(SelectorSettings(candidates=candidates), OneTable(tab))  # type: ignore[arg-type]
        found = await selecting.work(messages)
        assert all(isinstance(one, Decided) for one in found)
        decisions = [one.decision for one in found if isinstance(one, Decided)]
        assert max(len(decision.candidates) for decision in decisions) <= candidates + 1
        return [decision.model for decision in decisions]

    assert await chosen(2) == await chosen(14)


def test_with_views_the_least_expensive_of_their_choices_stands_and_says_so() -> None:
    """What a gadget at one edge does: the whole text and one view lie with the expensive model, the
    other view does not."""
    centroids = np.eye(4, dtype=np.float32)[:2]
    expensive, cheap = [5.0, 0.0], [0.0, 5.0]
    tab = table(
        2,
        ("expensive", "cheap"),
        top_p=1,
        centroids=centroids,
        strength=np.array([expensive, cheap]),
        cost_usd=np.array([[1.0, 0.1]] * 2),
    )
    whole, other = np.eye(4, dtype=np.float32)[0], np.eye(4, dtype=np.float32)[1]
    message = embedded(described(submitted(profile=Profile.quality)), whole)

    def decided(views: Sequence[np.ndarray], **constraints: object) -> Decided:
        guarded = message.model_copy(
            update={
                "embedding": message.embedding.model_copy(
                    update={"views": tuple(pack(v) for v in views)}
                ),
                "constraints": Constraints(**constraints),  # type: ignore[arg-type]
            }
        )
        (at,) = place([guarded], TableRef(epoch=0, sequence=1, digest=tab.digest), tab)
        assert isinstance(at, Placed)
        assert read(Placed, to_json(at)) == at
        return decide(at, tab, {}, wish("quality"))

    assert decided([]).decision.model == "expensive"
    assert decided([whole, whole]).decision.model == "expensive"
    found = decided([other, whole])
    assert found.decision.model == "cheap"
    assert "costs less than expensive, which wins with it" in found.decision.why
    assert found.assignment.clusters[0].id == "c00", "the prompt is assigned as a whole"
    assert decided([other, whole], deny=frozenset({"cheap"})).decision.model == "expensive"
    assert decided([other, whole], max_cost_usd=0.01).decision.status == "no_eligible_model"


def test_a_view_can_only_make_a_choice_cheaper_and_breaks_no_limit() -> None:
    """The other way round: where a view lies, the expensive model is cheap and wins. It must not
    win by that."""
    centroids = np.eye(4, dtype=np.float32)[:2]
    tab = table(
        2,
        ("expensive", "middle"),
        top_p=1,
        centroids=centroids,
        strength=np.array([[0.0, 5.0], [5.0, 0.0]]),
        cost_usd=np.array([[4.0, 1.0], [0.4, 1.0]]),
        latency_s=np.array([[9.0, 1.0], [1.0, 1.0]]),
    )
    whole, other = np.eye(4, dtype=np.float32)[:2]
    for limits in (Constraints(), Constraints(max_cost_usd=2.0), Constraints(max_latency_s=2.0)):
        message = embedded(described(submitted(profile=Profile.quality, constraints=limits)), whole)
        embedding = message.embedding.model_copy(update={"views": (pack(other), pack(whole))})
        (at,) = place(
            [message.model_copy(update={"embedding": embedding})],
            TableRef(epoch=0, sequence=1, digest=tab.digest),
            tab,
        )
        assert isinstance(at, Placed)
        assert decide(at, tab, {}, wish("quality")).decision.model == "middle"


def _two(success: tuple[float, float]) -> RoutingTable:
    """Two models that differ in success alone, on two tasks with the order turned around."""
    logits = np.log(np.array(success) / (1 - np.array(success)))
    strength = np.array([logits - logits[1], logits[::-1] - logits[0]])
    return table(
        2,
        ("new", "old"),
        strength=strength,
        standard_error=np.full((2, 2), 0.01),
        cost_usd=np.full((2, 2), 0.01),
        latency_s=np.ones((2, 2)),
        reference_success=np.array([success[1], success[0]]),
        usd_per_token=np.full(2, 1e-6),
        prompt_tokens=np.full(2, 100.0),
    )


def _at(tab: RoutingTable, cluster: str, **so_far: Any) -> Placed:
    message = placed(tab, embedded(described(submitted())))
    part = message.assignment.clusters[0].model_copy(update={"id": cluster, "weight": 1.0})
    where = message.assignment.model_copy(update={"clusters": (part,)})
    conversation = ConversationSoFar(**so_far) if so_far else None
    return message.model_copy(update={"assignment": where, "conversation": conversation})


def test_moving_a_conversation_costs_what_it_takes_to_read_it_again() -> None:
    tab = _two((0.62, 0.60))
    models = {name: model_of(name) for name in tab.models}
    rates = Wish(Rates(1.0))

    def best(**so_far: Any) -> Decision:
        return decide(_at(tab, "c00", **so_far), tab, models, rates).decision

    assert best().model == "new"
    assert best(tokens=1000, cached_tokens={"old": 1000}).model == "new"
    stays = best(tokens=200_000, cached_tokens={"old": 200_000})
    assert stays.model == "old"
    old, new = stays.candidates
    lost = 200_000 * (1.0 - 0.1) / 1e6
    assert (old.switching_cost_usd, new.switching_cost_usd) == (0.0, pytest.approx(lost))
    assert new.cost_usd - old.cost_usd == pytest.approx(lost)
    assert new.cost_penalty == pytest.approx(new.cost_usd - 0.75 * lost)
    assert new.utility == pytest.approx(new.gain - new.cost_penalty - new.latency_penalty)
    both = best(tokens=200_000, cached_tokens={"old": 200_000, "new": 150_000})
    assert both.candidates[0].switching_cost_usd in (0.0, pytest.approx(lost / 4))
    capped = best(tokens=1000, cached_tokens={"old": 200_000})
    assert capped.model == "new", "no more is cached than there is to read"


def test_the_turns_before_say_what_a_conversation_is_about() -> None:
    tab = _two((0.8, 0.4))
    rates = Wish(Rates(1.0))

    def best(cluster: str, **so_far: Any) -> Decision:
        return decide(_at(tab, cluster, **so_far), tab, {}, rates).decision

    assert (best("c00").model, best("c01").model) == ("new", "old")
    once = best("c01", tasks={"c00": 3.0, "gone": 5.0})
    assert once.model == "new", "one turn that seems to be of another task changes nothing"
    assert once.candidates[0].success == pytest.approx((3 * 0.8 + 0.4) / 4, abs=1e-4)
    assert best("c01", tasks={"c00": 0.5}).model == "old"
