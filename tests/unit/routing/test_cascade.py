"""A cascade is planned where it is worth more than any model alone, and accepts an answer where
that is worth more than asking on."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support import table

from shared.routing.deciding.cascade import FEWEST, MARGIN, Alone, Answered, Heads, fit_heads, plan
from shared.routing.deciding.form import SIZE
from shared.routing.deciding.rates import Rates
from shared.routing.deciding.sums import SIZE as SUMS
from shared.routing.deciding.sums import sums, sums_of
from shared.routing.deciding.table import RoutingTable
from shared.routing.errors import TableInvalid

DIM = 6


def answered(count: int = 800, seed: int = 0) -> tuple[Answered, np.ndarray]:
    """An answer is good where it points the prompt's way."""
    rng = np.random.default_rng(seed)
    prompt = rng.normal(size=(count, DIM))
    good = rng.random(count) < 0.6
    answer = np.where(good[:, None], prompt, -prompt) + rng.normal(0, 1.0, prompt.shape)
    prompt, answer = (x / np.linalg.norm(x, axis=1, keepdims=True) for x in (prompt, answer))
    blank = np.zeros((count, SIZE), np.float32)
    return Answered(
        prompt.astype(np.float32),
        blank,
        answer.astype(np.float32),
        blank,
        np.zeros((count, SUMS), np.float32),
    ), good.astype(float)


def heads(told: float = 2.0) -> Heads:
    wide = 4 * DIM + 3 * SIZE
    none = np.zeros((1, 2 * SIZE), np.float32)
    return Heads(
        "joint",
        ("cheap",),
        np.zeros((1, wide), np.float32),
        np.zeros(1, np.float32),
        none,
        none + 1,
        np.array([told], np.float32),
    )


CHEAP, DEAR = Alone("cheap", 0.6, 0.0002, 1.0), Alone("expensive", 0.85, 0.01, 4.0)


def utility(model: Alone, rates: Rates) -> float:
    return model.success - model.penalty(rates)


def test_it_saves_where_the_answer_tells_whether_it_is_good() -> None:
    rates = Rates(0.05, 30_000)
    alone = max(utility(m, rates) for m in (CHEAP, DEAR))
    found = plan([CHEAP, DEAR], heads(), rates, alone)
    assert found is not None
    assert (found.first, found.then) == ("cheap", "expensive")
    assert found.accept_at == pytest.approx(0.85 - DEAR.penalty(rates))
    assert found.cost_usd == pytest.approx(0.0002 + found.escalated * 0.01)
    assert found.success - found.cost_usd / 0.05 - found.latency_s / 30_000 == pytest.approx(
        alone + found.gain
    )
    assert found.success > 0.6
    assert plan([CHEAP, DEAR], heads(told=0.0), rates, alone) is None, (
        "an answer that tells nothing is not waited for"
    )
    hurried = Rates(0.05, 4.0)
    assert (
        plan([CHEAP, DEAR], heads(), hurried, max(utility(m, hurried) for m in (CHEAP, DEAR)))
        is None
    ), "two answers take longer"
    assert plan([DEAR], heads(), rates, alone) is None
    assert plan([CHEAP, replace(DEAR, success=0.5)], heads(), rates, utility(CHEAP, rates)) is None


@given(
    st.floats(0.05, 0.95),
    st.floats(0.05, 0.95),
    st.floats(0, 0.02),
    st.floats(0, 0.02),
    st.floats(1e-4, 10),
    st.floats(0, 4),
)
def test_a_plan_never_promises_less_than_a_model_alone_nor_more_than_knowing_all(
    first: float, second: float, one: float, two: float, usd: float, told: float
) -> None:
    rates = Rates(usd)
    cheap, expensive = Alone("cheap", first, one, 0.0), Alone("expensive", second, two, 0.0)
    alone = max(utility(cheap, rates), utility(expensive, rates))
    found = plan([cheap, expensive], heads(told), rates, alone)
    if found is None:
        return
    assert found.gain > MARGIN
    assert 0 <= found.escalated <= 1
    assert found.success <= first + (1 - first) * second + 0.02
    assert one <= found.cost_usd <= one + two + 1e-12


def test_heads_tell_good_answers_from_bad_and_travel_with_the_table() -> None:
    data, good = answered()
    scores = np.stack([good, np.ones(len(good))], axis=1)
    rows = np.arange(len(good))
    found = fit_heads(
        {"cheap": (rows[:500], data.rows(rows[:500]))}, scores, ("cheap", "expensive")
    )
    assert found is not None
    chance = found("cheap", data.rows(rows[500:]))
    assert chance[good[500:] > 0].mean() > chance[good[500:] == 0].mean() + 0.25
    assert found.told[0] > 0.3
    made = replace(table(), cascade=found)
    again = RoutingTable.from_bytes(made.to_bytes())
    assert again == made
    assert again.cascade is not None
    np.testing.assert_array_equal(again.cascade("cheap", data), found("cheap", data))


def test_an_answer_with_a_wrong_sum_is_less_probably_good() -> None:
    data, good = answered()
    said = sums_of([f"So 4 + 4 = {8 if one else 9}." for one in good])
    data = replace(data, answer_sums=said)
    scores = np.stack([good, np.ones(len(good))], axis=1)
    found = fit_heads(
        {"cheap": (np.arange(500), data.rows(np.arange(500)))}, scores, ("cheap", "expensive")
    )
    assert found is not None
    assert replace(table(), cascade=found).format == 3, "readers of before would misread it"
    rest = data.rows(np.arange(500, len(good)))
    chance = found("cheap", rest)
    assert chance[good[500:] > 0].min() > chance[good[500:] == 0].max()
    right, wrong = (
        found("cheap", replace(rest, answer_sums=np.tile(sums(text), (len(chance), 1))))
        for text in ("4 + 4 = 8", "4 + 4 = 9")
    )
    assert (right > wrong).all()


def test_heads_of_older_tables_see_no_sums_and_heads_of_newer_ones_are_refused() -> None:
    data, _ = answered(5)
    older = replace(table(), cascade=heads())
    again = RoutingTable.from_bytes(older.to_bytes())
    assert again.cascade is not None
    assert again.cascade("cheap", data) == pytest.approx(np.full(5, 0.5))
    assert older.format < 3
    with pytest.raises(ValueError, match="can't see 'checked'"):
        replace(heads(), sees="checked", weights=np.zeros((1, 4 * DIM + 3 * SIZE + 1)))
    newer = older.to_bytes().replace(b'"joint"', b'"pixel"')
    with pytest.raises(TableInvalid, match=r"'pixel'.*build the table again"):
        RoutingTable.from_bytes(newer)


def test_too_few_answers_or_answers_that_are_all_alike_teach_nothing() -> None:
    data, good = answered(FEWEST - 1)
    rows = np.arange(len(good))
    assert (
        fit_heads({"cheap": (rows, data)}, np.stack([good, good], axis=1), ("cheap", "expensive"))
        is None
    )
    data, good = answered(300)
    rows = np.arange(300)
    assert fit_heads({"cheap": (rows, data)}, np.ones((300, 2)), ("cheap", "expensive")) is None
