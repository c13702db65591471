"""`make bench-foresight OUTCOMES=file`: how many descriptions can be foreseen, and how often the
route stays the same.

Of each split, 70% of the prompts are known with their descriptions, and the table is learnt from
their outcomes; the other 30% are looked at as the describer does, and routed by what is foreseen
and by the description they would have got. Descriptions are local, a STAND-IN for a language
model's, which is not available here. Then tasks are left out whole (clusters of descriptions), to
see what becomes of what was never seen."""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.progress import track
from rich.table import Table

from services.describer.foresee import Forecast, Foreseeing, ModelDescription, Read
from services.describer.settings import DescriberSettings
from services.workbench import outcomes
from services.workbench.outcome_file import matrix
from shared.adapters.onnx.encoder import OnnxEncoder
from shared.adapters.onnx.load import load
from shared.contracts.vector import unpack
from shared.routing.deciding.extraction import extract
from shared.routing.deciding.rates import PROFILES
from shared.routing.deciding.selection import routes
from shared.routing.deciding.table import Array
from shared.routing.learning.clustering import kmeans
from shared.routing.offline.outcomes import Outcomes, Recipe, build_table

out = Console(width=150, highlight=False)
CLUSTERS, LEFT_OUT = 60, 8


@dataclass(frozen=True)
class Found:
    """Of one split; shares by profile. `same`: of the sure, those that are routed as by their own
    descriptions."""

    what: str
    known: int
    looked_at: int
    sure: dict[str, float]
    same: dict[str, float]
    same_of_all: dict[str, float]
    """Over all prompts, those included of which the language model is asked."""
    accuracy_described: float
    accuracy_foreseen: float
    """Under `quality`, with what is foreseen where it is sure."""


class Reading:
    """The encoder, each text only once."""

    def __init__(self, encoder: OnnxEncoder) -> None:
        self._encoder, self._known = encoder, dict[str, Array]()

    def __call__(self, texts: Sequence[str]) -> Array:
        for text in texts:
            if text not in self._known:
                self._known[text] = self._encoder.encode([text])[0]
        return np.stack([self._known[text] for text in texts])


def trial(
    what: str,
    whole: Outcomes,
    prompts: list[str],
    told: Array,
    train: Any,
    test: Any,
    encoder: OnnxEncoder,
    read: Reading,
) -> Found:
    """Learn from `train`, look at `test`."""
    table = build_table(
        whole.rows(train),
        told[train],
        encoder.identity,
        Recipe(k=CLUSTERS, text="description"),
        source="benchmark",
        simulated=False,
    )
    live = Foreseeing(DescriberSettings(), read, encoder.identity, 1e9)
    for i in train[-DescriberSettings().foresee_pairs :]:
        live.note(Read.of(prompts[i]), ModelDescription(whole.texts[i], False, time.time()))
    live.learn(table)
    found: dict[str, dict[str, float]] = {"sure": {}, "same": {}, "same_of_all": {}}
    accuracy: list[float] = []
    for name, rates in PROFILES.items():
        glances = [live.look(prompts[i], rates, table) for i in test]
        sure = np.array([g.sure for g in glances])
        vectors = np.stack(
            [_vector(g) if g.sure else told[i] for g, i in zip(glances, test, strict=True)]
        )
        described, foreseen = (routes(table, v, (rates,))[:, 0] for v in (told[test], vectors))
        same = described == foreseen
        found["sure"][name], found["same_of_all"][name] = float(sure.mean()), float(same.mean())
        found["same"][name] = float(same[sure].mean()) if sure.any() else float("nan")
        if name == "quality":
            accuracy = [
                float(np.nanmean(whole.scores[test, chosen])) for chosen in (described, foreseen)
            ]
    return Found(
        what, len(train), len(test), found["sure"], found["same"], found["same_of_all"], *accuracy
    )


def _vector(glance: Forecast) -> Array:
    assert glance.foreseen is not None
    return unpack(glance.foreseen.vector)


