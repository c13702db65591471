"""Encoders: the graph that is built agrees with the arithmetic written down again in numpy, and bad
directories are named."""

import json
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import onnx
import onnxruntime
import pytest
from tokenizers import Tokenizer, models, pre_tokenizers, processors

from shared.adapters.errors import EncoderInvalid
from shared.adapters.onnx import bert, prepare
from shared.adapters.onnx.encoder import PADDING, OnnxEncoder, groups
from shared.adapters.onnx.load import load
from shared.catalog.tasks.points import beside
from shared.routing.deciding.table import Encoder

CONFIG = {
    "hidden_size": 8,
    "num_attention_heads": 2,
    "num_hidden_layers": 2,
    "layer_norm_eps": 1e-12,
    "max_position_embeddings": 32,
    "pad_token_id": 0,
}
WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "translate", "a", "notice", "fix", "the", "bug"]


def random_bert(seed: int = 0) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(seed)
    draw = lambda *shape: rng.normal(0, 0.3, shape).astype(np.float32)  # noqa: E731
    weights = {
        "embeddings.word_embeddings.weight": draw(len(WORDS), 8),
        "embeddings.position_embeddings.weight": draw(32, 8),
    }
    weights |= {
        "embeddings.token_type_embeddings.weight": draw(2, 8),
        "embeddings.LayerNorm.weight": draw(8),
        "embeddings.LayerNorm.bias": draw(8),
    }
    for layer in range(2):
        p = f"encoder.layer.{layer}"
        parts = {
            "attention.self.query": (8, 8),
            "attention.self.key": (8, 8),
            "attention.self.value": (8, 8),
            "attention.output.dense": (8, 8),
        }
        for name, shape in (
            parts | {"intermediate.dense": (16, 8), "output.dense": (8, 16)}
        ).items():
            weights |= {f"{p}.{name}.weight": draw(*shape), f"{p}.{name}.bias": draw(shape[0])}
        for name in ("attention.output.LayerNorm", "output.LayerNorm"):
            weights |= {f"{p}.{name}.weight": draw(8), f"{p}.{name}.bias": draw(8)}
    return weights


def by_hand(w: dict[str, np.ndarray], ids: list[int]) -> np.ndarray:
    """One text through BERT, mean pooling and normalisation, in float64 and without batches."""
    from math import erf

    def norm(x: np.ndarray, p: str) -> np.ndarray:
        return (x - x.mean(-1, keepdims=True)) / np.sqrt(x.var(-1, keepdims=True) + 1e-12) * w[
            f"{p}.weight"
        ] + w[f"{p}.bias"]

    def linear(x: np.ndarray, p: str) -> np.ndarray:
        return x @ w[f"{p}.weight"].T + w[f"{p}.bias"]

    x = (
        w["embeddings.word_embeddings.weight"][ids].astype(float)
        + w["embeddings.position_embeddings.weight"][: len(ids)]
    )
    x = norm(x + w["embeddings.token_type_embeddings.weight"][0], "embeddings.LayerNorm")
    for layer in range(2):
        p = f"encoder.layer.{layer}"
        heads = [
            linear(x, f"{p}.attention.self.{n}").reshape(-1, 2, 4).transpose(1, 0, 2)
            for n in ("query", "key", "value")
        ]
        logits = heads[0] @ heads[1].transpose(0, 2, 1) / 2.0
        weight = np.exp(logits - logits.max(-1, keepdims=True))
        mixed = (
            (weight / weight.sum(-1, keepdims=True) @ heads[2]).transpose(1, 0, 2).reshape(-1, 8)
        )
        x = norm(
            linear(mixed, f"{p}.attention.output.dense") + x, f"{p}.attention.output.LayerNorm"
        )
        up = linear(x, f"{p}.intermediate.dense")
        gelu = up * 0.5 * (1 + np.vectorize(erf)(up / np.sqrt(2)))
        x = norm(linear(gelu, f"{p}.output.dense") + x, f"{p}.output.LayerNorm")
    mean = x.mean(0)
    return mean / np.linalg.norm(mean)


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    onnx.save(bert.build(random_bert(), CONFIG), tmp_path / "model.onnx")
    (tmp_path / "config.json").write_text(json.dumps(CONFIG))
    tokenizer = Tokenizer(
        models.WordLevel({word: i for i, word in enumerate(WORDS)}, unk_token="[UNK]")
    )
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    tokenizer.save(str(tmp_path / "tokenizer.json"))
    return tmp_path


