"""Settings of the describer."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field
from pydantic_settings import SettingsConfigDict

from shared.contracts.encoders import VariantName
from shared.contracts.settings import ServiceSettings
from shared.contracts.wishes import PROFILES_VARIABLE, Preferences, Profile


class DescriberSettings(ServiceSettings):
    """POINTSMAN_DESCRIBER_*"""

    model_config = SettingsConfigDict(
        env_prefix="POINTSMAN_DESCRIBER_",
        frozen=True,
        use_attribute_docstrings=True,
        extra="ignore",
    )

    backend: Literal["auto", "llm", "library", "local", "prompt"] = "auto"
    """llm: a language model; library: the nearest task of the library, found by the encoder; local:
    extractive rules; prompt: the prompt itself. auto: a language model where there is a key
    (POINTSMAN_LLM_API_KEY), else the library. People see the library's words, while the prompt
    itself is embedded. Without an encoder beside the describer, rules replace the library."""
    library_from: Annotated[float, Field(ge=0, le=1)] = 0.5
    """Least probability of the library's nearest task. Below it, the prompt's own words are the
    description."""
    model: str = "google/gemini-3.5-flash-lite"
    """The language model that describes; a small one is enough. A name of the catalogue, or a
    provider's id; the default provider gets ids that the catalogue lacks."""
    catalog: Path | None = None
    """File of models with their prices and ids. None: the catalogue that comes with Pointsman."""
    time_limit_s: Annotated[float, Field(gt=0)] = 4.0
    """Time limit of the language model, retries included. After it the local description is
    used."""
    max_tokens: Annotated[int, Field(ge=16)] = 1000
    """Most tokens of its answer, reasoning included. Models without reasoning need forty. An answer
    that reaches the limit is not used."""
    read_chars: Annotated[int, Field(ge=500)] = 12_000
    """Most characters of a prompt that it gets; a longer prompt loses its middle."""
    workers: Annotated[int, Field(ge=1)] = 16
    """Prompts described at the same time."""
    window_ms: Annotated[float, Field(ge=0)] = 10.0
    """How long a prompt waits for others, while prompts come closer together than this. Only
    without a language model."""
    cache_ttl_s: Annotated[int, Field(ge=1)] = 7 * 24 * 3600
    """How long a description is kept for the same prompt."""
    foresee: bool = True
    """Whether to skip the language model where its description makes no difference. That is where
    the routing table reads the prompt itself, and where the description is foreseen from others.
    Needs the encoder beside the describer, and an embedder that embeds the description alone."""
    foresee_target: Annotated[float, Field(gt=0, lt=1)] = 0.97
    """Fraction of foreseen prompts that must get the same model as with the language model's
    description."""
    profiles: dict[Profile, Preferences] = Field(default={}, validation_alias=PROFILES_VARIABLE)
    """Your own meaning of profiles: JSON such as `{"balanced": {"keep": 0.97}}`."""
    default_profile: Profile = Profile.balanced
    """The selector's default profile. Foresight must keep its choices for requests without
    preferences."""
    foresee_from: Annotated[int, Field(ge=1)] = 500
    """Different prompts that the language model must describe before foresight begins without the
    library."""
    foresee_library: bool = True
    """Whether foresight begins with the library's prompts and their descriptions, before the
    language model has described enough. Each description by the language model replaces one of
    them."""
    foresee_pairs: Annotated[int, Field(ge=100)] = 4000
    """Newest prompts with descriptions that foresight uses, as points of 5 KB each."""
    foresee_check: Annotated[float, Field(ge=0, le=1)] = 0.02
    """Fraction of foreseeable prompts that are still sent to the language model, to check that
    foresight is right."""
    encoder_dir: Path | None = None
    """Directory of the encoder, as the embedder's. None: the default encoder."""
    threads: Annotated[int, Field(ge=0)] = 0
    """Threads that look up prompts in the library; 0: one for each core."""
    variant: VariantName = "int8"
    """Which encoder of those that come with Pointsman, as the embedder's. There is no foresight for
    a table of another space."""
