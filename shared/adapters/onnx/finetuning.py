"""Fine-tuning the task encoder: it goes on from what it knows, with the library of tasks and with
lessons. Those are many more tasks with a few prompts each (`shared.catalog.lessons`).

Needs torch and transformers (the extra `export`); nothing at run time does. The pruned layers and
the task head learn. What the general head says is held to what it said before.

- A batch holds a task with those nearest to it, and others at random. Of each task it holds two
  prompts and two texts that stand for it.
- Prompts are classified by the descriptions of the batch, as CLIP's images are by their captions
  (Radford et al., arXiv 2103.00020). So a task that was never learnt is found by its description,
  however that is worded.
- Supervised contrastive learning and the softmax over all tasks are those of
  `shared.adapters.onnx.training`.
- What is written is a mean of the weights before and after, which keeps what was known (Wortsman
  et al., arXiv 2109.01903).
- Two tasks that are as good as the same push each other apart in none of these losses.
"""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from shared.adapters.onnx import tasks as task_encoder
from shared.adapters.onnx.e5 import Checkpoint
from shared.adapters.onnx.training import (
    Say,
    TwoHeads,
    bert_model,
    contrasted,
    optimise,
    other_texts,
    save,
    standing,
)
from shared.catalog.tasks import Task


@dataclass(frozen=True, slots=True)
class FinetuningSchedule:
    """How long and how fast is learnt."""

    steps: int = 1700
    near: int = 20
    """Tasks of a batch that lie nearest to one of them: those are hardest to distinguish."""
    library: int = 18
    """Other tasks of a batch, from the library."""
    lessons: int = 18
    """Other tasks of a batch, from the lessons."""
    prompts: int = 2
    """Prompts of each task."""
    words: int = 2
    """Descriptions of each task."""
    others: int = 16
    """Texts of a batch from which the general head alone learns."""
    corpus: int = 6000
    """Texts that those are drawn from, at the most."""
    rate: float = 3e-4
    weight_decay: float = 0.05
    temperature: float = 0.07
    tokens: int = 96
    general: float = 2.0
    """Weight of the general head's loss."""
    alike: float = 0.87
    """Cosine of two tasks from which they are as good as the same."""
    new: float = 0.7
    """Fraction of the new weights in what is written; the rest are those from before."""
    seed: int = 0


def finetune(
    base: Checkpoint,
    learnt: Path,
    library: Sequence[Task],
    lessons: Sequence[Task],
    target: Path,
    schedule: FinetuningSchedule,
    say: Say,
) -> None:
    """Go on from the weights in `learnt`, and write the new ones to `target`."""
    import torch

    random.seed(schedule.seed)
    torch.manual_seed(schedule.seed)
    learner = Finetuner(base, learnt, library, lessons, schedule, say)
    groups = [(learner.layers(), schedule.rate), (learner.heads(), schedule.rate)]
    for step in optimise(
        learner.model, groups, schedule.steps, learner.loss, schedule.weight_decay, dropout=True
    ):
        say(f"step {step}")
    mixed = {
        name: torch.lerp(learner.before[name], value.cpu(), schedule.new)
        for name, value in learner.learnt().items()
    }
    save(mixed, target, schedule, base)


