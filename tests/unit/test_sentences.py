"""The program reads fields. Texts for people may say anything, and nothing changes."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import numpy as np
import pytest
from described import Remembering
from support import placed, table, wish

from services.describer.describe import RememberedDescription
from services.gateway.remembered import AnsweredAt, Spoke
from services.selector.decide import decide
from shared.adapters.kafka.replies import Replies
from shared.adapters.kafka.settings import KafkaSettings
from shared.contracts.evaluations import Evaluated
from shared.contracts.evidence import facts_of
from shared.contracts.messages import to_json
from shared.contracts.raters import Rater, RaterKind, Voter, Votes
from shared.contracts.remembered import keys_of
from shared.contracts.tables import Origin, TablePublished, anchor_of, read_version
from shared.contracts.topics import ASSIGNMENTS, DECISIONS
from shared.routing.deciding.table import Provenance, RoutingTable
from shared.routing.learning.comparing import origin

HOSTILE = (
    "",
    "rolled back to 1.2",
    "unpinned 1.2",
    "25 clusters of 100 prompts",
    "0 evaluations of live traffic",
    "7 evaluations of live traffic, and the like",
    'within "decision":{ judge:human: taking records',
    "a\nb\nc\0d",
)


def published(number: int, of: RoutingTable, note: str, **fields: object) -> TablePublished:
    return TablePublished.model_validate(
        {
            "epoch": 0,
            "sequence": number,
            "digest": of.digest,
            "published_at": datetime(2026, 1, 1, tzinfo=UTC) + timedelta(hours=number),
            "note": note,
            "table": of.to_bytes().decode(),
            **fields,
        }
    )


@pytest.mark.parametrize("note", HOSTILE)
def test_a_table_is_the_anchor_for_how_it_came_and_not_for_its_note(note: str) -> None:
    versions = [
        published(1, table(), note, origin=Origin.brought),
        published(2, table(), note, origin=Origin.learnt, reclustered=True),
        published(3, table(), note, origin=Origin.rolled_back, pinned=True),
        published(4, table(), note, origin=Origin.unpinned),
    ]
    anchor = anchor_of(versions)
    assert anchor is not None
    assert anchor.sequence == 1
    again = read_version(versions[1].model_dump_json().encode())
    assert (again.came_by, again.reclustered) == (Origin.learnt, True)


def test_what_older_versions_wrote_is_known_by_its_fields() -> None:
    """They had a note, a pin and a basis. An unpinned table without a basis had its note alone, in
    this one form."""
    for fields, came_by in (
        ({"note": "mine"}, Origin.brought),
        ({"note": "rolled back my own way"}, Origin.brought),
        ({"note": "rolled back to 1.2", "pinned": True}, Origin.rolled_back),
        ({"note": "rankings", "basis": {"embeddings-0": 3}}, Origin.learnt),
        ({"note": "unpinned 1.2"}, Origin.unpinned),
        ({"note": "unpinned 1.2 for a while"}, Origin.brought),
    ):
        assert published(1, table(), **fields).came_by is came_by, fields


@pytest.mark.parametrize("source", HOSTILE)
def test_whether_a_table_is_ranked_is_seen_from_its_numbers_and_not_from_its_source(
    source: str,
) -> None:
    ranked = replace(table(), provenance=Provenance(source, False, 10, 0))
    assert origin(ranked) == "real"
    unranked = replace(ranked, strength=np.zeros_like(ranked.strength))
    assert origin(unranked) == "none yet"


def test_services_of_the_version_before_read_this_ones_tables() -> None:
    """Their reader knows these fields of a provenance, and refuses a table with any other."""
    known = {"source", "simulated", "prompts", "seed"}
    assert set(json.loads(table().to_bytes())["provenance"]) == known


async def test_a_reply_is_what_its_header_says_whatever_the_prompt_says() -> None:
    routing_table = table()
    decided = decide(placed(routing_table), routing_table, {}, wish())
    hostile = placed(routing_table).model_copy(update={"prompt": 'a "decision":{ of mine'})
    replies = Replies(KafkaSettings())
    with replies.expecting("r") as expected:
        replies._take(b"r", to_json(hostile), ASSIGNMENTS.name)
        assert not expected.decided.done()
        replies._take(b"r", to_json(hostile), None)  # of the version before: read, and not searched
        assert not expected.decided.done()
        replies._take(b"r", to_json(decided), DECISIONS.name)
        assert expected.decided.result().decision == decided.decision
    with replies.expecting("r") as expected:
        replies._take(b"r", to_json(decided), None)
        assert expected.decided.done(), "the version before sets no header"


@pytest.mark.parametrize("text", HOSTILE)
async def test_what_is_remembered_comes_back_as_it_was(text: str) -> None:
    for kept in (
        RememberedDescription(model=text, simulated=True, text=text),
        AnsweredAt(partition=1, offset=2, key=text),
        Spoke(model=text, cluster=text, cares=text),
    ):
        memory = Remembering()
        await kept.keep(memory, "k")
        assert await type(kept).recall(memory, "k") == kept
        assert "k" not in memory, "the version before reads this key, and no JSON"
        assert set(memory) < set(keys_of("k")), "erasure deletes these"


async def test_what_older_versions_remembered_is_read() -> None:
    for text, kept in (
        (
            "m\nsimulated\ntwo\nlines",
            RememberedDescription(model="m", simulated=True, text="two\nlines"),
        ),
        ("3\n14\nmy key", AnsweredAt(partition=3, offset=14, key="my key")),
        ("m\nc-1\nquality", Spoke(model="m", cluster="c-1", cares="quality")),
    ):
        kind = type(kept)
        assert await kind.recall(Remembering(k=text), "k") == kept
        for unreadable in ("", "x", "x\ny"):
            assert await kind.recall(Remembering(k=unreadable), "k") is None
        assert await kind.recall(Remembering({keys_of("k")[1]: "{", "k": text}), "k") is None
    assert await AnsweredAt.recall(Remembering(k="a\nb\nc"), "k") is None


@pytest.mark.parametrize("name", ["human:", "judge:human:", "a:b", "feedback:x"])
def test_a_rater_may_be_called_anything(name: str) -> None:
    votes = Votes(straight_first=1, turned_first=1)
    judged = [
        Evaluated(
            request_id=f"r-{i}",
            first="a",
            second="b",
            rater=Rater(kind=kind, name=name),
            votes=votes,
        )
        for i in range(3)
        for kind in RaterKind
    ]
    rows = {(row["kind"], row["name"]): row for row in facts_of(judged, 1.0)["votes"]}
    assert set(rows) == {("judge", name), ("human", ""), ("feedback", "")}
    assert all(row["comparisons"] == 3 for row in rows.values())
    assert Voter.of(RaterKind.human, name) == Voter.of(RaterKind.human, "somebody else")
