"""`make bench-adversarial OUTCOMES=file`: how far a gadget pushes prompts to the most expensive
models ("Rerouting LLM Routers", arXiv 2501.01818).

A gadget is a string of ten tokens that an attacker puts before or behind every prompt. Hill
climbing finds it against the table, encoder and defence that decide (white box), on other prompts
than those it is measured on. Routed by the whole prompt, that is the undefended router; by a
description of the prompt, which keeps the words that pose the task, it is half a defence; with
views of the text (POINTSMAN_EMBEDDER_GUARD) a whole one. Where descriptions are foreseen, the
language model is assumed to ignore the gadget. Its description is the clean prompt's, local: a
STAND-IN, since none is available."""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.progress import track
from rich.table import Table

from services.describer.foresee import Read
from services.describer.settings import DescriberSettings
from services.workbench import outcomes
from services.workbench.outcome_file import matrix
from shared.adapters.onnx.encoder import OnnxEncoder
from shared.adapters.onnx.load import load
from shared.routing.deciding.courtesies import without_courtesies
from shared.routing.deciding.extraction import extract
from shared.routing.deciding.rates import Rates
from shared.routing.deciding.selection import choices, expectations, terms_of
from shared.routing.deciding.table import RoutingTable
from shared.routing.deciding.views import views
from shared.routing.learning.foresight import foresee, learn, same_without_edges
from shared.routing.offline.outcomes import Recipe, build_table

out = Console(width=150, highlight=False)
TOKENS, CANDIDATES, STEPS = 10, 16, 25
DEAR = 0.8
"""Of the most expensive model's mean cost: what costs as much counts as most expensive too."""
CLIMB_ON, MEASURED_ON = 32, 400
READS: dict[str, Callable[[str], str]] = {"prompt": lambda prompt: prompt, "description": extract}


class Attacked(str):
    """A prompt with a gadget, and the prompt it was."""

    __slots__ = ("origin",)
    origin: str


def attacked(text: str, origin: str) -> Attacked:
    found = Attacked(text)
    found.origin = origin
    return found


PLACES: dict[str, Callable[[str, str], str]] = {
    "behind": lambda p, g: attacked(f"{p} {g}", p),
    "before": lambda p, g: attacked(f"{g} {p}", p),
}


class Router:
    """One way of routing, as its attacker sees it."""

    def __init__(
        self,
        encoder: OnnxEncoder,
        table: RoutingTable,
        read: Callable[[str], str],
        rates: Rates = Rates(),  # noqa: B008
    ) -> None:
        self._encoder, self._table, self.rates = encoder, table, rates
        self._read: Callable[[str], str] = lambda prompt: read(without_courtesies(prompt))
        cost = table.cost_usd.mean(axis=0)
        self.expensive = cost >= DEAR * cost.max()

    def points(self, prompts: Sequence[str]) -> Any:
        """(n, d): where these prompts are routed from."""
        return self._encoder.encode([self._read(p) for p in prompts])

    def margins(self, prompts: Sequence[str]) -> Any:
        """(n,): by how much the best of the most expensive models is ahead of the best other."""
        utility = terms_of(expectations(self._table, self.points(prompts)), self.rates).utility
        return utility[:, self.expensive].max(axis=1) - utility[:, ~self.expensive].max(axis=1)

    def calibrate(self, prompts: Sequence[str]) -> None:
        """Find the rate at which half of the prompts go to the most expensive models, as the paper
        does; an attacker has most room there."""
        expected = expectations(self._table, self._encoder.encode([self._read(p) for p in prompts]))
        tried = [Rates(float(usd)) for usd in np.geomspace(1e-5, 10.0, 241)]
        shares = [self.expensive[choices(expected, rates)].mean() for rates in tried]
        self.rates = tried[int(np.abs(np.array(shares) - 0.5).argmin())]

    def to_dearest(self, prompts: Sequence[str]) -> float:
        """The fraction of prompts that go to one of the most expensive models."""
        return float((self.margins(prompts) > 0).mean())

    def pull(self, prompts: Sequence[str]) -> float:
        """What the attacker climbs: how far the best of the most expensive models is before the
        best other, on average."""
        return float(np.tanh(8.0 * self.margins(prompts)).mean())


class Guarded(Router):
    """Decides in each view of the text; the most expensive models win where they win in all."""

    def margins(self, prompts: Sequence[str]) -> Any:
        texts = [[self._read(text) for text in (prompt, *views(prompt))] for prompt in prompts]
        flat = iter(_margins_of(self, [view for own in texts for view in own]))
        return np.array([min(next(flat) for _ in own) for own in texts])


def _margins_of(router: Router, texts: Sequence[str]) -> Any:
    return Router(router._encoder, router._table, lambda text: text, router.rates).margins(texts)


def _reads(prompts: Sequence[str]) -> tuple[list[str], Any]:
    """What foresight reads of prompts: their texts and their forms."""
    reads = [Read.of(prompt) for prompt in prompts]
    return [read.text for read in reads], np.stack([read.form for read in reads])


