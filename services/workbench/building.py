"""Building a routing table from outcomes, from votes, or from SIMULATED outcomes."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import cast, get_args

import numpy as np
from rich.progress import Progress

from services.screen import err, progress
from services.workbench.benchmark import texts_of
from services.workbench.describing import describe_rest
from services.workbench.findings import priced
from services.workbench.outcome_file import Row, matrix
from services.workbench.outcomes import (
    beside,
    embed,
    embed_responses,
    mean_responses,
    prices_of,
    read,
    readings,
    votes_of,
)
from shared.adapters.onnx.encoder import OnnxEncoder
from shared.adapters.onnx.load import load as load_encoder
from shared.catalog import models, tasks
from shared.catalog.estimates import ANSWER_TOKENS, estimate_tokens
from shared.catalog.tasks import points
from shared.catalog.tasks.points import Points
from shared.routing.deciding.cascade import Answered, Heads, fit_heads
from shared.routing.deciding.form import SIZE, forms
from shared.routing.deciding.table import Array, Encoder, RoutingTable, Text
from shared.routing.errors import OutcomesInvalid
from shared.routing.learning.clustering import warm
from shared.routing.learning.labels import with_library_names
from shared.routing.offline.outcomes import (
    K_CANDIDATES,
    Matrix,
    Outcomes,
    Recipe,
    Representation,
    build_table,
    choose,
    left_out,
    recipes,
    surely_better,
)
from shared.routing.offline.simulation import simulated_scores, simulated_skills
from shared.routing.offline.votes_table import PairVotes, build_from_votes

PROFILE = "current"
"""The models of the simulated table."""
BY_OUTCOME = "minilm-int8"
"""The encoder that is preferred where there are outcomes: it tells best how hard a prompt is."""
BY_TASK = "int8"
"""…and where there are none: it tells best what is asked."""
LIVE: tuple[Representation, ...] = ("plain", "contrastive")
"""Task representations that `--representation auto` tries: those that need nothing but outcomes."""


@dataclass(frozen=True, slots=True)
class TableSource:
    """What a table is built from."""

    outcomes: Path | None = None
    prices: Path | None = None
    simulated: bool = False
    k: str = "auto"
    representation: str = "auto"
    estimator: str = "auto"
    text: str = "auto"
    describe: str = "local"
    variant: str = "auto"
    """An encoder that comes with Pointsman; auto: the one that routes these outcomes better."""
    encoder_dir: Path | None = None
    reference: str | None = None
    seed: int = 0
    votes: Path | None = None
    cascade: bool = True
    """Whether it is learnt to tell good answers of cheap models from bad ones, where the outcomes
    have responses."""


async def make_table(source: TableSource) -> RoutingTable:
    """Describe, embed, cluster, rank. Raises `OutcomesInvalid` or `EncoderInvalid`."""
    _check(source)
    if sum((source.simulated, source.outcomes is not None, source.votes is not None)) != 1:
        raise OutcomesInvalid(
            "name an outcome matrix with --outcomes FILE, preferences with --votes FILE, or "
            "--simulated for the 25 tasks with simulated "
            "outcomes"
        )
    if source.votes is not None:
        return await _from_votes(source, source.votes)
    if source.outcomes is None:
        rows, prices, name = _simulated(source.seed)
    else:
        (rows, prices) = read(source.outcomes, source.prices)
        name = source.outcomes.name
    warming = asyncio.create_task(asyncio.to_thread(warm))
    with progress() as bar:
        describing = bar.add_task("describing prompts", total=len(rows))
        prompts = [row.prompt for row in rows]
        given = [row.description for row in rows]
        kinds = (
            texts_of(given, source.describe)
            if source.text == "auto"
            else (cast("Text", source.text),)
        )
        outcomes = matrix(rows, prices, prompts)
        texts = await describe_rest(
            prompts, given, source.describe, lambda: bar.advance(describing)
        )
        outcomes = replace(outcomes, texts=tuple(texts))
        variants = _variants(source)
        encoding = bar.add_task("embedding prompts", total=len(rows) * len(kinds) * len(variants))
        read_ = readings(prompts, texts)
        form = forms(read_["prompt"])
        spaces = []
        for variant in variants:
            encoder = await asyncio.to_thread(load_encoder, source.encoder_dir, variant)
            points_ = {
                kind: await embed(read_[kind], encoder, lambda n: bar.advance(encoding, n))
                for kind in kinds
            }
            spaces.append(
                Space(encoder, {kind: np.hstack([own, form]) for kind, own in points_.items()})
            )
        responses: list[dict[str, Array]] = []
        with_responses = source.representation in BY_RESPONSE or (
            source.cascade and priced(outcomes) and any(row.responses for row in rows)
        )
        clustering = bar.add_task("clustering and ranking", total=1)
        await warming
        if source.representation in BY_RESPONSE:
            responses = await _responses(rows, spaces[0].encoder, bar)
            outcomes = replace(outcomes, responses=mean_responses(responses))
        space, recipe = await asyncio.to_thread(_space_and_recipe, source, outcomes, spaces)
        encoder, features, library = space.encoder, space.features, space.library(source)
        if with_responses and not responses:
            responses = await _responses(rows, encoder, bar)
        table = await asyncio.to_thread(
            build_table,
            outcomes,
            features[recipe.text],
            encoder.identity,
            recipe,
            seed=source.seed,
            source=name,
            simulated=source.simulated,
            reference=source.reference,
            measure=True,
        )
        table = with_library_names(table, features[recipe.text], library)
        if source.cascade and responses and priced(outcomes):
            vectors = (
                features["prompt"][:, :-SIZE]
                if "prompt" in features
                else await embed(read_["prompt"], encoder, lambda _: None)
            )
            heads = await asyncio.to_thread(
                heads_of, rows, responses, vectors, form, outcomes, source.seed
            )
            table = replace(table, cascade=heads)
        bar.advance(clustering)
    return table


def heads_of(
    rows: Sequence[Row],
    responses: Sequence[Mapping[str, Array]],
    prompts: Array,
    form: Array,
    outcomes: Outcomes,
    seed: int,
) -> Heads | None:
    """What tells good answers from bad, for every model but the most expensive one."""
    dearest = outcomes.models[int(outcomes.paid().mean(axis=0).argmax())]
    answered = {}
    for model in outcomes.models:
        rows_of_model = np.array([i for i, said in enumerate(responses) if model in said], np.intp)
        if model != dearest and len(rows_of_model):
            answers = np.stack([responses[i][model] for i in rows_of_model])
            texts = [rows[i].responses[model] for i in rows_of_model]
            answered[model] = (
                rows_of_model,
                Answered.of(prompts[rows_of_model], form[rows_of_model], answers, texts),
            )
    return fit_heads(answered, outcomes.scores, outcomes.models, seed)


async def _from_votes(source: TableSource, path: Path) -> RoutingTable:
    """A table from preferences: who won against whom, on which prompt."""
    said = votes_of(path)
    decided = [vote for vote in said if vote.first_better is not None and vote.first != vote.second]
    prompts = list(dict.fromkeys(vote.prompt for vote in decided))
    models_ = tuple(sorted({name for vote in decided for name in (vote.first, vote.second)}))
    prices = prices_of(models_, source.prices, beside(path))
    text = cast("Text", "prompt" if source.text == "auto" else source.text)
    warming = asyncio.create_task(asyncio.to_thread(warm))
    with progress() as bar:
        describing = bar.add_task("describing prompts", total=len(prompts))
        texts = await describe_rest(
            prompts, [None] * len(prompts), source.describe, lambda: bar.advance(describing)
        )
        variant = BY_OUTCOME if source.variant == "auto" else source.variant
        encoder = await asyncio.to_thread(load_encoder, source.encoder_dir, variant)
        encoding = bar.add_task("embedding prompts", total=len(prompts))
        read_ = readings(prompts, texts)
        vectors = await embed(read_[text], encoder, lambda n: bar.advance(encoding, n))
        points_ = np.hstack([vectors, forms(read_["prompt"])])
        await warming
        ranking = bar.add_task("clustering and ranking", total=1)
        at = {prompt: i for i, prompt in enumerate(prompts)}
        where = {model: i for i, model in enumerate(models_)}
        priced = all(model in prices for model in models_)
        votes = PairVotes(
            tuple(texts),
            models_,
            np.array([at[vote.prompt] for vote in decided], np.intp),
            np.array([where[vote.first] for vote in decided], np.intp),
            np.array([where[vote.second] for vote in decided], np.intp),
            np.array([vote.first_better for vote in decided], np.float64),
            np.array([estimate_tokens(len(prompt.encode())) for prompt in prompts]),
            np.array([prices[m].input / 1e6 if priced else 0.0 for m in models_]),
            np.array([prices[m].cost_usd(0, ANSWER_TOKENS) if priced else 0.0 for m in models_]),
        )
        table = await asyncio.to_thread(
            build_from_votes,
            votes,
            points_,
            encoder.identity,
            text=text,
            k=None if source.k == "auto" else _number(source.k),
            seed=source.seed,
            source=f"{len(decided)} votes of {path.name}",
            reference=source.reference,
        )
        library = points.known(encoder.identity, source.encoder_dir)
        table = with_library_names(table, points_, library)
        bar.advance(ranking)
    if not priced:
        bare = ", ".join(m for m in models_ if m not in prices)
        err.print(
            f"[yellow]no price of {bare} is known, so costs have no effect; name --prices[/]",
            soft_wrap=True,
        )
    return table


BY_RESPONSE = ("delta", "keys")
"""Those that are learnt from the models' responses."""


