"""What commit 705ebf4 wrote is read, and its tables decide as they did.

`version_0_1_0.json` was written by that commit's own code: two routing tables of format 1, prompts
that it had assigned, and its decisions.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from services.selector.decide import Wish, decide
from shared.contracts.messages import Decided, Placed, read, to_json
from shared.contracts.wishes import Profile
from shared.routing.deciding.rates import Rates
from shared.routing.deciding.table import RoutingTable

WRITTEN: list[dict[str, Any]] = json.loads(
    (Path(__file__).parent / "version_0_1_0.json").read_text()
)


@pytest.mark.parametrize("written", WRITTEN, ids=lambda w: w["name"])
def test_a_table_of_the_version_before_is_read_and_decides_as_it_did(
    written: dict[str, Any],
) -> None:
    table = RoutingTable.from_bytes(written["table"].encode())
    assert table.digest == written["digest"]
    assert table.to_bytes().decode() == written["table"]
    for case in written["cases"]:
        message = read(Placed, json.dumps(case["placed"]).encode())
        before = case["decided"]["decision"]
        wanted = message.wanted(Profile.balanced)
        assert isinstance(wanted, Rates)
        decided = decide(message, table, {}, Wish(wanted)).decision
        assert decided.model == before["model"]
        assert [c.model for c in decided.candidates] == [c["model"] for c in before["candidates"]]
        for one, old in zip(decided.candidates, before["candidates"], strict=True):
            assert one.utility == pytest.approx(old["utility"], abs=1e-4)
            assert one.success == pytest.approx(old["performance"], abs=1e-6)
        assert decided.confidence == pytest.approx(before["confidence"], abs=1e-3)
        for name, weight in before["preferences"].items():
            assert getattr(decided.preferences, name) == pytest.approx(weight, abs=1e-3)


def test_a_decision_of_the_version_before_is_read_and_one_of_this_has_what_older_services_need() -> (
    None
):
    for written in WRITTEN:
        for case in written["cases"]:
            message = read(Decided, json.dumps(case["decided"]).encode())
            assert message.decision.rates is None
            assert message.embedding.text == "description"
            for one, old in zip(
                message.decision.candidates, case["decided"]["decision"]["candidates"], strict=True
            ):
                assert (one.success, one.success_low, one.success_high) == (
                    old["performance"],
                    old["performance_low"],
                    old["performance_high"],
                )
            table = RoutingTable.from_bytes(written["table"].encode())
            made = decide(
                read(Placed, json.dumps(case["placed"]).encode()), table, {}, Wish(Rates(0.1))
            )
            now = json.loads(to_json(made))["decision"]
            assert set(case["decided"]["decision"]) <= set(now)
            assert set(case["decided"]["decision"]["candidates"][0]) <= set(now["candidates"][0])