TEXTS = ["translate a notice", "fix the bug", "a", "the the the bug a notice translate"]


def test_the_graph_agrees_with_the_arithmetic_whatever_the_batch(directory: Path) -> None:
    encoder = OnnxEncoder(directory, "cpu", threads=2, batch=3)
    together = encoder.encode(TEXTS)
    assert together.shape == (4, 8)
    assert together.dtype == np.float32
    for text, vector, ids in zip(TEXTS, together, encoder.tokens(TEXTS), strict=True):
        np.testing.assert_allclose(vector, by_hand(random_bert(), ids), atol=2e-6)
        np.testing.assert_allclose(vector, encoder.encode([text])[0], atol=2e-6)


def test_a_graph_without_pooling_is_pooled_outside_and_pooling_can_be_put_inside(
    directory: Path,
) -> None:
    """What optimum exports: the first output is (batch, tokens, hidden)."""
    inside = OnnxEncoder(directory, "cpu").encode(TEXTS)
    model = onnx.load(directory / "model.onnx")
    last = "encoder.layer.1.output.LayerNorm"
    kept = [n for n in model.graph.node if not n.name.startswith(("pool.", "sentence_embedding"))]
    del model.graph.node[:], model.graph.output[:]
    model.graph.node.extend(kept)
    used = {name for node in kept for name in node.input}
    weights = [w for w in model.graph.initializer if w.name in used]
    del model.graph.initializer[:]
    model.graph.initializer.extend(weights)
    model.graph.output.append(
        onnx.helper.make_tensor_value_info(last, onnx.TensorProto.FLOAT, ["batch", "tokens", 8])
    )
    onnx.save(model, directory / "model.onnx")
    np.testing.assert_allclose(OnnxEncoder(directory, "cpu").encode(TEXTS), inside, atol=2e-6)
    onnx.save(bert.append_pooling(model), directory / "model.onnx")
    assert (
        onnxruntime.InferenceSession(directory / "model.onnx").get_outputs()[0].name
        == "sentence_embedding"
    )
    np.testing.assert_allclose(OnnxEncoder(directory, "cpu").encode(TEXTS), inside, atol=2e-6)


def test_an_encoder_without_a_card_is_named_by_its_config_and_its_bytes(directory: Path) -> None:
    identity = OnnxEncoder(directory, "cpu").identity
    assert identity.id == directory.name
    assert len(identity.revision) == 16
    onnx.save(bert.build(random_bert(1), CONFIG), directory / "model.onnx")
    assert OnnxEncoder(directory, "cpu").identity != identity


def test_bad_directories_say_what_is_missing(directory: Path, tmp_path: Path) -> None:
    with pytest.raises(EncoderInvalid, match="pointsman model prepare"):
        OnnxEncoder(tmp_path / "nowhere")
    (directory / "tokenizer.json").write_text("{}")
    with pytest.raises(EncoderInvalid, match="no tokenizer"):
        OnnxEncoder(directory, "cpu")
    (directory / "model.onnx").write_bytes(b"not a graph")
    with pytest.raises(EncoderInvalid, match="can't be loaded"):
        OnnxEncoder(directory, "cpu")


def test_cuda_that_is_asked_for_and_missing_is_an_error_and_auto_is_not(directory: Path) -> None:
    if "CUDAExecutionProvider" in onnxruntime.get_available_providers():
        pytest.skip("there is CUDA here")
    assert OnnxEncoder(directory, "auto").provider == "cpu"
    with pytest.raises(EncoderInvalid, match="extra `gpu`"):
        OnnxEncoder(directory, "cuda")


