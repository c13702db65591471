"""What the console remembers, shows and asks, without a browser."""

from __future__ import annotations

import re
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from injections import TEXTS
from starlette.requests import Request
from starlette.responses import Response
from support import ENCODER, embedded, placed, table, wish

from services.console.memory import History, best_single
from services.console.pages import ask as ask_page
from services.console.pages import dials as dials_page
from services.console.pages import evidence as evidence_page
from services.console.pages import map as map_page
from services.console.pages import models as models_page
from services.console.pages import now as now_page
from services.console.pages import tables as tables_page
from services.console.pictures import apart, decades, front, hull, inner, ticks
from services.console.settings import ConsoleSettings
from services.console.texts import TAGS, safe
from services.console.vote import Rating
from services.console.wiring.access import Access, Refused, from_here, inside
from services.console.wiring.console import Console
from services.judge.settings import JudgeSettings
from services.selector.decide import Wish, decide
from shared.adapters.keys import Keys, KeySettings, new, write
from shared.contracts.evaluations import Evaluated, Shown
from shared.contracts.figures import usd
from shared.contracts.messages import Decided
from shared.contracts.places import Embedding, EncoderRef, Source
from shared.contracts.raters import Rater, RaterKind, Votes
from shared.contracts.scopes import Scope
from shared.contracts.spending import Spent
from shared.contracts.tables import TablePublished
from shared.contracts.vector import pack
from shared.contracts.wishes import Profile
from shared.routing.deciding.frontier import Frontier
from shared.routing.deciding.rates import PROFILES, Goal, Rates
from shared.routing.deciding.selection import Limits
from shared.routing.deciding.table import RoutingTable


def decided(of: RoutingTable, request_id: str = "r-1", vector: np.ndarray | None = None) -> Decided:
    message = decide(placed(of, embedded(vector=vector, encoder=of.encoder)), of, {}, wish())
    return message.model_copy(update={"request_id": request_id})


def version(of: RoutingTable, sequence: int = 1, note: str = "") -> TablePublished:
    text = of.to_bytes().decode()
    return TablePublished(
        epoch=0,
        sequence=sequence,
        digest=of.digest,
        published_at=datetime(2026, 1, 2, tzinfo=UTC),
        note=note,
        table=text,
    )


def pair(request_id: str, first: str = "large", second: str = "small", **more: Any) -> Evaluated:
    shown = tuple(
        Shown(model=m, cost_usd=0.0, latency_s=1.0, text=f"answer of {m}") for m in (first, second)
    )
    votes = more.pop("votes", Votes(ties=6))
    rater = more.pop("rater", Rater(kind=RaterKind.judge, name="j"))
    embedding = Embedding(
        vector=pack(np.ones(4, np.float32)), encoder=EncoderRef.of(ENCODER), latency_s=0.0, batch=1
    )
    return Evaluated(
        request_id=request_id,
        first=first,
        second=second,
        rater=rater,
        votes=votes,
        prompt="p",
        answers=shown,
        embedding=embedding,
        **more,
    )


def human(of: Evaluated, name: str, **votes: int) -> Evaluated:
    return of.model_copy(
        update={
            "rater": Rater(kind=RaterKind.human, name=name),
            "votes": Votes(**votes),
            "answers": (),
            "prompt": None,
        }
    )


def memory(history: int = 100, points: int = 10, tables: int = 2) -> tuple[History, RoutingTable]:
    made, known = History(history, points, tables), table()
    made.published(version(known), known)
    return made, known


AT = datetime(2026, 1, 2, tzinfo=UTC)


def test_what_a_page_shows_already_is_not_sent_again_when_it_listens() -> None:
    console = Console(ConsoleSettings())
    known = table()
    console.memory.published(version(known), known)
    for i in range(3):
        console.memory.decided(decided(known, f"r-{i}"), AT.timestamp())
    first = now_page.news(console, -1, 0, AT.timestamp(), prompts=True)
    assert first["whole"], "the list as it is replaces what the page shows"
    assert first["rows"].count("<tr>") == 3
    console.memory.decided(decided(known, "r-3"), AT.timestamp())
    then = now_page.news(console, 3, 0, AT.timestamp(), prompts=True)
    assert (then["whole"], then["rows"].count("<tr>")) == (False, 1)
    for i in range(60):
        console.memory.decided(decided(known, f"s-{i}"), AT.timestamp())
    burst = now_page.news(console, 4, 0, AT.timestamp(), prompts=True)
    assert (burst["whole"], burst["rows"].count("<tr>")) == (True, 25)


