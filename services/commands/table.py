"""`pointsman table …`: routing tables."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, cast, get_args

import numpy as np
from rich.table import Table

from services.commands import servers
from services.commands.describing import describe_rest
from services.commands.evaluate import priced, texts_of
from services.commands.outcomes import (
    beside,
    check_target,
    embed,
    embed_responses,
    mean_responses,
    prices_of,
    read,
    votes_of,
)
from services.commands.screen import as_json as print_json
from services.commands.screen import err, out, progress, usd
from shared.adapters.kafka.settings import KafkaSettings
from shared.adapters.kafka.tables import find, versions
from shared.adapters.onnx.load import load as load_encoder
from shared.adapters.redis.client import RedisSettings
from shared.adapters.tables import publish, roll_back
from shared.adapters.tables import unpin as unpinned
from shared.catalog import models, tasks
from shared.contracts.outcome_file import ANSWER_TOKENS, Row, matrix
from shared.contracts.parts import BYTES_PER_TOKEN
from shared.contracts.tables import TablePublished
from shared.routing.cascade import Answered, Heads, fit_heads
from shared.routing.clustering import warm
from shared.routing.comparing import by_votes, differences, origin
from shared.routing.errors import OutcomesInvalid, TableInvalid
from shared.routing.extraction import together
from shared.routing.form import SIZE, forms
from shared.routing.outcomes import (
    K_CANDIDATES,
    Outcomes,
    Recipe,
    Representation,
    build_table,
    choose,
    recipes,
)
from shared.routing.simulation import simulated_scores, simulated_skills
from shared.routing.table import Array, Encoder, RoutingTable, Text
from shared.routing.task2vec import similar
from shared.routing.votes_table import Votes, build_from_votes

PROFILE = "current"
"""The models of the simulated table."""


@dataclass(frozen=True, slots=True)
class Source:
    """What a table is built from."""

    outcomes: Path | None = None
    prices: Path | None = None
    simulated: bool = False
    k: str = "auto"
    representation: str = "auto"
    estimator: str = "auto"
    text: str = "auto"
    describe: str = "local"
    variant: str = "int8"
    encoder_dir: Path | None = None
    reference: str | None = None
    seed: int = 0
    votes: Path | None = None
    cascade: bool = True
    """Whether it is learnt to tell good answers of cheap models from bad ones, where the outcomes
    have responses."""


def build(source: Source, save: Path | None, note: str, *, as_json: bool) -> None:
    """Build a table; publish it, or write it to a file."""
    servers.find_running()
    check_target(save)
    if save is not None:
        table = asyncio.run(make_table(source))
        save.write_bytes(table.to_bytes())
        facts: dict[str, Any] = {"file": str(save), **_facts(table)}
    else:
        version = asyncio.run(build_and_publish(source, note))
        facts = {"version": str(version.ref), **_facts(version.read_table())}
    if as_json:
        print_json(facts)
    else:
        out.print(
            " · ".join(f"{name} [bold]{value}[/]" for name, value in facts.items()), soft_wrap=True
        )


async def build_and_publish(source: Source, note: str) -> TablePublished:
    """Build a table and publish it as the next version."""
    table = await make_table(source)
    return await publish(
        KafkaSettings(), RedisSettings(), table, note or f"built from {table.provenance.source}"
    )


async def make_table(source: Source) -> RoutingTable:
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
        (rows, prices), name = read(source.outcomes, source.prices), source.outcomes.name
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
        encoder = await asyncio.to_thread(load_encoder, source.encoder_dir, source.variant)
        encoding = bar.add_task("embedding prompts", total=len(rows) * len(kinds))
        form = forms(prompts)
        read_ = {
            "prompt": prompts,
            "description": texts,
            "both": [together(t, p) for t, p in zip(texts, prompts, strict=True)],
        }
        features = {
            kind: np.hstack(
                [await embed(read_[kind], encoder, lambda n: bar.advance(encoding, n)), form]
            )
            for kind in kinds
        }
        responses: list[dict[str, Array]] = []
        if source.representation in BY_RESPONSE or (
            source.cascade and priced(outcomes) and any(row.responses for row in rows)
        ):
            answers = bar.add_task(
                "embedding responses", total=sum(len(row.responses) for row in rows)
            )
            responses = await embed_responses(rows, encoder, lambda n: bar.advance(answers, n))
            outcomes = replace(outcomes, responses=mean_responses(responses))
        clustering = bar.add_task("clustering and ranking", total=1)
        await warming
        recipe = await asyncio.to_thread(_recipe, source, outcomes, features, encoder.identity)
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
        if source.cascade and responses and priced(outcomes):
            vectors = (
                features["prompt"][:, :-SIZE]
                if "prompt" in features
                else await embed(prompts, encoder, lambda _: None)
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
        own = np.array([i for i, said in enumerate(responses) if model in said], np.intp)
        if model != dearest and len(own):
            answers = np.stack([responses[i][model] for i in own])
            answered[model] = (
                own,
                Answered(
                    prompts[own], form[own], answers, forms([rows[i].responses[model] for i in own])
                ),
            )
    return fit_heads(answered, outcomes.scores, outcomes.models, seed)


async def _from_votes(source: Source, path: Path) -> RoutingTable:
    """A table from preferences: who won against whom, on which prompt."""
    read_ = votes_of(path)
    decided = [
        vote for vote in read_ if vote.first_better is not None and vote.first != vote.second
    ]
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
        encoder = await asyncio.to_thread(load_encoder, source.encoder_dir, source.variant)
        encoding = bar.add_task("embedding prompts", total=len(prompts))
        both = [together(t, p) for t, p in zip(texts, prompts, strict=True)]
        vectors = await embed(
            {"prompt": prompts, "description": texts, "both": both}[text],
            encoder,
            lambda n: bar.advance(encoding, n),
        )
        await warming
        ranking = bar.add_task("clustering and ranking", total=1)
        at = {prompt: i for i, prompt in enumerate(prompts)}
        where = {model: i for i, model in enumerate(models_)}
        known = all(model in prices for model in models_)
        votes = Votes(
            tuple(texts),
            models_,
            np.array([at[vote.prompt] for vote in decided], np.intp),
            np.array([where[vote.first] for vote in decided], np.intp),
            np.array([where[vote.second] for vote in decided], np.intp),
            np.array([vote.first_better for vote in decided], np.float64),
            np.array([len(prompt.encode()) / BYTES_PER_TOKEN for prompt in prompts]),
            np.array([prices[m].input / 1e6 if known else 0.0 for m in models_]),
            np.array([prices[m].cost_usd(0, ANSWER_TOKENS) if known else 0.0 for m in models_]),
        )
        table = await asyncio.to_thread(
            build_from_votes,
            votes,
            np.hstack([vectors, forms(prompts)]),
            encoder.identity,
            text=text,
            k=None if source.k == "auto" else _number(source.k),
            seed=source.seed,
            source=f"{len(decided)} votes of {path.name}",
            reference=source.reference,
        )
        bar.advance(ranking)
    if not known:
        bare = ", ".join(m for m in models_ if m not in prices)
        err.print(
            f"[yellow]no price of {bare} is known, so costs have no effect; name --prices[/]",
            soft_wrap=True,
        )
    return table


BY_RESPONSE = ("delta", "keys")
"""Those that are learnt from the models' responses."""
LIVE: tuple[Representation, ...] = ("plain", "contrastive")
"""Task representations that `--representation auto` tries: those that need nothing but outcomes."""


