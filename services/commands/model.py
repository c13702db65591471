"""`pointsman model …`: encoders."""

from __future__ import annotations

import time
from pathlib import Path
from tempfile import TemporaryDirectory

from services.screen import as_json as print_json
from services.screen import err, out
from shared.adapters.errors import EncoderInvalid
from shared.adapters.onnx.load import load
from shared.adapters.onnx.prepare import VARIANTS, export, prepare
from shared.catalog.tasks import library


def prepare_default(variant: str, source: Path | None, *, as_json: bool) -> None:
    """Make the default encoder."""
    _check(variant)
    _done(prepare(variant, source, _say), as_json=as_json)


def export_model(model: str, target: Path, quantization: str, *, as_json: bool) -> None:
    """Export another encoder."""
    if quantization not in {"int8", "fp32"}:
        raise EncoderInvalid(f"a quantization is int8 or fp32, not {quantization}")
    _done(export(model, target, quantization, _say), as_json=as_json)


def train_tasks(
    encoder: Path | None,
    target: Path | None,
    steps: int | None,
    *,
    finetune: bool,
    as_json: bool,
) -> None:
    """Train the task encoder, or fine-tune it; or give an exported encoder a task head."""
    if (encoder is None) != (target is None):
        raise EncoderInvalid("--encoder and --target go together")
    if finetune and encoder is not None:
        raise EncoderInvalid(
            "--finetune goes on with the task encoder; leave it out to give another encoder a head"
        )
    try:
        import torch  # noqa: F401
    except ImportError:
        raise EncoderInvalid(
            "training needs torch: pip install -r deploy/requirements/export.txt"
        ) from None
    from services.workbench.task_points import points_of
    from shared.adapters.onnx import e5, finetuning, heads, tasks, training
    from shared.catalog.lessons import lessons
    from shared.catalog.tasks import points

    schedule, longer = training.Schedule(), finetuning.FinetuningSchedule()
    if steps is not None:
        schedule = training.Schedule(steps=steps, pruned_steps=2 * steps)
        longer = finetuning.FinetuningSchedule(steps=steps)
    if encoder is not None and target is not None:
        heads.with_task_head(load(encoder, ""), encoder, target, library(), schedule.seed, _say)
        points_of(load(target, ""), library()).save(target / points.FILE)
        _done(target, as_json=as_json)
        return
    learnt = tasks.LATEST.learnt
    with TemporaryDirectory() as scratch:
        begun = learnt
        if not finetune:
            teacher = load(None, "minilm-fp32")
            whole = e5.read(e5.installed(), tasks.LATEST.layers)
            begun = Path(scratch) / "pruned.safetensors"
            training.train(whole, teacher.encode, library(), begun, schedule, _say)
        finetuning.finetune(tasks.base(None), begun, library(), lessons(), learnt, longer, _say)
    _say("placing the tasks")
    for variant, place in points.PLACES.items():
        points_of(load(None, variant), library()).save(place)
    _done(learnt, as_json=as_json)


def show(directory: Path | None, variant: str, *, as_json: bool) -> None:
    """Load an encoder, time it, and show what it is."""
    _check(variant)
    encoder = load(directory, variant)
    texts = ["Translate a legal notice from German into plain English."] * 8
    encoder.encode(texts)
    began = time.perf_counter()
    encoder.encode(texts)
    took = (time.perf_counter() - began) / len(texts)
    who = encoder.identity
    facts = {
        "id": who.id,
        "revision": who.revision,
        "dimension": who.dimension,
        "pooling": who.pooling,
        "quantization": who.quantization,
        "provider": encoder.provider,
        "ms_per_text": round(1000 * took, 2),
    }
    if as_json:
        print_json(facts)
    else:
        for name, value in facts.items():
            out.print(f"{name:<13} {value}")


def _check(variant: str) -> None:
    if variant not in VARIANTS:
        raise EncoderInvalid(f"a variant is {', '.join(VARIANTS)}, not {variant}")


def _say(text: str) -> None:
    err.print(f"[dim]{text}…[/]")


def _done(path: Path, *, as_json: bool) -> None:
    if as_json:
        print_json({"directory": str(path)})
    else:
        out.print(f"the encoder is in [bold]{path}[/]", soft_wrap=True)