def test_what_is_forgotten_is_not_counted_any_more_except_in_the_count() -> None:
    made, known = memory(history=3, points=2)
    for i in range(5):
        made.decided(decided(known, f"r-{i}"), AT.timestamp() + i)
    assert (made.count, len(made.decisions), len(made.placed(known))) == (5, 3, 2)
    chosen = sum(s.cost_usd for s in made.decisions)
    assert made.totals.count == 3
    assert made.totals.chosen_usd == pytest.approx(chosen)
    assert made.totals.single_usd == pytest.approx(sum(s.single_usd or 0 for s in made.decisions))
    kept = [s.prompt is not None and s.point is not None for s in made.decisions]
    assert kept == [False, True, True], "only the newest keep prompt and point"


def test_the_best_single_model_is_the_strongest_over_all_tasks_weighed_by_their_size() -> None:
    strength = np.array([[1.0, 0.0, 0.0], [1.0, 0.0, 0.0], [0.0, 9.0, 0.0]])
    assert best_single(table(strength=strength)) == "middle"
    assert best_single(table(strength=np.minimum(strength, 1.5))) == "small"


def test_latencies_are_counted_in_the_second_of_the_decision() -> None:
    made, known = memory()
    for i in range(20):
        made.decided(decided(known), AT.timestamp() + i / 10)
    shown = now_page.series(made, AT.timestamp() + 3)
    assert shown["rate"][-3:] == [10, 10, 0]
    assert shown["p50"][-1] is None
    assert shown["p50"][-3] == pytest.approx(400)
    assert shown["p99"][-3] == pytest.approx(900)
    assert now_page.series(made, AT.timestamp() + 3, since=int(AT.timestamp()) + 1)["rate"] == [
        10,
        0,
    ]
    assert now_page.numbers(made, AT.timestamp() + 2)["rate"] == "2.0"


def test_when_idle_the_last_window_is_shown_and_when_it_was() -> None:
    made, known = memory()
    for i in range(20):
        made.decided(decided(known), AT.timestamp() + i / 10)
    later = AT.timestamp() + 3 * 3600 + 5
    shown = now_page.numbers(made, later)
    assert shown["last"] == "3 hours ago"
    assert shown["p50"] != "–"
    assert shown["rate"] == "2.0"
    assert now_page.numbers(made, AT.timestamp() + 30)["last"] == ""
    assert sum(now_page.series(made, now_page.window_end(made, later))["rate"]) == 20


def test_savings_count_decisions_that_had_a_ranking_and_quality_stands_beside_them() -> None:
    made, known = memory()
    unranked = table(
        strength=np.zeros_like(known.strength),
        standard_error=np.full_like(known.standard_error, 9.0),
    )
    for i in range(5):
        made.decided(decided(unranked, f"early-{i}"), AT.timestamp())
    shown = now_page.numbers(made, AT.timestamp())
    assert (shown["count"], shown["ranked"], shown["saved"], shown["success"]) == (
        "5",
        "0",
        "–",
        "–",
    )
    for i in range(3):
        made.decided(decided(known, f"r-{i}"), AT.timestamp())
    shown = now_page.numbers(made, AT.timestamp())
    assert (shown["count"], shown["ranked"]) == ("8", "3")
    assert shown["saved"] != "–"
    assert 0 < float(shown["success"]) <= 1
    assert 0 < float(shown["single_success"]) <= 1


