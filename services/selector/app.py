"""Wiring of the selector."""

from __future__ import annotations

from faststream import FastStream

from services.selector import FLOW
from services.selector.settings import SelectorSettings
from services.selector.wiring import Selecting
from shared.adapters.kafka.edge import Stage, connect
from shared.adapters.tables import Tables


def build(settings: SelectorSettings | None = None, tables: Tables | None = None) -> FastStream:
    """The selector as an application; tests pass their own tables."""
    settings = settings or SelectorSettings()
    selecting = Selecting(settings, tables)
    return connect(Stage(FLOW, selecting.work, batch=settings.batch, lifespan=selecting.running))
