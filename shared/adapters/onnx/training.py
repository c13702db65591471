"""Training the task encoder: the first layers of multilingual-e5-small learn from the library of
tasks what is asked, for any topic and language; then they are pruned to half their cost.

Needs torch and transformers (the extra `export`); nothing at run time does. Runs on a GPU where
torch finds one. What is learnt is one safetensors file: the pruned layers, and two heads on the
mean of their tokens.

- The task head puts prompts of one task and its descriptions together, for any topic and
  language. Its losses are supervised contrastive learning (Khosla et al., arXiv 2004.11362), and a
  softmax over all tasks with a learnt vector for each.
- The general head is distilled from the first three layers of all-MiniLM-L6-v2, the earlier
  encoder (docs/decisions/0002-encoder.md), on English text and code. The task alone does not say
  how hard a prompt is.
- The pruned layers learn from the whole ones (`shared.adapters.onnx.pruning`).

Learns from the `train` prompts only, and never from a task that is kept whole.
"""

from __future__ import annotations

import importlib.metadata
import json
import math
import random
import sysconfig
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from shared.adapters.onnx.e5 import Checkpoint
from shared.adapters.onnx.encoder import pad
from shared.adapters.onnx.tasks import GENERAL
from shared.catalog.tasks import Task
from shared.routing.deciding.projection import TASK


@dataclass(frozen=True, slots=True)
class Schedule:
    """How long and how fast is learnt."""

    steps: int = 600
    """Of the whole layers."""
    pruned_steps: int = 1250
    """Of the pruned layers, after them."""
    tasks: int = 32
    """Tasks of a batch, half of them of one family, whose tasks are hardest to distinguish."""
    prompts: int = 3
    """Prompts of each of them, beside one of its descriptions."""
    others: int = 48
    """Texts of a batch from which the general head learns."""
    rate: float = 2.5e-4
    head_rate: float = 1e-3
    pruned_rate: float = 5e-4
    temperature: float = 0.07
    tokens: int = 96
    general: float = 4.0
    """Weight of the general head's loss."""
    heads: int = 6
    """Attention heads of a layer that stay, of 12."""
    neurons: int = 640
    """Neurons of a layer that stay, of 1,536."""
    seed: int = 0


Say = Callable[[str], None]
Teacher = Callable[[Sequence[str]], np.ndarray[Any, Any]]


def train(
    base: Checkpoint,
    teacher: Teacher,
    library: Sequence[Task],
    target: Path,
    schedule: Schedule,
    say: Say,
) -> None:
    """Train all layers of `base`, and write the learnt file. `teacher`: texts to (n, 384), what the
    general head is to tell."""
    import torch

    from shared.adapters.onnx.pruning import Distilling, prune

    random.seed(schedule.seed)
    torch.manual_seed(schedule.seed)
    lessons = Lessons(library, teacher, schedule, say)
    learner = TaskLearner(base, lessons, schedule)
    groups = [(learner.layers(), schedule.rate), (learner.heads(), schedule.head_rate)]
    for step in optimise(learner.model, groups, schedule.steps, learner.loss, dropout=True):
        say(f"whole layers, step {step}")
    whole = learner.frozen()
    say(f"pruning to {schedule.heads} heads and {schedule.neurons} neurons a layer")
    prune(learner, schedule.heads, schedule.neurons)
    say("asking the whole layers for what the pruned ones are to tell")
    distilling = Distilling(whole, learner)
    groups = [(part, schedule.pruned_rate) for part in (learner.layers(), learner.heads())]
    steps = schedule.pruned_steps
    for step in optimise(learner.model, groups, steps, distilling.loss, dropout=False):
        say(f"pruned layers, step {step}")
    save(learner.learnt(), target, schedule, base)


