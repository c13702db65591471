"""Time and memory of `pointsman evaluate` on 10,000 prompts and 20 models: made-up outcomes, all
representations, five splits.

The prompts are those of the 25 tasks, each for another business, so that no two are equal; skills,
costs and the answers of one model are drawn. What is learnt from them means nothing. `make
bench-evaluate` prints the seconds and the peak of resident memory.
"""

from __future__ import annotations

import json
import os
import random
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from texts import distinct_prompts

ROWS, MODELS = 10_000, 20
CORES = 2


def made(path: Path, rows: int) -> None:
    """A file of outcomes, with the answers of one model."""
    rng, words = np.random.default_rng(0), random.Random(0)
    prompts = distinct_prompts(rows, 0)
    skill = rng.uniform(0.1, 0.95, (25, MODELS))
    with path.open("w") as file:
        for i, prompt in enumerate(prompts):
            chance = skill[i % 25]
            scores = {f"model-{m:02d}": int(rng.random() < chance[m]) for m in range(MODELS)}
            cost = {
                f"model-{m:02d}": float(1e-5 * (m + 1) * (1 + rng.random())) for m in range(MODELS)
            }
            answer = " ".join(words.sample(prompt.split(), min(20, len(prompt.split()))))
            file.write(
                json.dumps(
                    {
                        "prompt": prompt,
                        "scores": scores,
                        "cost_usd": cost,
                        "responses": {"model-00": answer},
                    }
                )
                + "\n"
            )


def main() -> None:
    rows = int(sys.argv[1]) if len(sys.argv) > 1 else ROWS
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "outcomes.jsonl"
        made(file, rows)
        if hasattr(os, "sched_setaffinity"):
            os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:CORES])
        began = time.monotonic()
        subprocess.run(
            [sys.executable, "-m", "services", "evaluate", str(file), "--json"],
            check=True,
            stdout=subprocess.DEVNULL,
            cwd=Path(__file__).parents[2],
        )
        took = time.monotonic() - began
    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024
    print(
        f"{rows} prompts x {MODELS} models on {CORES} cores: {took:.0f} s (goal 300), at most "
        f"{peak:.0f} MB (goal 2048)"
    )


if __name__ == "__main__":
    main()