def cost_of_a_look(
    prompts: list[str], told: list[str], encoder: OnnxEncoder, table: Any
) -> dict[str, float]:
    """Milliseconds to look at a prompt, in the median and of CPU on average, beside those to embed
    a description."""
    live = Foreseeing(DescriberSettings(), encoder.encode, encoder.identity, 1e9)
    for prompt, text in zip(prompts[200:], told[200:], strict=True):
        live.note(Read.of(prompt), ModelDescription(text, False, time.time()))
    live.learn(table)
    took: dict[str, list[float]] = {"look": [], "embed": []}
    used = dict.fromkeys(took, 0.0)
    for prompt, text in zip(prompts[:200], told[:200], strict=True):
        for name, work in (
            ("look", lambda p=prompt: live.look(p, PROFILES["balanced"], table)),
            ("embed", lambda t=text: encoder.encode([t])),
        ):
            began, cpu = time.perf_counter(), time.process_time()
            work()
            took[name].append(1000 * (time.perf_counter() - began))
            used[name] += 1000 * (time.process_time() - cpu)
    found = {name: round(float(np.median(ms)), 2) for name, ms in took.items()}
    return found | {f"{name}_cpu": round(ms / len(took[name]), 2) for name, ms in used.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("outcomes", type=Path)
    parser.add_argument("--prices", type=Path)
    parser.add_argument("--splits", type=int, default=5)
    parser.add_argument("--write", type=Path, default=Path("bench-results/foresight.json"))
    options = parser.parse_args()
    rows, prices = outcomes.read(options.outcomes, options.prices)
    prompts = [row.prompt for row in rows]
    descriptions = [extract(p) for p in prompts]
    whole, encoder = matrix(rows, prices, descriptions), load(None, "int8", "cpu", 1)
    read = Reading(encoder)
    told = np.concatenate([read([text]) for text in track(descriptions, "embedding descriptions")])
    found: list[Found] = []
    for seed in track(range(options.splits), "splits"):
        order, cut = np.random.RandomState(seed).permutation(len(prompts)), int(0.7 * len(prompts))
        found.append(
            trial(f"split {seed}", whole, prompts, told, order[:cut], order[cut:], encoder, read)
        )
    groups = kmeans(told, LEFT_OUT, 0).labels
    for group in track(range(LEFT_OUT), "tasks left out"):
        test, train = np.flatnonzero(groups == group), np.flatnonzero(groups != group)
        found.append(
            trial(f"task {group} left out", whole, prompts, told, train, test, encoder, read)
        )
    table = build_table(
        whole,
        told,
        encoder.identity,
        Recipe(k=CLUSTERS, text="description"),
        source="benchmark",
        simulated=False,
    )
    cost = cost_of_a_look(prompts[:2000], descriptions[:2000], encoder, table)

    shown = Table(
        "sure; of these, same route",
        "known",
        "looked at",
        *PROFILES,
        "accuracy: described",
        "foreseen",
        box=None,
    )
    for f in found:
        shares = [f"{f.sure[p]:.1%}; {f.same[p]:.1%}" for p in PROFILES]
        shown.add_row(
            f.what,
            str(f.known),
            str(f.looked_at),
            *shares,
            f"{f.accuracy_described:.4f}",
            f"{f.accuracy_foreseen:.4f}",
        )
    out.print(shown)
    splits, apart = (
        [f for f in found if f.what.startswith("split") == is_split] for is_split in (True, False)
    )
    for name in PROFILES:
        sure = np.array([f.sure[name] * f.looked_at for f in splits])
        same = np.array([f.same[name] for f in splits])
        new, seen = (
            np.average(
                [getattr(f, part)[name] for f in apart], weights=[f.looked_at for f in apart]
            )
            for part in ("sure", "same_of_all")
        )
        out.print(
            f"{name}: sure of {sure.sum() / sum(f.looked_at for f in splits):.1%}, of these the "
            f"same route for {np.average(same, weights=sure):.1%}"
            f" (goal 97%); of tasks never seen sure of {new:.1%}, the same route for {seen:.1%} of "
            "all"
        )
    out.print("descriptions: local, a STAND-IN for a language model's")
    out.print(
        f"a look takes {cost['look']} ms ({cost['look_cpu']} of CPU), embedding a description "
        f"{cost['embed']} ms ({cost['embed_cpu']} of CPU)"
    )
    options.write.parent.mkdir(parents=True, exist_ok=True)
    options.write.write_text(
        json.dumps({"trials": [asdict(f) for f in found], "ms": cost}, indent=2) + "\n"
    )
    out.print(f"written to {options.write}")


if __name__ == "__main__":
    main()
