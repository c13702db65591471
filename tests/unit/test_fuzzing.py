"""The short form of `make fuzz`: the same cases each time."""

import pytest
from fuzzing import READERS, case


@pytest.mark.parametrize("reader", READERS)
@pytest.mark.slow
def test_nothing_that_comes_stops_a_reader(reader: str) -> None:
    for number in range(3000):
        try:
            case(reader, number)
        except Exception as error:
            raise AssertionError(
                f"python tests/fuzz.py --reader {reader} --number {number}"
            ) from error
