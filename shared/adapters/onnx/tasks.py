"""The task encoder, the default: the first layers of multilingual-e5-small with what the library of
tasks taught them (`shared.adapters.onnx.training`), as one ONNX graph.

Its embedding has two parts: first what is asked, then the rest (how hard the text is, what it is
about). A table may be made of the whole or of either.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from shared.adapters.errors import EncoderInvalid
from shared.adapters.onnx import e5
from shared.routing.deciding.projection import TASK, TASK_SHARE

if TYPE_CHECKING:
    import onnx

ID = "pointsman/e5-small-tasks"
MAX_TOKENS = 256
MAX_CHARS = 8192
"""Of a text, before it is cut into tokens: more than 256 tokens take, and a long prompt costs no
more than a short one."""
GENERAL = 256
"""Numbers of the part that tells the rest; all of 384 route no better."""


@dataclass(frozen=True, slots=True)
class Training:
    """One training of the encoder. Each is a space of its own."""

    learnt: Path
    """What it wrote."""
    layers: int
    recipe: int
    """Raise it when the way from weights to graph changes: then the space changes too."""
    from_base: int
    """Layers of the base to which `learnt` adds. It holds the others itself."""


FIRST = Training(Path(__file__).with_name("task_encoder_1.safetensors"), 3, 1, 3)
"""The first three layers, whole. Tables of 2026-11-26 are of its space."""
SECOND = Training(Path(__file__).with_name("task_encoder_2.safetensors"), 6, 2, 0)
"""The first six, pruned to the cost of three. Some tables of 2026-11-27 are of its space."""
LATEST = Training(Path(__file__).with_name("task_encoder_3.safetensors"), 6, 2, 0)
"""The same, fine-tuned with the lessons. Written by `pointsman model train-tasks`."""


@cache
def revision(training: Training = LATEST) -> str:
    """Names the space: base, what was learnt, and the recipe."""
    try:
        digest = hashlib.sha256(training.learnt.read_bytes()).hexdigest()
    except OSError as error:
        raise EncoderInvalid(f"{training.learnt} can't be read: {error.strerror}") from None
    return f"{e5.SHA256[:6]}-{digest[:8]}-r{training.recipe}"


def base(source: Path | None, training: Training = LATEST) -> e5.Checkpoint:
    """The base model as this training needs it, from a file or the installed package. Raises
    `EncoderInvalid`."""
    return e5.read(source or e5.installed(), training.from_base)


def config(base: e5.Checkpoint, training: Training = LATEST) -> dict[str, Any]:
    """As the checkpoint's config.json, with the layers that are run."""
    return {**base.config, "num_hidden_layers": training.layers}


def build(
    base: e5.Checkpoint, training: Training = LATEST, *, half: bool = False
) -> onnx.ModelProto:
    """The graph. Raises `EncoderInvalid` for a learnt file that belongs to another base."""
    from shared.adapters.onnx import bert

    learnt = read_learnt(base, training.learnt)
    weights = dict(base.weights)
    for name, value in learnt.items():
        weights[name] = value + weights[name] if name in weights else value
    heads = [
        bert.Head(part, learnt[f"{part}.weight"], learnt[f"{part}.bias"], share)
        for part, share in (("task", TASK_SHARE), ("general", 1.0 - TASK_SHARE))
    ]
    assert len(heads[0].bias) == TASK
    return bert.build(weights, config(base, training), half=half, heads=heads)


def read_learnt(base: e5.Checkpoint, learnt: Path) -> Mapping[str, Any]:
    """What was learnt, by the name of the weight, as float32."""
    from safetensors import safe_open

    with safe_open(learnt, "numpy") as file:
        of = (file.metadata() or {}).get("base")
        if of != base.digest:
            raise EncoderInvalid(
                f"{learnt} was learnt for other weights ({of}) than these ({base.digest})"
            )
        return {name: file.get_tensor(name).astype(np.float32) for name in file.keys()}  # noqa: SIM118
