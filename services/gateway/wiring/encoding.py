"""The encoder beside the gateway, for programs that want what the embedder sees."""

from __future__ import annotations

import asyncio
import base64
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from services.gateway import FLOW
from services.gateway.answering import unanswered
from services.gateway.forms.embeddings import EmbeddingsRequest
from services.gateway.requests import Problem, parse
from services.gateway.wiring.serving import HttpCall
from shared.adapters.errors import AdapterError
from shared.adapters.telemetry import SPENT
from shared.catalog.models import CatalogError
from shared.contracts.errors import ModelUnavailable
from shared.contracts.messages import to_json
from shared.contracts.spending import Spent
from shared.contracts.topics import SPENDING

if TYPE_CHECKING:
    from services.gateway.wiring.endpoints import Gateway
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
        if texts is None:
            raise Problem(
                400, f"{asked.model} embeds texts; send no tokens of another model", param="input"
            )
        loop = asyncio.get_running_loop()
        try:
            vectors = await loop.run_in_executor(self._thread, self._encode, texts)
        except (ImportError, OSError, AdapterError) as error:
            missing = isinstance(error, ImportError)
            reason = "onnxruntime is not installed here" if missing else str(error)
            raise Problem(503, f"the gateway can't embed: {reason}", kind="server_error") from None
        tokens = asked.tokens()
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


async def embed(gateway: Gateway, call: HttpCall) -> None:
    """Texts embedded: here, by the embedder's own encoder, or by a model of the catalogue."""
    asked: EmbeddingsRequest = parse(EmbeddingsRequest, call.body)
    if gateway.encoders.has(asked.model):
        await call.say(200, await gateway.encoders.embed(asked))
        return
    catalog = gateway.catalog()
    try:
        model = catalog.model(asked.model)
    except CatalogError:
        model = None
    if model is None or model.kind != "embedding":
        names = [
            gateway.encoders.name,
            *(m.name for m in catalog.models.values() if m.kind == "embedding"),
        ]
        raise Problem(
            404,
            f"nothing called {asked.model[:80]!r} embeds here; there is {', '.join(names)}",
            code="model_not_found",
            param="model",
        )
    expected = model.price.cost_usd(asked.tokens(), 0)
    held = await gateway.reserved(call.key, expected)
    cost = expected  # also if the client leaves
    try:
        body = asked.model_dump(exclude_unset=True, exclude={"model"})
        came, cost = await gateway.models.embed(model.name, body, gateway.settings.answer_s)
    except ModelUnavailable as error:
        cost = 0.0
        raise unanswered([(model.name, error)]) from None
    finally:
        if held is not None:
            gateway.later(held.settle(cost))
    SPENT.labels(FLOW.name, model.name).inc(cost)
    spent = Spent(
        request_id=call.request_id,
        spender=call.key.name,
        model=model.name,
        cost_usd=cost,
        expected=False,
        simulated=False,
        at=datetime.now(UTC),
    )
    gateway.later(gateway.replies.publish(SPENDING, to_json(spent), spent.key))
    headers = {"x-pointsman-model": model.name, "x-pointsman-cost-usd": f"{cost:.8f}"}
    await call.say(200, came | {"model": model.name}, headers)
