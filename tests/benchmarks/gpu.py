"""`make bench-gpu`: the embedder's encoder on a GPU, beside the CPU of the same machine.

It takes short and long texts and several batch sizes. It prints texts a second, the tokenizer's own
rate, the time of one text, and the distance of fp16 from fp32. `--provider cpu` runs the same on a
CPU, to see that it runs; its figures say nothing of a GPU."""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
from rich.console import Console
from rich.table import Table
from texts import distinct_prompts

from shared.adapters.onnx.load import load

out = Console(width=150, highlight=False)
LENGTHS = {"short": 1, "long": 12}
"""Prompts put together to one text."""
TOKENS = (4_096, 16_384, 32_768, 131_072)


def rate(work: Callable[[], Any], count: int, seconds: float) -> float:
    """Texts a second: the best of several passes, after one that counts for nothing."""
    work()
    best, until = 0.0, time.perf_counter() + seconds
    while time.perf_counter() < until:
        began = time.perf_counter()
        work()
        best = max(best, count / (time.perf_counter() - began))
    return round(best, 1)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--provider", choices=["cuda", "cpu"], default="cuda")
    parser.add_argument("--texts", type=int, default=4096)
    parser.add_argument("--seconds", type=float, default=5.0)
    parser.add_argument("--write", type=Path, default=Path("bench-results/gpu.json"))
    options = parser.parse_args()
    if (
        options.provider == "cuda"
        and "CUDAExecutionProvider" not in onnxruntime.get_available_providers()
    ):
        out.print(
            "no GPU that onnxruntime can use: install deploy/requirements/gpu.txt in place of "
            "cpu.txt on a machine with CUDA; "
            "`make bench-gpu PROVIDER=cpu` runs the same on a CPU",
            soft_wrap=True,
        )
        return 1
    results: dict[str, Any] = {"provider": options.provider, "rates": []}
    shown = Table("texts", "tokens", "variant", "where", "batch, tokens", "texts/s", box=None)
    for name, joined in LENGTHS.items():
        count = max(64, options.texts // joined)
        prompts = distinct_prompts(count * joined, 1)
        texts = [" ".join(prompts[i * joined : (i + 1) * joined]) for i in range(count)]
        beside = load(None, "int8", "cpu")
        mean = float(np.mean([len(t) for t in beside.tokens(texts[:200])]))
        few = texts[:256]
        tokenizing = rate(lambda e=beside, t=texts: e.tokens(t), count, options.seconds)
        results["tokenizing"] = results.get("tokenizing", {}) | {name: tokenizing}
        shown.add_row(name, f"{mean:.0f}", "", "tokenizing alone", "", f"{tokenizing:,.0f}")
        found = [
            ("int8", "cpu", 0, rate(lambda e=beside, t=few: e.encode(t), len(few), options.seconds))
        ]
        for variant in ("fp32", "fp16"):
            for tokens in TOKENS:
                encoder = load(None, variant, options.provider, 1, 1024, tokens)
                if options.provider == "cpu":
                    encoder._tokens = tokens
                per_s = rate(lambda e=encoder, t=texts: e.encode(t), count, options.seconds)
                found.append((variant, options.provider, tokens, per_s))
        for variant, where, tokens, per_s in found:
            shown.add_row(
                name, f"{mean:.0f}", variant, where, str(tokens or "each alone"), f"{per_s:,.0f}"
            )
            results["rates"].append(
                {
                    "texts": name,
                    "tokens": mean,
                    "variant": variant,
                    "where": where,
                    "batch_tokens": tokens,
                    "per_s": per_s,
                }
            )
    for variant, where in (("int8", "cpu"), ("fp16", options.provider)):
        encoder = load(None, variant, where, 1, 1024)
        results[f"one_text_ms_{variant}_{where}"] = round(
            1000 / rate(lambda e=encoder, t=few[:1]: e.encode(t), 1, options.seconds), 3
        )
    exact, half = (load(None, v, options.provider, 1, 1024).encode(few) for v in ("fp32", "fp16"))
    results["fp16_cosine_least"] = float((exact * half).sum(axis=1).min())
    out.print(shown)
    out.print(f"fp16 beside fp32: cosine at least {results['fp16_cosine_least']:.6f}")
    for name, value in results.items():
        if name.startswith("one_text_ms"):
            out.print(f"{name.replace('_', ' ')}: {value}")
    if options.provider == "cpu":
        out.print("[bold]run on a CPU: these figures say nothing of a GPU[/]")
    options.write.parent.mkdir(parents=True, exist_ok=True)
    options.write.write_text(json.dumps(results, indent=2) + "\n")
    out.print(f"written to {options.write}")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