@pytest.mark.filterwarnings("ignore:Specified provider")
def test_cuda_that_is_there_and_can_not_be_used_is_an_error_and_not_a_slow_cpu(
    directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """onnxruntime for CUDA names it wherever it is installed, and without a driver or CUDA's
    libraries it goes on with the CPU."""
    if "CUDAExecutionProvider" in onnxruntime.get_available_providers():
        pytest.skip("there is CUDA here")
    monkeypatch.setattr(
        onnxruntime,
        "get_available_providers",
        lambda: ["CUDAExecutionProvider", "CPUExecutionProvider"],
    )
    assert OnnxEncoder(directory, "auto").provider == "cpu"
    with pytest.raises(EncoderInvalid, match="driver 580"):
        OnnxEncoder(directory, "cuda")


def test_weights_that_are_not_the_published_ones_are_not_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("POINTSMAN_HOME", str(tmp_path / "home"))
    (tmp_path / "model.safetensors").write_bytes(b"other weights")
    with pytest.raises(EncoderInvalid, match="not the published weights"):
        prepare.prepare("minilm-fp32", tmp_path)
    assert not list((tmp_path / "home").rglob("model.onnx"))


def test_the_default_encoder_int8_stays_close_to_fp32_and_puts_like_with_like() -> None:
    """DESIGN.md: int8 with per-channel weights is at cosine 0.993 to fp32."""
    texts = [
        "Translate a contract into French.",
        "Render this letter in German.",
        "Find the bug in a Python function.",
        "Why does my code crash?",
    ]
    fp32, int8 = (load(None, variant) for variant in ("fp32", "int8"))
    exact, quick = fp32.encode(texts), int8.encode(texts)
    assert (exact * quick).sum(axis=1).min() > 0.97
    assert fp32.identity != int8.identity
    assert fp32.identity.dimension == 384
    likeness = exact @ exact.T
    assert likeness[0, 1] > likeness[0, 2]
    assert likeness[2, 3] > likeness[2, 0]


@pytest.mark.parametrize(
    ("revision", "variant"),
    [("1571fc-83f6e55a-r1", "tasks1-int8"), ("1571fc-33a5ca16-r2", "tasks2-int8")],
)
def test_a_table_of_a_task_encoder_before_finds_that_encoder_and_its_tasks(
    revision: str, variant: str
) -> None:
    """Tables of 2026-11-26 and 2026-11-27 name these revisions; what they were made from must not
    change."""
    before = Encoder("pointsman/e5-small-tasks", revision, 384, "mean", "int8")
    assert prepare.variant_of(before) == variant
    assert load(None, variant).identity == before
    assert load(None, "int8").identity.revision != before.revision
    assert "Translate legal text" in beside(f"{before.id}@{before.revision}").names


@pytest.mark.parametrize("name", prepare.VARIANTS)
def test_a_variant_is_found_again_by_what_its_encoder_calls_itself(name: str) -> None:
    wanted = prepare.Variant.named(name)
    id_, revision = prepare.ID, f"{prepare.WEIGHTS_SHA256[:12]}-{wanted.revision}"
    if wanted.training is not None:
        id_, revision = "pointsman/e5-small-tasks", wanted.revision
    encoder = Encoder(id_, revision, 384, "mean", wanted.quantization)
    assert prepare.variant_of(encoder) == name


def test_a_pruned_layer_has_the_heads_and_neurons_of_its_weights() -> None:
    """A head that gives nothing and a neuron that nobody reads may as well be cut."""
    whole = random_bert()
    for layer in range(2):
        p = f"encoder.layer.{layer}"
        whole[f"{p}.attention.output.dense.weight"][:, 4:] = 0
        whole[f"{p}.output.dense.weight"][:, 10:] = 0
    pruned = dict(whole)
    for layer in range(2):
        p = f"encoder.layer.{layer}"
        for part in ("query", "key", "value"):
            for kind in ("weight", "bias"):
                name = f"{p}.attention.self.{part}.{kind}"
                pruned[name] = whole[name][:4]
        for name in (f"{p}.intermediate.dense.weight", f"{p}.intermediate.dense.bias"):
            pruned[name] = whole[name][:10]
        name = f"{p}.attention.output.dense.weight"
        pruned[name] = whole[name][:, :4]
        name = f"{p}.output.dense.weight"
        pruned[name] = whole[name][:, :10]
    ids = np.array([[2, 4, 5, 6, 3]], np.int64)
    feed = {"input_ids": ids, "attention_mask": np.ones_like(ids)}
    before, after = (
        onnxruntime.InferenceSession(bert.build(w, CONFIG).SerializeToString()).run(None, feed)[0]
        for w in (whole, pruned)
    )
    np.testing.assert_allclose(after, before, atol=1e-6)


def test_an_int8_text_has_one_vector_whatever_it_comes_with() -> None:
    """Dynamic quantization scales a whole tensor: in one run with others a text's vector would
    depend on them."""
    encoder = load(None, "int8")
    texts = [
        "Translate a contract into French.",
        "Why does my code crash?",
        "a",
        "Write " + "a long poem about the sea " * 20,
    ]
    together, turned = encoder.encode(texts), encoder.encode(texts[::-1])[::-1]
    for text, vector, other in zip(texts, together, turned, strict=True):
        np.testing.assert_array_equal(vector, encoder.encode([text])[0])
        np.testing.assert_array_equal(vector, other)


def test_half_precision_stays_with_full_and_pools_in_full() -> None:
    """For GPUs; here it runs on the CPU, which computes in half precision what it can."""
    texts = [
        "Translate a contract into French.",
        "Find the bug in a Python function.",
        "word " * 300,
    ]
    full, half = load(None, "fp32", "cpu"), load(None, "fp16", "cpu")
    exact, short = full.encode(texts), half.encode(texts)
    assert short.dtype == np.float32
    assert (exact * short).sum(axis=1).min() > 0.9999
    np.testing.assert_allclose(np.linalg.norm(short, axis=1), 1.0, atol=1e-6)
    assert half.identity.quantization == "fp16"
    assert half.identity != full.identity


def test_what_a_gpu_would_get_gives_the_same_vectors(directory: Path) -> None:
    """Lengths in steps, batches by tokens: what CUDA gets, run on the CPU."""
    plain, stepped = OnnxEncoder(directory, "cpu"), OnnxEncoder(directory, "cpu", threads=1)
    stepped._tokens = 24
    shapes: list[tuple[int, ...]] = []
    run = stepped._session.run

    def noting(names: list[str], feed: dict[str, np.ndarray]) -> list[np.ndarray]:
        shapes.append(feed["input_ids"].shape)
        return run(names, feed)

    stepped._session = SimpleNamespace(run=noting)
    texts = TEXTS * 3
    np.testing.assert_allclose(stepped.encode(texts), plain.encode(texts), atol=1e-6)
    assert all(length % 8 == 0 for _, length in shapes)
    assert sum(rows for rows, _ in shapes) == len(texts)
    assert max(rows for rows, _ in shapes) > 1


def test_rows_run_together_are_of_like_length_and_each_runs_once() -> None:
    lengths = [3, 40, 4, 41, 3, 8, 300, 9, 3]
    found = groups(lengths, most=2)
    assert sorted(row for group in found for row in group) == list(range(len(lengths)))
    assert all(len(group) <= 2 for group in found)
    assert all(
        lengths[row] <= (1 + PADDING) * min(lengths[i] for i in group)
        for group in found
        for row in group
    )
    assert len(groups([7] * 10, most=64)) == 1
    assert len(groups([7] * 10, most=5)) == 2
    assert groups([], most=4) == []
    by_tokens = groups([10, 10, 11, 12, 12, 100], most=64, tokens=36)
    assert [len(group) for group in by_tokens] == [3, 2, 1], "a text longer than that runs alone"


def test_onnxruntime_sends_no_telemetry() -> None:
    """It does by default since it can on Linux, and what it reads is set before it is imported."""
    code = (
        "import os, sys, shared.adapters.onnx; assert 'onnxruntime' not in sys.modules; "
        "print(os.environ['ORT_DISABLE_TELEMETRY'])"
    )
    environment = {k: v for k, v in os.environ.items() if k != "ORT_DISABLE_TELEMETRY"}
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, env=environment
    )
    assert done.stdout.strip() == "1"


