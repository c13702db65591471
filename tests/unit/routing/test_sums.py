"""Sums are read as people write them; what can't be read for certain is left alone."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.routing.deciding.sums import MOST, READ, SIZE, checked, sums, sums_of


@pytest.mark.parametrize(
    "text",
    [
        "She has 16 - 3 = 13 eggs left.",
        "16-3=13",
        "8 x $5 = $40 and then 3 × 4 = 12, 12 ÷ 4 = 3",
        "The total is $1,200 + $300 = $1,500.00.",
        "That is 200 / 3 = 66.67 each.",
        "2/3 ≈ 0.667",
        "10% * 50 = 5",
        "5/8 = 62.5%",
        r"\[ 12 \times 4 = 48 \]",
        r"\frac{3}{4} \cdot 8 = 6",
        "(2 + 3) * 4 = 5 * 4 = 20",
        "5 * 3 = 15 + 2 = 17",
        "So 3 x 60 = <<3*60=180>>180 metres.",
        "**4 + 4 = 8**",
        "-3 + 5 = 2",
        "x = 3 + 4 = 7",
        "3/4 ÷ 1/8 = 6",
        "12 ÷ 3/4 = 16",
        "1 1/2 + 1/2 = 2",
        "5/2 + 1/2 = 2 1/2 + 1/2 = 3",
        "1 000 + 500 = 1 500",
        "1'000 + 500 = 1'500",
        "389 + 212 ≈ 600",
        "48 * 52 ≈ 2,500",
        "2/3 = 0.66",
        "100 / 30 = 4 buses",
        "(5 + 3 = 8)",
        "5 + 3 = 8 (in total)",
        "3 + 4\n= 7",
        r"3 + 4 &= \boxed{7}",
        "=> 3 + 4 = 7",
        r"3{,}000 + 1 = 3{,}001",
        "- 12 + 5 = 17\n- 1 + 1 = 2",
        "1. 3 + 4 = 7",
    ],
)
def test_a_sum_that_comes_out(text: str) -> None:
    found = list(checked(text))
    assert found
    assert all(found)


@pytest.mark.parametrize(
    "text",
    [
        "She has 16 - 3 = 14 eggs left.",
        "8 x $5 = $45",
        "The total is $1,200 + $300 = $1,600.",
        "200 / 3 = 66.5",
        "(2 + 3) * 4 = 25",
        r"\frac{3}{4} \cdot 8 = 7",
        "1 + 1 = 2, so 2 + 2 = 5.",
        "She has (5 + 3 = 9) apples",
        "5 + 3 = 9 (in total)",
        "5 + 3 = 9\n(b) the next",
        r"3 + 4 &= \boxed{8}",
        "price - 3 = 4 - 3 = 2",
        "48 * 52 ≈ 3,500",
        "1,234.50 + 1 = 1,236.50",
    ],
)
def test_a_sum_that_does_not(text: str) -> None:
    assert not all(checked(text))


@pytest.mark.parametrize(
    "text",
    [
        "",
        "no numbers here",
        "2x + 3 = 7",
        "x^2 + 4 = 13",
        "a - 3 + 4 = 9",
        "2 * 3 = 6x",
        "500,000 * 3 = 1.5 million",
        "3 + 4",
        "if n - 1 == 0",
        "for i = 1",
        "2020-11-27",
        "key=5",
        "1 / 0 = 0",
        "call 555-1234 = office",
        "version 1.2.3 - 4 = old",
        "10:30 - 9:15 = 1:15",
        "f(3) + 4 = 9",
        "20% of 25 = 0.2 × 25",
        "120 total units x 1/4 = 30",
        "a half of 3 + 4 = 3",
        "pets (18) = 4 + 6",
        "8 = 3 + 4",
        "2**3 + 1 = 9 and 1 + 2**3 = 9",
        "1000 * 1.05**2 = 1102.5",
        "100 - 20% = 80",
        "1990-1999 = 10 years",
        "1-800-555 = 2",
        "Step 1 - 3 + 4 = 7",
        "if 1 + 1 == 3:",
        "17 % 5 - 2 = 0",
        "√16 + 3 = 7",
        "log 100 + 1 = 3",
        "10 : 2 + 1 = 6",
        "4 * 15 = 1 hour",
        "75 * 4 = $3",
        "99999999 * 99999999 = 9999999800000001",
        "3.500 + 500 = 4.000",
        "10/3 = 3,333",
        "500,000 * 3 = 1.5 Millionen",
        "if 3/4 = 9, what is 1/4?",
        "Ann (20 * 2) + Bob (60 * 2) = 40 + 120",
    ],
)
def test_what_is_no_sum_of_numbers_alone_is_left_alone(text: str) -> None:
    assert list(checked(text)) == []


def test_the_numbers_of_a_text() -> None:
    wrong, any_wrong, any_, count = sums("1 + 1 = 3, 2 + 2 = 4 and 3 + 3 = 7")
    assert (wrong, any_wrong, any_) == (2, 1, 1)
    assert count == pytest.approx(np.log1p(3))
    assert sums("none") == pytest.approx(np.zeros(SIZE))
    assert sums_of([]).shape == (0, SIZE)
    assert sums_of(["1 + 1 = 2", "-"]).shape == (2, SIZE)


def test_a_text_is_cut_at_the_end_of_a_line() -> None:
    assert sums("-" * (READ - 5) + "\n12 + 30 = 42")[2] == 0


def test_no_more_than_forty_are_looked_at() -> None:
    assert sums("1 + 1 = 2\n" * 10 * MOST)[3] == pytest.approx(np.log1p(MOST))


@given(
    st.integers(0, 10**6),
    st.integers(1, 10**4),
    st.sampled_from("+-*"),
    st.integers(-3, 3),
)
def test_any_two_whole_numbers(left: int, right: int, sign: str, off: int) -> None:
    result = {"+": left + right, "-": left - right, "*": left * right}[sign] + off
    assert list(checked(f"So it is {left:,} {sign} {right} = {result:,}.")) == [off == 0]


@given(st.text("0123456789+-*/=()., x%$\n", max_size=300))
def test_nothing_that_is_written_raises(text: str) -> None:
    assert sums(text).shape == (SIZE,)


@pytest.mark.parametrize(
    "piece", ["(", " ( (1", "1+", "1 - ( ", "1 x ", "1%", "=", "1 =", "\\frac{", "7"]
)
def test_a_long_text_is_read_in_steps_that_grow_with_its_length(piece: str) -> None:
    assert sums(piece * 20_000)[0] == 0
