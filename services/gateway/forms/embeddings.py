"""OpenAI's Embeddings."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

Text = Annotated[str, Field(min_length=1, max_length=100_000)]


class EmbeddingsRequest(BaseModel):
    """Texts to be embedded. Fields that are not named here go to the model untouched."""

    model_config = ConfigDict(
        frozen=True, strict=True, extra="allow", use_attribute_docstrings=True, allow_inf_nan=False
    )

    model: Annotated[str, Field(min_length=1, max_length=200)]
    """The encoder of the gateway, or an embedding model of `GET /v1/models`."""
    input: Text | Annotated[list[Text], Field(min_length=1, max_length=2048)]
    encoding_format: Literal["float", "base64"] = "float"

    def texts(self) -> list[str]:
        """One or more."""
        return [self.input] if isinstance(self.input, str) else list(self.input)