def test_what_a_goal_reached_is_told_as_the_frontier_corrects_it() -> None:
    known = table(reference_success=np.full(3, 0.5, np.float32))
    few = np.full(2, 1.0, np.float32)
    models = known.models
    frontier = Frontier(
        np.array([1e-6, 1e6], np.float32), 0.5 * few, 3.0 * few, 0.6 * few, 1.0 * few,
        models[0], 0.7, 1.0, 10, True, 0.9,
    )  # fmt: skip
    goal = Goal(keep=0.9)
    shown = []
    for own in (known, replace(known, frontier=frontier)):
        made = History(100, 10, 2)
        message = decide(placed(own), own, {}, Wish(PROFILES["balanced"], goal))
        single = message.decision.model_copy(update={"single": models[0]})
        # after a restart decisions may be read before their table
        made.decided(message.model_copy(update={"decision": single}), AT.timestamp())
        made.published(version(own), own)
        (row,) = now_page.goals_of(made)
        shown.append((row, made.decisions[0]))
    (plain, seen), (corrected, _) = shown
    assert plain["goal"] == corrected["goal"] == goal.text
    assert seen.success is not None
    assert seen.single_success is not None
    assert plain["kept"].startswith(f"{seen.success / seen.single_success:.1%}")
    kept = (seen.success - 0.1) / (seen.single_success - 0.2)
    assert corrected["kept"].startswith(f"{kept:.1%}")
    assert corrected["cost"].startswith(usd(3000 * seen.cost_usd))


def test_of_tables_only_newer_ones_count_and_the_last_few_are_kept_whole() -> None:
    made, known = memory(tables=2)
    for sequence in (3, 2, 3, 4, 5):
        made.published(version(known, sequence), known)
    assert [v[1] for v in made.known] == [1, 3, 4, 5]
    assert [v[1] for v in made.versions] == [4, 5]
    made.forgotten("0.3")
    assert [r["version"] for r in tables_page.tables_of(made)] == ["0.5", "0.4", "0.1"]


def test_a_description_in_the_prompts_own_words_is_shown_only_to_those_who_may_see_prompts() -> (
    None
):
    made, known = memory()
    message = decided(known)
    assert message.description.source is Source.local
    abstract = message.description.model_copy(update={"source": Source.llm})
    made.decided(message, AT.timestamp())
    made.decided(message.model_copy(update={"description": abstract}), AT.timestamp())
    assert [r["task"] for r in now_page.now(made, AT.timestamp(), prompts=False)["latest"]] == [
        message.description.text,
        None,
    ]
    assert [r["task"] for r in now_page.now(made, AT.timestamp(), prompts=True)["latest"]] == [
        message.description.text
    ] * 2
    current = made.current
    assert current is not None
    for cluster, prompts, count in [
        (c.id, p, n) for c in known.clusters for p, n in ((False, 1), (True, 2))
    ]:
        one = map_page.cluster_of(made, current, cluster, prompts=prompts)
        assert one is not None
        assert not one["traffic"] or one["tasks"] == [(message.description.text, count)]


def test_a_bill_counts_once() -> None:
    made, _ = memory()
    for request in ("a", "a", "b"):
        made.billed(Spent(request_id=request, spender="team", model="m", cost_usd=0.5, at=AT))
    assert evidence_page.spending_of(made, AT) == [("team", "$1.00")]
    for day in range(10):
        made.billed(
            Spent(
                request_id=f"d-{day}",
                spender="team",
                model="m",
                cost_usd=1.0,
                at=AT + timedelta(days=day),
            )
        )
    assert len(made.spent) == 3
    assert evidence_page.spending_of(made, AT) == []


def test_a_vote_that_is_taken_back_is_no_opinion() -> None:
    made, _ = memory()
    made.evaluated(pair("r-1"), AT)
    comparison = pair("r-1").comparison_id
    made.evaluated(human(pair("r-1"), "ann", straight_first=1), AT)
    assert made.people[comparison] == {"ann": 1}
    made.evaluated(human(pair("r-1"), "ann"), AT)
    assert made.people[comparison] == {}


def rating(count: int = 4, twice: float = 0.0) -> tuple[History, Rating, list[float]]:
    made, _ = memory()
    clock = [0.0]
    for i in range(count):
        made.evaluated(pair(f"r-{i}"), AT)
    return made, Rating(made, twice, lambda: clock[0]), clock


