"""The encoder beside the gateway, for programs that want what the embedder sees."""

from __future__ import annotations

import asyncio
import base64
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from services.gateway.forms.embeddings import EmbeddingsRequest
from services.gateway.requests import Problem
from shared.adapters.errors import AdapterError
from shared.contracts.tokens import tokens_in

if TYPE_CHECKING:
    from shared.adapters.onnx.encoder import OnnxEncoder


class OwnEncoder:
    """Loaded when it is first asked for."""

    def __init__(self, directory: Path | None, variant: str) -> None:
        self._directory = directory
        self._variant = variant
        self._thread = ThreadPoolExecutor(1, "embedding")
        self._encoder: OnnxEncoder | None = None

    @property
    def name(self) -> str:
        """What requests call it."""
        return self._directory.name if self._directory is not None else self._variant

    def has(self, model: str) -> bool:
        """Whether a request means this encoder."""
        return model in {self.name, f"pointsman/{self.name}"} or (
            self._encoder is not None and model == self._encoder.identity.id
        )

    async def embed(self, asked: EmbeddingsRequest) -> dict[str, Any]:
        """Raises `Problem` where there is no encoder here."""
        texts = asked.texts()
        loop = asyncio.get_running_loop()
        try:
            vectors = await loop.run_in_executor(self._thread, self._encode, texts)
        except (ImportError, OSError, AdapterError) as error:
            missing = isinstance(error, ImportError)
            reason = "onnxruntime is not installed here" if missing else str(error)
            raise Problem(503, f"the gateway can't embed: {reason}", kind="server_error") from None
        tokens = sum(map(tokens_in, texts))
        form = asked.encoding_format
        data = [
            {"object": "embedding", "index": place, "embedding": _written(vector, form)}
            for place, vector in enumerate(vectors)
        ]
        usage = {"prompt_tokens": tokens, "total_tokens": tokens, "cost": 0.0, "estimated": True}
        return {"object": "list", "data": data, "model": asked.model, "usage": usage}

    def _encode(self, texts: list[str]) -> Any:
        if self._encoder is None:
            from shared.adapters.onnx.load import load

            self._encoder = load(self._directory, self._variant, "cpu", 1)
        return self._encoder.encode(texts)

    def close(self) -> None:
        """Let go of its thread."""
        self._thread.shutdown(cancel_futures=True)


def _written(vector: Any, form: str) -> list[float] | str:
    numbers = np.asarray(vector, "<f4")
    return base64.b64encode(numbers.tobytes()).decode() if form == "base64" else numbers.tolist()
