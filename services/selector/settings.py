"""Settings of the selector."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from pydantic import Field
from pydantic_settings import SettingsConfigDict

from shared.contracts.settings import ServiceSettings
from shared.contracts.wishes import PROFILES_VARIABLE, Preferences, Profile


class SelectorSettings(ServiceSettings):
    """POINTSMAN_SELECTOR_*"""

    model_config = SettingsConfigDict(
        env_prefix="POINTSMAN_SELECTOR_", frozen=True, use_attribute_docstrings=True, extra="ignore"
    )

    default_profile: Profile = Profile.balanced
    """Preferences of a request that states none."""
    profiles: dict[Profile, Preferences] = Field(default={}, validation_alias=PROFILES_VARIABLE)
    """What profiles mean here, where they are to mean something else: JSON such as `{"balanced":
    {"keep": 0.97}}`."""
    catalog: Path | None = None
    """File of models with their prices and context lengths. None: the catalogue that comes with
    Pointsman."""
    candidates: Annotated[int, Field(ge=2)] = 10
    """Candidates that a decision lists, best first; the others would only make it long."""
    predictor_share: Annotated[float, Field(ge=0, le=1)] | None = None
    """Part of the expected success that a table's predictor gives, 0 to 1; the rankings give the
    rest. None: the table decides."""
    batch: Annotated[int, Field(ge=1)] = 64
    """The most decisions made in one go."""