def test_two_people_do_not_get_the_same_pair_unless_two_are_wanted_or_one_has_left() -> None:
    _, desks, clock = rating(2)
    ann, bob = desks.at("ann"), desks.at("bob")
    assert ann is not None
    assert bob is not None
    assert ann.pair.comparison_id != bob.pair.comparison_id
    assert desks.at("cid") is None
    clock[0] = 601.0
    assert desks.at("cid") is not None
    _, desks, _ = rating(1, twice=1.0)
    shown = desks.at("ann")
    assert shown is not None
    desks.cast("ann", shown.token, "a")
    second = desks.at("bob")
    assert second is not None, "a pair for two people goes to a second"
    assert second.pair.comparison_id == shown.pair.comparison_id


def test_sides_are_random_and_recorded_in_the_vote() -> None:
    _, desks, _ = rating(60)
    sides = set()
    for _ in range(60):
        shown = desks.at("ann")
        assert shown is not None
        vote = desks.ballot("ann", shown.token, "a")
        assert vote is not None
        counted = vote.votes
        assert (counted.straight_first, counted.turned_first) == (
            (1, 0) if shown.straight else (0, 1)
        )
        assert vote.prompt is None, "a vote carries no texts"
        assert vote.answers == ()
        sides.add(shown.straight)
        desks.cast("ann", shown.token, "a")
    assert sides == {True, False}
    assert desks.at("ann") is None


def test_the_same_pair_stays_on_the_screen_until_it_is_rated_and_an_old_page_votes_on_nothing() -> (
    None
):
    _, desks, _ = rating()
    shown = desks.at("ann")
    assert shown is not None
    assert desks.at("ann") is shown
    assert desks.ballot("bob", shown.token, "a") is None, "a token is its rater's"
    desks.cast("ann", shown.token, "tie")
    assert desks.ballot("ann", shown.token, "a") is None
    assert desks.desk("ann").count == 1


def test_undo_takes_the_last_vote_back_and_shows_the_pair_on_the_same_sides() -> None:
    made, desks, _ = rating()
    shown = desks.at("ann")
    assert shown is not None
    vote = desks.ballot("ann", shown.token, "b")
    assert vote is not None
    desks.cast("ann", shown.token, "b")
    empty = desks.withdrawal("ann")
    assert empty is not None
    assert empty.evaluation_id == vote.evaluation_id
    assert sum(empty.votes.counts()) + empty.votes.ties == 0
    desks.undone("ann")
    again = desks.at("ann")
    assert again is not None
    assert (again.pair.comparison_id, again.straight) == (shown.pair.comparison_id, shown.straight)
    assert desks.withdrawal("ann") is None
    made.evaluated(vote, AT)  # it comes back over the topic late
    made.evaluated(empty, AT)
    assert desks.at("ann") is again


def test_what_is_skipped_comes_again_after_all_others() -> None:
    _, desks, _ = rating(3)
    order = []
    for _ in range(4):
        shown = desks.at("ann")
        assert shown is not None
        order.append(shown.pair.comparison_id)
        desks.skip("ann", shown.token)
    assert len(set(order[:3])) == 3
    assert order[3] == order[0]


def test_who_skips_all_pairs_sees_them_in_turn() -> None:
    _, desks, _ = rating(2)
    seen = []
    for _ in range(6):
        shown = desks.at("ann")
        assert shown is not None
        seen.append(shown.pair.comparison_id)
        desks.skip("ann", shown.token)
    assert seen == seen[:2] * 3
    assert len(set(seen)) == 2


def test_pairs_come_in_the_order_in_which_the_ranking_is_open() -> None:
    strength = np.array([[0.0, 0.1, 5.0]] * 3)
    known = table(strength=strength, standard_error=np.full((3, 3), 0.5))
    made = History(10, 10, 2)
    made.published(version(known), known)
    made.evaluated(pair("clear", "large", "small"), AT)
    made.evaluated(pair("open", "middle", "small"), AT)
    made.evaluated(pair("unknown", "another", "small"), AT)
    assert [p.request_id for p in Rating(made, 0.0).open("ann")] == ["unknown", "open", "clear"]


