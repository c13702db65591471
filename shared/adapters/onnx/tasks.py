"""The task encoder, the default: the first layers of multilingual-e5-small with what the library of
tasks taught them (`shared.adapters.onnx.training`), as one ONNX graph.

Its embedding has two parts: first what is asked, then the rest (how hard the text is, what it is
about). A table may be made of the whole or of either.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
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
RECIPE = 1
"""Raise it when the way from weights to graph changes: then the space changes too."""
MAX_TOKENS = 256
MAX_CHARS = 8192
"""Of a text, before it is cut into tokens: more than 256 tokens take, and a long prompt costs no
more than a short one."""
LEARNT = Path(__file__).with_name("task_encoder.safetensors")
"""Written by `pointsman model train-tasks`."""
GENERAL = 256
"""Numbers of the part that tells the rest; all of 384 route no better."""


@cache
def revision(learnt: Path = LEARNT) -> str:
    """Names the space: base, what was learnt, and the recipe."""
    try:
        digest = hashlib.sha256(learnt.read_bytes()).hexdigest()
    except OSError as error:
        raise EncoderInvalid(f"{learnt} can't be read: {error.strerror}") from None
    return f"{e5.SHA256[:6]}-{digest[:8]}-r{RECIPE}"


def build(base: e5.Checkpoint, learnt: Path = LEARNT, *, half: bool = False) -> onnx.ModelProto:
    """The graph. Raises `EncoderInvalid` for a learnt file that belongs to another base."""
    from shared.adapters.onnx import bert

    changes = read_learnt(base, learnt)
    weights = {
        name: value + changes[name] if name in changes else value
        for name, value in base.weights.items()
    }
    heads = [
        bert.Head(part, changes[f"{part}.weight"], changes[f"{part}.bias"], share)
        for part, share in (("task", TASK_SHARE), ("general", 1.0 - TASK_SHARE))
    ]
    assert len(heads[0].bias) == TASK
    return bert.build(weights, base.config, half=half, heads=heads)


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
