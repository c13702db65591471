"""Wiring of the dispatcher."""

from __future__ import annotations

from faststream import FastStream

from services.dispatcher import FLOW
from services.dispatcher.dispatch import Answers, AskModel, AssessAnswer
from services.dispatcher.settings import DispatcherSettings
from services.dispatcher.wiring import Dispatching
from shared.adapters.kafka.edge import Stage, connect
from shared.contracts.messages import Completed, Decided


def build(
    settings: DispatcherSettings | None = None,
    call: AskModel | None = None,
    answers: Answers | None = None,
    assess: AssessAnswer | None = None,
) -> FastStream:
    """The dispatcher as an application; tests pass their own models, memory and way to assess
    answers."""
    settings = settings or DispatcherSettings()
    dispatching = Dispatching(settings, call, answers, assess)
    stage: Stage[Decided, Completed] = Stage(
        FLOW,
        dispatching.work,
        batch=1,
        workers=settings.workers,
        patience_s=settings.deadline_s,
        lifespan=dispatching.running,
    )
    return connect(stage)