def test_a_forgotten_pair_leaves_every_screen_and_every_undo() -> None:
    made, desks, _ = rating(3)
    voted = desks.at("ann")
    assert voted is not None
    desks.cast("ann", voted.token, "a")
    seen = desks.at("ann")
    assert seen is not None
    for shown in (voted, seen):
        made.forget(shown.pair.request_id)
        desks.forget(shown.pair.request_id)
    assert desks.ballot("ann", seen.token, "a") is None
    assert desks.withdrawal("ann") is None
    now = desks.at("ann")
    assert now is not None
    assert now.pair.request_id not in {voted.pair.request_id, seen.pair.request_id}


def test_a_decision_that_is_older_than_all_that_are_remembered_has_no_second() -> None:
    made, tab = memory(history=1000)
    for second in range(300):
        made.decided(decided(tab, f"r-{second}"), 5000.0 + second)
    made.decided(decided(tab, "older"), 4000.0)
    assert made.decisions[-1].request_id == "older"
    assert min(made.seconds) > 4000


def test_agreement_counts_pairs_that_two_people_rated() -> None:
    made, desks, _ = rating(3)
    for i, (ann, bob) in enumerate(
        [({"straight_first": 1}, {"turned_second": 1}), ({"straight_first": 1}, {"ties": 1})]
    ):
        made.evaluated(human(pair(f"r-{i}"), "ann", **ann), AT)
        made.evaluated(human(pair(f"r-{i}"), "bob", **bob), AT)
    assert desks.agreement() == (2, 1)


def test_the_shown_numbers_of_a_ranking_are_those_that_the_selector_uses() -> None:
    known = table()
    message = decided(known)
    place = ask_page.assignment_of(message, known)
    used = message.decision.rates
    assert used is not None
    shown = ask_page.ranking_of(
        known,
        place,
        Rates(used.usd_per_point, used.s_per_point),
        ask_page.limits_of(message, frozenset()),
        {},
    )
    assert [r["model"] for r in shown["rows"]] == [c.model for c in message.decision.candidates]
    assert shown["why"] == message.decision.why
    cheapest = ask_page.ranking_of(known, place, Rates(1e-6), Limits(), {})
    assert cheapest["winner"] == known.models[int(known.cost_usd[0].argmin())]
    assert (
        ask_page.ranking_of(known, place, Rates(1e-6), Limits(deny=frozenset(known.models)), {})[
            "winner"
        ]
        is None
    )
    errors = known.standard_error.copy()
    best = ask_page.ranking_of(known, place, PROFILES["quality"], Limits(), {})["winner"]
    errors[:, known.models.index(best)] = 9.0
    careful = replace(known, standard_error=errors, unproven_error=1.5)
    waiting = ask_page.ranking_of(careful, place, PROFILES["quality"], Limits(), {})
    assert [row["unproven"] for row in waiting["rows"]] == [False] * (len(known.models) - 1) + [
        True
    ]
    assert waiting["rows"][-1]["model"] == best
    for name, rates in PROFILES.items():
        assert dials_page.profile_of(dials_page.places_of(rates)) == name
        near = dials_page.dialled(**dials_page.places_of(rates))
        assert near.usd_per_point == pytest.approx(rates.usd_per_point, rel=0.07)
        assert near.s_per_point == pytest.approx(rates.s_per_point, rel=0.07)
    assert dials_page.profile_of({"dial": 0, "wait": 0}) is None


def test_every_page_can_be_made_of_one_cluster_and_of_many_and_of_equal_points() -> None:
    for k in (1, 2, 7):
        known = table(k)
        made = History(100, 50, 5)
        made.published(version(known), known)
        for i in range(9):
            made.decided(decided(known, f"r-{i}", np.full(4, i % 2)), AT.timestamp())
        current = made.current
        assert current is not None
        picture = map_page.map_of(made, current, Profile.balanced)
        assert len(picture["areas"]) == k
        assert all(np.isfinite([a["x"], a["y"], a["r"]]).all() for a in picture["areas"])
        assert len(picture["points"]) == 9
        one = map_page.cluster_of(made, current, "c00", prompts=True)
        assert one is not None
        assert sum(a["traffic"] for a in picture["areas"]) == one["newest"] == 9
        assert one["traffic"] == next(a["traffic"] for a in picture["areas"] if a["id"] == "c00")
        assert k > 1 or one["latest"][0]["prompt"].startswith("Translate")
        hidden = map_page.cluster_of(made, current, "c00", prompts=False)
        assert hidden is not None
        assert hidden["latest"] == []
        assert map_page.cluster_of(made, current, "nowhere", prompts=True) is None
        models = models_page.models_of(current)
        assert [len(row["cells"]) for row in models["heat"]] == [3] * k
        assert all(sum(cell["best"] for cell in row["cells"]) == 1 for row in models["heat"])


