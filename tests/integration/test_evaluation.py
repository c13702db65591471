"""The services decide what the evaluation says they would; and `pointsman evaluate` on files that a
new user brings."""

from __future__ import annotations

import csv
import gzip
import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import Pipeline, eventually, running_pipeline
from typer.testing import CliRunner

from services.__main__ import app
from services.workbench.outcomes import readings
from shared.adapters.kafka.settings import KafkaSettings
from shared.adapters.onnx.load import load
from shared.adapters.redis.client import RedisSettings
from shared.adapters.tables import publish
from shared.catalog import tasks
from shared.contracts.messages import Decided
from shared.routing.deciding.extraction import extract
from shared.routing.deciding.form import forms
from shared.routing.deciding.rates import PROFILES
from shared.routing.deciding.selection import choices, expectations
from shared.routing.deciding.table import RoutingTable, Text
from shared.routing.learning.task2vec import corresponding
from shared.routing.offline.outcomes import Outcomes, Recipe, Representation, build_table

VARIANT = "fp32"
"""Embeddings of int8 depend a little on the batch that a text is in, since activations are scaled
batch by batch."""
MODELS = ("alpha", "beta", "gamma", "delta")


@dataclass
class Known:
    """The prompts of the 25 tasks, with outcomes that hang on the task."""

    train: list[str]
    test: list[str]
    scores: np.ndarray
    cost: np.ndarray

    @classmethod
    def made(cls) -> Known:
        rng = np.random.default_rng(0)
        catalog = tasks.methodology()
        task = np.repeat(np.arange(len(catalog)), [len(t.train) for t in catalog])
        skill = rng.uniform(0.1, 0.95, (len(catalog), len(MODELS)))
        scores = (rng.random((len(task), len(MODELS))) < skill[task]).astype(float)
        cost = rng.uniform(1e-4, 1e-2, (len(catalog), len(MODELS)))[task]
        return cls(
            [p for t in catalog for p in t.train],
            [p for t in catalog for p in t.test],
            scores,
            cost,
        )

    def table(
        self, texts: list[str], responses: np.ndarray, encoder: Any, recipe: Recipe
    ) -> RoutingTable:
        latency = np.linspace(1.0, 5.0, len(MODELS))
        lengths, prices = (
            np.array([len(p.encode()) / 4 for p in self.train]),
            np.linspace(1e-6, 1e-5, len(MODELS)),
        )
        outcomes = Outcomes(
            tuple(texts), MODELS, self.scores, self.cost, latency, responses, lengths, prices
        )
        features = np.hstack([encoder.encode(texts), forms(self.train)])
        return build_table(
            outcomes, features, encoder.identity, recipe, source="known", simulated=True
        )


async def decided(pipeline: Pipeline, prompts: list[str], **fields: str) -> list[Decided]:
    """The decisions on prompts that are all sent at once, in their order."""
    sent = [await pipeline.send({"prompt": prompt, **fields}) for prompt in prompts]
    found = await pipeline.collect(set(sent))
    assert all(found[i].decided is not None for i in sent), [
        str(found[i]) for i in sent if found[i].decided is None
    ][:2]
    return [one for i in sent if (one := found[i].decided) is not None]


LIVE: tuple[tuple[Representation, bool], ...] = (
    ("plain", False),
    ("plain", True),
    ("contrastive", False),
    ("contrastive", True),
    ("delta", True),
    ("keys", False),
    ("tasks", False),
)


