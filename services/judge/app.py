"""Wiring of the judge."""

from __future__ import annotations

from faststream import FastStream

from services.judge import FLOW
from services.judge.settings import JudgeSettings
from services.judge.wiring import Judging, effective
from shared.adapters.kafka.edge import Stage, connect
from shared.contracts.evaluations import Evaluated
from shared.contracts.messages import Completed

PATIENT_CALLS = 6
"""Calls one after another in one comparison, at most: two shadow answers, and twice two rounds of
votes."""


def build(settings: JudgeSettings | None = None) -> FastStream:
    """The judge as an application."""
    settings = effective(settings or JudgeSettings())
    judging = Judging(settings)
    stage: Stage[Completed, Evaluated] = Stage(
        FLOW,
        judging.work,
        batch=1,
        workers=settings.workers,
        patience_s=PATIENT_CALLS * settings.call_s,
        lifespan=judging.running,
    )
    return connect(stage)
