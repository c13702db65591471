"""How good the decisions of the real services are on a public outcome matrix: `make bench
OUTCOMES=file`."""

from __future__ import annotations

import asyncio
import statistics
from pathlib import Path
from typing import Any

import numpy as np
from offering import offer
from rich.progress import track

from services.flows import hot_path
from services.local.supervise import Say, Supervisor
from services.workbench import outcomes
from services.workbench.outcome_file import matrix
from shared.adapters.kafka.settings import KafkaSettings
from shared.adapters.onnx.encoder import OnnxEncoder
from shared.adapters.onnx.load import load
from shared.adapters.redis.client import RedisSettings
from shared.adapters.tables import publish
from shared.routing.offline.outcomes import Outcomes, Recipe, build_table

BEATS = {"avengers_pro_k25": 0.6520, "avengers_pro_k60": 0.6522}
"""../shared/data/README.md: accuracy on llmrouter_outcomes, five 70/30 splits, MiniLM fp32 of the
whole prompt."""


async def accuracy(
    outcomes_file: Path, prices_file: Path | None, splits: int, variants: list[str], say: Say
) -> dict[str, Any]:
    """Decisions of the real services under `quality` on the held 30% of each split, for tables
    built from the other 70%."""
    rows, prices = outcomes.read(outcomes_file, prices_file)
    prompts = [row.prompt for row in rows]
    whole, found = matrix(rows, prices, prompts), {}
    for variant in variants:
        encoder = load(None, variant)
        steps = track(range(0, len(prompts), 256), f"embedding, {variant}")
        asked = outcomes.readings(prompts)["prompt"]
        vectors = np.concatenate([encoder.encode(asked[i : i + 256]) for i in steps])
        environment = {
            "POINTSMAN_DESCRIBER_BACKEND": "prompt",
            "POINTSMAN_EMBEDDER_VARIANT": variant,
        }
        async with Supervisor(hot_path(), environment, say) as running:
            await running.ready(60)
            found[variant] = await _splits(whole, prompts, vectors, encoder, splits)
    return found


async def _splits(
    whole: Outcomes, prompts: list[str], vectors: Any, encoder: OnnxEncoder, splits: int
) -> dict[str, Any]:
    found: list[float] = []
    best_single: list[float] = []
    for seed in track(range(splits), "deciding"):
        order = np.random.RandomState(seed).permutation(len(prompts))
        cut = int(0.7 * len(order))
        train, test = order[:cut], order[cut:]
        table = build_table(
            whole.rows(train),
            vectors[train],
            encoder.identity,
            Recipe(k=60, text="prompt"),
            seed=seed,
            source=f"split {seed}",
            simulated=False,
        )
        await publish(KafkaSettings(), RedisSettings(), table, f"split {seed}")
        await asyncio.sleep(3)
        models = (await offer([prompts[i] for i in test], None, {"profile": "quality"})).models
        column = {model: j for j, model in enumerate(whole.models)}
        found.append(
            float(
                np.mean(
                    [whole.scores[i, column[m or ""]] for i, m in zip(test, models, strict=True)]
                )
            )
        )
        best_single.append(
            float(whole.scores[test][:, int(whole.scores[train].mean(axis=0).argmax())].mean())
        )
    error = statistics.stdev(found) / len(found) ** 0.5 if len(found) > 1 else float("nan")
    return {
        "mean": round(statistics.mean(found), 4),
        "standard_error": round(error, 4),
        "splits": found,
        "best_single": best_single,
    }
