"""`make bench-conversations`: cost and quality of conversations by the product's own
decisions, beside always staying with the first model and always choosing again.

SIMULATED: models' skills on 25 tasks are drawn, and known; prices are the catalogue's. A
conversation has 5 to 60 turns. It begins with instructions and tools of 500 to 15,000 tokens, and
each turn adds to them. Its task lasts, with excursions; a turn seems to be about another task one
time in four. A provider keeps what a model has read for five minutes. Answers are as good as the
model is at the turn's true task.

The three ways are compared at equal quality. Each runs at many exchange rates, and its cost of a
quality is that of its cheapest runs.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import support
from rich.console import Console
from rich.progress import track
from rich.table import Table

from services.gateway import choice
from services.gateway.choice import Conversation
from services.gateway.remembered import Reading, Spoke
from services.selector.decide import Wish, decide
from shared.catalog import models
from shared.contracts.messages import Placed
from shared.contracts.places import Assigned, ClusterWeight
from shared.contracts.wishes import ConversationSoFar
from shared.routing.deciding import selection
from shared.routing.deciding.rates import PROFILES, Rates
from shared.routing.deciding.table import Encoder, RoutingTable
from shared.routing.offline.simulation import simulated_skills

out = Console(width=120, highlight=False)
TASKS = 25
KEPT_S = 300.0
"""How long a provider keeps what a model has read."""
ANSWER = 300
MISTAKEN = 0.25
"""Fraction of turns that seem to be about another task."""
EXCURSION = 0.1
"""Fraction of turns at which the task changes."""
ENCODER = Encoder("conversations", "1", 4, "mean", "none")
RATES = tuple(float(usd) for usd in np.geomspace(0.003, 3.0, 10))


@dataclass
class World:
    """What is true, and the table that was learnt of it."""

    seed: int
    pool: tuple[models.Model, ...] = field(default_factory=lambda: models.load().profile("current"))

    def __post_init__(self) -> None:
        random = np.random.default_rng(self.seed)
        prices = [model.price.output for model in self.pool]
        ranks = np.argsort(np.argsort(prices)) / (len(prices) - 1)
        self.skill = simulated_skills(TASKS, list(ranks), self.seed)
        error = np.full(self.skill.shape, 0.25)
        learnt = np.log(self.skill / (1 - self.skill)) + random.normal(0, error)
        reference = 1 / (1 + np.exp(-learnt[:, -1]))
        usd = np.array([model.price.input for model in self.pool]) / 1e6
        tokens = np.full(TASKS, 200.0)
        answers = np.array([model.price.output for model in self.pool]) * ANSWER / 1e6
        self.table: RoutingTable = support.table(
            TASKS,
            tuple(model.name for model in self.pool),
            encoder=ENCODER,
            strength=learnt - learnt[:, -1:],
            standard_error=error,
            cost_usd=tokens[:, None] * usd + answers,
            latency_s=np.ones(self.skill.shape),
            reference_success=reference,
            usd_per_token=usd,
            prompt_tokens=tokens,
        )


@dataclass(frozen=True)
class Turn:
    task: int
    seems: int
    new: int
    answer: int
    pause_s: float


def conversation(random: np.random.Generator) -> tuple[int, list[Turn]]:
    """How long its beginning is, and its turns."""
    begins = int(np.exp(random.uniform(np.log(500), np.log(15_000))))
    main = int(random.integers(TASKS))
    others = random.choice(TASKS, 3)
    task = main
    turns = []
    for _ in range(int(random.integers(5, 61))):
        if random.random() < EXCURSION:
            task = int(random.choice(others)) if task == main else main
        seems = int(random.integers(TASKS)) if random.random() < MISTAKEN else task
        new, answer = int(random.integers(30, 1500)), int(random.integers(50, 800))
        turns.append(Turn(task, seems, new, answer, float(random.exponential(40.0))))
    return begins, turns


Choose = Callable[[Placed, Conversation, float, Rates], str]


class Simulation:
    """One world, its conversations, and what ways of choosing make of them."""

    def __init__(self, seed: int, count: int) -> None:
        self.world = World(seed)
        self.catalog = {model.name: model for model in self.world.pool}
        self.names = [model.name for model in self.world.pool]
        random = np.random.default_rng(seed + 1)
        self.conversations = [conversation(random) for _ in range(count)]
        self.placed = support.placed(
            self.world.table, support.embedded(vector=np.ones(4), encoder=ENCODER)
        )

    def at(self, cluster: int) -> Placed:
        """A turn that seems to be about the task of this number."""
        told = self.world.table.clusters[cluster]
        share = ClusterWeight(id=told.id, label=told.label, weight=1.0, distance=0.1)
        where = self.placed.assignment.model_copy(update={"clusters": (share,)})
        assert isinstance(where, Assigned)
        return self.placed.model_copy(update={"assignment": where})

    def decided(self, placed: Placed, so_far: ConversationSoFar, rates: Rates) -> Any:
        message = placed.model_copy(update={"conversation": so_far})
        return decide(message, self.world.table, self.catalog, Wish(rates))

    def again(self, placed: Placed, talk: Conversation, tokens: float, rates: Rates) -> str:
        """The best of this turn, whatever was before."""
        decision = self.decided(placed, ConversationSoFar(tokens=int(tokens)), rates).decision
        return str(decision.model)

    def stays(self, placed: Placed, talk: Conversation, tokens: float, rates: Rates) -> str:
        """The model that answered first."""
        if talk.before is not None:
            return talk.before.model
        return self.again(placed, talk, tokens, rates)

    def ours(self, placed: Placed, talk: Conversation, tokens: float, rates: Rates) -> str:
        """As the gateway does it."""
        so_far = talk.so_far(int(tokens), KEPT_S)
        decision = self.decided(placed, so_far, rates).decision
        order, _ = choice._kept(decision, talk.before, STAY_POINTS)
        return order[0]

    def run(self, choose: Choose, rates: Rates) -> tuple[float, float, float]:
        """USD in all, mean success, and the fraction of turns at which the model changed."""
        usd, success, changes, turns = 0.0, 0.0, 0, 0
        for begins, said in self.conversations:
            read = begins
            talk = Conversation("k")
            warm: dict[str, tuple[int, float]] = {}
            now = 0.0
            for turn in said:
                now += turn.pause_s
                prompt = read + turn.new
                placed = self.at(turn.seems)
                choice.time = _Clock(now)  # type: ignore[assignment]
                name = choose(placed, talk, prompt, rates)
                tokens, when = warm.get(name, (0, -1e9))
                cached = min(tokens, prompt) if now - when <= KEPT_S else 0
                price = self.catalog[name].price
                usd += price.cost_usd(prompt, turn.answer, cached, prompt - cached)
                success += float(self.world.skill[turn.task, self.names.index(name)])
                changes += talk.before is not None and talk.before.model != name
                turns += 1
                read = prompt + turn.answer
                warm[name] = (read, now)
                decided = talk.decided(placed)  # type: ignore[arg-type]
                before = {} if talk.before is None else dict(talk.before.read)
                spoke = Spoke(
                    model=name,
                    space=decided.space,
                    tasks=decided.tasks,
                    read=before | {name: Reading(tokens=read, at=now)},
                )
                talk = Conversation("k", before=spoke)
        return usd, success / turns, changes / turns


class _Clock:
    """The gateway's clock in simulated time."""

    def __init__(self, now: float) -> None:
        self._now = now

    def time(self) -> float:
        return self._now


