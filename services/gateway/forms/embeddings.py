"""OpenAI's Embeddings."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from shared.contracts.tokens import tokens_in

Text = Annotated[str, Field(min_length=1, max_length=100_000)]


class EmbeddingsRequest(BaseModel):
    """Texts to be embedded. Fields that are not named here go to the model untouched."""

    model_config = ConfigDict(
        frozen=True, strict=True, extra="allow", use_attribute_docstrings=True, allow_inf_nan=False
    )

    model: Annotated[str, Field(min_length=1, max_length=200)]
    """The encoder of the gateway, or an embedding model of `GET /v1/models`."""
    input: (
        Text
        | Annotated[list[Text], Field(min_length=1, max_length=2048)]
        | Annotated[list[int], Field(min_length=1, max_length=100_000)]
        | Annotated[list[list[int]], Field(min_length=1, max_length=2048)]
    )
    """Texts; tokens are passed on to a provider, and mean nothing to the gateway's encoder."""
    encoding_format: Literal["float", "base64"] = "float"

    def texts(self) -> list[str] | None:
        """One or more; None: they came as tokens."""
        if isinstance(self.input, str):
            return [self.input]
        texts = [one for one in self.input if isinstance(one, str)]
        return texts if len(texts) == len(self.input) else None

    def tokens(self) -> int:
        """About how many there are."""
        if (texts := self.texts()) is not None:
            return sum(map(tokens_in, texts))
        return sum(len(one) if isinstance(one, list) else 1 for one in self.input)
