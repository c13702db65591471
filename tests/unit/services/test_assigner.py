"""The assigner."""

import numpy as np
import pytest
from described import REF
from support import embedded, table

from services.assigner.assign import place
from shared.contracts.messages import Placed
from shared.routing.deciding.table import Encoder


def test_one_bad_vector_does_not_spoil_the_others() -> None:
    nan = embedded(vector=np.array([0, np.nan, 0, 0]))
    short = embedded(vector=np.ones(3))
    foreign = embedded(encoder=Encoder("other", "1", 4, "mean", "none"))
    results = place([embedded(), nan, short, foreign, embedded()], REF, table())
    assert [isinstance(r, Placed) for r in results] == [True, False, False, False, True]
    assert [str(r)[:14] for r in results[1:4]] == [
        "the vector hol",
        "the vector has",
        "the embedding ",
    ]
    assert isinstance(results[0], Placed)
    assert sum(c.weight for c in results[0].assignment.clusters) == pytest.approx(1)