@pytest.mark.parametrize("text", ["description", "both", "prompt"])
async def test_the_services_decide_what_the_evaluation_says_they_would(
    text: Text, installation: dict[str, str]
) -> None:
    """The embedder reads what the table was made with, without any setting."""
    known = Known.made()
    encoder = load(None, VARIANT)

    def read(prompts: list[str]) -> list[str]:
        return readings(prompts, [extract(p) for p in readings(prompts)["prompt"]])[text]

    asked = known.test[:40]
    shapes = forms(readings(asked)["prompt"])
    features = np.hstack([np.concatenate([encoder.encode([t]) for t in read(asked)]), shapes])
    responses = (
        np.random.default_rng(1)
        .normal(size=(len(known.train), encoder.identity.dimension))
        .astype(np.float32)
    )
    lengths = np.array([len(p.encode()) / 4 for p in asked])
    async with running_pipeline(
        None, POINTSMAN_EMBEDDER_VARIANT=VARIANT, POINTSMAN_DESCRIBER_BACKEND="local"
    ) as pipeline:
        for representation, estimator in LIVE if text == "prompt" else LIVE[3:4]:
            recipe = Recipe(representation, estimator, 20, text)
            table = known.table(read(known.train), responses, encoder, recipe)
            await publish(KafkaSettings(), RedisSettings(), table, f"{representation}, {text}")

            async def arrived(digest: str = table.digest) -> bool:
                one = (await decided(pipeline, [asked[0]]))[0]
                return one.decision.table.digest == digest and one.embedding.text == text

            await eventually(arrived)
            assert RoutingTable.from_bytes(table.to_bytes()) == table
            expected = expectations(table, features, lengths)
            for profile, rates in PROFILES.items():
                said = [table.models[i] for i in choices(expected, rates)]
                lived = await decided(pipeline, asked, profile=profile)
                assert [d.decision.model for d in lived] == said, (representation, profile)
                for one in lived:
                    assert bool(one.assignment.predicted) == estimator
                    assert one.decision.predictor_share == (1.0 if estimator else 0.0)
                    assert ("predicted to succeed with" in one.decision.why) == estimator


def matrix_of(known: Known, path: Path, *, answers: bool = True) -> Path:
    """A file as a user brings it: CSV with costs and, unless told otherwise, answers."""
    with path.open("w", newline="") as file:
        out = csv.writer(file)
        said = [f"{m}_response" for m in MODELS[:2]] if answers else []
        out.writerow(["prompt", *MODELS[:2], *(f"{m}_cost_usd" for m in MODELS[:2]), *said])
        for prompt, scores, cost in zip(known.train, known.scores, known.cost, strict=True):
            written = ["It is so." if s else "I can't say." for s in scores[:2]] if answers else []
            out.writerow([prompt, *(str(bool(s)) for s in scores[:2]), *cost[:2], *written])
    return path


def test_a_report_of_prompts_and_scores_alone_has_its_curve(tmp_path: Path) -> None:
    file, report = (
        matrix_of(Known.made(), tmp_path / "bare.csv", answers=False),
        tmp_path / "report.md",
    )
    said = CliRunner().invoke(
        app,
        [
            "evaluate",
            str(file),
            "--splits",
            "1",
            "--k",
            "10",
            "--robustness",
            "0",
            "--report",
            str(report),
        ],
    )
    assert said.exit_code == 0, said.output
    assert "Cascade" not in report.read_text()
    assert {p.name for p in (tmp_path / "report").iterdir()} == {
        "bare-curve.svg",
        "bare-accuracy.svg",
    }


