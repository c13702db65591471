"""A BERT encoder as an ONNX graph, built from its weights without torch.

The graph takes ``input_ids`` and ``attention_mask`` (batch, tokens) int64 and gives
``sentence_embedding`` (batch, hidden) float32. These are mean-pooled over the attended tokens and
L2-normalised, all inside the session. Layer and weight names follow the published checkpoint (BERT,
arXiv 1810.04805; mean pooling as in Sentence-BERT, arXiv 1908.10084). Segment embeddings are folded
into the word embeddings, since a single text has only segment 0."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from onnx import TensorProto, helper, numpy_helper

Weights = Mapping[str, npt.NDArray[np.float32]]

OPSET = 20  # the first with Gelu; onnxruntime 1.17 and later read it
# added to the attention logits of padding: enough for a softmax, and half precision ends at 65,504
MASKED = -1e4


class _Graph:
    """Collects nodes and initializers; every method returns the name of what it made. `real`:
    float32, or float16 for half precision."""

    def __init__(self, real: type[np.floating[Any]] = np.float32) -> None:
        self.real = real
        self.nodes: list[onnx.NodeProto] = []
        self.constants: dict[str, onnx.TensorProto] = {}

    def constant(
        self, name: str, value: npt.NDArray[Any], real: type[np.floating[Any]] | None = None
    ) -> str:
        if name not in self.constants:
            floating = np.issubdtype(value.dtype, np.floating)
            stored = value.astype(real or self.real) if floating else value
            self.constants[name] = numpy_helper.from_array(np.asarray(stored, order="C"), name)
        return name

    @property
    def kind(self) -> int:
        """`real` as ONNX calls it."""
        return int(helper.np_dtype_to_tensor_dtype(np.dtype(self.real)))

    def node(self, operator: str, *inputs: str, name: str, **attributes: Any) -> str:
        self.nodes.append(helper.make_node(operator, list(inputs), [name], name=name, **attributes))
        return name

    def linear(
        self, x: str, weight: npt.NDArray[np.float32], bias: npt.NDArray[np.float32], name: str
    ) -> str:
        product = self.node(
            "MatMul", x, self.constant(f"{name}.weight", weight.T), name=f"{name}.matmul"
        )
        return self.node("Add", product, self.constant(f"{name}.bias", bias), name=name)

    def layer_norm(self, x: str, weights: Weights, prefix: str, epsilon: float) -> str:
        return self.node(
            "LayerNormalization",
            x,
            self.constant(f"{prefix}.scale", weights[f"{prefix}.weight"]),
            self.constant(f"{prefix}.shift", weights[f"{prefix}.bias"]),
            name=prefix,
            axis=-1,
            epsilon=epsilon,
        )


@dataclass(frozen=True, eq=False, slots=True)
class Head:
    """A part of the embedding: ``share`` of its squared length, ``weight`` (dimension, hidden) and
    ``bias`` (dimension,) float32 on the mean of the tokens."""

    name: str
    weight: npt.NDArray[np.float32]
    bias: npt.NDArray[np.float32]
    share: float


def build(
    weights: Weights,
    config: Mapping[str, Any],
    *,
    half: bool = False,
    heads: Sequence[Head] = (),
) -> onnx.ModelProto:
    """Build the graph of a ``BertModel`` checkpoint.

    ``weights`` maps checkpoint names to float32 arrays; ``config`` is the checkpoint's config.json.
    A pruned layer may have fewer heads and neurons than ``config`` says: its weights decide.
    ``half``: layers in float16, as GPUs are fastest at; pooling stays in float32. ``heads``: what
    the embedding is made of, one behind the other, their shares summing to 1; without any it is the
    mean itself. Raises ``KeyError`` naming the weight that is missing.
    """
    g = _Graph(np.float16 if half else np.float32)
    epsilon = float(config["layer_norm_eps"])
    x = _embeddings(g, weights, epsilon)
    mask = _attention_mask(g)
    for layer in range(int(config["num_hidden_layers"])):
        x = _layer(
            g,
            x,
            mask,
            weights,
            f"encoder.layer.{layer}",
            int(config["hidden_size"]) // int(config["num_attention_heads"]),
            epsilon,
        )
    if half:
        x = g.node("Cast", x, name="pool.wide", to=TensorProto.FLOAT)
    pooled = pool_and_normalise(g, x, heads)
    ids, attention = (
        helper.make_tensor_value_info(n, TensorProto.INT64, ["batch", "tokens"])
        for n in ("input_ids", "attention_mask")
    )
    out = helper.make_tensor_value_info(
        pooled,
        TensorProto.FLOAT,
        ["batch", sum(len(head.bias) for head in heads) or int(config["hidden_size"])],
    )
    graph = helper.make_graph(g.nodes, "bert", [ids, attention], [out], list(g.constants.values()))
    model = helper.make_model(
        graph, opset_imports=[helper.make_opsetid("", OPSET)], producer_name="pointsman"
    )
    model.ir_version = 9
    onnx.checker.check_model(model)
    return model


def _embeddings(g: _Graph, weights: Weights, epsilon: float) -> str:
    words = (
        weights["embeddings.word_embeddings.weight"]
        + weights["embeddings.token_type_embeddings.weight"][0]
    )
    tokens = g.node("Gather", g.constant("words", words), "input_ids", name="embeddings.words")
    shape = g.node("Shape", "input_ids", name="shape")
    length = g.node("Gather", shape, g.constant("one", np.array(1, np.int64)), name="length")
    positions = g.node(
        "Range", g.constant("zero", np.array(0, np.int64)), length, "one", name="positions"
    )
    table = g.constant("places", weights["embeddings.position_embeddings.weight"])
    places = g.node("Gather", table, positions, name="embeddings.places")
    summed = g.node("Add", tokens, places, name="embeddings.sum")
    return g.layer_norm(summed, weights, "embeddings.LayerNorm", epsilon)


def _attention_mask(g: _Graph) -> str:
    """(batch, 1, 1, tokens): 0 where attended, a large negative number where padded."""
    wide = g.node(
        "Unsqueeze",
        "attention_mask",
        g.constant("axes_1_2", np.array([1, 2], np.int64)),
        name="mask.wide",
    )
    real = g.node("Cast", wide, name="mask.float", to=g.kind)
    inverse = g.node("Sub", g.constant("one_f", np.array(1, np.float32)), real, name="mask.inverse")
    return g.node(
        "Mul", inverse, g.constant("masked", np.array(MASKED, np.float32)), name="mask.bias"
    )


def _layer(
    g: _Graph, x: str, mask: str, weights: Weights, p: str, head_size: int, epsilon: float
) -> str:
    """A layer with as many heads and neurons as its weights have."""
    inner = weights[f"{p}.attention.self.query.weight"].shape[0]
    split = g.constant(f"split.{inner}", np.array([0, 0, inner // head_size, head_size], np.int64))
    merged_shape = g.constant(f"merge.{inner}", np.array([0, 0, inner], np.int64))

    def projected(part: str, order: list[int]) -> str:
        name = f"{p}.attention.self.{part}"
        line = g.linear(x, weights[f"{name}.weight"], weights[f"{name}.bias"], name)
        return g.node(
            "Transpose",
            g.node("Reshape", line, split, name=f"{name}.heads"),
            name=f"{name}.t",
            perm=order,
        )

    query = projected("query", [0, 2, 1, 3])
    key = projected("key", [0, 2, 3, 1])
    value = projected("value", [0, 2, 1, 3])
    logits = g.node("MatMul", query, key, name=f"{p}.logits")
    scaled = g.node(
        "Div",
        logits,
        g.constant("root", np.array(np.sqrt(head_size), np.float32)),
        name=f"{p}.scaled",
    )
    probability = g.node(
        "Softmax", g.node("Add", scaled, mask, name=f"{p}.masked"), name=f"{p}.probability", axis=-1
    )
    mixed = g.node("MatMul", probability, value, name=f"{p}.mixed")
    back = g.node("Transpose", mixed, name=f"{p}.back", perm=[0, 2, 1, 3])
    merged = g.node("Reshape", back, merged_shape, name=f"{p}.merged")
    out = f"{p}.attention.output"
    attended = g.linear(
        merged, weights[f"{out}.dense.weight"], weights[f"{out}.dense.bias"], f"{out}.dense"
    )
    x = g.layer_norm(
        g.node("Add", attended, x, name=f"{out}.sum"), weights, f"{out}.LayerNorm", epsilon
    )

    up = g.linear(
        x,
        weights[f"{p}.intermediate.dense.weight"],
        weights[f"{p}.intermediate.dense.bias"],
        f"{p}.intermediate",
    )
    wide = g.node("Gelu", up, name=f"{p}.gelu")
    down = g.linear(
        wide,
        weights[f"{p}.output.dense.weight"],
        weights[f"{p}.output.dense.bias"],
        f"{p}.output.dense",
    )
    return g.layer_norm(
        g.node("Add", down, x, name=f"{p}.output.sum"), weights, f"{p}.output.LayerNorm", epsilon
    )


def pool_and_normalise(g: _Graph, hidden: str, heads: Sequence[Head] = ()) -> str:
    """Append the mean over attended tokens, the heads, and the L2 norm; returns
    ``sentence_embedding``."""
    last = g.constant("pool.axis_last", np.array([-1], np.int64))
    weight = g.node(
        "Cast",
        g.node("Unsqueeze", "attention_mask", last, name="pool.mask"),
        name="pool.weight",
        to=TensorProto.FLOAT,
    )
    tokens = g.constant("pool.axis_tokens", np.array([1], np.int64))
    weighted = g.node("Mul", hidden, weight, name="pool.kept")
    total = g.node("ReduceSum", weighted, tokens, name="pool.total", keepdims=0)
    count = g.node("ReduceSum", weight, tokens, name="pool.count", keepdims=0)
    mean = g.node("Div", total, count, name="pool.mean")
    if not heads:
        return g.node("LpNormalization", mean, name="sentence_embedding", axis=-1, p=2)
    parts = [_part(g, mean, head) for head in heads]
    return g.node("Concat", *parts, name="sentence_embedding", axis=-1)


def _part(g: _Graph, mean: str, head: Head) -> str:
    """A head's part of the embedding. Gemm, so that quantization, which looks for MatMul, leaves
    the few numbers of a head as they are."""
    name = f"head.{head.name}"
    line = g.node(
        "Gemm",
        mean,
        g.constant(f"{name}.weight", head.weight, np.float32),
        g.constant(f"{name}.bias", head.bias, np.float32),
        name=f"{name}.line",
        transB=1,
    )
    unit = g.node("LpNormalization", line, name=f"{name}.unit", axis=-1, p=2)
    length = g.constant(f"{name}.length", np.array(np.sqrt(head.share)), np.float32)
    return g.node("Mul", unit, length, name=name)


def append_pooling(model: onnx.ModelProto) -> onnx.ModelProto:
    """An exported encoder with `pool_and_normalise` behind its first output, which becomes its only
    one."""
    g = _Graph()
    pooled = pool_and_normalise(g, model.graph.output[0].name)
    hidden = model.graph.output[0].type.tensor_type.shape.dim[-1].dim_value
    model.graph.node.extend(g.nodes)
    model.graph.initializer.extend(g.constants.values())
    del model.graph.output[:]
    model.graph.output.append(
        helper.make_tensor_value_info(pooled, TensorProto.FLOAT, ["batch", hidden or "hidden"])
    )
    onnx.checker.check_model(model)
    return model


def append_heads(model: onnx.ModelProto, pooled: str, heads: Sequence[Head]) -> onnx.ModelProto:
    """An encoder with heads on its embedding `pooled`; the result takes its name."""
    g = _Graph()
    before = f"{pooled}.before"
    for node in model.graph.node:
        if node.name == pooled:
            node.name = before
        for names in (node.input, node.output):
            for i, name in enumerate(names):
                if name == pooled:
                    names[i] = before
    parts = [_part(g, before, head) for head in heads]
    g.node("Concat", *parts, name=pooled, axis=-1)
    model.graph.node.extend(g.nodes)
    model.graph.initializer.extend(g.constants.values())
    del model.graph.output[:]
    model.graph.output.append(
        helper.make_tensor_value_info(
            pooled, TensorProto.FLOAT, ["batch", sum(len(head.bias) for head in heads)]
        )
    )
    onnx.checker.check_model(model)
    return model
