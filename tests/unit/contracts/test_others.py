"""Dead letters, table versions, topics and outcome files."""

import io
import json
from datetime import UTC, datetime

import numpy as np
import pytest
from support import table

from services.workbench.outcome_file import (
    ANSWER_TOKENS,
    doubtful,
    matrix,
    read_csv,
    read_prices,
    read_rows,
)
from shared.catalog.models import Price
from shared.contracts.dead_letter import DeadLetter
from shared.contracts.errors import InvalidMessage
from shared.contracts.tables import TablePublished, read_version
from shared.contracts.topics import TOPICS
from shared.routing.errors import OutcomesInvalid


def test_a_dead_letter_keeps_the_original_bytes_and_headers() -> None:
    letter = DeadLetter(
        b"\xff\x00", b"k", "prompts", 3, 41, "describer", "not JSON – ü", 2, (("trace", b"\xfe"),)
    )
    assert DeadLetter.of(letter.value, letter.key, letter.to_headers()) == letter
    assert letter.id == "prompts-3-41"


def test_a_foreign_record_among_the_dead_letters_is_passed_over() -> None:
    assert DeadLetter.of(b"x", None, [("pointsman-dead-letter-topic", b"prompts")]) is None


def version(**fields: object) -> TablePublished:
    tab = table()
    given = {
        "epoch": 0,
        "sequence": 1,
        "digest": tab.digest,
        "published_at": datetime.now(UTC),
        "table": tab.to_bytes().decode(),
    }
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
    assert TOPICS["prompts"].config() == {
        "cleanup.policy": "delete",
        "retention.ms": "604800000",
        "max.message.bytes": "1064960",
    }


ROW = {"prompt": "a", "scores": {"m": 1, "n": 0.5}}


def test_an_outcome_file_becomes_arrays_with_costs_from_rows_then_prices() -> None:
    rows = read_rows(
        [
            json.dumps({**ROW, "cost_usd": {"m": 0.5}}),
            "",
            json.dumps({"prompt": "bb" * 200, "scores": {"n": 1}}),
        ]
    )
    outcomes = matrix(
        rows, {"m": Price(input=1, output=1), "n": Price(input=0, output=10)}, ["a", "b"]
    )
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
        ("[", "line 2 begins a JSON array; each line must be one JSON object"),
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
    assert (
        read_prices('{"unit": "x", "prices": {"m": 0.2, "n": {"input": 1, "output": 2}}}')[
            "n"
        ].output
        == 2
    )
    for bad in ("[]", "{", '{"prices": {"m": "x"}}', '{"prices": {"m": {"in": 1}}}'):
        with pytest.raises(OutcomesInvalid, match="price"):
            read_prices(bad)
    for value in (
        "true",
        "1e999",
        "NaN",
        "-1",
        '{"input": Infinity, "output": 1}',
        '{"input": true, "output": "x"}',
        "null",
        "[]",
    ):
        with pytest.raises(OutcomesInvalid, match="the price of m is neither a number"):
            read_prices(f'{{"prices": {{"m": {value}}}}}')


def test_prices_per_token_are_read_where_they_say_so_and_doubted_where_they_do_not() -> None:
    litellm = (
        '{"m": {"input_cost_per_token": 3e-6, "output_cost_per_token": 15e-6, '
        '"cache_read_input_token_cost": 3e-7, "mode": "chat"}}'
    )
    price = read_prices(litellm)["m"]
    assert (price.input, price.output, price.cached_input) == (
        pytest.approx(3),
        pytest.approx(15),
        pytest.approx(0.3),
    )
    assert doubtful(
        read_prices('{"a": 3e-6, "b": 0.2, "free": 0, "c": {"input": 1e-6, "output": 4e-6}}')
    ) == ["a", "c"]


@pytest.mark.parametrize(
    ("text", "models", "passed"),
    [
        ("prompt,gpt,haiku,difficulty\nx,1,0,0.37\n", ["gpt", "haiku"], ["difficulty"]),
        (
            "id,prompt,category,gpt,haiku\n7,x,maths,1,0\n8,y,,0,1\n",
            ["gpt", "haiku"],
            ["id", "category"],
        ),
        ("prompt,gpt,haiku,who\nx,1,0,Ada\n", ["gpt", "haiku"], ["who"]),
        ("prompt,level,level_cost_usd,haiku\nx,1,0.1,0\n", ["haiku", "level"], []),
    ],
)
def test_columns_that_are_no_models_are_passed_over_by_name(
    text: str, models: list[str], passed: list[str]
) -> None:
    rows, found = read_csv(io.StringIO(text))
    assert sorted({model for row in rows for model in row.scores}) == models
    assert found == passed


