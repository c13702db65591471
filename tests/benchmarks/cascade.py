"""`make bench-cascade OUTCOMES=file`: the dispatcher's own cascade on recorded answers, beside what
the evaluation says of it.

Two models; tables are built by the product from 70% of the prompts, and the dispatcher answers the
rest. Its backends replay the recorded answers (SCRIPTED: nothing is called). What a point of
success is worth goes from little to much; for each the fraction of prompts that were escalated to
the strong model, the success, and what it cost."""

from __future__ import annotations

import argparse
import asyncio
import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.progress import track
from rich.table import Table

from services.assigner.assign import place
from services.dispatcher.dispatch import dispatch
from services.dispatcher.settings import DispatcherSettings
from services.selector.decide import Wish, decide
from services.workbench import outcomes as files
from services.workbench.building import heads_of
from services.workbench.outcome_file import Row, matrix
from shared.adapters.onnx.assessing import Assessor
from shared.adapters.onnx.encoder import OnnxEncoder
from shared.adapters.onnx.load import load
from shared.contracts.answers import Answer
from shared.contracts.messages import (
    Completed,
    Decided,
    Described,
    Embedded,
    Placed,
    Submitted,
    extend,
)
from shared.contracts.places import Description, Embedding, EncoderRef, Source, TableRef
from shared.contracts.vector import pack
from shared.routing.deciding.form import forms
from shared.routing.deciding.rates import Rates
from shared.routing.deciding.table import RoutingTable
from shared.routing.offline.evaluation import random_splits
from shared.routing.offline.measures import apgr
from shared.routing.offline.outcomes import Recipe, build_table

out = Console(width=140, highlight=False)
RATES = tuple(float(usd) for usd in np.geomspace(1e-5, 10.0, 61))


class Replaying:
    """The recorded answers, and who was asked."""

    def __init__(self, rows: Mapping[str, Row], cost: Mapping[str, float]) -> None:
        self._rows, self._cost = rows, cost

    async def __call__(self, model: str, messages: Sequence[Mapping[str, Any]], *_: Any) -> Answer:
        text = self._rows[messages[-1]["content"]].responses[model]
        return Answer(
            model=model,
            text=text,
            provider="scripted",
            simulated=True,
            prompt_tokens=1,
            completion_tokens=1,
            cost_usd=self._cost[model],
            cost_source="provider",
            latency_s=0.0,
        )


class Forgetful:
    """Remembers nothing: each prompt is asked about once."""

    async def get(self, *_: str) -> None:
        return None

    async def put(self, *_: Any) -> None: ...
    async def claim(self, *_: Any) -> bool:
        return True

    async def release(self, *_: str) -> None: ...


class OneTable:
    """The routing table that all decisions were made with."""

    def __init__(self, table: RoutingTable) -> None:
        self.table = table

    async def get(self, _ref: TableRef) -> RoutingTable:
        return self.table


def assigned(
    prompts: Sequence[str], vectors: Any, shapes: Any, table: RoutingTable, encoder: OnnxEncoder
) -> list[Placed]:
    ref = TableRef(epoch=0, sequence=1, digest=table.digest)
    messages = []
    for prompt, vector, shape in zip(prompts, vectors, shapes, strict=True):
        described = extend(
            Submitted(prompt=prompt, request_id="r", answer=True),
            Described,
            description=Description(
                text=prompt[:80], source=Source.prompt, latency_s=0.0, cost_usd=0.0
            ),
        )
        point = Embedding(
            vector=pack(vector),
            encoder=EncoderRef.of(encoder.identity),
            latency_s=0.0,
            batch=1,
            form=pack(shape),
            text="prompt",
        )
        messages.append(extend(described, Embedded, embedding=point))
    found = place(messages, ref, table)
    return [one for one in found if isinstance(one, Placed)]


