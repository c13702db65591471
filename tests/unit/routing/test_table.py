"""The routing table is one immutable value with canonical bytes."""

import json
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from support import ENCODER, table, tables

from shared.routing.deciding.frontier import Frontier
from shared.routing.deciding.table import RoutingTable
from shared.routing.errors import TableInvalid


@given(tables())
def test_a_table_read_back_is_the_table_that_was_written(original: RoutingTable) -> None:
    again = RoutingTable.from_bytes(original.to_bytes())
    assert again == original
    assert again.to_bytes() == original.to_bytes()
    assert again.digest == original.digest


def test_equal_tables_have_equal_digests_and_any_change_changes_it() -> None:
    base = table()
    assert table().digest == base.digest
    for name in ("centroids", "strength", "standard_error", "cost_usd", "latency_s"):
        moved = getattr(base, name).copy()
        moved[0, 0] += 0.5
        assert table(**{name: moved}).digest != base.digest, name
    assert table(top_p=1).digest != base.digest


def test_arrays_can_not_be_written_to() -> None:
    with pytest.raises(ValueError, match="read-only"):
        table().strength[0, 0] = 1.0


@pytest.mark.parametrize(
    ("arrays", "words"),
    [
        ({"strength": np.zeros((2, 3))}, "strength has shape"),
        ({"centroids": np.zeros((3, 5))}, "centroids has shape"),
        ({"cost_usd": np.full((3, 3), np.nan)}, "cost_usd holds NaN"),
        ({"latency_s": np.full((3, 3), -1.0)}, "latency_s holds a negative"),
    ],
)
def test_a_table_that_contradicts_itself_is_refused(
    arrays: dict[str, np.ndarray], words: str
) -> None:
    with pytest.raises(TableInvalid, match=words):
        table(**arrays)


def test_doubled_names_and_a_foreign_reference_are_refused() -> None:
    with pytest.raises(TableInvalid, match="unique"):
        table(models=("a", "a"))
    data = json.loads(table().to_bytes())
    with pytest.raises(TableInvalid, match="reference model"):
        RoutingTable.from_bytes(json.dumps({**data, "reference_model": "nobody"}).encode())


@pytest.mark.parametrize("data", [b"", b"[]", b"{}", b"\xff", b'{"format": 1}', b"null", b"7"])
def test_bytes_that_are_no_table_are_refused(data: bytes) -> None:
    with pytest.raises(TableInvalid):
        RoutingTable.from_bytes(data)


def test_a_format_of_the_future_says_what_to_do() -> None:
    data = json.loads(table().to_bytes()) | {"format": 99}
    with pytest.raises(TableInvalid, match="reads up to 3; upgrade"):
        RoutingTable.from_bytes(json.dumps(data).encode())


def test_base64_that_is_too_short_is_refused() -> None:
    data = json.loads(table().to_bytes()) | {"strength": "AAAA"}
    with pytest.raises(TableInvalid, match="not a routing table"):
        RoutingTable.from_bytes(json.dumps(data).encode())
    assert table().encoder == ENCODER


def test_a_frontier_of_a_table_of_before_keeps_its_bytes() -> None:
    """It did not say what was expected of the single model."""
    one = np.ones(2, np.float32)
    before = Frontier(one, one, one, one, one, "small", 0.5, 1.0, 10, measured=True)
    told = replace(before, expected_single_success=0.6)
    old, new = (replace(table(), frontier=frontier).to_bytes() for frontier in (before, told))
    assert b"expected_single_success" not in old
    assert RoutingTable.from_bytes(old).to_bytes() == old
    assert before.single_correction == 0.0
    read = RoutingTable.from_bytes(new).frontier
    assert read is not None
    assert read.single_correction == pytest.approx(-0.1)
