"""When to cluster again."""

from __future__ import annotations

from dataclasses import dataclass

from services.reclusterer.settings import ReclustererSettings
from shared.routing.deciding.table import Array, RoutingTable

FEWEST = 10
"""Embeddings since the last time below which nothing is concluded from them."""

FEWEST_FAR = 50
"""New prompts needed to tell whether prompts lie further away than before. New ones always lie a
little further away than the clusters' own."""


@dataclass(slots=True)
class Trigger:
    """Counts since the last clustering."""

    settings: ReclustererSettings
    at_last: int = 0
    """Embeddings there were then."""
    when: float = 0.0
    """Seconds since 1970."""
    count: int = 0
    novel: int = 0
    distance: float = 0.0
    usual: float | None = None
    """Mean distance to the nearest centroid then."""

    def saw(self, vector: Array, table: RoutingTable | None) -> None:
        """Take note of one more embedding."""
        self.count += 1
        if table is None or len(vector) < table.inputs:
            return
        point = table.points(vector[None])[0]
        squared = table.squared_norms - 2.0 * (table.centroids @ point) + float(point @ point)
        nearest = int(squared.argmin())
        distance = float(max(squared[nearest], 0.0)) ** 0.5
        self.novel += distance > table.clusters[nearest].radius
        self.distance += distance

    def due(self, now: float) -> str:
        """Why it is time to cluster again; "" if it is not."""
        s = self.settings
        if self.count >= max(FEWEST, s.grown * self.at_last):
            return f"there are {self.count} new prompts"
        if self.count < FEWEST:
            return ""
        if self.novel >= max(s.min_size, s.novel * self.count):
            return f"{self.novel} of {self.count} new prompts are novel"
        if (
            self.usual
            and self.distance / self.count > (1 + s.drift) * self.usual
            and self.count >= max(s.min_size, FEWEST_FAR)
        ):
            return (
                f"prompts lie {self.distance / self.count / self.usual - 1:.0%} further from "
                "their clusters than before"
            )
        if now - self.when > s.age_s:
            return f"the clusters are {s.age_s / 3600:.0f} hours old"
        return ""

    def done(self, total: int, usual: float, now: float) -> None:
        """Begin to count again."""
        self.at_last = total
        self.usual = usual
        self.when = now
        self.count = self.novel = 0
        self.distance = 0.0
