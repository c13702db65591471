"""Settings of the console."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from pydantic import Field
from pydantic_settings import SettingsConfigDict

from services.console import FLOW
from shared.contracts.settings import ServiceSettings


class ConsoleSettings(ServiceSettings):
    """POINTSMAN_CONSOLE_*"""

    model_config = SettingsConfigDict(
        env_prefix="POINTSMAN_CONSOLE_", frozen=True, use_attribute_docstrings=True, extra="ignore"
    )

    host: str = "127.0.0.1"
    """Address to listen at; 0.0.0.0 in a container."""
    port: Annotated[int, Field(ge=0, le=65535)] = FLOW.port or 0
    """Port to listen at; 0: any that is free."""
    history: Annotated[int, Field(ge=100)] = 100_000
    """Newest decisions kept in memory, which the pages count."""
    points: Annotated[int, Field(ge=1)] = 2000
    """How many of these keep their embedding and the beginning of their prompt, for the page
    Map."""
    tables: Annotated[int, Field(ge=2)] = 12
    """Routing tables kept for histories."""
    rate_twice: Annotated[float, Field(ge=0, le=1)] = 0.2
    """Fraction of pairs that two people rate, to measure their agreement."""
    route_s: Annotated[float, Field(gt=0)] = 15.0
    """Seconds that Try waits for a decision."""
    catalog: Path | None = None
    """File of models with their prices and ids. None: the catalogue that comes with Pointsman."""
    budget_usd_per_day: Annotated[
        float, Field(ge=0, validation_alias="POINTSMAN_JUDGE_BUDGET_USD_PER_DAY")
    ] = 5.0
    """The judge's setting, shown on the page Evidence."""
    viewers: Annotated[int, Field(ge=1)] = 200
    """People who watch Now at the same time."""
