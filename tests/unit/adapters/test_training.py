"""Training, in short: that it learns, and that what it writes is the encoder that runs. Needs
torch: `make test-export`."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from shared.adapters.errors import EncoderInvalid
from shared.adapters.onnx.encoder import OnnxEncoder
from shared.adapters.onnx.load import load
from shared.catalog.lessons import lessons
from shared.catalog.tasks import library
from shared.catalog.tasks.points import task_part

pytestmark = [pytest.mark.export, pytest.mark.filterwarnings("default")]
FEW = [task for task in library() if not task.kept][:40]


def told_apart(encoder: OnnxEncoder) -> float:
    """Test prompts that lie nearest to the mean of their own task's others."""
    means = np.stack([task_part(encoder.encode(list(task.train))).mean(axis=0) for task in FEW])
    prompts = [(i, prompt) for i, task in enumerate(FEW) for prompt in task.test]
    points = task_part(encoder.encode([prompt for _, prompt in prompts]))
    means -= means.mean(axis=0)
    return float(((points @ means.T).argmax(axis=1) == [i for i, _ in prompts]).mean())


def test_an_exported_encoder_gets_a_task_head(tmp_path: Path) -> None:
    from shared.adapters.onnx.heads import with_task_head
    from shared.adapters.onnx.prepare import prepare

    source = prepare("minilm-int8")
    before = load(source, "")
    with_task_head(before, source, tmp_path / "headed", FEW, 0, lambda _: None)
    after = load(tmp_path / "headed", "")
    assert after.identity.id.endswith("+tasks")
    assert after.identity.dimension == 384
    vectors = after.encode(["Translate this.", "Écris un poème"])
    np.testing.assert_allclose((vectors**2).sum(axis=1), 1.0, atol=1e-4)
    np.testing.assert_allclose((vectors[:, :128] ** 2).sum(axis=1), 0.8, atol=1e-4)
    assert told_apart(after) > told_apart(before)
    with pytest.raises(EncoderInvalid, match="exists already"):
        with_task_head(before, source, tmp_path / "headed", FEW, 0, lambda _: None)


def test_a_short_training_learns_and_its_graph_says_what_the_model_said(tmp_path: Path) -> None:
    import onnxruntime

    from shared.adapters.onnx import e5, tasks, training

    base = e5.read(e5.installed(), 2)
    schedule = training.Schedule(steps=12, pruned_steps=12, tasks=8, others=8, tokens=32)
    lines: list[str] = []
    target = tmp_path / "learnt.safetensors"
    training.train(
        base,
        lambda texts: np.eye(384, dtype=np.float32)[[len(text) % 384 for text in texts]],
        FEW,
        target,
        schedule,
        lines.append,
    )
    losses = [float(line.split("tasks ")[1].split(",")[0]) for line in lines if "step" in line]
    whole, pruned = losses[:2], losses[2:]
    assert whole[1] < whole[0]
    assert pruned[1] < pruned[0]
    made = replace(tasks.LATEST, learnt=target, layers=2)
    alone = tasks.base(None, made)
    assert not any("layer" in name for name in alone.weights)
    session = onnxruntime.InferenceSession(tasks.build(alone, made).SerializeToString())
    ids = np.array([base.tokenizer(32).encode("Translate this into French").ids], np.int64)
    (vector,) = session.run(None, {"input_ids": ids, "attention_mask": np.ones_like(ids)})[0]
    assert vector.shape == (384,)
    assert (vector**2).sum() == pytest.approx(1.0, abs=1e-4)
    with pytest.raises(EncoderInvalid, match="learnt for other weights"):
        tasks.build(replace(alone, digest="another"), made)


def test_fine_tuning_goes_on_from_what_is_known(tmp_path: Path) -> None:
    import onnxruntime

    from shared.adapters.onnx import finetuning, tasks

    base = tasks.base(None)
    schedule = finetuning.FinetuningSchedule(
        steps=26, near=4, library=6, lessons=4, others=2, corpus=40, tokens=32
    )
    lines: list[str] = []
    target = tmp_path / "learnt.safetensors"
    taught = lessons()[::60]
    finetuning.finetune(base, tasks.SECOND.learnt, FEW, taught, target, schedule, lines.append)
    assert sum("step" in line for line in lines) == 2
    before, after = (tasks.read_learnt(base, path) for path in (tasks.SECOND.learnt, target))
    assert {name: part.shape for name, part in after.items()} == {
        name: part.shape for name, part in before.items()
    }
    own = []
    same = []
    for path in (tasks.SECOND.learnt, target):
        made = tasks.build(base, replace(tasks.LATEST, learnt=path)).SerializeToString()
        session = onnxruntime.InferenceSession(made)

        def asked(text: str, session: Any = session) -> np.ndarray:
            ids = np.array([base.tokenizer(32).encode(text).ids], np.int64)
            (vector,) = session.run(None, {"input_ids": ids, "attention_mask": np.ones_like(ids)})[
                0
            ]
            part: np.ndarray = vector[:128] / np.linalg.norm(vector[:128])
            return part

        prompts = np.stack([asked(task.train[0]) for task in taught])
        words = np.stack([asked(task.descriptions[0]) for task in taught])
        nearest = (prompts @ words.T).argmax(axis=1)
        own.append(float((nearest == np.arange(len(taught))).mean()))
        same.append(asked("Translate this into French"))
    assert own[1] > own[0], "descriptions lie nearer to their prompts"
    assert 0.5 < same[0] @ same[1] < 0.9999, "it has learnt, and is still the same encoder"


def test_tasks_that_are_as_good_as_the_same_do_not_push_each_other_apart() -> None:
    from shared.adapters.onnx import finetuning, tasks

    twins = [replace(task, id=f"twin-{task.id}") for task in FEW[:3]]
    learner = finetuning.Finetuner(
        tasks.base(None),
        tasks.SECOND.learnt,
        FEW[:8],
        twins,
        finetuning.FinetuningSchedule(corpus=40, tokens=32),
        lambda _: None,
    )
    for i in range(3):
        assert learner.same[i, 8 + i]
        assert not learner.same[i, i]