STAY_POINTS = 0.02


def cheapest(runs: list[tuple[float, float, float]], quality: float) -> float:
    """What it costs to reach a quality, between the cheapest runs; infinite if none does."""
    best: list[tuple[float, float]] = []
    for usd, success, _ in sorted(runs):
        if not best or success > best[-1][1]:
            best.append((usd, success))
    costs, reached = zip(*best, strict=True)
    if quality > reached[-1]:
        return float("inf")
    return float(np.interp(quality, reached, costs))


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument(
        "--seeds", default="101,102,103", help="worlds; the rule was set on 1 to 3"
    )
    arguments.add_argument("--conversations", type=int, default=40)
    arguments.add_argument("--tune", action="store_true", help="try other settings of the rule")
    arguments.add_argument("--json", action="store_true")
    given = arguments.parse_args()
    seeds = [int(seed) for seed in given.seeds.split(",")]
    worlds = [Simulation(seed, given.conversations) for seed in seeds]
    if given.tune:
        tune(worlds)
        return
    ways = {"at each turn": "again", "always stay": "stays", "ours": "ours"}
    rates = {f"{usd:.3g} USD a point": Rates(usd) for usd in RATES}
    rates |= {name: PROFILES[name] for name in ("quality", "balanced", "economy")}
    runs: dict[str, dict[str, list[tuple[float, float, float]]]] = {}
    total = [(w, r) for w in ways for r in rates]
    for way, rate in track(total, "conversations", console=Console(stderr=True)):
        runs.setdefault(way, {})[rate] = [
            world.run(getattr(world, ways[way]), rates[rate]) for world in worlds
        ]
    facts = summary(runs, ways)
    if given.json:
        print(json.dumps(facts))
        return
    turns = sum(len(said) for world in worlds for _, said in world.conversations)
    out.print(
        f"SIMULATED: {len(seeds) * given.conversations} conversations of 5 to 60 turns, {turns} "
        f"turns in all, {len(worlds[0].world.pool)} models at the catalogue's prices"
    )
    table = Table(box=None, pad_edge=False)
    for name in (
        "rate or profile",
        "at each turn: USD, success",
        "stay",
        "ours",
        "models change: at each turn, ours",
        "ours at that success",
    ):
        table.add_column(name)
    for row in facts["rows"]:
        table.add_row(
            row["rate"],
            *(f"{row[way]['usd']:.2f}  {row[way]['success']:.3f}" for way in ways),
            f"{row['always again']['changes']:.0%}  {row['ours']['changes']:.0%}",
            f"{row['cost_at_equal_quality']:.2f}",
        )
    out.print(table)
    out.print(
        "mean (geometric) of the last column over the rates at which choosing at each turn changes models "
        f"at one turn in twenty or more: {facts['mean']:.2f}; goal 0.80"
    )