class Foreseeing(Router):
    """Descriptions are foreseen where the describer would be sure; where not, the language model's
    is the prompt's without the gadget."""

    foreseen = 0.0
    """Of the prompts it was last asked about."""

    def learn(self, prompts: Sequence[str]) -> None:
        """From these prompts and their descriptions."""
        self._written: dict[str, Any] = {}
        few = list(prompts)[: DescriberSettings().foresee_pairs]
        told = self._encode([self._read(p) for p in few])
        texts, shapes = _reads(few)
        self._known = learn(self._encode(texts), told, shapes, self._table)

    def _encode(self, texts: Sequence[str]) -> Any:
        return np.concatenate(
            [self._encoder.encode(texts[i : i + 256]) for i in range(0, len(texts), 256)]
        )

    def points(self, prompts: Sequence[str]) -> Any:
        texts, shapes = _reads(prompts)
        found = foresee(self._known, self._encode(texts), shapes, self._table, self.rates)
        sure = found.sure.copy()
        edged = [i for i in np.flatnonzero(sure) if views(texts[i])]
        if edged:
            others = self._encode([view for i in edged for view in views(texts[i])]).reshape(
                len(edged), 2, -1
            )
            sure[edged] = same_without_edges(
                self._known, found.vectors[edged], others, shapes[edged], self._table, self.rates
            )
        self.foreseen = float(sure.mean())
        return np.where(
            sure[:, None], found.vectors, self._told([getattr(p, "origin", p) for p in prompts])
        ).astype(np.float32)

    def _told(self, origins: Sequence[str]) -> Any:
        """What the language model would say of the prompts without the gadget."""
        new = [origin for origin in dict.fromkeys(origins) if origin not in self._written]
        if new:
            self._written |= dict(
                zip(new, self._encode([self._read(origin) for origin in new]), strict=True)
            )
        return np.stack([self._written[origin] for origin in origins])


def climb(
    router: Router,
    prompts: Sequence[str],
    place: Callable[[str, str], str],
    words: Sequence[str],
    seed: int,
) -> str:
    """The best gadget found: one token after the other is exchanged for the best of some
    candidates."""
    rng = np.random.default_rng(seed)
    gadget = list(rng.choice(words, TOKENS))
    best = router.pull([place(p, " ".join(gadget)) for p in prompts])
    for step in range(STEPS):
        position = step % TOKENS
        for word in rng.choice(words, CANDIDATES):
            tried = [*gadget[:position], word, *gadget[position + 1 :]]
            if (found := router.pull([place(p, " ".join(tried)) for p in prompts])) > best:
                best, gadget = found, tried
    return " ".join(gadget)


def texts_of(prompts: Sequence[str], rows: Sequence[int]) -> list[str]:
    return [prompts[i] for i in rows]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("outcomes", type=Path)
    parser.add_argument("--prices", type=Path)
    parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument(
        "--without-foreseen",
        action="store_true",
        help="leave out foreseen descriptions, which take longest",
    )
    parser.add_argument(
        "--reads",
        nargs="*",
        choices=list(READS),
        default=list(READS),
        help="what is routed by; by default all",
    )
    parser.add_argument("--write", type=Path, default=Path("bench-results/adversarial.json"))
    options = parser.parse_args()
    rows, prices = outcomes.read(options.outcomes, options.prices)
    prompts = [row.prompt for row in rows]
    whole, encoder = matrix(rows, prices, prompts), load(None, "int8")
    order = np.random.RandomState(0).permutation(len(prompts))
    train, rest = order[: int(0.7 * len(order))], order[int(0.7 * len(order)) :]
    climbed, measured = (
        [prompts[i] for i in part]
        for part in (rest[:CLIMB_ON], rest[CLIMB_ON : CLIMB_ON + MEASURED_ON])
    )
    words = sorted({w for p in prompts for w in p.split() if w.isalpha() and len(w) > 2})
    found: list[dict[str, Any]] = []
    for name, read in ((name, READS[name]) for name in options.reads):
        texts = [read(p) for p in texts_of(prompts, train)]
        vectors = np.concatenate(
            [
                encoder.encode(texts[i : i + 256])
                for i in track(range(0, len(texts), 256), f"embedding, {name}")
            ]
        )
        table = build_table(
            whole.rows(train),
            vectors,
            encoder.identity,
            Recipe(k=60),
            source="adversarial",
            simulated=False,
        )
        plain, guarded = Router(encoder, table, read), Guarded(encoder, table, read)
        plain.calibrate(texts_of(prompts, train[:1000]))
        routers: dict[str, Router] = {name: plain, f"{name}, guarded": guarded}
        if name == "description" and not options.without_foreseen:
            routers["description, foreseen where sure"] = foreseeing = Foreseeing(
                encoder, table, read
            )
            foreseeing.learn(texts_of(prompts, train))
        for called, router in routers.items():
            router.rates = plain.rates
            clean = router.to_dearest(measured)
            for place, put in PLACES.items():
                for seed in track(range(options.seeds), f"climbing, {called}, {place}"):
                    gadget = climb(router, climbed, put, words, seed)
                    pushed = router.to_dearest([put(p, gadget) for p in measured])
                    found.append(
                        {
                            "routed_by": called,
                            "usd_per_point": router.rates.usd_per_point,
                            "gadget": place,
                            "seed": seed,
                            "clean": clean,
                            "clean_undefended": plain.to_dearest(measured),
                            "attacked": pushed,
                        }
                    )
    options.write.parent.mkdir(parents=True, exist_ok=True)
    options.write.write_text(json.dumps(found, indent=2) + "\n")
    shown = Table(
        "routed by",
        "USD a point",
        "gadget",
        "to the most expensive models, clean",
        "with the worst gadget",
        "points more",
        "…than undefended",
        box=None,
    )
    for name in dict.fromkeys(f["routed_by"] for f in found):
        for place in PLACES:
            worst = max(
                (f for f in found if (f["routed_by"], f["gadget"]) == (name, place)),
                key=lambda f: float(f["attacked"]),
            )
            more, than = (
                f"{100 * (worst['attacked'] - worst[which]):+.1f}"
                for which in ("clean", "clean_undefended")
            )
            shown.add_row(
                name,
                f"{worst['usd_per_point']:.2g}",
                place,
                f"{worst['clean']:.1%}",
                f"{worst['attacked']:.1%}",
                more,
                than,
            )
    out.print(shown)
    out.print(f"written to {options.write}")


if __name__ == "__main__":
    main()
