"""The catalogue's file, read again when it has changed, so that a model can come and go without a
restart."""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path

from shared.adapters.telemetry import log
from shared.catalog.models import DEFAULT, Catalog, CatalogError, load
from shared.routing.deciding.abilities import Abilities

LOOK_EVERY_S = 1.0
"""How often the file is looked at, at most."""


class CurrentCatalog:
    """What the file says now. Raises `CatalogError` if it can't be read at first; later, what was
    read last stays."""

    def __init__(self, path: Path | None = None) -> None:
        self._path = path or DEFAULT
        self._stamp = self._stat()
        self._looked = time.monotonic()
        self._take(load(self._path))

    def __call__(self) -> Catalog:
        """The catalogue as it was at most a second ago."""
        now = time.monotonic()
        if now - self._looked >= LOOK_EVERY_S:
            self._looked = now
            if (stamp := self._stat()) != self._stamp:
                self._stamp = stamp
                try:
                    self._take(load(self._path), self._ever)
                    log.info(
                        "the catalogue has changed",
                        models=len(self._catalog.models),
                        gone=sorted(self._gone),
                    )
                except CatalogError as error:
                    log.warning("the catalogue stays as it was", error=str(error))
        return self._catalog

    def gone(self) -> frozenset[str]:
        """Models that may not be selected any more: those that are retired, and those that were in
        the file and are not now."""
        self()
        return self._gone

    def abilities(self) -> Mapping[str, Abilities]:
        """What each model can take."""
        self()
        return self._abilities

    def _take(self, catalog: Catalog, ever: frozenset[str] = frozenset()) -> None:
        self._catalog = catalog
        self._ever = ever | catalog.models.keys()
        self._gone = catalog.retired | (self._ever - catalog.models.keys())
        self._abilities = {model.name: model.abilities for model in catalog.models.values()}

    def _stat(self) -> tuple[int, int]:
        try:
            status = self._path.stat()
        except OSError:
            return 0, 0
        return status.st_mtime_ns, status.st_size
