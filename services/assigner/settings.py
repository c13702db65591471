"""Settings of the assigner."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field
from pydantic_settings import SettingsConfigDict

from shared.contracts.settings import ServiceSettings


class AssignerSettings(ServiceSettings):
    """POINTSMAN_ASSIGNER_*"""

    model_config = SettingsConfigDict(
        env_prefix="POINTSMAN_ASSIGNER_", frozen=True, use_attribute_docstrings=True, extra="ignore"
    )

    batch: Annotated[int, Field(ge=1)] = 64
    """Most embeddings of one matrix product."""