def test_a_history_and_a_difference_show_what_moved() -> None:
    before = table()
    after = table(
        strength=before.strength + np.array([[0.0, 3.0, 0.0], [0.0, 0.0, 0.0], [0.0, 0.0, 0.0]])
    )
    made = History(100, 50, 5)
    made.published(version(before, 1), before)
    made.published(version(after, 2), after)
    first, second = made.versions.values()
    found = tables_page.diff_of(first, second)
    assert (found["moved"][0].cluster, found["moved"][0].model) == ("c00", "middle")
    apart = float(after.success[0, 1] - before.success[0, 1])
    assert found["moved"][0].by == pytest.approx(apart, abs=1e-5)
    assert tables_page.diff_of(first, first)["equal"]
    history = map_page.history(made, "c00", second)
    assert history is not None
    line = next(one for one in history["lines"] if one["model"] == "middle")
    assert float(line["last"]) - float(line["first"]) == pytest.approx(apart, abs=0.011)


def test_a_retired_model_wins_on_no_page() -> None:
    made, tab = memory()
    current = made.current
    assert current is not None
    shown = map_page.map_of(made, current, Profile.balanced)
    winners = {area["winner"] for area in shown["areas"]}
    retired = frozenset([winners.pop()])
    after = map_page.map_of(made, current, Profile.balanced, retired)
    assert not retired & {area["winner"] for area in after["areas"]}
    chosen = models_page.models_of(current, 60, retired)["chosen"]
    assert not retired & {pick["model"] for row in chosen for pick in row["picks"]}
    everybody = frozenset(tab.models)
    assert map_page.map_of(made, current, Profile.balanced, everybody)["areas"] == shown["areas"]


def test_pictures() -> None:
    square = np.array([[0, 0], [2, 0], [2, 2], [0, 2], [1, 1], [1, 0]], float)
    assert sorted(hull(square)) == [(0, 0), (0, 2), (2, 0), (2, 2)]
    assert hull(square[:2]) == []
    assert hull(np.array([[0, 0], [1, 1], [2, 2]], float)) == []
    cloud = np.vstack([np.random.default_rng(0).normal(size=(50, 2)), [[100, 100]]])
    assert not (inner(cloud) == 100).any()
    assert apart([(0, 0), (1, 1), (500, 0)], ["one", "two", "three"], [1, 2, 3]) == [
        False,
        True,
        True,
    ]
    assert ticks(0, 10) == [0, 2, 4, 6, 8, 10]
    assert [round(10**v, 4) for v in decades(-3, -1)] == [
        0.001,
        0.002,
        0.005,
        0.01,
        0.02,
        0.05,
        0.1,
    ]
    assert front([3, 1, 2, 4], [3, 1, 0.5, 3]) == [1, 0]


@pytest.mark.parametrize("text", TEXTS)
def test_foreign_markdown_becomes_tags_that_only_show(text: str) -> None:
    html = safe(text)
    for tag, attributes in re.findall(
        r"<\s*([a-zA-Z0-9]+)((?:[^>\"']|\"[^\"]*\"|'[^']*')*)>", html
    ):
        assert tag in TAGS
        assert tag == "a" or not attributes.strip()
    for href in re.findall(r'href="([^"]*)"', html):
        assert re.match(r"(https?|mailto):", href) or not re.match(r"\s*[\w+.-]*\s*(:|&)", href), (
            href
        )


def test_markdown_that_is_meant_well_is_shown() -> None:
    html = safe(
        "**bold** `a < b`\n\n| a | b |\n|---|---|\n| 1 | 2 |\n\n[site](https://example.org)"
    )
    for part in ("<strong>bold</strong>", "a &lt; b", "<td>2</td>", 'href="https://example.org"'):
        assert part in html