def _check(source: TableSource) -> None:
    """Raise `OutcomesInvalid` for a name that means nothing."""
    if source.representation not in {"auto", *get_args(Representation)}:
        raise OutcomesInvalid(
            f"--representation is auto or one of {', '.join(get_args(Representation))}, not "
            f"{source.representation}"
        )
    if source.text not in {"auto", *get_args(Text)}:
        raise OutcomesInvalid(
            f"--text is auto or one of {', '.join(get_args(Text))}, not {source.text}"
        )
    if source.estimator not in {"auto", "yes", "no"}:
        raise OutcomesInvalid(f"--estimator is auto, yes or no, not {source.estimator}")
    if source.k != "auto":
        _number(source.k)


@dataclass(frozen=True, slots=True)
class Space:
    """An encoder, and what it makes of the prompts, by what is read of them: (n, dimension and
    form)."""

    encoder: OnnxEncoder
    features: Mapping[Text, Array]

    def library(self, source: TableSource) -> Points | None:
        """The library's tasks in it, where they are known."""
        return points.known(self.encoder.identity, source.encoder_dir)


def _variants(source: TableSource) -> tuple[str, ...]:
    """The encoders that are tried, the one that is preferred first."""
    if source.encoder_dir is not None or source.variant != "auto":
        return (source.variant,)
    if source.simulated or source.representation == "tasks":
        return (BY_TASK,)
    if source.representation in BY_RESPONSE:
        return (BY_OUTCOME,)
    return BY_OUTCOME, BY_TASK