def _check(source: Source) -> None:
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


def _recipe(
    source: Source, outcomes: Outcomes, features: Mapping[Text, Array], encoder: Encoder
) -> Recipe:
    """What `source` names, and the best in cross-validation of what it leaves open."""
    if (
        source.simulated and source.representation == source.estimator == "auto"
    ):  # there is nothing to learn in drawn outcomes
        source = replace(source, representation="plain", estimator="no")
    names = (
        LIVE
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
    pool, known = models.load().profile(PROFILE), tasks.load()
    ranks = np.argsort(np.argsort([m.price.output for m in pool])) / (len(pool) - 1)
    per_task = len(known[0].train)
    scores = simulated_scores(simulated_skills(len(known), list(ranks), seed), per_task, seed)
    prompts = [prompt for task in known for prompt in task.train]
    rows = [
        Row(
            prompt=prompt,
            scores={m.name: float(s) for m, s in zip(pool, line, strict=True)},
            cost_usd={
                m.name: m.price.cost_usd(len(prompt.encode()) / BYTES_PER_TOKEN, ANSWER_TOKENS)
                for m in pool
            },
            latency_s={m.name: m.latency_s for m in pool},
        )
        for prompt, line in zip(prompts, scores, strict=True)
    ]
    return rows, {}, "simulated outcomes on the 25 tasks"


def publish_file(path: Path, note: str, *, as_json: bool) -> None:
    """Publish a saved table."""
    try:
        table = RoutingTable.from_bytes(path.read_bytes())
    except OSError as error:
        raise TableInvalid(f"{path} can't be read: {error.strerror}") from None
    servers.find_running()
    _published(
        asyncio.run(publish(KafkaSettings(), RedisSettings(), table, note or f"from {path.name}")),
        as_json=as_json,
    )


def rollback(name: str, *, as_json: bool) -> None:
    """Publish an old table as the next version, and pin it."""
    servers.find_running()
    _published(asyncio.run(roll_back(KafkaSettings(), RedisSettings(), name)), as_json=as_json)


def unpin(*, as_json: bool) -> None:
    """Let what is learnt replace the current table again."""
    servers.find_running()
    _published(asyncio.run(unpinned(KafkaSettings(), RedisSettings())), as_json=as_json)


def _published(version: TablePublished, *, as_json: bool) -> None:
    if as_json:
        print_json(_line(version))
    else:
        out.print(f"published [bold]{version.ref}[/] ({version.digest[:12]}): {version.note}")


def list_versions(*, as_json: bool) -> None:
    """List the versions there are."""
    servers.find_running()
    known = asyncio.run(versions(KafkaSettings()))
    if as_json:
        print_json([_line(v) for v in known])
        return
    if not known:
        out.print(
            "no routing table has been published yet; build one with [bold]pointsman table build[/]"
        )
        return
    shown = Table(
        "version", "digest", "published", "clusters", "models", "outcomes", "note", box=None
    )
    for version in known:
        table = version.read_table()
        kind = {"simulated": "[yellow]simulated[/]"}.get(origin(table), origin(table))
        when = version.published_at.strftime("%Y-%m-%d %H:%M:%S")
        shown.add_row(
            str(version.ref),
            version.digest[:12],
            when,
            str(len(table.clusters)),
            str(len(table.models)),
            kind,
            version.note,
        )
    out.print(shown)


def _line(version: TablePublished) -> dict[str, Any]:
    when = version.published_at.isoformat()
    return {
        "version": str(version.ref),
        "published_at": when,
        "note": version.note,
        **_facts(version.read_table()),
    }


def _facts(table: RoutingTable) -> dict[str, Any]:
    return {
        "digest": table.digest[:12],
        "clusters": len(table.clusters),
        "models": len(table.models),
        "prompts": table.provenance.prompts,
        "outcomes": origin(table),
        "source": table.provenance.source,
        "encoder": str(table.encoder),
        "representation": table.projection.kind if table.projection else "plain",
        "estimator": table.estimator is not None or table.predictor is not None,
        "cascade": len(table.cascade.models) if table.cascade else 0,
        "reads": table.text or "what the embedder's setting says",
    }


def show(name: str, *, as_json: bool) -> None:
    """Show one table."""
    servers.find_running()
    version = asyncio.run(find(KafkaSettings(), name))
    table = version.read_table()
    if as_json:
        print_json(
            _line(version)
            | {
                "reference_model": table.reference_model,
                "rankings": [_ranking(table, c) for c in range(len(table.clusters))],
            }
        )
        return
    out.print(
        " · ".join(f"{k} [bold]{v}[/]" for k, v in _line(version).items() if v), soft_wrap=True
    )
    if table.provenance.simulated:
        out.print("[yellow]its rankings come from SIMULATED outcomes[/]")
    what = (
        f"the probability of winning against {table.reference_model}"
        if by_votes(table)
        else "the expected score of an answer"
    )
    out.print(f"success is {what}; ± is one standard error")
    shown = Table("cluster", "task", "prompts", "best", "second", "cheapest", box=None)
    for c, cluster in enumerate(table.clusters):
        models_ = _ranking(table, c)["models"]
        first, second = (
            f"{m['model']} {m['success']:.2f} ± {m['success_error']:.2f}" for m in models_[:2]
        )
        cheapest = min(models_, key=lambda m: float(m["cost_usd"]))
        shown.add_row(
            cluster.id,
            cluster.label,
            str(cluster.size),
            first,
            second,
            f"{cheapest['model']} {usd(cheapest['cost_usd'])}",
        )
    out.print(shown)


def _ranking(table: RoutingTable, c: int) -> dict[str, Any]:
    order = np.argsort(-table.strength[c], kind="stable")
    cluster = table.clusters[c]
    ranked = [
        {
            "model": table.models[m],
            "success": float(table.success[c, m]),
            "success_error": float(
                table.success[c, m] * (1 - table.success[c, m]) * table.standard_error[c, m]
            ),
            "strength": float(table.strength[c, m]),
            "standard_error": float(table.standard_error[c, m]),
            "cost_usd": float(table.cost_usd[c, m]),
            "latency_s": float(table.latency_s[c, m]),
        }
        for m in order
    ]
    alike = [
        {"cluster": table.clusters[i].id, "label": table.clusters[i].label, "distance": d}
        for i, d in similar(table, c)
    ]
    facts = {
        "cluster": cluster.id,
        "label": cluster.label,
        "size": cluster.size,
        "radius": cluster.radius,
    }
    return facts | {"models": ranked, "similar": alike}


def diff(old: str, new: str, *, as_json: bool) -> None:
    """Compare two tables."""

    async def both() -> tuple[TablePublished, TablePublished]:
        return await find(KafkaSettings(), old), await find(KafkaSettings(), new)

    servers.find_running()
    before, after = asyncio.run(both())
    a, b = before.read_table(), after.read_table()
    changes = differences(a, b)
    if as_json:
        print_json(
            {"old": str(before.ref), "new": str(after.ref), "equal": a == b, "changes": changes}
        )
        return
    out.print(f"{before.ref} ({a.digest[:12]}) → {after.ref} ({b.digest[:12]})")
    for line in changes or (
        ["the same table"]
        if a == b
        else ["only successes, costs or latencies moved; the best models stayed"]
    ):
        out.print(f"  {line}")
