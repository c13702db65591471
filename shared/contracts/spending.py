"""The message on `spending`: what one request at the gateway cost, and on whose key."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field

from shared.contracts.base import NonNegative


class Spent(BaseModel):
    """One request's bill. Budgets are counted from these when Redis has forgotten them."""

    model_config = ConfigDict(
        frozen=True, strict=True, extra="ignore", use_attribute_docstrings=True, allow_inf_nan=False
    )

    schema_version: Literal[1] = 1
    request_id: Annotated[str, Field(min_length=1, max_length=200)]
    spender: Annotated[str, Field(min_length=1, max_length=100)]
    """The key's name."""
    model: str
    cost_usd: NonNegative
    expected: bool = False
    """True if it is what was expected, because the sender left before the bill came."""
    simulated: bool = False
    at: AwareDatetime

    @property
    def key(self) -> bytes:
        return self.spender.encode()