def summary(runs: Any, ways: dict[str, str]) -> dict[str, Any]:
    rows = []
    for rate in runs["ours"]:
        row: dict[str, Any] = {"rate": rate}
        for way in ways:
            means = np.mean(runs[way][rate], axis=0)
            row[way] = dict(zip(("usd", "success", "changes"), map(float, means), strict=True))
        ratios = [
            cheapest([runs["ours"][r][i] for r in runs["ours"]], one[1]) / one[0]
            for i, one in enumerate(runs["always again"][rate])
        ]
        row["cost_at_equal_quality"] = float(np.exp(np.mean(np.log(ratios))))
        rows.append(row)
    counted = [
        row["cost_at_equal_quality"] for row in rows if row["always again"]["changes"] >= 0.05
    ]
    return {"rows": rows, "mean": float(np.exp(np.mean(np.log(counted))))}


def tune(worlds: list[Simulation]) -> None:
    """Other settings of the rule, on the worlds named."""
    global STAY_POINTS
    again = [[world.run(world.again, Rates(usd)) for usd in RATES[3:]] for world in worlds]
    tried = [
        (f, t, s) for f in (0.0, 0.5, 0.7, 0.8, 0.9) for t in (1, 2, 4, 8) for s in (0.0, 0.02)
    ]
    for fading, turns, stay in track(tried, "settings", console=Console(stderr=True)):
        choice.FADING, selection.TURNS_SERVED, STAY_POINTS = fading, turns, stay
        ratios, changes = [], []
        for world, reached in zip(worlds, again, strict=True):
            mine = [world.run(world.ours, Rates(usd)) for usd in RATES]
            ratios += [cheapest(mine, one[1]) / one[0] for one in reached]
            changes += [one[2] for one in mine[3:]]
        out.print(
            f"fading {fading:.1f}  turns served {turns}  stay {stay:.2f}  cost at equal quality "
            f"{np.exp(np.mean(np.log(ratios))):.3f}  changes {np.mean(changes):.0%}"
        )


if __name__ == "__main__":
    main()
