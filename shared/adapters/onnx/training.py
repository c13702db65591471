"""Training the task encoder: the first layers of multilingual-e5-small learn from the library of
tasks what is asked, for any topic and language.

Needs torch and transformers (the extra `export`); nothing at run time does. What is learnt is one
safetensors file: what the layers changed by, and two heads on the mean of their tokens.

- The task head puts prompts of one task and its descriptions together, for any topic and
  language. Its losses are supervised contrastive learning (Khosla et al., arXiv 2004.11362), and a
  softmax over all tasks with a learnt vector for each.
- The general head is distilled from the first three layers of all-MiniLM-L6-v2, the earlier
  encoder (docs/decisions/0002-encoder.md), on English text and code. The task alone does not say
  how hard a prompt is.

Learns from the `train` prompts only, and never from a task that is kept whole.
"""

from __future__ import annotations

import importlib.metadata
import json
import math
import random
import sysconfig
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from shared.adapters.onnx.e5 import LAYERS, Checkpoint
from shared.adapters.onnx.encoder import pad
from shared.adapters.onnx.tasks import GENERAL
from shared.catalog.tasks import Task
from shared.routing.deciding.projection import TASK


@dataclass(frozen=True, slots=True)
class Schedule:
    """How long and how fast is learnt. The defaults made the encoder that ships."""

    steps: int = 750
    tasks: int = 32
    """Tasks of a batch, half of them of one family, whose tasks are hardest to distinguish."""
    prompts: int = 3
    """Prompts of each of them, beside one of its descriptions."""
    others: int = 48
    """Texts of a batch from which the general head learns."""
    rate: float = 2.5e-4
    head_rate: float = 1e-3
    temperature: float = 0.07
    tokens: int = 96
    general: float = 4.0
    """Weight of the general head's loss."""
    seed: int = 0


Say = Callable[[str], None]


def train(
    base: Checkpoint,
    teacher: Callable[[Sequence[str]], np.ndarray[Any, Any]],
    library: Sequence[Task],
    target: Path,
    schedule: Schedule,
    say: Say,
) -> None:
    """Train, and write the learnt file. `teacher`: texts to (n, 384), what the general head is to
    tell."""
    import torch
    from safetensors.torch import save_file

    random.seed(schedule.seed)
    torch.manual_seed(schedule.seed)
    known = [task for task in library if not task.kept]
    say(f"{len(known)} tasks, {sum(len(t.train) for t in known)} prompts")
    texts = sorted(set(other_texts(schedule.seed)) | {p for t in known for p in t.train})
    say(f"{len(texts)} texts for the general head: asking the teacher")
    taught = torch.from_numpy(np.asarray(teacher(texts), np.float32))
    model, before = _model(base)
    task_head = torch.nn.Linear(base.hidden, TASK)
    general_head = torch.nn.Linear(base.hidden, taught.shape[1])
    proxies = torch.nn.Parameter(torch.randn(len(known), TASK) / math.sqrt(TASK))
    heads = [*task_head.parameters(), *general_head.parameters(), proxies]
    layers = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(
        [{"params": layers, "lr": schedule.rate}, {"params": heads, "lr": schedule.head_rate}],
        weight_decay=0.01,
    )
    pace = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, [schedule.rate, schedule.head_rate], total_steps=schedule.steps, pct_start=0.1
    )
    pooled = _Pooled(model, base, schedule.tokens)
    draw = random.Random(schedule.seed)
    batches = _batches(known, schedule, draw)
    for step in range(schedule.steps):
        labels, prompts = next(batches)
        rows = draw.sample(range(len(texts)), schedule.others)
        points = pooled([*prompts, *(texts[i] for i in rows)])
        asked = torch.nn.functional.normalize(task_head(points[: len(prompts)]), dim=1)
        told = torch.nn.functional.normalize(general_head(points[len(prompts) :]), dim=1)
        where = torch.tensor(labels)
        contrast = _contrast(asked, where, schedule.temperature)
        classes = asked @ torch.nn.functional.normalize(proxies, dim=1).T / schedule.temperature
        named = torch.nn.functional.cross_entropy(classes, where)
        apart = 1 - (told * taught[rows]).sum(dim=1).mean()
        loss = contrast + named + schedule.general * apart
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(layers, 1.0)
        optimizer.step()
        pace.step()
        if step % 25 == 0 or step == schedule.steps - 1:
            say(
                f"step {step} of {schedule.steps}: contrast {contrast.item():.3f}, "
                f"tasks {named.item():.3f}, general {apart.item():.3f}"
            )
    model.eval()
    learnt = {
        name: parameter.detach() - before[name]
        for name, parameter in model.named_parameters()
        if parameter.requires_grad
    }
    with torch.no_grad():
        axes = _axes(general_head(pooled(texts[:4000:2], every=64)).numpy())
    learnt["task.weight"] = task_head.weight.detach()
    learnt["task.bias"] = task_head.bias.detach()
    learnt["general.weight"] = torch.from_numpy(axes) @ general_head.weight.detach()
    learnt["general.bias"] = torch.from_numpy(axes) @ general_head.bias.detach()
    save_file(
        {name: value.half().contiguous() for name, value in learnt.items()},
        target,
        {"schedule": json.dumps(asdict(schedule)), "base": base.digest},
    )


