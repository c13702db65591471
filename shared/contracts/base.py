"""What all parts of messages are made of."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

NonNegative = Annotated[float, Field(ge=0)]
Positive = Annotated[float, Field(gt=0, le=1e9)]
Probability = Annotated[float, Field(ge=0, le=1)]


class Part(BaseModel):
    """Strict and frozen. A field that a newer service has added passes an older one by, so that
    they can be upgraded one by one."""

    model_config = ConfigDict(
        frozen=True, strict=True, extra="ignore", use_attribute_docstrings=True, allow_inf_nan=False
    )


class Asked(Part):
    """What a sender asks for. A misspelt field is an error: a limit that is silently ignored costs
    money."""

    model_config = ConfigDict(extra="forbid")