class Finetuner(TwoHeads):
    """The pruned layers and both heads while they go on learning."""

    def __init__(
        self,
        base: Checkpoint,
        learnt: Path,
        library: Sequence[Task],
        lessons: Sequence[Task],
        schedule: FinetuningSchedule,
        say: Say,
    ) -> None:
        import torch

        self.schedule = schedule
        self.before = {
            name: torch.from_numpy(value)
            for name, value in task_encoder.read_learnt(base, learnt).items()
        }
        super().__init__(
            _restored(base, self.before),
            base,
            schedule.tokens,
            _linear(self.before, "task"),
            _linear(self.before, "general"),
        )
        self._known = [task for task in library if not task.kept]
        self._tasks = [*self._known, *lessons]
        self._others = other_texts(schedule.seed)[: schedule.corpus]
        say(
            f"{len(self._known)} tasks of the library and {len(lessons)} of the lessons with "
            f"{sum(len(task.train) for task in self._tasks)} prompts"
        )
        said = {text for task in self._tasks for text in (*task.train, *standing(task))}
        texts = sorted(said | set(self._others))
        self._row = {text: i for i, text in enumerate(texts)}
        say(f"reading {len(texts)} texts as they are read now")
        asked, self._taught = self._read(texts)
        means = torch.stack([self._mean(asked, task) for task in self._tasks])
        alike = means @ means.T
        self.same = alike > schedule.alike
        self.same.fill_diagonal_(False)
        self._nearest = alike.masked_fill(self.same, -1.0).argsort(dim=1, descending=True)
        say(f"{int(self.same.sum()) // 2} pairs of tasks are as good as the same")
        self._proxies = torch.nn.Parameter(means.clone())
        self._draw = random.Random(schedule.seed)

    def heads(self) -> list[Any]:
        return [*super().heads(), self._proxies]

    def loss(self) -> tuple[Any, str]:
        """Of a new batch, and words for it."""
        import torch

        chosen = self._batch()
        schedule, draw = self.schedule, self._draw
        prompts, words = [], []
        for i in chosen:
            task = self._tasks[i]
            prompts += draw.sample(task.train, schedule.prompts)
            words += draw.sample(standing(task), schedule.words)
        texts = [*prompts, *words, *draw.sample(self._others, schedule.others)]
        points = self.pooled(texts)
        asked, general = self.task_part(points), self.general_part(points)
        place = torch.arange(len(chosen), device=self.device)
        of_prompts = place.repeat_interleave(schedule.prompts)
        of_words = place.repeat_interleave(schedule.words)
        same = self.same[chosen][:, chosen]
        own = torch.cat([of_prompts, of_words])
        mine = asked[: len(own)]
        itself = torch.eye(len(own), dtype=torch.bool, device=self.device)
        contrast = self._contrasted(
            mine @ mine.T, own[:, None] == own[None], same[own][:, own] | itself
        )
        described = self._contrasted(
            mine[: len(of_prompts)] @ mine[len(of_prompts) :].T,
            of_prompts[:, None] == of_words[None],
            same[of_prompts][:, of_words],
        )
        rows = torch.tensor(chosen, device=self.device)[own]
        proxies = torch.nn.functional.normalize(self._proxies, dim=1)
        numbers = torch.arange(len(self._tasks), device=self.device)
        named = self._contrasted(mine @ proxies.T, rows[:, None] == numbers[None], self.same[rows])
        taught = self._taught[[self._row[text] for text in texts]]
        apart = 1 - (general * taught).sum(dim=1).mean()
        loss = contrast + described + named + schedule.general * apart
        words_of_it = (
            f"contrast {contrast:.3f}, descriptions {described:.3f}, tasks {named:.3f}, "
            f"general {apart:.3f}"
        )
        return loss, words_of_it

    def _batch(self) -> list[int]:
        """The tasks of a batch."""
        schedule, draw = self.schedule, self._draw
        first = draw.randrange(len(self._tasks))
        near = self._nearest[first, : 2 * schedule.near].tolist()
        chosen = [first, *draw.sample(near, min(len(near), schedule.near))]
        known = len(self._known)
        chosen += draw.sample(range(known), min(known, schedule.library))
        lessons = range(known, len(self._tasks))
        chosen += draw.sample(lessons, min(len(lessons), schedule.lessons))
        return list(dict.fromkeys(chosen))

    def _contrasted(self, alike: Any, positive: Any, ignored: Any) -> Any:
        return contrasted(alike, positive, ignored, self.schedule.temperature)

    def _read(self, texts: Sequence[str]) -> tuple[Any, Any]:
        """Both parts of every text, as they are before anything is learnt."""
        import torch

        self.model.eval()
        with torch.no_grad():
            points = self.pooled(texts, every=64)
            return self.task_part(points), self.general_part(points)

    def _mean(self, asked: Any, task: Task) -> Any:
        """Half a task's prompts, half what stands for it, of length 1."""
        import torch

        unit = torch.nn.functional.normalize
        parts = [
            unit(asked[[self._row[text] for text in texts]].mean(dim=0), dim=0)
            for texts in (task.train, standing(task))
        ]
        return unit(parts[0] + parts[1], dim=0)


def _linear(weights: Mapping[str, Any], part: str) -> Any:
    import torch

    weight, bias = weights[f"{part}.weight"], weights[f"{part}.bias"]
    head = torch.nn.Linear(weight.shape[1], weight.shape[0])
    head.load_state_dict({"weight": weight, "bias": bias})
    return head


def _restored(base: Checkpoint, weights: Mapping[str, Any]) -> Any:
    """The base with the pruned layers of `weights`."""
    import torch

    config = task_encoder.config(base)
    model = bert_model(base, config)
    size = config["hidden_size"] // config["num_attention_heads"]
    for i, layer in enumerate(model.encoder.layer):
        here = f"encoder.layer.{i}."
        mine = {
            name.removeprefix(here): value
            for name, value in weights.items()
            if name.startswith(here)
        }
        for name, part in layer.named_modules():
            if isinstance(part, torch.nn.Linear):
                part.weight = torch.nn.Parameter(mine[f"{name}.weight"].clone())
                part.bias = torch.nn.Parameter(mine[f"{name}.bias"].clone())
        layer.load_state_dict(mine)
        attention = layer.attention.self
        attention.all_head_size = attention.query.weight.shape[0]
        attention.num_attention_heads = attention.all_head_size // size
    return model
