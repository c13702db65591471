"""An encoder in optimum's layout (`model.onnx`, `tokenizer.json`, `config.json`), run by ONNX
Runtime."""

from __future__ import annotations

import hashlib
import json
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import onnxruntime
from tokenizers import Tokenizer

from shared.adapters.cores import allowed_cores
from shared.adapters.errors import EncoderInvalid
from shared.routing.deciding.table import Array, Encoder

Provider = Literal["auto", "cpu", "cuda"]
CARD = "pointsman.json"
"""Our own file beside the graph: what optimum's layout does not say."""
POOLED = "sentence_embedding"
PADDING = 0.25
"""The fraction of its own length by which a row may be padded before it starts another group."""
GPU_TOKENS = 16_384
"""On an H100 larger batches gain nothing (docs/performance.md)."""
GPU_STEP = 8
"""Lengths on a GPU are rounded up to multiples of this. It gives fewer shapes, and suits the matrix
units."""
Ids = npt.NDArray[np.int64]
CPU, CUDA = "CPUExecutionProvider", "CUDAExecutionProvider"
CUDA_OPTIONS = {"use_tf32": "0"}
"""fp32 is what it is on a CPU: one name, one space. Who wants it faster takes fp16."""


class OnnxEncoder:
    """Texts to embeddings. `encode` may be called from any one thread at a time.

    `identity` names the space; `provider` the execution provider that is live.
    """

    def __init__(
        self,
        directory: Path,
        provider: Provider = "auto",
        threads: int = 0,
        batch: int = 64,
        gpu_tokens: int = GPU_TOKENS,
    ) -> None:
        """Load a directory. `threads` texts are run side by side on a CPU, 0 for all cores; a GPU
        gets up to `gpu_tokens` at once.

        Raises `EncoderInvalid`.
        """
        config = _json(
            directory / "config.json",
            "an encoder directory has model.onnx, tokenizer.json and config.json",
        )
        card = json.loads((directory / CARD).read_text()) if (directory / CARD).exists() else {}
        self._session = _session(directory / "model.onnx", provider)
        self._inputs = {i.name for i in self._session.get_inputs()}
        outputs = [o.name for o in self._session.get_outputs()]
        self.pooled = POOLED in outputs
        """Whether the graph itself makes one vector of a text's tokens."""
        self._output = POOLED if self.pooled else outputs[0]
        self._tokenizer = _tokenizer(
            directory,
            int(card.get("max_tokens") or min(256, config.get("max_position_embeddings", 512))),
        )
        self._chars = int(card["max_chars"]) if "max_chars" in card else None
        self._pad = int(config.get("pad_token_id") or 0)
        self._batch = batch
        self.provider = "cuda" if CUDA in self._session.get_providers() else "cpu"
        self._tokens = gpu_tokens if self.provider == "cuda" else None
        # int8 scales a whole tensor of activations at once: beside others a text would get another
        # vector, and at times another model
        self._alone = card.get("quantization") == "int8"
        self._threads = 1 if self.provider == "cuda" else threads or allowed_cores()
        self._beside = (
            ThreadPoolExecutor(self._threads - 1, "encoder") if self._threads > 1 else None
        )
        self.identity = Encoder(
            id=str(card.get("id") or config.get("_name_or_path") or directory.name),
            revision=str(card.get("revision") or _digest(directory / "model.onnx")),
            dimension=self.probe(),
            pooling="mean",
            quantization=str(card.get("quantization") or "none"),
        )

    def encode(self, texts: Sequence[str]) -> Array:
        """(n, dimension) float32, L2-normalised, for n texts in any order; batched by length
        inside."""
        encodings = self._tokenizer.encode_batch(
            [text.lstrip()[: self._chars] for text in texts] if self._chars else list(texts)
        )
        result = np.empty((len(texts), self.identity.dimension), np.float32)
        most = 1 if self._alone else min(self._batch, -(-len(texts) // self._threads))
        left = groups([rounded(len(e.ids), self._step) for e in encodings], most, self._tokens)

        def run() -> None:
            while True:
                try:
                    rows = (
                        left.pop()
                    )  # the longest first, so that none is left alone with them at the end
                except IndexError:
                    return
                result[rows] = self._run([encodings[i].ids for i in rows])

        helpers = (
            [self._beside.submit(run) for _ in range(min(self._threads, len(left)) - 1)]
            if self._beside
            else []
        )
        run()
        for helper in helpers:
            helper.result()
        return result

    def tokens(self, texts: Sequence[str]) -> list[list[int]]:
        """Token ids as the graph gets them, cut to the encoder's length; for benchmarks beside the
        bare runtime."""
        return [e.ids for e in self._tokenizer.encode_batch(list(texts))]

    def _run(self, ids: Sequence[Sequence[int]]) -> Array:
        padded, mask = pad(ids, self._pad, self._step)
        feed: dict[str, Ids] = {"input_ids": padded, "attention_mask": mask}
        if "token_type_ids" in self._inputs:
            feed["token_type_ids"] = np.zeros_like(padded)
        out: Array = self._session.run([self._output], feed)[0]
        return out if self._output == POOLED else mean_pool(out, mask)

    @property
    def _step(self) -> int:
        return 1 if self._tokens is None else GPU_STEP

    def probe(self) -> int:
        """Run one text: it must give one vector of finite numbers. Returns its dimension; raises
        `EncoderInvalid`."""
        try:
            vector = self._run([self._tokenizer.encode("probe").ids])
        except Exception as error:
            if self.provider == "cuda":
                raise EncoderInvalid(
                    f"the GPU does not run the encoder ({type(error).__name__}): it is gone, too "
                    "old, or its memory is full; or set "
                    "POINTSMAN_EMBEDDER_PROVIDER=cpu"
                ) from None
            raise EncoderInvalid(
                f"the graph does not run as an encoder ({type(error).__name__}); export it with "
                "`pointsman model export`"
            ) from None
        if vector.ndim != 2 or len(vector) != 1 or not np.isfinite(vector).all():
            raise EncoderInvalid(
                f"the graph gives an array of shape {vector.shape}, not one vector a text; export "
                "it for feature extraction"
            )
        return int(vector.shape[1])


def groups(lengths: Sequence[int], most: int, tokens: int | None = None) -> list[list[int]]:
    """Rows that are run together: sorted by length, at most this many, with at most this many
    tokens, and none padded by more than `PADDING`.

    A row costs what the longest of its group costs, and small groups cost little more a row than
    large ones."""
    order = sorted(range(len(lengths)), key=lambda i: lengths[i])
    batches: list[list[int]] = []
    for row in order:
        full = (
            not batches
            or len(batches[-1]) == most
            or (tokens is not None and (len(batches[-1]) + 1) * lengths[row] > tokens)
        )
        if full or lengths[row] > (1 + PADDING) * lengths[batches[-1][0]]:
            batches.append([])
        batches[-1].append(row)
    return batches


def rounded(length: int, step: int) -> int:
    """Up to the next multiple of `step`."""
    return -(-length // step) * step


def pad(ids: Sequence[Sequence[int]], pad_id: int, step: int = 1) -> tuple[Ids, Ids]:
    """Token ids of n texts as (n, longest) int64, the longest rounded up to a multiple of `step`;
    and their attention mask."""
    longest = rounded(max(len(line) for line in ids), step)
    padded = np.full((len(ids), longest), pad_id, np.int64)
    mask = np.zeros((len(ids), longest), np.int64)
    for row, line in enumerate(ids):
        padded[row, : len(line)] = line
        mask[row, : len(line)] = 1
    return padded, mask


def mean_pool(hidden: Array, mask: Ids) -> Array:
    """(n, tokens, dim) and (n, tokens) to (n, dim): mean over attended tokens, L2-normalised."""
    if hidden.ndim != 3:
        return hidden
    weight = mask[..., None].astype(np.float32)
    mean = (hidden * weight).sum(axis=1) / np.maximum(weight.sum(axis=1), 1e-9)
    pooled: Array = (mean / np.maximum(np.linalg.norm(mean, axis=1, keepdims=True), 1e-12)).astype(
        np.float32
    )
    return pooled


def _session(path: Path, provider: Provider) -> onnxruntime.InferenceSession:
    """One thread an inference: threads that share one wait for each other, which takes a quarter
    more CPU than runs side by side."""
    if not path.exists():
        raise EncoderInvalid(
            f"there is no {path}; `pointsman model prepare` makes the default encoder"
        )
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 3
    there = CUDA in onnxruntime.get_available_providers()
    if provider == "cuda" and not there:
        raise EncoderInvalid(
            "this onnxruntime has no CUDA; install the extra `gpu` in place of `cpu`, or set "
            "POINTSMAN_EMBEDDER_PROVIDER=cpu"
        )
    try:
        if provider != "cpu" and there:
            with redirect_stdout(
                sys.stderr
            ):  # it prints what it does not find, and that it goes on without
                onnxruntime.preload_dlls(
                    msvc=False
                )  # CUDA's libraries lie in packages of their own, where the loader does not look
                session = onnxruntime.InferenceSession(
                    str(path), options, providers=[(CUDA, CUDA_OPTIONS), CPU]
                )
            if (
                CUDA in session.get_providers()
            ):  # where it can't be used onnxruntime goes on without
                return session
        if provider != "cuda":
            # fused with the addition before it, the layer norm is six times slower than both
            # (onnxruntime 1.32, AVX2)
            return onnxruntime.InferenceSession(
                str(path), options, providers=[CPU], disabled_optimizers=["SkipLayerNormFusion"]
            )
    except Exception as error:
        raise EncoderInvalid(
            f"{path} can't be loaded ({type(error).__name__}); export it again with `pointsman "
            "model export`"
        ) from None
    raise EncoderInvalid(
        "onnxruntime found no usable GPU, and says above what is missing. It needs "
        "NVIDIA's driver 580 or later, in a container NVIDIA's runtime too, and the extra `gpu`. "
        "Or set POINTSMAN_EMBEDDER_PROVIDER=cpu"
    )


def _tokenizer(directory: Path, max_tokens: int) -> Any:
    path = directory / "tokenizer.json"
    try:
        tokenizer = Tokenizer.from_file(str(path))
    except Exception:  # tokenizers raises bare Exception
        raise EncoderInvalid(f"{path} is no tokenizer of the tokenizers library") from None
    tokenizer.no_padding()
    tokenizer.enable_truncation(max_tokens)
    return tokenizer


def _json(path: Path, advice: str) -> dict[str, Any]:
    try:
        value: dict[str, Any] = json.loads(path.read_text())
    except (OSError, ValueError):
        raise EncoderInvalid(
            f"{path} can't be read; {advice}. `pointsman model prepare` makes the default one"
        ) from None
    return value


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()[:16]
