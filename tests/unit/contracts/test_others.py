"""Dead letters, table versions, topics and outcome files."""

import json
from datetime import UTC, datetime

import numpy as np
import pytest
from support import table

from shared.catalog.models import Price
from shared.contracts.dead_letter import DeadLetter
from shared.contracts.errors import InvalidMessage
from shared.contracts.outcome_file import matrix, read_prices, read_rows
from shared.contracts.tables import TablePublished, read_version
from shared.contracts.topics import TOPICS
from shared.routing.errors import OutcomesInvalid


def test_a_dead_letter_keeps_the_original_bytes_and_headers() -> None:
    letter = DeadLetter(b"\xff\x00", b"k", "prompts", 3, 41, "describer", "not JSON – ü", 2, (("trace", b"\xfe"),))
    assert DeadLetter.of(letter.value, letter.key, letter.to_headers()) == letter
    assert letter.id == "prompts-3-41"


def test_a_strangers_record_among_the_dead_letters_is_passed_over() -> None:
    assert DeadLetter.of(b"x", None, [("pointsman-dead-letter-topic", b"prompts")]) is None


def version(**fields: object) -> TablePublished:
    tab = table()
    given = {"epoch": 0, "sequence": 1, "digest": tab.digest, "published_at": datetime.now(UTC), "table": tab.to_bytes().decode()}
    return TablePublished(**(given | fields))


def test_a_version_carries_its_table_bit_for_bit() -> None:
    written = version(note="first")
    again = read_version(written.model_dump_json().encode())
    assert again == written
    assert again.read_table() == table()
    assert again.key == b"0.1"


def test_a_table_that_is_not_the_one_the_digest_names_is_refused() -> None:
    with pytest.raises(InvalidMessage, match="digest"):
        version(digest="0" * 64).read_table()
    with pytest.raises(InvalidMessage, match="not a routing table"):
        version(table="{}").read_table()
    with pytest.raises(InvalidMessage):
        read_version(b"nonsense")
    with pytest.raises(InvalidMessage):
        read_version(None)


def test_the_table_topic_has_one_partition_and_is_compacted_and_no_other_is() -> None:
    assert {t.name for t in TOPICS.values() if t.compacted} == {"routing-tables"}
    assert TOPICS["routing-tables"].partitions == 1
    assert TOPICS["prompts"].config() == {"cleanup.policy": "delete", "retention.ms": "604800000", "max.message.bytes": "1064960"}


ROW = {"prompt": "a", "scores": {"m": 1, "n": 0.5}}


def test_an_outcome_file_becomes_arrays_with_costs_from_rows_then_prices() -> None:
    rows = read_rows([json.dumps({**ROW, "cost_usd": {"m": 0.5}}), "", json.dumps({"prompt": "bb" * 200, "scores": {"n": 1}})])
    outcomes = matrix(rows, {"m": Price(input=1, output=1), "n": Price(input=0, output=10)}, ["a", "b"])
    assert outcomes.models == ("m", "n")
    np.testing.assert_array_equal(outcomes.scores, [[1, 0.5], [np.nan, 1]])
    assert outcomes.cost_usd[0].tolist() == [0.5, pytest.approx(0.003)]
    assert outcomes.cost_usd[1, 0] == pytest.approx((100 + 300) / 1e6)
    assert outcomes.latency_s.tolist() == [0, 0]


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("{", "line 2: not JSON"),
        ('{"prompt": "a"}', "line 2: scores"),
        ('{"prompt": "a", "scores": {"m": 1.5}}', "line 2: scores.m"),
        ('{"prompt": "a", "scores": {"m": NaN}}', "line 2: scores.m"),
        ('{"prompt": "a", "scores": {"m": 1}, "cost_usd": {"m": -1}}', "line 2: cost_usd.m"),
    ],
)
def test_a_bad_row_is_named_by_line_and_field(line: str, words: str) -> None:
    with pytest.raises(OutcomesInvalid, match=words):
        read_rows([json.dumps(ROW), line])


def test_a_model_without_a_cost_would_look_free_so_it_is_refused() -> None:
    with pytest.raises(OutcomesInvalid, match="no cost for n"):
        matrix(read_rows([json.dumps(ROW)]), {"m": Price(input=1, output=1)}, ["a"])


def test_prices_are_one_number_or_two() -> None:
    assert read_prices('{"unit": "x", "prices": {"m": 0.2, "n": {"input": 1, "output": 2}}}')["n"].output == 2
    for bad in ("[]", "{", '{"prices": {"m": "x"}}', '{"prices": {"m": {"in": 1}}}'):
        with pytest.raises(OutcomesInvalid, match="prices"):
            read_prices(bad)
    with pytest.raises(OutcomesInvalid, match="no row"):
        read_rows([""])