@pytest.mark.export
@pytest.mark.filterwarnings("default")
def test_the_default_graph_agrees_with_transformers() -> None:
    import torch
    from transformers import AutoModel

    source = prepare._package()
    model = AutoModel.from_pretrained(source).eval()
    for variant, layers in (("minilm-fp32", prepare.LAYERS), ("fp32-whole", 6)):
        encoder = load(None, variant, "cpu")
        for text in ("Translate a contract into French.", "Hi", "word " * 400):
            ids = torch.tensor([encoder.tokens([text])[0]])
            with torch.no_grad():
                found = model(
                    input_ids=ids, attention_mask=torch.ones_like(ids), output_hidden_states=True
                )
            hidden = found.hidden_states[layers].mean(1)[0].numpy()
            np.testing.assert_allclose(
                encoder.encode([text])[0], hidden / np.linalg.norm(hidden), atol=1e-5
            )


@pytest.mark.export
@pytest.mark.filterwarnings("default")
@pytest.mark.parametrize("kind", ["DistilBert", "Albert", "Bert"])
def test_real_architectures_are_exported_by_optimum(kind: str, tmp_path: Path) -> None:
    """A DistilBERT of full size (6 layers, 768) with random weights; small ALBERT and BERT."""
    import torch
    import transformers

    source = prepare._package()
    sizes = {
        "DistilBert": {},
        "Albert": {
            "hidden_size": 64,
            "num_attention_heads": 4,
            "intermediate_size": 128,
            "embedding_size": 32,
        },
        "Bert": {
            "hidden_size": 64,
            "num_attention_heads": 4,
            "intermediate_size": 128,
            "num_hidden_layers": 2,
        },
    }
    torch.manual_seed(0)
    config = getattr(transformers, f"{kind}Config")(vocab_size=30522, **sizes[kind])
    model = getattr(transformers, f"{kind}Model")(config).eval()
    model.save_pretrained(tmp_path / "in")
    transformers.PreTrainedTokenizerFast(
        tokenizer_file=str(source / "tokenizer.json"), pad_token="[PAD]"
    ).save_pretrained(tmp_path / "in")
    target = prepare.export(str(tmp_path / "in"), tmp_path / "out", "fp32")
    encoder = OnnxEncoder(target, "cpu")
    text = "Translate a legal notice from German into plain English."
    ids = torch.tensor([encoder.tokens([text])[0]])
    with torch.no_grad():
        hidden = (
            model(input_ids=ids, attention_mask=torch.ones_like(ids))
            .last_hidden_state.mean(1)[0]
            .numpy()
        )
    np.testing.assert_allclose(
        encoder.encode([text, "short"])[0], hidden / np.linalg.norm(hidden), atol=1e-5
    )
    assert encoder.identity.dimension == (768 if kind == "DistilBert" else 64)
    small = OnnxEncoder(prepare.export(str(tmp_path / "in"), tmp_path / "out8", "int8"), "cpu")
    assert (small.encode([text])[0] * encoder.encode([text])[0]).sum() > 0.9


def test_a_long_text_is_read_as_far_as_its_tokens_reach() -> None:
    encoder = load(None, "int8", "cpu")
    short = "Translate this into French. " * 200
    long = "\n  " + short + "word " * 40_000
    np.testing.assert_array_equal(encoder.encode([short[:8000]]), encoder.encode([long]))
    np.testing.assert_array_equal(encoder.encode([" " * 9000 + "Hi"]), encoder.encode(["Hi"]))
