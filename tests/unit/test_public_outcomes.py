"""Answers of public benchmarks are read as what they say."""

from __future__ import annotations

import pytest
from public_outcomes import same_number


@pytest.mark.parametrize(
    ("said", "known"),
    [
        ("18", "18"),
        ("$1,200.00", "1200"),
        ("18 eggs", "18"),
        ("5 pounds/day", "5"),
        ("$25,000/year", "25000"),
        ("72 Mb/h", "72"),
        ("-3.", "-3"),
        ("about 40%", "40"),
    ],
)
def test_numbers_with_units_are_the_same_numbers(said: str, known: str) -> None:
    assert same_number(said, known)


@pytest.mark.parametrize(
    ("said", "known"),
    [
        ("1/2", "1"),
        ("12:30", "12"),
        ("2^3", "2"),
        ("2^n", "2"),
        ("5/x", "5"),
        ("3/pi", "3"),
        ("−5", "5"),
        ("7/", "7"),
        ("a - 1", "-1"),
        ("3 or 4", "3"),
        ("", "0"),
    ],
)
def test_fractions_times_and_terms_are_no_numbers(said: str, known: str) -> None:
    assert not same_number(said, known)
