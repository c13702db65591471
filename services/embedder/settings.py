"""Settings of the embedder."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator
from pydantic_settings import SettingsConfigDict

from shared.contracts.encoders import VariantName
from shared.contracts.settings import ServiceSettings


class EmbedderSettings(ServiceSettings):
    """POINTSMAN_EMBEDDER_*"""

    model_config = SettingsConfigDict(
        env_prefix="POINTSMAN_EMBEDDER_", frozen=True, use_attribute_docstrings=True, extra="ignore"
    )

    encoder_dir: Path | None = None
    """Directory of the encoder, in optimum's layout. None: the default encoder, prepared on first
    use."""
    variant: VariantName = "int8"
    """Which encoder of those that come with Pointsman (`shared.contracts.encoders`): int8, fp32, or
    fp16 for a GPU; tasks2-int8, minilm-int8 and others for older tables. A routing table belongs
    to one of them."""
    follow: bool = True
    """Whether the embedder changes to the encoder of the current routing table, if that encoder
    comes with Pointsman."""
    text: Literal["table", "prompt", "description", "both"] = "table"
    """What is embedded: the prompt itself, its description, or both. `table`: what the current
    routing table was made with; before there is one, the description where a language model wrote
    it, else the prompt."""
    guard: bool = False
    """Whether texts are also embedded without their edges, and the least expensive of three choices
    counts. So a string at the edge of a prompt can't push it to a more expensive model. Costs
    up to three times the encoder's time for texts of 16 words and more."""
    provider: Literal["auto", "cpu", "cuda"] = "auto"
    """Execution provider; auto takes CUDA where it is available."""
    threads: Annotated[int, Field(ge=0)] = 0
    """Threads that encode the texts of one batch side by side; 0: one for each core."""
    batch: Annotated[int, Field(ge=1)] = 64
    """The most texts encoded together. A GPU wants more: 1024."""
    gpu_tokens: Annotated[int, Field(ge=256)] = 16_384
    """Most tokens of a GPU's batch, padding included; longer texts make smaller batches."""
    window_ms: Annotated[float, Field(ge=0)] = 10.0
    """How long a text waits for others, while texts come closer together than this. Batches make
    the later services cheap. A single text never waits. 0: no text waits."""

    @model_validator(mode="after")
    def _guardable(self) -> Self:
        if self.guard and self.text == "both":
            raise ValueError(
                "POINTSMAN_EMBEDDER_GUARD goes with POINTSMAN_EMBEDDER_TEXT=description: it takes "
                "edges off descriptions"
            )
        return self
