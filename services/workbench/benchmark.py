"""Routers and baselines on files of outcomes: what each would have scored, cost and saved."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from rich.progress import Progress

from services.screen import progress
from services.workbench.describing import describe_rest
from services.workbench.findings import BASELINES, OURS, PEER, SINGLE, Findings, Options, measures
from services.workbench.outcome_file import Row, matrix
from services.workbench.outcomes import (
    embed,
    embed_responses,
    few_scored,
    mean_responses,
    read,
    readings,
    without,
)
from shared.adapters.onnx.encoder import OnnxEncoder
from shared.adapters.onnx.load import load as load_encoder
from shared.routing.deciding.cascade import Answered
from shared.routing.deciding.form import SIZE, forms
from shared.routing.deciding.table import Array, Text
from shared.routing.errors import OutcomesInvalid
from shared.routing.learning.clustering import warm
from shared.routing.offline.evaluation import (
    CascadeResult,
    Interval,
    Measure,
    Rows,
    difference,
    evaluate,
    evaluate_cascades,
    folds,
    interval,
    random_splits,
    swept,
    swept_difference,
    weak_and_strong,
)
from shared.routing.offline.outcomes import K_CANDIDATES, Recipe, recipes
from shared.routing.offline.perturbing import KINDS, perturbed
from shared.routing.offline.routers import (
    TOKENS,
    AvengersPro,
    Data,
    FittedRouter,
    Neighbours,
    Pointsman,
    Router,
    RouterExpectations,
    Single,
)

FEWEST = 40


def routers(
    count: int, k: int | None, texts: Sequence[Text], described: Sequence[Text], *, responses: bool
) -> dict[str, Router]:
    """All that are compared, baselines first.

    `count`: prompts that they learn from; `texts`: what `auto` may read; `described`: texts with a
    description that have rows of their own.
    """
    middle = k or recipes(count, numbers=K_CANDIDATES)[-1].k
    numbers = K_CANDIDATES if k is None else (k,)
    named: dict[str, Router] = {
        SINGLE: Single(),
        "kNN-40": Neighbours(40),
        "kNN-100": Neighbours(100),
        "k-means, 25": AvengersPro(25, by_weights=False),
        "k-means, 60": AvengersPro(60, by_weights=False),
        "soft, 8 of 150, shrunk": AvengersPro(150, top=8, shrinkage=10.0, by_weights=False),
        "Avengers-Pro, k=25": AvengersPro(25),
        PEER: AvengersPro(60),
        "prompt": Pointsman((Recipe(k=middle),)),
        "contrastive": Pointsman((Recipe("contrastive", k=middle),)),
        "estimator": Pointsman((Recipe(estimator=True, k=middle),)),
        OURS: Pointsman(tuple(recipes(count, texts, numbers=numbers)), measure=True),
    }
    for text in described:
        named[text] = Pointsman((Recipe(k=middle, text=text),))
    if responses:
        named |= {
            "delta": Pointsman((Recipe("delta", k=middle),)),
            "response keys": Pointsman((Recipe("keys", k=middle),)),
        }
    return named


def texts_of(given: Sequence[str | None], describe: str) -> tuple[Text, ...]:
    """What `auto` tries to read: the prompt; and descriptions where they are in the file, or a
    language model writes them.

    What rules extract never did better than the prompt itself (docs/decisions/0010-true-units.md).
    """
    return ("prompt", "description", "both") if any(given) or describe == "llm" else ("prompt",)


async def study(path: Path, options: Options) -> Findings:
    """Describe, embed, split, learn, score. Raises `OutcomesInvalid`, naming what is wrong in the
    file."""
    rows, prices = read(path, options.prices, "left out of the evaluation")
    rows = without(
        rows, few_scored(rows)
    )  # what such models would have made of the other prompts nobody knows
    if len(rows) < FEWEST:
        raise OutcomesInvalid(
            f"the number of prompts in {path.name} is {len(rows)}; {FEWEST} are needed to learn "
            "and to test"
        )
    prompts = [row.prompt for row in rows]
    outcomes = matrix(rows, prices, prompts)
    with progress() as bar:
        warming = asyncio.create_task(asyncio.to_thread(warm))
        encoder = await asyncio.to_thread(load_encoder, options.encoder_dir, options.variant)
        given = [row.description for row in rows]
        features = await _features(prompts, given, encoder, options, bar, path.name)
        answering = bar.add_task(
            "embedding responses",
            total=sum(len(r.responses) for r in rows),
            visible=any(r.responses for r in rows),
        )
        responses = await embed_responses(rows, encoder, lambda n: bar.advance(answering, n))
        outcomes = replace(outcomes, responses=mean_responses(responses))
        if outcomes.prompt_tokens is not None:
            features[TOKENS] = outcomes.prompt_tokens.astype(np.float32)
        data = Data(outcomes, features, encoder.identity)
        await warming
        count = len(rows)
        splits = list(
            folds(count, options.folds) if options.folds else random_splits(count, options.splits)
        )
        texts: tuple[Text, ...] = ("description", "both") if "description" in features else ()
        named = routers(
            len(splits[0][0]),
            options.k,
            texts_of(given, options.describe),
            texts,
            responses=outcomes.responses is not None,
        )
        steps = bar.add_task("learning and scoring", total=len(splits) * len(named))
        fitted_routers: dict[str, FittedRouter] = {}

        def keep(
            split: int, name: str, fitted: FittedRouter, _expected: RouterExpectations, _test: Rows
        ) -> None:
            bar.advance(steps)
            if split == 0 and named[name].looks:
                fitted_routers[name] = fitted

        results = await asyncio.to_thread(
            evaluate,
            data,
            named,
            splits,
            lambda name: bar.update(steps, description=f"learning and scoring: {name}"),
            keep,
        )
        bar.update(steps, description="learning and scoring")
        weak, strong = weak_and_strong(outcomes) if len(outcomes.models) == 2 else (0, 0)
        cascades: Mapping[str, CascadeResult] = {}
        if weak != strong and all(outcomes.models[weak] in row.responses for row in rows):
            answered = _answered(rows, responses, outcomes.models[weak], features["prompt"])
            line = outcomes.scores[:, weak], outcomes.scores[:, strong]
            cascades = {
                str(k): v
                for k, v in (
                    await asyncio.to_thread(evaluate_cascades, answered, *line, splits)
                ).items()
            }
        chosen = np.random.RandomState(options.seed).permutation(splits[0][1])[: options.robustness]
        robustness = (
            await _robustness(chosen, fitted_routers, data, given, encoder, options, bar)
            if len(chosen)
            else {}
        )
        intervals = {name: interval(r, options.seed) for name, r in results.items()}
        beside_peer = {
            name: difference(r, results[PEER], options.seed) for name, r in results.items()
        }
        beside_single = {
            name: difference(r, results[SINGLE], options.seed) for name, r in results.items()
        }
        bar.update(steps, description="comparing")
        beside_best: dict[Measure, dict[str, Interval | None]] = {}
        for measure in measures(outcomes):
            lines = {
                n: await asyncio.to_thread(swept, results[n], count, options.seed, measure)
                for n in (OURS, *BASELINES)
            }
            beside_best[measure] = {
                name: swept_difference(lines[OURS], lines[name]) for name in BASELINES
            }
    names = (outcomes.models[weak], outcomes.models[strong]) if weak != strong else ("", "")
    bare = sum(not row.responses for row in rows)
    bare = bare if bare < len(rows) else 0
    return Findings(
        path.name,
        data,
        results,
        intervals,
        beside_peer,
        beside_single,
        beside_best,
        cascades,
        robustness,
        *names,
        bare,
        options,
    )


async def _features(
    prompts: Sequence[str],
    given: Sequence[str | None],
    encoder: OnnxEncoder,
    options: Options,
    bar: Progress,
    name: str,
) -> dict[str, Array]:
    """The features of the prompt; and of description and both, where the file has descriptions or
    `describe` says who writes them."""
    texts = None
    if any(given) or options.describe != "auto":
        texts = await describe_rest(prompts, given, options.describe, lambda: None)
    read_ = readings(prompts, texts)
    form = forms(read_["prompt"])
    task = bar.add_task(f"embedding {name}", total=len(read_) * len(prompts))
    return {
        kind: np.hstack([await embed(own, encoder, lambda n: bar.advance(task, n)), form])
        for kind, own in read_.items()
    }


def _answered(
    rows: Sequence[Row], responses: Sequence[Mapping[str, Array]], weak: str, prompts: Array
) -> Answered:
    size = prompts.shape[1] - SIZE
    answers = np.stack([response[weak] for response in responses])
    texts = [row.responses[weak] for row in rows]
    return Answered.of(prompts[:, :size], prompts[:, size:], answers, texts)


async def _robustness(
    rows: Rows,
    kept: Mapping[str, FittedRouter],
    data: Data,
    given: Sequence[str | None],
    encoder: OnnxEncoder,
    options: Options,
    bar: Progress,
) -> dict[str, dict[str, float]]:
    """For each router the fraction of choices that stay under each disturbance, and what accuracy
    they lose."""
    scores = np.where(np.isfinite(data.outcomes.scores), data.outcomes.scores, 0.0)[rows]
    prompts = [data.outcomes.texts[i] for i in rows]
    at = np.arange(len(rows))

    def picks(features: Mapping[str, Array]) -> dict[str, Rows]:
        return {name: fitted.expect(features).best() for name, fitted in kept.items()}

    before = picks({kind: values[rows] for kind, values in data.features.items()})
    shares: dict[str, dict[str, float]] = {name: {} for name in kept}
    lost: dict[str, list[float]] = {name: [] for name in kept}
    for kind in KINDS:
        disturbed = [perturbed(prompt, kind, options.seed) for prompt in prompts]
        features = await _features(
            disturbed, [given[i] for i in rows], encoder, options, bar, f"with {kind}"
        )
        for name, after in picks(features).items():
            shares[name][kind] = float((after == before[name]).mean())
            lost[name].append(float((scores[at, before[name]] - scores[at, after]).mean()))
    for name, one in shares.items():
        one["all"] = float(np.mean([one[kind] for kind in KINDS]))
        one["accuracy_lost"] = float(np.mean(lost[name]))
    return shares