def test_a_hole_is_told_to_be_left_out() -> None:
    with pytest.raises(OutcomesInvalid, match="leave a model out of a row"):
        read_rows(['{"prompt": "x", "scores": {"m": null}}'])
    for hole in ("NA", "null", "-"):
        with pytest.raises(OutcomesInvalid, match="leave the cell empty"):
            read_csv(io.StringIO(f"prompt,m,n\nx,{hole},1\ny,1,1\n"))


def test_a_file_without_rows_says_so() -> None:
    with pytest.raises(OutcomesInvalid, match="no row"):
        read_rows([""])


def test_costs_come_from_tokens_and_prices_where_the_row_has_none() -> None:
    rows = read_rows(
        [
            (
                '{"prompt": "12345678", "scores": {"a": 1, "b": 0}, "input_tokens": {"a": 1000}, '
                '"output_tokens": {"a": 500}, "cost_usd": {"b": 0.5}}'
            ),
            '{"prompt": "12345678", "scores": {"a": 1, "b": 0}}',
        ]
    )
    found = matrix(rows, {m: Price(input=1, output=2) for m in "ab"}, ["x", "y"]).cost_usd
    guess = (2 * 1 + 500 * 2) / 1e6
    answered = read_rows(
        ['{"prompt": "abcdefgh", "scores": {"a": 1, "b": 0}, "responses": {"a": "yes, it is!!"}}']
    )
    prices = {m: Price(input=1, output=2) for m in "ab"}
    same = (2 * 1 + 3 * 2) / 1e6
    assert matrix(answered, prices, ["x"]).cost_usd[0] == pytest.approx([same, same])
    silent = read_rows(['{"prompt": "abcdefgh", "scores": {"a": 1, "b": 0}}'])
    usual = (2 * 1 + ANSWER_TOKENS * 2) / 1e6
    assert matrix(silent, prices, ["x"]).cost_usd[0] == pytest.approx([usual, usual])
    np.testing.assert_allclose(found, [[(1000 * 1 + 500 * 2) / 1e6, 0.5], [guess, guess]])


CSV = """prompt,small,large,small_response,small_cost_usd,large_output_tokens,description
"Sort, please
two lines",True,0.5,"[1, 2]",0.001,,
Add,,1,,,12,Add numbers
"""


def test_a_csv_file_says_the_same_as_json_lines() -> None:
    (one, other), passed = read_csv(io.StringIO(CSV))
    assert passed == []
    assert (one.prompt, one.description) == ("Sort, please\ntwo lines", None)
    assert one.scores == {"small": 1.0, "large": 0.5}
    assert (one.responses, one.cost_usd, one.output_tokens) == (
        {"small": "[1, 2]"},
        {"small": 0.001},
        {},
    )
    assert other.scores == {"large": 1.0}, "an empty cell is no answer"
    assert (other.output_tokens, other.description) == ({"large": 12.0}, "Add numbers")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "there is no column prompt"),
        ("a,b\n1,2\n", "there is no column prompt; there are a, b"),
        ("prompt\nhello\n", "no column with scores"),
        ("prompt,m\n", "the file holds no row"),
        ("prompt,m\nx,maybe\n", "row 2, column m: not a number from 0 to 1, or true or false"),
        ("prompt,m\nx,1\n\ny,2\n", "row 4, column m: "),
        ("prompt,m\nx,nan\n", "row 2, column m: "),
        ("prompt,m,m_cost_usd\nx,1,-1\n", "row 2, column m_cost_usd: "),
        ("prompt,m,m_cost_usd\nx,1,cheap\n", "row 2, column m_cost_usd: not a number"),
        ("prompt,m_response\nx,1\n", "column m_response belongs to no model: there is no column m"),
        ("prompt,m,m:cost_usd\nx,1,0.1\n", "did you mean m_cost_usd?"),
        ("prompt,m,m\nx,1,1\n", "column m comes twice"),
        ("prompt,m\n,1\n", "row 2, column prompt: "),
        ("prompt,m\nx\n", "row 2: 1 cells, the header has 2"),
        ("prompt,m\nx,\n", "row 2: no model has a score"),
        ("prompt;m\nx;1\n", "columns must be parted by commas, not by ';'"),
        (
            "prompt,m,m_cost\nx,1,0.1\n",
            (
                "column m_cost: _cost means nothing here; what belongs to a model ends with "
                "_response, "
                "_cost_usd"
            ),
        ),
        (",prompt,m,n\n0,x,1,1\n", "column 1 has no name"),
        ("prompt,m,n\nx,1,\n", "column n has no score in any row"),
        ("prompt,m,m_cost_usd\nx,1,1e308\n", "row 2, column m_cost_usd: "),
        ('prompt,m\n"x,1\n', "not CSV: unexpected end of data"),
    ],
)
def test_a_bad_csv_file_is_named_by_row_and_column(text: str, words: str) -> None:
    with pytest.raises(OutcomesInvalid) as caught:
        read_csv(io.StringIO(text))
    assert words in str(caught.value)
