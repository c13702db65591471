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
    """Your own meaning of profiles: JSON such as `{"balanced": {"keep": 0.97}}`."""
    catalog: Path | None = None
    """File of models with their prices and context lengths. None: the catalogue that comes with
    Pointsman."""
    candidates: Annotated[int, Field(ge=2)] = 10
    """Candidates that a decision lists, best first."""
    predictor_share: Annotated[float, Field(ge=0, le=1)] | None = None
    """Weight of the table's predictor in the expected success, 0 to 1; the rankings have the rest.
    None: the table decides."""
    batch: Annotated[int, Field(ge=1)] = 64
    """Most decisions of one batch."""
