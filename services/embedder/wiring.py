"""The outside as the embedder uses it: its encoder, in a thread of its own."""

from __future__ import annotations

from services.embedder.settings import EmbedderSettings
from shared.adapters.tables import Tables
from shared.routing.table import Text

LOOK_S = 10.0
"""How long the first look for a routing table may take before embedding begins without."""


def _text(settings: EmbedderSettings, tables: Tables | None) -> Text | None:
    """What is embedded; None while there is no table to say so. Tables of the version before were
    made with descriptions."""
    if settings.text != "table":
        return settings.text
    there = tables.at_hand() if tables else None
    return None if there is None else there[1].text or "description"