async def lived(
    placed: Sequence[Placed], table: RoutingTable, call: Replaying, assess: Assessor
) -> dict[float, list[Completed]]:
    """What the dispatcher answers at each rate."""
    found: dict[float, list[Completed]] = {}
    told: dict[str, float | None] = {}

    class Once:
        """Each answer is assessed once, whatever the rate."""

        async def __call__(self, message: Decided, answer: Answer, /) -> float | None:
            key = f"{answer.model}\0{message.prompt}"
            if key not in told:
                told[key] = await assess(message, answer)
            return told[key]

        async def ready(self, message: Decided, /) -> bool:
            return await assess.ready(message)

    for rate in RATES:
        done = []
        for message in placed:
            decided = decide(message, table, {}, Wish(Rates(rate)))
            result = await dispatch(decided, DispatcherSettings(), call, Forgetful(), Once())  # type: ignore[arg-type]
            assert isinstance(result, Completed)
            done.append(result)
        found[rate] = done
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("outcomes", type=Path)
    parser.add_argument(
        "--weak-usd", type=float, default=0.0003, help="what an answer of the weaker model costs"
    )
    parser.add_argument("--strong-usd", type=float, default=0.01)
    parser.add_argument("--splits", type=int, default=3)
    parser.add_argument("--write", type=Path, default=Path("bench-results/cascade.json"))
    options = parser.parse_args()
    rows, prices = files.read(options.outcomes, None)
    prompts = [row.prompt for row in rows]
    bare = matrix(rows, prices, prompts)
    weak, strong = (bare.models[i] for i in np.argsort(np.nanmean(bare.scores, axis=0))[[0, -1]])
    cost = {weak: options.weak_usd, strong: options.strong_usd}
    whole = replace(
        bare,
        cost_usd=np.tile([cost.get(m, 0.0) for m in bare.models], (len(rows), 1)),
        usd_per_token=None,
    )
    encoder = load(None, "int8")
    asked = files.readings(prompts)["prompt"]
    vectors = np.concatenate([encoder.encode([p]) for p in track(asked, "embedding prompts")])
    shapes = forms(asked)
    responses = asyncio.run(files.embed_responses(rows, encoder, lambda _: None))
    score = {row.prompt: row.scores for row in rows}
    facts = []
    for number, (train, test) in enumerate(random_splits(len(rows), options.splits)):
        table = build_table(
            whole.rows(train),
            np.hstack([vectors, shapes])[train],
            encoder.identity,
            Recipe(estimator=True),
            source="cascade",
            simulated=False,
        )
        heads = heads_of(
            [rows[i] for i in train],
            [responses[i] for i in train],
            vectors[train],
            shapes[train],
            whole.rows(train),
            0,
        )
        table = replace(table, cascade=heads)
        placed = assigned([prompts[i] for i in test], vectors[test], shapes[test], table, encoder)
        assess = Assessor(OneTable(table), None, "int8")  # type: ignore[arg-type]
        found = asyncio.run(
            lived(placed, table, Replaying({r.prompt: r for r in rows}, cost), assess)
        )
        base = float(np.mean([score[m.prompt or ""][weak] for m in placed]))
        top = float(np.mean([score[m.prompt or ""][strong] for m in placed]))
        for rate, done in found.items():
            answers = [c.completion.answers for c in done]
            success = float(
                np.mean(
                    [score[c.prompt or ""][a[0].model] for c, a in zip(done, answers, strict=True)]
                )
            )
            facts.append(
                {
                    "split": number,
                    "usd_per_point": rate,
                    "to_strong": float(np.mean([a[0].model == strong for a in answers])),
                    "cascaded": float(np.mean([c.completion.cascade is not None for c in done])),
                    "success": success,
                    "recovered": (success - base) / (top - base),
                    "cost_usd": float(np.mean([sum(one.cost_usd for one in a) for a in answers])),
                }
            )
    thresholds, areas = {0.5: [], 0.8: []}, []
    for number in range(options.splits):
        own = sorted((f["to_strong"], f["recovered"]) for f in facts if f["split"] == number)
        share, gap = np.array(own).T
        gap = np.maximum.accumulate(gap)
        areas.append(apgr(np.interp(np.linspace(0, 1, 101), share, gap)))
        for part, values in thresholds.items():
            values.append(float(np.interp(part, gap, share)))
    shown = Table(
        "USD a point is worth",
        "to the strong model",
        "gap recovered",
        "cost of an answer",
        box=None,
    )
    for rate in RATES[::6]:
        own_ = [f for f in facts if f["usd_per_point"] == rate]
        means = {
            k: float(np.mean([f[k] for f in own_])) for k in ("to_strong", "recovered", "cost_usd")
        }
        shown.add_row(
            f"{rate:.2g}",
            f"{means['to_strong']:.1%}",
            f"{means['recovered']:.1%}",
            f"${means['cost_usd']:.5f}",
        )
    out.print(shown)
    out.print(
        f"{weak} first, {strong} where its answer is not good enough (SCRIPTED backends), "
        f"{options.splits} splits: APGR {np.mean(areas):.3f}, "
        f"CPT(50) {np.mean(thresholds[0.5]):.1%}, CPT(80) {np.mean(thresholds[0.8]):.1%} (goal 51%)"
    )
    options.write.parent.mkdir(parents=True, exist_ok=True)
    options.write.write_text(json.dumps(facts, indent=2) + "\n")
    out.print(f"written to {options.write}")


if __name__ == "__main__":
    main()
