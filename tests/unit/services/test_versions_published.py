"""When the re-clusterer publishes a version, and when it leaves the table alone."""

import json
import time
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest
from support import table
from typer.testing import CliRunner

from services.__main__ import app
from services.reclusterer import wiring
from services.reclusterer.settings import ReclustererSettings
from services.reclusterer.wiring import Learner, ranked
from shared.adapters.kafka.settings import KafkaSettings
from shared.adapters.kafka.writing import Leadership
from shared.adapters.redis.client import RedisSettings
from shared.catalog import models
from shared.contracts.tables import Origin, TablePublished
from shared.routing.deciding.table import RoutingTable


def learner() -> Learner:
    turn = Leadership("reclusterer")
    return Learner(ReclustererSettings(every_s=1.0), KafkaSettings(), RedisSettings(), turn)


def version(
    of: RoutingTable, origin: Origin, basis: dict[str, int] | None = None
) -> TablePublished:
    return TablePublished(
        epoch=1,
        sequence=1,
        digest=of.digest,
        published_at=datetime.now(UTC),
        origin=origin,
        basis=basis or {},
        table=of.to_bytes().decode(),
    )


CATALOG = models.load()
OLD = table(2, ("gpt-4", "claude-2"))
"""Models of the catalogue that are not in the profile."""
STRANGE = table(2, ("gpt-4", "big-pro"))


def test_learning_adds_to_a_brought_table_and_drops_none_of_its_models() -> None:
    names = [m.name for m in ranked(CATALOG, ReclustererSettings(), OLD)]
    assert names == [*CATALOG.profiles["current"], "gpt-4", "claude-2"]
    assert [m.name for m in ranked(CATALOG, ReclustererSettings())] == list(
        CATALOG.profiles["current"]
    )
    retired = CATALOG.model_copy(update={"retired": frozenset({"gpt-4"})})
    assert "gpt-4" not in [m.name for m in ranked(retired, ReclustererSettings(), OLD)]


def test_a_brought_table_with_models_that_nobody_can_call_is_left_alone(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    told: list[list[str]] = []
    monkeypatch.setattr(wiring.log, "warning", lambda _text, **more: told.append(more["models"]))
    made = learner()
    made._take([version(STRANGE, Origin.brought)])
    assert made._held()
    assert made._held()
    assert told == [["big-pro"]], "said once"
    made._take([version(STRANGE, Origin.brought), version(STRANGE, Origin.unpinned)])
    assert not made._held(), "its owner lets learning take over"
    made._take([version(OLD, Origin.brought)])
    assert not made._held()


def test_after_a_restart_nothing_is_published_unless_there_is_news() -> None:
    made = learner()
    pool = ranked(made.catalog(), made.settings)
    learnt = table(
        2,
        tuple(m.name for m in pool),
        usd_per_token=np.array([m.price.input / 1e6 for m in pool]),
        prompt_tokens=np.ones(2),
    )
    made.current = learnt
    made.following.positions = {"evaluations-0": 7, "completions-0": 40, "embeddings-0": 500}
    basis = {"evaluations-0": 7, "completions-0": 25, "embeddings-0": 90}
    assert made._knows_all([version(learnt, Origin.learnt, basis)])
    assert not made._knows_all([version(learnt, Origin.brought, basis)])
    assert not made._knows_all([version(learnt, Origin.learnt, basis | {"evaluations-0": 6})])
    assert not made._knows_all([version(learnt, Origin.learnt, basis | {"completions-0": 20})])
    made.current = table(2, tuple(m.name for m in pool)[:-1])
    assert not made._knows_all([version(learnt, Origin.learnt, basis)]), "another catalogue"


def test_a_version_is_published_for_enough_votes_other_models_or_after_a_while(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    made = learner()
    pool = tuple(ranked(made.catalog(), made.settings))
    assert made._worth_publishing((0, 0, pool)), "the first"
    made.published_of = (1000, 5, pool)
    assert not made._worth_publishing((1000, 5, pool))
    assert not made._worth_publishing((1019, 5, pool))
    assert made._worth_publishing((1020, 5, pool))
    assert made._worth_publishing((1000, 5, pool[1:]))
    now = time.monotonic()
    monkeypatch.setattr(wiring.time, "monotonic", lambda: now + wiring.WAITS + 1.0)
    assert made._worth_publishing((1001, 6, pool)), "it has waited long enough"


def test_saved_tables_are_shown_compared_and_listed_without_a_broker(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("POINTSMAN_KAFKA_BOOTSTRAP_SERVERS", "127.0.0.1:1")
    one, other = tmp_path / "one.json", tmp_path / "other.json"
    one.write_bytes(OLD.to_bytes())
    other.write_bytes(STRANGE.to_bytes())

    def says(*command: str, code: int = 0) -> str:
        got = CliRunner().invoke(app, ["table", *command])
        assert got.exit_code == code, got.output
        return got.output

    assert json.loads(says("show", str(one), "--json"))["models"] == 2
    assert "task 0" in says("show", str(one))
    changes = json.loads(says("diff", str(one), str(other), "--json"))["changes"]
    assert changes[:2] == ["model gone: claude-2", "model new: big-pro"]
    assert len(json.loads(says("list", str(one), str(other), "--json"))) == 2


def test_publishing_refuses_models_that_nobody_can_call_where_that_is_wanted(
    tmp_path: Path,
) -> None:
    file = tmp_path / "mine.json"
    file.write_bytes(STRANGE.to_bytes())
    got = CliRunner().invoke(app, ["table", "publish", str(file), "--strict"])
    assert got.exit_code == 1
    assert "big-pro is in no catalogue" in str(got.exception)
    assert "POINTSMAN_CATALOG" in str(got.exception)
