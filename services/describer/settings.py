"""Settings of the describer."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field
from pydantic_settings import BaseSettings, SettingsConfigDict


class DescriberSettings(BaseSettings):
    """POINTSMAN_DESCRIBER_*"""

    model_config = SettingsConfigDict(env_prefix="POINTSMAN_DESCRIBER_", frozen=True, use_attribute_docstrings=True, extra="ignore")

    backend: Literal["llm", "local", "prompt"] = "llm"
    """llm: a language model; local: extractive rules; prompt: the prompt itself. A routing table fits one of them."""
    model: str = "google/gemini-2.5-flash-lite"
    """The language model that describes; a small one is enough."""
    time_limit_s: Annotated[float, Field(gt=0)] = 4.0
    """Seconds that the language model has, retries included, before the local description is used."""
    max_tokens: Annotated[int, Field(ge=16)] = 120
    """Tokens it may answer with."""
    read_chars: Annotated[int, Field(ge=500)] = 12_000
    """Characters of a prompt that it is shown: a longer one loses its middle."""
    workers: Annotated[int, Field(ge=1)] = 16
    """Prompts described at the same time."""
    window_ms: Annotated[float, Field(ge=0)] = 10.0
    """How long a prompt waits for company while they come closer together than that; without a language model only."""
    cache_ttl_s: Annotated[int, Field(ge=1)] = 7 * 24 * 3600
    """How long a description is kept for the same prompt."""