class Lessons:
    """What is learnt from: prompts of tasks, and texts with what the teacher says of them."""

    def __init__(
        self, library: Sequence[Task], teacher: Teacher, schedule: Schedule, say: Say
    ) -> None:
        self.known = [task for task in library if not task.kept]
        say(f"{len(self.known)} tasks, {sum(len(t.train) for t in self.known)} prompts")
        prompts = {prompt for task in self.known for prompt in task.train}
        self.others = sorted(set(other_texts(schedule.seed)) | prompts)
        say(f"{len(self.others)} texts for the general head: asking the teacher")
        self.taught = np.asarray(teacher(self.others), np.float32)
        self._schedule = schedule
        self._draw = random.Random(schedule.seed)
        families = sorted({task.family for task in self.known})
        self._of_family = [
            [i for i, task in enumerate(self.known) if task.family == family] for family in families
        ]

    def texts(self) -> list[str]:
        """Every text that a batch may hold."""
        said = {text for task in self.known for text in standing(task)}
        return sorted(said | set(self.others))

    def batch(self) -> tuple[list[int], list[str], list[int]]:
        """Labels, texts, and rows of other texts. The labels are of the first texts: some prompts
        of each task, and one of its descriptions or its name. The other texts follow."""
        schedule, draw = self._schedule, self._draw
        family = draw.choices(self._of_family, [len(tasks) for tasks in self._of_family])[0]
        near = draw.sample(family, min(len(family), schedule.tasks // 2))
        far = draw.sample(range(len(self.known)), min(len(self.known), schedule.tasks))
        labels: list[int] = []
        texts: list[str] = []
        for i in list(dict.fromkeys([*near, *far]))[: schedule.tasks]:
            task = self.known[i]
            drawn = [*draw.sample(task.train, schedule.prompts), draw.choice(standing(task))]
            texts += drawn
            labels += [i] * len(drawn)
        others = draw.sample(range(len(self.others)), schedule.others)
        return labels, [*texts, *(self.others[i] for i in others)], others


def standing(task: Task) -> list[str]:
    """The texts that stand for a task beside its prompts."""
    return [*task.descriptions, *task.sentences, task.name]


@dataclass(frozen=True, slots=True)
class Told:
    """What a model tells of a batch, as torch tensors."""

    labels: Any
    """(n,): the tasks of the first n texts."""
    asked: Any
    """(all texts, TASK), of length 1."""
    general: Any
    """(others, 384), of length 1."""
    taught: Any
    """(others, 384): what the general part should be."""


class TwoHeads:
    """Layers and both heads while they learn, on the GPU where there is one."""

    def __init__(self, model: Any, base: Checkpoint, tokens: int, task: Any, general: Any) -> None:
        """`task`, `general`: linear maps of a mean of tokens."""
        import torch

        self.device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        self.model = model.to(self.device)
        self.pooled = Pooled(self.model, base, tokens)
        self.task_head = task.to(self.device)
        self.general_head = general.to(self.device)

    def task_part(self, points: Any) -> Any:
        """(n, TASK), of length 1. `points`: means of tokens (n, hidden)."""
        import torch

        return torch.nn.functional.normalize(self.task_head(points), dim=1)

    def general_part(self, points: Any) -> Any:
        """(n, width of the general head), of length 1. `points`: means of tokens (n, hidden)."""
        import torch

        return torch.nn.functional.normalize(self.general_head(points), dim=1)

    def layers(self) -> list[Any]:
        return [p for p in self.model.parameters() if p.requires_grad]

    def heads(self) -> list[Any]:
        return [*self.task_head.parameters(), *self.general_head.parameters()]

    def learnt(self) -> dict[str, Any]:
        """The layers and both heads by name, as tensors."""
        found = {
            name: parameter.detach()
            for name, parameter in self.model.named_parameters()
            if parameter.requires_grad
        }
        for part, head in (("task", self.task_head), ("general", self.general_head)):
            found[f"{part}.weight"] = head.weight.detach()
            found[f"{part}.bias"] = head.bias.detach()
        return found


class TaskLearner(TwoHeads):
    """Whole or pruned layers while they learn from the library."""

    def __init__(self, base: Checkpoint, lessons: Lessons, schedule: Schedule) -> None:
        import torch

        super().__init__(
            bert_model(base, base.config),
            base,
            schedule.tokens,
            torch.nn.Linear(base.hidden, TASK),
            torch.nn.Linear(base.hidden, lessons.taught.shape[1]),
        )
        self.lessons = lessons
        self.schedule = schedule
        known = len(lessons.known)
        self._proxies = torch.nn.Parameter(
            torch.randn(known, TASK, device=self.device) / math.sqrt(TASK)
        )
        self._taught = torch.from_numpy(lessons.taught).to(self.device)

    def frozen(self) -> TaskLearner:
        """A copy that learns no more."""
        import copy

        shared = {id(part): part for part in (self.lessons, self._taught)}
        same = copy.deepcopy(self, shared)
        same.model.eval().requires_grad_(False)
        return same

    def heads(self) -> list[Any]:
        return [*super().heads(), self._proxies]

    def told(self, labels: Sequence[int], points: Any, others: Sequence[int]) -> Told:
        """What is told of a batch, from the means of tokens (n, hidden)."""
        import torch

        return Told(
            torch.tensor(labels, device=self.device),
            self.task_part(points),
            self.general_part(points[len(labels) :]),
            self._taught[others],
        )

    def loss(self) -> tuple[Any, str]:
        """Of a new batch."""
        labels, texts, others = self.lessons.batch()
        return self.judged(self.told(labels, self.pooled(texts), others))

    def judged(self, told: Told, supervised: float = 1.0) -> tuple[Any, str]:
        """The loss of what was told, and words for it."""
        import torch

        schedule = self.schedule
        asked = told.asked[: len(told.labels)]
        itself = torch.eye(len(asked), dtype=torch.bool, device=self.device)
        same = told.labels[:, None] == told.labels[None]
        contrast = contrasted(asked @ asked.T, same, itself, schedule.temperature)
        proxies = torch.nn.functional.normalize(self._proxies, dim=1)
        named = torch.nn.functional.cross_entropy(
            asked @ proxies.T / schedule.temperature, told.labels
        )
        apart = 1 - (told.general * told.taught).sum(dim=1).mean()
        loss = supervised * (contrast + named) + schedule.general * apart
        words = f"contrast {contrast:.3f}, tasks {named:.3f}, general {apart:.3f}"
        return loss, words

    def learnt(self) -> dict[str, Any]:
        """The layers and both heads by name; of the general head, only its main axes."""
        import torch

        found = super().learnt()
        texts = self.lessons.others[:4000:2]
        with torch.no_grad():
            axes = _axes(self.general_head(self.pooled(texts, every=64)).cpu().numpy())
        turned = torch.from_numpy(axes).to(self.device)
        return found | {name: turned @ found[name] for name in ("general.weight", "general.bias")}


def optimise(
    model: Any,
    groups: Sequence[tuple[list[Any], float]],
    count: int,
    loss: Callable[[], tuple[Any, str]],
    weight_decay: float = 0.01,
    *,
    dropout: bool,
) -> Iterator[str]:
    """Learn `count` steps by `loss`, each group of parameters at its rate; the first are the
    model's layers. Yields the losses every 25 steps."""
    import torch

    rates = [rate for _, rate in groups]
    optimizer = torch.optim.AdamW(
        [{"params": parameters, "lr": rate} for parameters, rate in groups],
        weight_decay=weight_decay,
    )
    pace = torch.optim.lr_scheduler.OneCycleLR(optimizer, rates, total_steps=count, pct_start=0.1)
    model.train(dropout)
    for step in range(count):
        value, words = loss()
        optimizer.zero_grad()
        value.backward()
        torch.nn.utils.clip_grad_norm_(groups[0][0], 1.0)
        optimizer.step()
        pace.step()
        if step % 25 == 0 or step == count - 1:
            yield f"{step} of {count}: {words}"
    model.eval()


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


def contrasted(alike: Any, positive: Any, ignored: Any, temperature: float) -> Any:
    """Supervised contrastive loss: the mean negative log of what the positives have of all that is
    not ignored. `alike`: cosines (n, m); `positive` and `ignored`: masks (n, m)."""
    import torch

    alike = (alike / temperature).masked_fill(ignored, -1e9)
    positive = positive & ~ignored
    share = alike - torch.logsumexp(alike, dim=1, keepdim=True)
    return -((share * positive).sum(dim=1) / positive.sum(dim=1).clamp(min=1)).mean()


def save(learnt: Mapping[str, Any], target: Path, schedule: Any, base: Checkpoint) -> None:
    """Write tensors in half precision, with the schedule (a dataclass) and the base they are of."""
    from safetensors.torch import save_file

    save_file(
        {name: value.half().contiguous().cpu() for name, value in learnt.items()},
        target,
        {"schedule": json.dumps(asdict(schedule)), "base": base.digest},
    )


def bert_model(base: Checkpoint, config: Mapping[str, Any]) -> Any:
    """The base's layers as `config` says; the word embeddings do not learn."""
    import torch
    from transformers import BertConfig, BertModel

    model = BertModel(BertConfig(**config), add_pooling_layer=False)
    weights = {name: torch.from_numpy(value) for name, value in base.weights.items()}
    model.load_state_dict(weights, strict=False)
    model.embeddings.requires_grad_(False)
    return model


class Pooled:
    """Texts to the mean of their tokens (n, hidden), in groups of like length."""

    def __init__(self, model: Any, base: Checkpoint, tokens: int) -> None:
        self._model = model
        self._tokenizer = base.tokenizer(tokens)
        self._pad = int(base.config["pad_token_id"])
        self._device = next(model.parameters()).device

    def __call__(
        self,
        texts: Sequence[str],
        every: int = 32,
        look: Callable[[list[int], Any, Any], None] | None = None,
    ) -> Any:
        """`look` is shown each group: the texts' indices, its tokens' mask (n, tokens), and the
        output of each layer, (layers, n, tokens, hidden)."""
        import torch

        lines = [e.ids for e in self._tokenizer.encode_batch(list(texts))]
        order = sorted(range(len(lines)), key=lambda i: len(lines[i]))
        points = []
        for start in range(0, len(order), every):
            group = order[start : start + every]
            ids, mask = (
                torch.from_numpy(array).to(self._device)
                for array in pad([lines[i] for i in group], self._pad)
            )
            with torch.autocast(self._device.type, torch.bfloat16):
                out = self._model(
                    input_ids=ids, attention_mask=mask, output_hidden_states=look is not None
                )
            if look is not None:
                look(group, mask.bool(), torch.stack(out.hidden_states[1:]))
            hidden = out.last_hidden_state.float()
            points.append((hidden * mask[..., None]).sum(1) / mask.sum(1, keepdim=True))
        back = torch.empty(len(order), dtype=torch.long, device=self._device)
        back[torch.tensor(order, device=self._device)] = torch.arange(
            len(order), device=self._device
        )
        return torch.cat(points)[back]


def _axes(points: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """(GENERAL, width) float32: the main axes of what the general head tells."""
    points = points / np.linalg.norm(points, axis=1, keepdims=True)
    _, vectors = np.linalg.eigh(points.T @ points)
    axes: np.ndarray[Any, Any] = vectors[:, ::-1][:, :GENERAL].T.astype(np.float32)
    return axes
