"""What the describer knows of prompts like the present one, so that it does not ask about each.

Keeps the newest prompts that a language model described, as points, and learns from them where a
description would lie (`shared.routing.learning.foresight`). It keeps no word, neither of a prompt
nor of a description: somebody else's would tell of them.
"""

from __future__ import annotations

import hashlib
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from pydantic import BaseModel

from services.describer.settings import DescriberSettings
from shared.contracts.places import EncoderRef, Foreseen, Source
from shared.contracts.vector import pack, unpack
from shared.routing.deciding.assignment import assign
from shared.routing.deciding.courtesies import without_courtesies
from shared.routing.deciding.form import form
from shared.routing.deciding.frontier import rates_for
from shared.routing.deciding.rates import Goal, Rates
from shared.routing.deciding.selection import routes
from shared.routing.deciding.table import Array, Encoder, RoutingTable
from shared.routing.deciding.views import views
from shared.routing.learning.foresight import (
    NEIGHBOURS,
    Foresight,
    foresee,
    learn,
    same_without_edges,
)

Encode = Callable[[Sequence[str]], Array]
"""n texts to (n, dimension) float32, L2-normalised."""

READ_CHARS = 600
"""Of a prompt, for its embedding: 128 tokens foresee as well as 256, at half the cost."""
GROWN = 0.2
"""Learn again once this fraction of the pairs is new."""
AGAIN_S = 30.0
"""…or once there is another routing table, at the earliest after this time."""
AT_LEAST_EVERY_S = 3600.0
"""…or after this time, if anything is new."""


@dataclass(frozen=True, slots=True)
class Read:
    """A prompt as far as it is read; `key` tells it from others."""

    key: bytes
    text: str
    form: Array

    @classmethod
    def of(cls, prompt: str) -> Read:
        prompt = without_courtesies(prompt)
        return cls(
            hashlib.sha256(prompt.encode()).digest(),
            prompt.strip()[:READ_CHARS] or prompt[:READ_CHARS],
            form(prompt),
        )


@dataclass(frozen=True, slots=True)
class ModelDescription:
    """What a language model wrote about a prompt, and when (seconds since 1970)."""

    text: str
    simulated: bool
    at: float


@dataclass(frozen=True, slots=True)
class _Pair:
    prompt: Array
    form: Array
    description: Array
    simulated: bool
    at: float


@dataclass(frozen=True, slots=True)
class Forecast:
    """A prompt as it was looked at; and, where it is `sure` at the sender's rates, where its
    description would lie."""

    read: Read
    rates: Rates
    vector: Array | None = None
    """The prompt's own point; None as long as nothing can be told, since then nobody should wait
    for it."""
    sure: bool = False
    foreseen: Foreseen | None = None
    label: str = ""
    """Of the nearest cluster: what stands for the description's words."""
    simulated: bool = False
    """Whether it was learnt from a SIMULATED language model."""


@dataclass(frozen=True, slots=True)
class _LearntForesight:
    foresight: Foresight
    simulated: bool
    table: str
    """Digest of the table that it was calibrated for."""
    at: float


class WrittenBy(BaseModel):
    """Who wrote a description."""

    source: Source


class DescribedBy(BaseModel):
    """A record of `descriptions`, as far as it says who wrote it: read before the rest is."""

    description: WrittenBy


