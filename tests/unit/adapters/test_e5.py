"""The task encoder's base: read from the package's file, and no other."""

from __future__ import annotations

import hashlib
import struct
from pathlib import Path

import numpy as np
import pytest

from shared.adapters.errors import EncoderInvalid
from shared.adapters.onnx import bert, e5

HIDDEN, WIDE, LAYERS, PLACES = 32, 64, 4, 8
PIECES = [("<s>", 0.0), ("<pad>", 0.0), ("</s>", 0.0), ("<unk>", 0.0), ("▁a", -1.0), ("b", -2.0)]
SCALE = 0.25


def blocks(rng: np.random.Generator, rows: int, width: int) -> tuple[bytes, np.ndarray]:
    """A matrix in four bits, and what it says."""
    numbers = rng.integers(0, 16, (rows * width // 32, 32))
    packed = b"".join(
        np.float16(SCALE).tobytes() + bytes(int(n[j]) | int(n[j + 16]) << 4 for j in range(16))
        for n in numbers
    )
    return packed, ((numbers - 8) * SCALE).reshape(rows, width).astype(np.float32)


def written(path: Path) -> dict[str, np.ndarray]:
    """A small model in the file's layout; returns its matrices."""
    rng = np.random.default_rng(0)
    text = "".join(piece for piece, _ in PIECES).encode()
    ends = np.cumsum([0, *(len(piece.encode()) for piece, _ in PIECES)]).astype("<u4")
    head = b"E5S1" + struct.pack(
        "<I7ifi", 1, HIDDEN, LAYERS, 4, WIDE, len(PIECES), PLACES, 2, 1e-12, 32
    )
    head += struct.pack("<5iQ", len(PIECES), 0, 2, 1, 3, len(text)) + ends.tobytes()
    head += np.array([score for _, score in PIECES], "<f4").tobytes() + text
    head += struct.pack("<iI", 1, 5) + struct.pack("<IB", 9, 0)
    parts: dict[str, bytes] = {}
    said: dict[str, np.ndarray] = {}

    def matrix(name: str, rows: int, width: int) -> None:
        parts[name], said[name] = blocks(rng, rows, width)

    def plain(name: str, count: int) -> None:
        said[name] = rng.normal(size=count).astype("<f4")
        parts[name] = said[name].tobytes()

    matrix("emb.word", len(PIECES), HIDDEN)
    for name, count in (
        ("pos", PLACES * HIDDEN),
        ("type", 2 * HIDDEN),
        ("ln.w", HIDDEN),
        ("ln.b", HIDDEN),
    ):
        plain(f"emb.{name}", count)
    for layer in range(LAYERS):
        for name in ("q", "k", "v", "ao"):
            matrix(f"l{layer}.{name}.w", HIDDEN, HIDDEN)
            plain(f"l{layer}.{name}.b", HIDDEN)
        matrix(f"l{layer}.fi.w", WIDE, HIDDEN)
        plain(f"l{layer}.fi.b", WIDE)
        matrix(f"l{layer}.fo.w", HIDDEN, WIDE)
        for name in ("fo.b", "aln.w", "aln.b", "oln.w", "oln.b"):
            plain(f"l{layer}.{name}", HIDDEN)
    size = len(head) + 4 + sum(2 + len(name) + 21 for name in parts)
    directory, data = struct.pack("<i", len(parts)), b""
    for name, content in parts.items():
        directory += struct.pack("<H", len(name)) + name.encode()
        directory += struct.pack("<BIQQ", 0, 0, size + len(data), len(content))
        data += content
    path.write_bytes(head + directory + data)
    return said


@pytest.fixture
def small(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Path, dict[str, np.ndarray]]:
    path = tmp_path / e5.FILE
    said = written(path)
    monkeypatch.setattr(e5, "SHA256", hashlib.sha256(path.read_bytes()).hexdigest())
    monkeypatch.setattr(e5, "PIECES", 5)
    return path, said


def test_the_first_layers_and_pieces_are_read(small: tuple[Path, dict[str, np.ndarray]]) -> None:
    path, said = small
    base = e5.read(path, 3)
    assert (base.config["num_hidden_layers"], base.config["vocab_size"]) == (3, 5)
    assert base.pieces == tuple(PIECES[:5])
    words = base.weights["embeddings.word_embeddings.weight"]
    np.testing.assert_array_equal(words, said["emb.word"][:5])
    narrow = base.weights["encoder.layer.2.output.dense.weight"]
    np.testing.assert_array_equal(narrow, said["l2.fo.w"])
    np.testing.assert_array_equal(
        base.weights["encoder.layer.1.attention.output.LayerNorm.bias"], said["l1.aln.b"]
    )
    assert not any("layer.3" in name for name in base.weights)
    assert base.tokenizer().encode("a\n\x07 a").tokens == ["<s>", "▁a", "▁a", "</s>"]
    assert len(base.tokenizer(3).encode("a a a a").ids) == 3


def test_another_file_is_not_used(small: tuple[Path, dict[str, np.ndarray]]) -> None:
    path, _ = small
    path.write_bytes(path.read_bytes()[:-1] + b"\0")
    with pytest.raises(EncoderInvalid, match="has sha256"):
        e5.read(path, 3)
    with pytest.raises(EncoderInvalid, match="can't be read"):
        e5.read(path.with_name("none.bin"), 3)


def test_heads_are_parts_of_an_embedding_of_length_1(
    small: tuple[Path, dict[str, np.ndarray]], tmp_path: Path
) -> None:
    import onnxruntime

    base = e5.read(small[0], 3)
    rng = np.random.default_rng(1)
    heads = [
        bert.Head(name, rng.normal(size=(size, HIDDEN)).astype(np.float32),
                  rng.normal(size=size).astype(np.float32), share)
        for name, size, share in (("task", 3, 0.8), ("general", 5, 0.2))
    ]  # fmt: skip
    ids = np.array([[0, 4, 4, 2]], np.int64)
    feed = {"input_ids": ids, "attention_mask": np.ones_like(ids)}

    def run(model: object) -> np.ndarray:
        session = onnxruntime.InferenceSession(model.SerializeToString())  # type: ignore[attr-defined]
        return session.run(None, feed)[0]

    bare = run(bert.build(base.weights, base.config))
    made = run(bert.build(base.weights, base.config, heads=heads))
    assert made.shape == (1, 8)
    assert (made[0, :3] ** 2).sum() == pytest.approx(0.8, abs=1e-5)
    assert (made**2).sum() == pytest.approx(1.0, abs=1e-5)
    later = run(
        bert.append_heads(bert.build(base.weights, base.config), "sentence_embedding", heads)
    )
    for part, head in ((later[0, :3], heads[0]), (later[0, 3:], heads[1])):
        line = head.weight @ bare[0] + head.bias
        np.testing.assert_allclose(
            part, line / np.linalg.norm(line) * np.sqrt(head.share), atol=1e-5
        )
