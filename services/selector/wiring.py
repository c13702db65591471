"""The outside as the selector uses it: routing tables, the catalogue, and goals that are paced."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager

from services.selector import FLOW
from services.selector.decide import Pacers, decide, listed
from services.selector.settings import SelectorSettings
from shared.adapters.catalog import CurrentCatalog
from shared.adapters.errors import NoRoutingTable
from shared.adapters.kafka.settings import KafkaSettings
from shared.adapters.redis.client import RedisSettings
from shared.adapters.tables import Tables
from shared.adapters.telemetry import DECISIONS
from shared.contracts.messages import Decided, Placed
from shared.routing.errors import RoutingError


class Selecting:
    """Decides batches, each prompt with the very table that it was assigned with."""

    def __init__(self, settings: SelectorSettings, tables: Tables | None) -> None:
        self._settings = settings
        self._tables = tables or Tables(FLOW.name, KafkaSettings(), RedisSettings())
        self._catalog = CurrentCatalog(settings.catalog)
        self._pacers = Pacers()

    def running(self) -> AbstractAsyncContextManager[None]:
        """With tables that keep up."""
        return self._tables.running()

    async def work(self, batch: Sequence[Placed]) -> Sequence[Decided | Exception]:
        """Decide a batch, and count what was decided."""
        results = [await self._decide(message) for message in batch]
        for result in results:
            if isinstance(result, Decided):
                DECISIONS.labels(result.decision.model or "", result.decision.status).inc()
        return results

    async def _decide(self, message: Placed) -> Decided | Exception:
        settings = self._settings
        try:
            table = await self._tables.get(message.assignment.table)
            wanted = message.wanted(settings.default_profile, settings.profiles)
            wish = self._pacers.wish(wanted, table)
            decided = decide(
                message,
                table,
                self._catalog().models,
                wish,
                self._catalog.gone(),
                settings.predictor_share,
            )
        except (NoRoutingTable, RoutingError) as error:
            return error
        self._pacers.decided(wish, decided.decision, table)
        return listed(decided, settings.candidates)
