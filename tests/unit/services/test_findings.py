"""Several sets together: their mean, and what is best among the baselines."""

from __future__ import annotations

from types import SimpleNamespace
from typing import cast

import pytest

from services.workbench.benchmark_report import mean_of
from services.workbench.findings import BASELINES, Findings, best_baseline, mean
from shared.routing.offline.evaluation import Interval, Result

NAN = float("nan")


def of(*prompts: str) -> Findings:
    return cast(
        "Findings", SimpleNamespace(data=SimpleNamespace(outcomes=SimpleNamespace(texts=prompts)))
    )


def test_the_mean_of_independent_sets_is_surer_than_each() -> None:
    one = mean_of([(of("a", "b"), Interval(0.3, 0.2, 0.4)), (of("c"), Interval(0.1, 0.0, 0.2))])
    assert one.mean == pytest.approx(0.2)
    assert one.high - one.mean == pytest.approx(0.1 / 2**0.5)
    assert one.mean - one.low == pytest.approx(0.1 / 2**0.5)


def test_sets_of_the_same_prompts_err_alike() -> None:
    one = mean_of(
        [(of("a", "b", "c"), Interval(0.3, 0.2, 0.4)), (of(" a", "b\n"), Interval(0.1, 0.0, 0.2))]
    )
    assert one.high - one.mean == pytest.approx(0.1)


def test_a_split_without_a_value_counts_for_no_router() -> None:
    assert mean([0.5, NAN, 0.7]) == pytest.approx(0.6)
    assert mean([NAN]) is mean([]) is None
    results = {name: Result(apgr=[0.5, NAN]) for name in BASELINES}
    results[BASELINES[3]] = Result(apgr=[0.9, NAN])
    found = cast("Findings", SimpleNamespace(results=results))
    assert best_baseline(found, "apgr") == BASELINES[3]