def request(headers: dict[str, str], peer: str = "127.0.0.1") -> Request:
    given = {"host": "127.0.0.1:8788"} | headers
    raw = [(k.encode(), v.encode()) for k, v in given.items()]
    scope = {
        "type": "http",
        "method": "POST",
        "path": "/",
        "query_string": b"",
        "headers": raw,
        "client": (peer, 1),
        "scheme": "http",
        "server": None,
    }
    return Request(scope)


def test_a_session_ends_with_its_time_with_leaving_and_with_its_key(tmp_path: Any) -> None:
    file = tmp_path / "keys.yaml"
    clear, key = new("ann", frozenset({Scope.vote}), None, None)
    other, second = new("bob", frozenset({Scope.vote}), None, None)
    write(file, (key, second))
    clock = [0.0]
    access = Access(Keys(KeySettings(file=file)), lambda: clock[0])

    def enter(presented: str) -> Request:
        answer = Response()
        access.enter(request({}), presented, answer)
        cookie = answer.headers["set-cookie"]
        assert "HttpOnly" in cookie
        assert "SameSite=strict" in cookie
        assert presented not in cookie
        return request({"cookie": cookie.split(";")[0]})

    with pytest.raises(Refused):
        access.enter(request({}), "pm-wrong", Response())
    with pytest.raises(Refused):
        access.viewer(request({"cookie": "pointsman-console=guess"}))
    inside_ = enter(clear)
    assert access.viewer(inside_).name == "ann"
    assert access.viewer(request({"authorization": f"Bearer {other}"})).name == "bob"
    access.leave(inside_, Response())
    with pytest.raises(Refused):
        access.viewer(inside_)
    late = enter(clear)
    clock[0] = 12 * 3600 + 1.0
    with pytest.raises(Refused):
        access.viewer(late)
    gone = enter(clear)
    access.keys = SimpleNamespace(open=False, all=lambda: (second,), admit=access.keys.admit)  # type: ignore[assignment]
    with pytest.raises(Refused):
        access.viewer(gone)


def test_without_keys_only_this_machine_is_served_and_may_say_its_name() -> None:
    access = Access(Keys(KeySettings(open_on_loopback=True)))
    assert access.viewer(request({})).name == "local"
    answer = Response()
    assert access.call(request({}), "ann", answer)
    assert not access.call(request({}), "<script>", answer)
    assert access.viewer(request({"cookie": "pointsman-rater=ann"})).name == "ann"
    assert access.viewer(request({"cookie": "pointsman-rater=a<b"})).name == "local"
    for foreign in (
        request({"host": "evil.test"}),
        request({}, peer="10.0.0.9"),
        request({"x-forwarded-for": "10.0.0.9"}),
    ):
        with pytest.raises(Refused):
            access.viewer(foreign)


def test_what_changes_something_must_come_from_here() -> None:
    assert from_here(request({"sec-fetch-site": "same-origin"}))
    assert from_here(request({"origin": "http://127.0.0.1:8788"}))
    assert from_here(request({"authorization": "Bearer x"}))
    for foreign in (
        {},
        {"sec-fetch-site": "cross-site"},
        {"sec-fetch-site": "same-site"},
        {"origin": "http://evil.test"},
        {"origin": "null"},
    ):
        assert not from_here(request(foreign))


@pytest.mark.parametrize(
    "path",
    [
        "//evil.test",
        "https://evil.test",
        "/\\evil.test",
        "javascript:1",
        "",
        None,
        "/a b",
        "/%0d%0ax:y\n",
    ],
)
def test_after_entering_nobody_is_sent_elsewhere(path: str | None) -> None:
    assert inside(path) == "/now"
    assert inside("/tables/diff?old=1.2&new=1.3") == "/tables/diff?old=1.2&new=1.3"


def test_the_budget_shown_is_the_judges_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("POINTSMAN_JUDGE_BUDGET_USD_PER_DAY", raising=False)
    assert ConsoleSettings().budget_usd_per_day == JudgeSettings().budget_usd_per_day
    monkeypatch.setenv("POINTSMAN_JUDGE_BUDGET_USD_PER_DAY", "12")
    assert ConsoleSettings().budget_usd_per_day == JudgeSettings().budget_usd_per_day == 12
