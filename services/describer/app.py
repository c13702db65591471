"""Wiring of the describer."""

from __future__ import annotations

from faststream import FastStream

from services.describer import FLOW
from services.describer.describe import Ask
from services.describer.settings import DescriberSettings
from services.describer.wiring.describing import Describing, effective
from shared.adapters.kafka.edge import Stage, connect
from shared.contracts.remembered import Texts


def build(
    settings: DescriberSettings | None = None, ask: Ask | None = None, cache: Texts | None = None
) -> FastStream:
    """The describer as an application; tests pass their own language model and cache."""
    settings = effective(settings or DescriberSettings())
    describing = Describing(settings, ask, cache)
    slow = settings.backend == "llm"
    stage = Stage(
        FLOW,
        describing.work,
        receive=describing.receive,
        batch=1 if slow else 64,
        window_s=0.0 if slow else settings.window_ms / 1000,
        workers=settings.workers if slow else 1,
        patience_s=settings.time_limit_s if slow else 0.0,
        lifespan=describing.running,
    )
    return connect(stage)
