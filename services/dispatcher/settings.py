"""Settings of the dispatcher."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from pydantic import Field
from pydantic_settings import SettingsConfigDict

from shared.contracts.encoders import VariantName
from shared.contracts.settings import ServiceSettings


class DispatcherSettings(ServiceSettings):
    """POINTSMAN_DISPATCHER_*"""

    model_config = SettingsConfigDict(
        env_prefix="POINTSMAN_DISPATCHER_",
        frozen=True,
        use_attribute_docstrings=True,
        extra="ignore",
    )

    deadline_s: Annotated[float, Field(gt=0)] = 120.0
    """Deadline of an answer in seconds from submission, for requests without one."""
    call_s: Annotated[float, Field(gt=0)] = 60.0
    """Time limit of one model in seconds, retries included. After it the next model is called."""
    models: Annotated[int, Field(ge=1)] = 4
    """Most models of the ranking to call."""
    cascade: bool = True
    """Whether to ask a cheap model first, and another only if its answer is not good enough. It
    needs a routing table that can tell, and the encoder beside the dispatcher (the extra `cpu`).
    Without them the decision's model is called."""
    encoder_dir: Path | None = None
    """Directory of the encoder that answers are assessed with, as the embedder's. None: the default
    encoder."""
    variant: VariantName = "int8"
    """Which encoder of those that come with Pointsman, as the embedder's."""
    workers: Annotated[int, Field(ge=1)] = 32
    """Decisions answered at the same time."""
    remember_s: Annotated[int, Field(ge=1)] = 24 * 3600
    """How long an answer is kept in Redis, so that a repeated decision is not paid twice."""
    catalog: Path | None = None
    """File of models with their prices and ids. None: the catalogue that comes with Pointsman."""
