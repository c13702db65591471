"""A task head for an exported encoder: a linear map on its embedding, put into its graph.

The map is learnt from the library of tasks; the encoder stays unchanged."""

from __future__ import annotations

import hashlib
import json
import math
import random
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from shared.adapters.errors import EncoderInvalid
from shared.adapters.onnx.encoder import CARD, POOLED, OnnxEncoder
from shared.adapters.onnx.prepare import fresh
from shared.adapters.onnx.tasks import GENERAL
from shared.catalog.tasks import Task
from shared.routing.deciding.projection import TASK, TASK_SHARE

STEPS = 1500
BATCH = 512
TEMPERATURE = 0.07


def with_task_head(
    encoder: OnnxEncoder,
    source: Path,
    target: Path,
    library: Sequence[Task],
    seed: int,
    say: Callable[[str], None],
) -> None:
    """Write `target`: the encoder of `source` with a task part before what it told itself. Raises
    `EncoderInvalid`."""
    if target.exists():
        raise EncoderInvalid(f"{target} exists already; remove it or name another directory")
    if not encoder.pooled:
        raise EncoderInvalid(
            f"{source} does not pool in its graph; export it with `pointsman model export`"
        )
    known = [task for task in library if not task.kept]
    lines = [(i, p) for i, t in enumerate(known) for p in (*t.train, *t.descriptions, t.name)]
    say(f"embedding {len(lines)} prompts and descriptions of {len(known)} tasks")
    points = encoder.encode([line for _, line in lines])
    say("learning the head")
    weight, bias = _learnt(points, np.array([i for i, _ in lines]), seed)
    middle = points.mean(axis=0)
    _, axes = np.linalg.eigh((points - middle).T @ (points - middle))
    general = axes[:, ::-1][:, :GENERAL].T.astype(np.float32)
    card = json.loads((source / CARD).read_text()) if (source / CARD).exists() else {}
    digest = hashlib.sha256(weight.tobytes() + bias.tobytes() + general.tobytes()).hexdigest()
    card |= {
        "id": f"{encoder.identity.id}+tasks",
        "revision": f"{encoder.identity.revision[:16]}-{digest[:8]}",
    }
    with fresh(target) as making:
        shutil.copytree(source, making, dirs_exist_ok=True)
        _append(making / "model.onnx", (weight, bias), (general, -general @ middle))
        (making / CARD).write_text(json.dumps(card, indent=2) + "\n")


def _learnt(
    points: np.ndarray[Any, Any], labels: np.ndarray[Any, Any], seed: int
) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    """(TASK, dimension) and (TASK,): a softmax over the tasks by cosine with a learnt vector of
    each."""
    import torch

    torch.manual_seed(seed)
    draw = random.Random(seed)
    given = torch.from_numpy(points)
    which = torch.from_numpy(labels)
    count = int(which.max()) + 1
    head = torch.nn.Linear(given.shape[1], TASK)
    proxies = torch.nn.Parameter(torch.randn(count, TASK) / math.sqrt(TASK))
    optimizer = torch.optim.AdamW([*head.parameters(), proxies], lr=3e-3, weight_decay=0.05)
    pace = torch.optim.lr_scheduler.OneCycleLR(optimizer, 3e-3, total_steps=STEPS)
    for _ in range(STEPS):
        rows = torch.tensor(draw.sample(range(len(given)), min(BATCH, len(given))))
        noisy = given[rows] + 0.02 * torch.randn(len(rows), given.shape[1])
        asked = torch.nn.functional.normalize(head(noisy), dim=1)
        classes = asked @ torch.nn.functional.normalize(proxies, dim=1).T / TEMPERATURE
        loss = torch.nn.functional.cross_entropy(classes, which[rows], label_smoothing=0.05)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        pace.step()
    with torch.no_grad():
        return head.weight.numpy().copy(), head.bias.numpy().copy()


def _append(
    path: Path,
    task: tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]],
    general: tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]],
) -> None:
    import onnx

    from shared.adapters.onnx import bert

    model = onnx.load(path)
    heads = [
        bert.Head("task", *task, TASK_SHARE),
        bert.Head("general", *general, 1.0 - TASK_SHARE),
    ]
    onnx.save(bert.append_heads(model, POOLED, heads), path)
