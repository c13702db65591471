"""What the describer knows of prompts like the one at hand, so that it need not ask about each.

Keeps the newest prompts that a language model described, as points, and learns from them where a description would lie
(`shared.routing.foresight`). Of the prompts themselves it keeps no word.
"""

from __future__ import annotations

import hashlib
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from services.describer.settings import DescriberSettings
from shared.contracts.parts import EncoderRef, Foreseen
from shared.contracts.vector import pack, unpack
from shared.routing.foresight import NEIGHBOURS, Foresight, foresee, learn
from shared.routing.form import form
from shared.routing.selection import Weights, routes
from shared.routing.table import Array, Encoder, RoutingTable

Encode = Callable[[Sequence[str]], Array]
"""n texts to (n, dimension) float32, L2-normalised."""

READ_CHARS = 600
"""Of a prompt, for its embedding: 128 tokens foresee as well as 256, at half the cost."""
GROWN = 1.2
"""Learn anew once there are so many times the pairs there were."""
AGAIN_S = 30.0
"""…or another routing table, but no sooner than after so long."""


@dataclass(frozen=True, slots=True)
class Written:
    """What a language model wrote about a prompt, and when (seconds since 1970)."""

    text: str
    model: str
    simulated: bool
    at: float


@dataclass(frozen=True, slots=True)
class _Pair:
    prompt: Array
    form: Array
    description: Array
    written: Written


@dataclass(frozen=True, slots=True)
class Glance:
    """A prompt as it was looked at: its point and its form; and, where it is `sure`, what its description would be.

    Sure for the sender's weights: the same model would be selected.
    """

    vector: Array
    form: Array
    weights: Weights
    sure: bool = False
    foreseen: Foreseen | None = None
    written: Written | None = None
    """The known description that lies nearest."""


@dataclass(frozen=True, slots=True)
class _Learnt:
    foresight: Foresight
    descriptions: Array
    written: tuple[Written, ...]
    table: str
    """Digest of the table that it was calibrated for."""
    pairs: int
    at: float


class Foreseeing:
    """Known pairs of prompts and descriptions. Its methods may be called from different threads; they take a processor's time."""

    def __init__(self, settings: DescriberSettings, encode: Encode, encoder: Encoder, keep_s: float) -> None:
        """`keep_s`: pairs older than that are forgotten, as the topic they came over forgets them."""
        self._settings, self._encode, self._encoder, self._keep_s = settings, encode, encoder, keep_s
        self._pairs: OrderedDict[bytes, _Pair] = OrderedDict()
        self._learnt: _Learnt | None = None
        self._lock = threading.Lock()

    def look(self, prompt: str, weights: Weights, table: RoutingTable | None) -> Glance:
        """Look at a prompt, and see whether its description can be told, as far as it matters to these weights."""
        (vector,), shape, learnt = self._encode([_read(prompt)]), form(prompt), self._learnt
        if learnt is None or table is None or table.encoder != self._encoder:
            return Glance(vector, shape, weights)
        found = foresee(learnt.foresight, vector[None], shape[None], table, weights)
        nearest = int((learnt.descriptions @ found.vectors[0]).argmax())
        part = Foreseen(vector=pack(found.vectors[0]), encoder=EncoderRef.of(self._encoder), agreement=min(1.0, float(found.agreement[0])))
        return Glance(vector, shape, weights, bool(found.sure[0]), part, learnt.written[nearest])

    def note(self, prompt: str, written: Written, glance: Glance | None = None, table: RoutingTable | None = None) -> bool | None:
        """Take note of a description. If it had been sure of it: whether the model is the same as was foreseen; else None."""
        texts = [written.text] if glance else [written.text, _read(prompt)]
        vectors = self._encode(texts)
        shape = glance.form if glance else form(prompt)
        pair = _Pair(glance.vector if glance else vectors[1], shape, vectors[0], written)
        with self._lock:
            key = hashlib.sha256(prompt.encode()).digest()
            self._pairs[key] = pair
            self._pairs.move_to_end(key)
            while len(self._pairs) > self._settings.foresee_pairs:
                self._pairs.popitem(last=False)
        if glance is None or not glance.sure or glance.foreseen is None or table is None:
            return None
        both = np.stack([unpack(glance.foreseen.vector), vectors[0]])
        chosen = routes(table, table.points(np.hstack([both, np.stack([shape, shape])])), (glance.weights,))
        return bool(chosen[0] == chosen[1])

    def due(self, table: RoutingTable | None) -> bool:
        """Whether there is something to learn."""
        known, before = len(self._pairs), self._learnt
        if table is None or table.encoder != self._encoder or known < max(self._settings.foresee_from, NEIGHBOURS + 1):
            return False
        if before is None or known >= GROWN * before.pairs:
            return True
        return before.table != table.digest and time.monotonic() - before.at >= AGAIN_S

    def learn(self, table: RoutingTable) -> Foresight:
        """Learn from all pairs, for this table; from now on `look` goes by it."""
        oldest = time.time() - self._keep_s
        with self._lock:
            for key in [key for key, pair in self._pairs.items() if pair.written.at < oldest]:
                del self._pairs[key]
            pairs = list(self._pairs.values())
        prompts, descriptions, forms = (np.stack(part) for part in zip(*((p.prompt, p.description, p.form) for p in pairs), strict=True))
        found = learn(prompts, descriptions, forms, table, self._settings.foresee_target)
        self._learnt = _Learnt(found, descriptions, tuple(p.written for p in pairs), table.digest, len(pairs), time.monotonic())
        return found

    def __len__(self) -> int:
        return len(self._pairs)


def _read(prompt: str) -> str:
    return prompt.strip()[:READ_CHARS] or prompt[:READ_CHARS]