class Foreseeing:
    """Known pairs of prompts and descriptions. Its methods may be called from different threads;
    they take a processor's time."""

    def __init__(
        self, settings: DescriberSettings, encode: Encode, encoder: Encoder, keep_s: float
    ) -> None:
        """`keep_s`: pairs older than that are forgotten, as the topic they came over forgets
        them."""
        self._settings = settings
        self._encode = encode
        self.encoder = encoder
        self._keep_s = keep_s
        self._pairs: OrderedDict[bytes, _Pair] = OrderedDict()
        self._borrowed: OrderedDict[bytes, None] = OrderedDict()
        """Keys of pairs that no language model wrote: each gives way to one that it did."""
        self._new = 0
        self._learnt: _LearntForesight | None = None
        self._lock = threading.Lock()

    def look(self, prompt: str, wanted: Rates | Goal, table: RoutingTable | None) -> Forecast:
        """Look at a prompt, and see whether its description can be told, as far as it matters to
        what is wanted."""
        read = Read.of(prompt)
        learnt = self._learnt
        rates = _rates(wanted, table)
        if learnt is None or table is None or table.encoder != self.encoder:
            return Forecast(read, rates)
        (vector,) = self._encode([read.text])
        forecast = foresee(learnt.foresight, vector[None], read.form[None], table, rates)
        if not (
            forecast.sure[0] and self._without_edges(read, forecast.vectors, rates, table, learnt)
        ):
            return Forecast(read, rates, vector)
        part = Foreseen(
            vector=pack(forecast.vectors[0]),
            encoder=EncoderRef.of(self.encoder),
            agreement=min(1.0, float(forecast.agreement[0])),
        )
        (nearest,) = assign(table.points(_features(forecast.vectors, read)), table)
        return Forecast(
            read,
            rates,
            vector,
            True,
            part,
            table.clusters[nearest.clusters[0]].label,
            learnt.simulated,
        )

    def _without_edges(
        self,
        read: Read,
        foreseen: Array,
        rates: Rates,
        table: RoutingTable,
        learnt: _LearntForesight,
    ) -> bool:
        """Whether the model would be the same without the prompt's edges, where an attacker may
        have put something."""
        others = views(read.text)
        if not others:
            return True
        whole = self._encode(others)[None]
        return bool(
            same_without_edges(learnt.foresight, foreseen, whole, read.form[None], table, rates)[0]
        )

    def note(
        self,
        read: Read,
        written: ModelDescription,
        glance: Forecast | None = None,
        table: RoutingTable | None = None,
    ) -> bool | None:
        """Take note of a description. If it had been sure of it: whether the model is the same as
        was foreseen; else None."""
        vector = None if glance is None else glance.vector
        vectors = self._encode([written.text, read.text] if vector is None else [written.text])
        pair = _Pair(
            vectors[1] if vector is None else vector,
            read.form,
            vectors[0],
            written.simulated,
            written.at,
        )
        with self._lock:
            self._pairs[read.key] = pair
            self._pairs.move_to_end(read.key)
            self._borrowed.pop(read.key, None)
            if self._borrowed:
                self._pairs.pop(self._borrowed.popitem(last=False)[0], None)
            self._new += 1
            while len(self._pairs) > self._settings.foresee_pairs:
                self._borrowed.pop(self._pairs.popitem(last=False)[0], None)
        if (
            glance is None
            or not glance.sure
            or glance.foreseen is None
            or table is None
            or table.encoder != self.encoder
        ):
            return None
        both = np.stack([unpack(glance.foreseen.vector), vectors[0]])
        chosen = routes(table, _features(both, read), (glance.rates,))
        return bool(chosen[0] == chosen[1])

    def borrow(self, pairs: Sequence[tuple[str, str]], at: float) -> None:
        """Begin with prompts and descriptions that no language model wrote, until it has."""
        reads = [Read.of(prompt) for prompt, _ in pairs]
        prompts = self._encode([read.text for read in reads])
        descriptions = self._encode([text for _, text in pairs])
        with self._lock:
            for read, prompt, description in zip(reads, prompts, descriptions, strict=True):
                if read.key not in self._pairs:
                    self._pairs[read.key] = _Pair(prompt, read.form, description, False, at)
                    self._pairs.move_to_end(read.key, last=False)
                    self._borrowed[read.key] = None
                    self._new += 1

    def due(self, table: RoutingTable | None) -> bool:
        """Whether there is something to learn."""
        known = len(self._pairs)
        before = self._learnt
        now = time.monotonic()
        if table is None or table.encoder != self.encoder or known < self._least:
            return False
        if before is None or self._new >= GROWN * known:
            return True
        return (before.table != table.digest and now - before.at >= AGAIN_S) or (
            self._new > 0 and now - before.at >= AT_LEAST_EVERY_S
        )

    def learn(self, table: RoutingTable) -> Foresight | None:
        """Learn from all pairs, for this table; from now on `look` goes by it. None if too few are
        left: then nothing is foreseen."""
        oldest = time.time() - self._keep_s
        with self._lock:
            for key in [key for key, pair in self._pairs.items() if pair.at < oldest]:
                del self._pairs[key]
                self._borrowed.pop(key, None)
            pairs = list(self._pairs.values())
            self._new = 0
        alike = [pair for pair in pairs if pair.simulated == pairs[-1].simulated]
        if len(alike) < self._least:
            self._learnt = None
            return None
        prompts, descriptions, forms = (
            np.stack(part)
            for part in zip(*((p.prompt, p.description, p.form) for p in alike), strict=True)
        )
        foresight = learn(prompts, descriptions, forms, table, self._settings.foresee_target)
        self._learnt = _LearntForesight(
            foresight, alike[-1].simulated, table.digest, time.monotonic()
        )
        return foresight

    @property
    def _least(self) -> int:
        return max(self._settings.foresee_from, NEIGHBOURS + 1)

    def __len__(self) -> int:
        return len(self._pairs)


def _features(vectors: Array, read: Read) -> Array:
    """(n, d + form.SIZE): descriptions of one prompt, as a table's points are made of them."""
    return np.hstack([vectors, np.tile(read.form, (len(vectors), 1))])


def _rates(wanted: Rates | Goal, table: RoutingTable | None) -> Rates:
    """What the selector decides by, as far as the table tells: of a goal the rates that reach it
    over the traffic."""
    if isinstance(wanted, Rates):
        return wanted
    return rates_for(None if table is None else table.frontier, wanted)