def other_texts(seed: int) -> list[str]:
    """Text and code that is on every machine that trains: Python's library, and what the pinned
    packages say of themselves."""
    draw = random.Random(seed)
    pieces: list[str] = []
    root = Path(sysconfig.get_paths()["stdlib"])
    for path in sorted(root.glob("*.py")) + sorted(root.glob("[a-z]*/*.py")):
        if "test" not in path.as_posix() and "site-packages" not in path.parts:
            pieces += _pieces(path.read_text("utf-8", "replace"))
    code = draw.sample(pieces, 3000)
    said = sorted(
        piece
        for distribution in importlib.metadata.distributions()
        for piece in _pieces(str(distribution.metadata.json.get("description") or ""))
    )
    return code + draw.sample(said, min(3000, len(said)))


def _pieces(text: str, least: int = 80, most: int = 420) -> Iterator[str]:
    """Paragraphs, the short ones together."""
    held = ""
    for paragraph in text.split("\n\n"):
        held = f"{held}\n\n{paragraph}" if held else paragraph
        if len(held) >= least:
            yield held.strip()[:most]
            held = ""


def _batches(
    known: Sequence[Task], schedule: Schedule, draw: random.Random
) -> Iterator[tuple[list[int], list[str]]]:
    """Labels and texts: some prompts of each task, and one of its descriptions or its name."""
    families = sorted({task.family for task in known})
    of_family = {f: [i for i, t in enumerate(known) if t.family == f] for f in families}
    weights = [len(of_family[f]) for f in families]
    while True:
        family = of_family[draw.choices(families, weights)[0]]
        near = draw.sample(family, min(len(family), schedule.tasks // 2))
        others = draw.sample(range(len(known)), schedule.tasks)
        chosen = list(dict.fromkeys([*near, *others]))[: schedule.tasks]
        labels: list[int] = []
        texts: list[str] = []
        for i in chosen:
            task = known[i]
            said = draw.choice([*task.descriptions, *task.sentences, task.name])
            drawn = [*draw.sample(task.train, schedule.prompts), said]
            texts += drawn
            labels += [i] * len(drawn)
        yield labels, texts


def _contrast(points: Any, labels: Any, temperature: float) -> Any:
    """Supervised contrastive loss over a batch (n, dimension) of unit vectors with labels (n,)."""
    import torch

    itself = torch.eye(len(points), dtype=torch.bool)
    alike = (points @ points.T / temperature).masked_fill(itself, -1e9)
    same = (labels[:, None] == labels[None]) & ~itself
    share = alike - torch.logsumexp(alike, dim=1, keepdim=True)
    return -((share * same).sum(dim=1) / same.sum(dim=1).clamp(min=1)).mean()


def _model(base: Checkpoint) -> tuple[Any, dict[str, Any]]:
    """The base's layers, whose word embeddings stay as they are; and what they were."""
    import torch
    from transformers import BertConfig, BertModel

    model = BertModel(
        BertConfig(**{**base.config, "num_hidden_layers": LAYERS}), add_pooling_layer=False
    )
    weights = {name: torch.from_numpy(value) for name, value in base.weights.items()}
    model.load_state_dict(weights, strict=False)
    model.embeddings.requires_grad_(False)
    model.train()
    before = {name: value.detach().clone() for name, value in model.named_parameters()}
    return model, before


class _Pooled:
    """Texts to the mean of their tokens (n, hidden), in groups of like length."""

    def __init__(self, model: Any, base: Checkpoint, tokens: int) -> None:
        self._model = model
        self._tokenizer = base.tokenizer(tokens)
        self._pad = int(base.config["pad_token_id"])

    def __call__(self, texts: Sequence[str], every: int = 32) -> Any:
        import torch

        lines = [e.ids for e in self._tokenizer.encode_batch(list(texts))]
        order = sorted(range(len(lines)), key=lambda i: len(lines[i]))
        points = []
        for start in range(0, len(order), every):
            group = [lines[i] for i in order[start : start + every]]
            ids, mask = map(torch.from_numpy, pad(group, self._pad))
            with torch.autocast("cpu", torch.bfloat16):
                hidden = self._model(input_ids=ids, attention_mask=mask).last_hidden_state
            hidden = hidden.float()
            points.append((hidden * mask[..., None]).sum(1) / mask.sum(1, keepdim=True))
        back = torch.empty(len(order), dtype=torch.long)
        back[torch.tensor(order)] = torch.arange(len(order))
        return torch.cat(points)[back]


def _axes(points: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """(GENERAL, width) float32: the main axes of what the general head tells."""
    points = points / np.linalg.norm(points, axis=1, keepdims=True)
    _, vectors = np.linalg.eigh(points.T @ points)
    axes: np.ndarray[Any, Any] = vectors[:, ::-1][:, :GENERAL].T.astype(np.float32)
    return axes