def test_evaluate_reads_a_users_file_and_reports_all_it_promises(tmp_path: Path) -> None:
    file = matrix_of(Known.made(), tmp_path / "mine.csv")
    report = tmp_path / "report.md"
    said = CliRunner().invoke(
        app,
        [
            "evaluate",
            str(file),
            "--splits",
            "2",
            "--k",
            "10",
            "--robustness",
            "5",
            "--report",
            str(report),
            "--json",
        ],
    )
    assert said.exit_code == 0, said.output
    (found,) = json.loads(said.stdout)
    assert (found["file"], found["prompts"], found["splits"]) == (
        "mine.csv",
        len(Known.made().train),
        2,
    )
    routers = {r["router"]: r for r in found["routers"]}
    assert {
        "random",
        "oracle",
        "best single model",
        "kNN-40",
        "Avengers-Pro, k=60",
        "prompt",
        "contrastive",
        "estimator",
        "auto",
    } < set(routers)
    assert {"delta", "response keys"} < set(routers), "the file has responses"
    for name, one in routers.items():
        low, high = one["interval"]
        assert low <= one["accuracy"] <= high
        if name not in {"random", "oracle", "best single model"}:
            assert None not in (
                one["area"],
                one["perf_gain"],
                one["cost_save"],
                one["apgr"],
                one["cpt50"],
                one["cpt80"],
            )
            assert sum(one["decisions"].values()) == 2 * found["prompts"] * 3 / 10
    assert routers["Avengers-Pro, k=60"]["beside_avengers_pro"]["mean"] == 0.0
    assert routers["oracle"]["regret"] == 0.0 < routers["random"]["regret"]
    for measure in ("area", "apgr"):
        beside = found["auto_less_baselines"][measure]
        assert beside["best"] in beside["baselines"]
        told = [one for one in beside["baselines"].values() if one]
        assert told or measure == "apgr", "60 prompts leave little gap between two models"
        assert all(one["low"] <= one["mean"] <= one["high"] for one in told)
    cascades = {c["sees"]: c for c in found["cascades"]}
    assert set(cascades) == {"prompt", "delta", "joint", "checked"}
    assert cascades["joint"]["apgr"] > cascades["prompt"]["apgr"], (
        "the answer tells whether it is good"
    )
    for line in found["robustness"]:
        assert {"typos", "case", "spacing", "filler", "reordered", "all", "accuracy_lost"} < set(
            line
        )
    text = report.read_text()
    for words in (
        "CPT(80)",
        "Cascade",
        "Choices that stay",
        "| model alone |",
        "decisions per model",
    ):
        assert words in text
    assert {p.name for p in (tmp_path / "report").iterdir()} == {
        "mine-curve.svg",
        "mine-accuracy.svg",
    }
    assert [note.split(" prompts")[0] for note in found["notes"]] == ["only 60"]
    shown = CliRunner().invoke(
        app,
        ["evaluate", str(file), "--folds", "2", "--k", "10", "--robustness", "0"],
        env={"COLUMNS": "80"},
    )
    assert shown.exit_code == 0, shown.output
    assert "a wider window" in shown.stdout
    assert "estimator" in shown.stdout
    assert "gets" in shown.stdout
    assert (
        "than the best single model alone" in shown.stdout
        or "as the best single model alone" in shown.stdout
    )
    assert "the best of the simple baselines" in shown.stdout
    assert "told to keep 97%" in shown.stdout


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (
            "prompt,a,b\nhello,1,maybe\n",
            "row 2, column b: not a number from 0 to 1, or true or false",
        ),
        ("prompt,a,b\nhello,1,0\n", "the number of prompts in bad.csv is 1; 40 are needed"),
        ("question,a\nhello,1\n", "there is no column prompt"),
    ],
)
def test_a_file_that_can_not_be_used_is_refused_with_the_place(
    content: str, words: str, tmp_path: Path
) -> None:
    file = tmp_path / "bad.csv"
    file.write_text(content)
    for command in (
        ["evaluate", str(file)],
        ["table", "build", "--outcomes", str(file), "--save", str(tmp_path / "t")],
    ):
        if "; 40" in words and command[0] == "table":
            continue
        said = CliRunner().invoke(app, command)
        assert said.exit_code != 0
        assert words in (str(said.exception) + said.output).replace("\n", " ")


def test_a_table_built_from_a_csv_file_can_be_represented_in_every_way(tmp_path: Path) -> None:
    file = matrix_of(Known.made(), tmp_path / "mine.csv")
    packed = tmp_path / "mine.csv.gz"
    packed.write_bytes(gzip.compress(file.read_bytes()))
    tables = {}
    for name in ("auto", "plain", "contrastive", "delta", "keys"):
        command = [
            "table",
            "build",
            "--outcomes",
            str(packed),
            "--k",
            "10",
            "--representation",
            name,
            "--save",
            str(tmp_path / name),
            "--json",
        ]
        said = CliRunner().invoke(app, command)
        assert said.exit_code == 0, said.output
        facts = json.loads(said.stdout)
        tables[name] = RoutingTable.from_bytes((tmp_path / name).read_bytes())
        assert facts["representation"] == (
            tables[name].projection.kind if tables[name].projection else "plain"
        )
        assert name == "auto" or facts["representation"] == name
    same = corresponding(tables["plain"], tables["contrastive"], within=1.0)
    assert sum(i >= 0 for i in same) == 10


