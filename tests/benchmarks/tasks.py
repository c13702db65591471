"""How well an encoder tells what is asked: `make bench-tasks`.

Measured on prompts and on whole tasks of the library that nothing was learnt from; on the task part
of an embedding, where an encoder has one. FILE: other data, one JSON object a line with `task`,
`prompt`, and where known `language` and `description`; then on these alone.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
import time
from collections import defaultdict
from dataclasses import dataclass, field, replace
from hashlib import sha256
from pathlib import Path

import numpy as np
from rich.table import Table
from sklearn.cluster import KMeans
from sklearn.metrics import adjusted_rand_score, normalized_mutual_info_score

from services.describer.settings import DescriberSettings
from services.describer.wiring.library import Library
from services.screen import out
from services.workbench.task_points import points_of
from shared.adapters.onnx.encoder import OnnxEncoder
from shared.adapters.onnx.load import load
from shared.adapters.onnx.tasks import ID
from shared.catalog import tasks
from shared.catalog.tasks.points import task_part
from shared.routing.deciding.extraction import extract

DRAWS = 20
KNOWN, UNSEEN = 50, 25
"""Tasks that are distinguished at a time."""


@dataclass
class Labelled:
    """Prompts with the number of their task."""

    prompts: list[str] = field(default_factory=list)
    languages: list[str] = field(default_factory=list)
    labels: list[int] = field(default_factory=list)
    descriptions: dict[int, str] = field(default_factory=dict)

    def add(self, label: int, prompt: str, language: str) -> None:
        self.prompts.append(prompt)
        self.languages.append(language)
        self.labels.append(label)


def unit(points: np.ndarray) -> np.ndarray:
    return points / np.maximum(np.linalg.norm(points, axis=-1, keepdims=True), 1e-9)


def encode(encoder: OnnxEncoder, texts: list[str]) -> np.ndarray:
    points = encoder.encode(texts)
    return task_part(points) if encoder.identity.id == ID else points


def known_tasks(encoder: OnnxEncoder) -> dict[str, float]:
    """Test prompts of tasks that were learnt: the nearest mean of their other prompts."""
    known = [task for task in tasks.library() if not task.kept]
    means, kept = [], Labelled()
    lines = [prompt for task in known for prompt in task.train]
    points = encode(encoder, lines)
    middle = points.mean(axis=0)
    at = 0
    for i, task in enumerate(known):
        means.append(points[at : at + len(task.train)].mean(axis=0) - middle)
        at += len(task.train)
        for prompt in task.test:
            mark = task.marks.get(prompt)
            kept.add(i, prompt, mark.language if mark else "?")
    alike = unit(encode(encoder, kept.prompts) - middle) @ unit(np.stack(means)).T
    labels, languages = np.array(kept.labels), np.array(kept.languages)
    found: dict[str, list[float]] = defaultdict(list)
    for draw in range(DRAWS):
        some = np.random.default_rng(draw).permutation(len(known))[:KNOWN]
        rows = np.isin(labels, some)
        hit = some[alike[rows][:, some].argmax(axis=1)] == labels[rows]
        found["known tasks, 50 at a time: nearest mean"].append(float(hit.mean()))
        other = ~np.isin(languages[rows], ["en", "?"])
        found["… in other languages than English"].append(float(hit[other].mean()))
        for language in sorted(set(languages) - {"?"}):
            found[f"… in {language}"] += list(hit[languages[rows] == language].astype(float))
    figures = {name: float(np.mean(values)) for name, values in found.items()}
    figures[f"known tasks, all {len(known)}: nearest mean"] = float(
        (alike.argmax(axis=1) == labels).mean()
    )
    return figures


def unseen_tasks(encoder: OnnxEncoder, data: Labelled) -> dict[str, float]:
    """Prompts of tasks from which nothing was learnt."""
    points, labels = encode(encoder, data.prompts), np.array(data.labels)
    named = sorted(data.descriptions)
    words = encode(encoder, [data.descriptions[i] for i in named]) if named else points[:0]
    if encoder.identity.id != ID:  # a space that is not about tasks has a common middle
        points, words = unit(points - points.mean(axis=0)), unit(words - words.mean(axis=0))
    every = np.unique(labels)
    languages = np.array(data.languages)
    found: dict[str, list[float]] = defaultdict(list)
    for draw in range(DRAWS if len(every) > UNSEEN else 3):
        some = np.random.default_rng(draw).permutation(every)[:UNSEEN]
        rows = np.isin(labels, some)
        mine, own = points[rows], labels[rows]
        if named:
            alike = mine @ words[np.searchsorted(named, some)].T
            hit = some[alike.argmax(axis=1)] == own
            found["unseen tasks, 25 at a time: nearest description"].append(float(hit.mean()))
        heaps = KMeans(len(some), n_init=5, random_state=draw).fit_predict(mine)
        found["unseen tasks: k-means, ARI"].append(adjusted_rand_score(own, heaps))
        found["unseen tasks: k-means, NMI"].append(normalized_mutual_info_score(own, heaps))
        sums = np.stack([mine[own == i].sum(axis=0) for i in some])
        alike = mine @ unit(sums).T
        place = np.searchsorted(np.sort(some), own)
        place = np.argsort(some)[place]
        alike[np.arange(len(own)), place] = (mine * unit(sums[place] - mine)).sum(axis=1)
        hit = alike.argmax(axis=1) == place
        found["unseen tasks: nearest mean of the others"].append(float(hit.mean()))
        other = ~np.isin(languages[rows], ["en", "?"])
        found["… in other languages than English (unseen)"].append(float(hit[other].mean()))
    return {name: float(np.nanmean(values)) for name, values in found.items()}


def keyless(variant: str) -> dict[str, float]:
    """What the describer says without a key of the kept prompts that did not choose how (half of
    them; docs/decisions/0012-tasks.md). A quotation names the task where its own embedding has it
    among the three nearest of all tasks. The scored prompts neither place a task nor calibrate."""
    library = Library(DescriberSettings.model_validate({"variant": variant}))
    encoder = library.encoder
    rows = [
        (prompt, task.name)
        for task in tasks.library()
        for prompt in task.test
        if sha256(prompt.encode()).digest()[0] % 2
    ]
    prompts = [prompt for prompt, _ in rows]
    scored = set(prompts)
    library.points = points = points_of(
        encoder,
        [
            replace(task, test=tuple(prompt for prompt in task.test if prompt not in scored))
            for task in tasks.library()
        ],
    )
    right = np.array([points.names.index(name) for _, name in rows])
    began = time.perf_counter()
    looked = asyncio.run(library.look(prompts))
    took = time.perf_counter() - began
    began = time.perf_counter()
    encoder.encode(prompts)
    alone = time.perf_counter() - began
    library.close()
    from_here = DescriberSettings().library_from
    sure = np.array([one.task.confidence >= from_here for one in looked])
    named = np.array([points.names.index(one.task.name) for one in looked]) == right

    def among_three(texts: list[str]) -> float:
        cosines = points.cosines(encoder.encode(texts))
        own = cosines[np.arange(len(texts)), right[~sure]]
        return float(((cosines > own[:, None]).sum(axis=1) < 3).mean())

    unsure = np.flatnonzero(~sure)
    return {
        "without a key: the library describes": float(sure.mean()),
        "… and names the task": float(named[sure].mean()),
        "… else quotations name it": among_three(
            [looked[i].quote or extract(prompts[i]) for i in unsure]
        ),
        "… where rules alone would": among_three([extract(prompts[i]) for i in unsure]),
        "… time beside encoding the prompts alone": took / alone,
    }


def library_unseen() -> Labelled:
    data = Labelled()
    for i, task in enumerate(task for task in tasks.library() if task.kept):
        data.descriptions[i] = task.description
        for prompt in task.test:
            data.add(i, prompt, task.marks[prompt].language)
    return data


def of_file(path: Path) -> Labelled:
    data, numbers = Labelled(), {}
    for line in path.read_text().splitlines():
        row = json.loads(line)
        label = numbers.setdefault(row["task"], len(numbers))
        data.add(label, row["prompt"], row.get("language", "?"))
        if row.get("description"):
            data.descriptions[label] = row["description"]
    return data


def speed(encoders: dict[str, OnnxEncoder], rounds: int = 5) -> dict[str, dict[str, float]]:
    """Texts a second beside each other, the median of rounds in turns."""
    english = [t.description for t in tasks.library()][:256]
    mixed = [p for t in tasks.library() for p in t.test][::4]
    took: dict[tuple[str, str], list[float]] = defaultdict(list)
    for _ in range(rounds):
        for name, encoder in encoders.items():
            for what, texts in (("descriptions", english), ("prompts", mixed)):
                began = time.perf_counter()
                encoder.encode(texts)
                took[name, what].append(len(texts) / (time.perf_counter() - began))
    return {
        name: {
            f"{what}, texts/s": float(np.median(took[name, what]))
            for what in ("descriptions", "prompts")
        }
        for name in encoders
    }


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("file", nargs="?", type=Path)
    parser.add_argument("--variants", default="minilm-int8,int8")
    parser.add_argument("--directory", type=Path, action="append", default=[])
    parser.add_argument("--json", action="store_true")
    wanted = parser.parse_args()
    encoders = {name: load(None, name) for name in wanted.variants.split(",") if name}
    encoders |= {path.name: load(path, "") for path in wanted.directory}
    data = of_file(wanted.file) if wanted.file else library_unseen()
    figures: dict[str, dict[str, float]] = {}
    for name, encoder in encoders.items():
        known = {} if wanted.file else known_tasks(encoder)
        figures[name] = known | unseen_tasks(encoder, data)
    if not wanted.file:
        for name, values in speed(encoders).items():
            figures[name] |= values
            if encoders[name].identity.id == ID:
                figures[name] |= keyless(name)
    if wanted.json:
        json.dump(figures, sys.stdout, indent=2)
        return
    shown = Table("", *figures)
    for row in dict.fromkeys(row for values in figures.values() for row in values):
        numbers = [figures[name].get(row, float("nan")) for name in figures]
        shown.add_row(
            row, *("" if np.isnan(n) else f"{n:.0f}" if n > 2 else f"{n:.3f}" for n in numbers)
        )
    out.print(shown)


if __name__ == "__main__":
    main()