async def _responses(
    rows: Sequence[Row], encoder: OnnxEncoder, bar: Progress
) -> list[dict[str, Array]]:
    total = sum(len(row.responses) for row in rows)
    answers = bar.add_task("embedding responses", total=total)
    return await embed_responses(rows, encoder, lambda n: bar.advance(answers, n))


def _space_and_recipe(
    source: TableSource, outcomes: Outcomes, spaces: Sequence[Space]
) -> tuple[Space, Recipe]:
    """The best recipe of each space; and of these the first, unless another is surely better on
    prompts left out."""
    chosen: tuple[Space, Recipe] | None = None
    reached: tuple[Matrix, Matrix] | None = None
    for space in spaces:
        encoder = space.encoder.identity
        tasked = space.library(source) is not None
        recipe = _recipe(source, outcomes, space.features, encoder, tasked=tasked)
        if len(spaces) == 1:
            return space, recipe
        expected = left_out(outcomes, space.features[recipe.text], encoder, recipe, source.seed)
        if reached is None or surely_better(expected, reached, outcomes, source.seed):
            chosen, reached = (space, recipe), expected
    assert chosen is not None
    return chosen


def _recipe(
    source: TableSource,
    outcomes: Outcomes,
    features: Mapping[Text, Array],
    encoder: Encoder,
    tasked: bool,
) -> Recipe:
    """What `source` names, and the best in cross-validation of what it leaves open. `tasked`:
    whether the encoder tells tasks."""
    if source.representation == "tasks" and not tasked:
        raise OutcomesInvalid(
            f"--representation tasks needs an encoder with a task head, and {encoder.id} has none; "
            "`pointsman model train-tasks` makes one"
        )
    if (
        source.simulated and source.representation == source.estimator == "auto"
    ):  # there is nothing to learn in drawn outcomes
        source = replace(source, representation="tasks" if tasked else "plain", estimator="no")
    names = (
        (*LIVE, "tasks")
        if source.representation == "auto" and tasked
        else LIVE
        if source.representation == "auto"
        else (cast("Representation", source.representation),)
    )
    numbers = K_CANDIDATES if source.k == "auto" else (_number(source.k),)
    whether = (False, True) if source.estimator == "auto" else (source.estimator == "yes",)
    tried = recipes(len(outcomes.texts), tuple(features), names, numbers, whether)
    return tried[0] if len(tried) == 1 else choose(outcomes, features, encoder, tried, source.seed)


def _number(k: str) -> int:
    if not k.isdigit() or int(k) < 1:
        raise OutcomesInvalid(f"--k is a number of clusters or auto, not {k}")
    return int(k)


def _simulated(seed: int) -> tuple[list[Row], dict[str, models.Price], str]:
    """The 25 tasks with simulated scores for the models of the profile, and what the catalogue says
    of cost and latency."""
    pool = models.load().profile(PROFILE)
    known = tasks.methodology()
    ranks = np.argsort(np.argsort([m.price.output for m in pool])) / (len(pool) - 1)
    per_task = len(known[0].train)
    scores = simulated_scores(simulated_skills(len(known), list(ranks), seed), per_task, seed)
    prompts = [prompt for task in known for prompt in task.train]
    rows = [
        Row(
            prompt=prompt,
            scores={m.name: float(s) for m, s in zip(pool, line, strict=True)},
            cost_usd={
                m.name: m.price.cost_usd(estimate_tokens(len(prompt.encode())), ANSWER_TOKENS)
                for m in pool
            },
            latency_s={m.name: m.latency_s for m in pool},
        )
        for prompt, line in zip(prompts, scores, strict=True)
    ]
    return rows, {}, "simulated outcomes on the 25 tasks"