def test_a_file_with_holes_and_copies_is_evaluated_with_a_warning(tmp_path: Path) -> None:
    file = tmp_path / "holes.jsonl"
    prompts = [f"Translate sentence {i % 50} into French" for i in range(60)]
    rows = [
        {"prompt": p, "scores": {"a": i % 2, "b": 1} if i % 3 else {"a": 1}}
        for i, p in enumerate(prompts)
    ]
    file.write_text("\n".join(map(json.dumps, rows)))
    said = CliRunner().invoke(
        app, ["evaluate", str(file), "--splits", "1", "--robustness", "0", "--json"]
    )
    assert said.exit_code == 0, said.output
    (found,) = json.loads(said.stdout)
    assert [note.split(";")[0] for note in found["notes"]] == [
        "no costs are known, so what follows is of quality alone",
        "16.7% of the scores are missing",
        "only 18 prompts are scored in a split, so the figures are rough",
        "10 prompts come more than once, so some are learnt from and tested on alike",
    ]
    assert all(r["standard_error"] is None for r in found["routers"]), "of one split there is none"


def test_the_same_file_gives_the_same_table_in_every_process(tmp_path: Path) -> None:
    file = matrix_of(Known.made(), tmp_path / "mine.csv")
    command = [
        sys.executable,
        "-m",
        "services",
        "table",
        "build",
        "--outcomes",
        str(file),
        "--k",
        "10",
        "--save",
    ]
    made = []
    for seed in ("1", "2"):
        target = tmp_path / seed
        subprocess.run(
            [*command, str(target)],
            check=True,
            capture_output=True,
            env={**os.environ, "PYTHONHASHSEED": seed},
        )
        made.append(target.read_bytes())
    assert made[0] == made[1]


def test_a_folder_as_target_is_refused_before_the_work(tmp_path: Path) -> None:
    file = matrix_of(Known.made(), tmp_path / "mine.csv")
    for command in (
        ["evaluate", str(file), "--report", str(tmp_path)],
        ["table", "build", "--outcomes", str(file), "--save", str(tmp_path)],
    ):
        said = CliRunner().invoke(app, command)
        assert said.exit_code != 0
        assert "is a folder; name a file in it" in str(said.exception)


def test_a_broken_archive_is_named(tmp_path: Path) -> None:
    packed = gzip.compress(b'{"prompt": "a", "scores": {"m": 1}}\n' * 50, mtime=0)
    broken = tmp_path / "broken.jsonl.gz"
    for content in (packed[:10] + b"\xff" * 8 + packed[18:], packed[:-12], b"no archive"):
        broken.write_bytes(content)
        said = CliRunner().invoke(app, ["evaluate", str(broken)])
        assert "broken.jsonl.gz can't be read" in str(said.exception)


async def test_the_embedder_goes_over_to_the_tables_encoder(installation: dict[str, str]) -> None:
    """A table from before the default encoder was another one keeps working, and the next does."""
    known = Known.made()
    async with running_pipeline(
        None, POINTSMAN_DESCRIBER_BACKEND="library", POINTSMAN_ENCODER_VARIANT=VARIANT
    ) as pipeline:
        for variant in (VARIANT, "minilm-int8", "tasks1-int8", VARIANT):
            encoder = load(None, variant)
            responses = np.zeros((len(known.train), encoder.identity.dimension), np.float32)
            recipe = Recipe("plain", False, 20, "prompt")
            table = known.table(known.train, responses, encoder, recipe)
            await publish(KafkaSettings(), RedisSettings(), table, variant)

            async def arrived(digest: str = table.digest) -> bool:
                request = await pipeline.send({"prompt": known.test[0]})
                one = (await pipeline.collect({request}))[request].decided
                return one is not None and one.decision.table.digest == digest

            await eventually(arrived, 60)
            for one in await decided(pipeline, known.test[:20]):
                assert one.embedding.encoder.encoder() == encoder.identity
                assert one.decision.table.digest == table.digest
                library = one.description.library
                assert library is not None
                shared = library.encoder.encoder() == encoder.identity
                assert (library.vector == one.embedding.vector) == shared
