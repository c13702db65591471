"""What several tests need: small tables, messages in every stage, hypothesis strategies."""

from __future__ import annotations

import os
from datetime import UTC, datetime
from typing import Any

import numpy as np
import pytest
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from services.selector.decide import Wish
from shared.catalog.models import Model
from shared.contracts.messages import Described, Embedded, Placed, Submitted, extend
from shared.contracts.places import (
    Assigned,
    ClusterWeight,
    Description,
    Embedding,
    EncoderRef,
    Source,
    TableRef,
)
from shared.contracts.vector import pack
from shared.routing.deciding.rates import PROFILES
from shared.routing.deciding.table import Cluster, Encoder, Provenance, RoutingTable

ENCODER = Encoder("test/encoder", "1", 4, "mean", "none")
THINGS = (
    "bread",
    "ships",
    "the harbour",
    "old maps",
    "bicycles",
    "violins",
    "the museum",
    "rain",
    "apples",
    "a lighthouse",
)
"""What made-up prompts are about."""


def forget_settings(patch: pytest.MonkeyPatch) -> None:
    """Take every setting of Pointsman out of the environment; where the encoders lie stays
    known."""
    for name in list(os.environ):
        if name.startswith("POINTSMAN_") and name != "POINTSMAN_HOME":
            patch.delenv(name)


def table(
    k: int = 3,
    models: tuple[str, ...] = ("small", "middle", "large"),
    *,
    seed: int = 0,
    top_p: int = 2,
    encoder: Encoder = ENCODER,
    **arrays: np.ndarray | None,
) -> RoutingTable:
    """A table of random rankings as votes make them; `arrays` replaces some of them. Without
    `reference_success` it is of format 1."""
    rng = np.random.default_rng(seed)
    m = len(models)
    strength = rng.normal(size=(k, m))
    made = {
        "centroids": rng.normal(size=(k, encoder.dimension)),
        "strength": strength - strength[:, -1:],
        "standard_error": rng.uniform(0.1, 0.5, (k, m)),
        "cost_usd": rng.uniform(1e-5, 1e-2, (k, m)),
        "latency_s": rng.uniform(0.5, 20, (k, m)),
        "reference_success": np.full(k, 0.5),
    } | arrays
    return RoutingTable(
        encoder=encoder,
        models=models,
        reference_model=models[-1],
        clusters=tuple(Cluster(f"c{i:02d}", f"task {i}", 10, 1.0) for i in range(k)),
        provenance=Provenance("test", simulated=True, prompts=10 * k, seed=seed),
        top_p=top_p,
        **made,
    )


@st.composite
def tables(draw: st.DrawFn) -> RoutingTable:
    k, m, dim = draw(st.integers(1, 6)), draw(st.integers(1, 5)), draw(st.integers(1, 8))
    numbers = st.floats(-20, 20, width=32)
    positive = st.floats(0, 100, width=32)
    return table(
        k,
        tuple(f"model-{i}" for i in range(m)),
        top_p=draw(st.integers(1, 6)),
        encoder=Encoder("e", "1", dim, "mean", "none"),
        centroids=draw(hnp.arrays(np.float32, (k, dim), elements=numbers)),
        strength=draw(hnp.arrays(np.float32, (k, m), elements=numbers)),
        standard_error=draw(hnp.arrays(np.float32, (k, m), elements=positive)),
        cost_usd=draw(hnp.arrays(np.float32, (k, m), elements=positive)),
        latency_s=draw(hnp.arrays(np.float32, (k, m), elements=positive)),
    )


def submitted(
    prompt: str = "Translate this notice into French: closed on Monday.", **fields: object
) -> Submitted:
    return Submitted(
        prompt=prompt, request_id="r-1", submitted_at=datetime(2026, 1, 2, tzinfo=UTC), **fields
    )


def described(message: Submitted | None = None) -> Described:
    description = Description(
        text="Translate a notice into French", source=Source.local, latency_s=0.001, cost_usd=0.0
    )
    return extend(message or submitted(), Described, description=description)


def embedded(
    message: Described | None = None, vector: np.ndarray | None = None, encoder: Encoder = ENCODER
) -> Embedded:
    values = np.ones(encoder.dimension, np.float32) if vector is None else vector.astype(np.float32)
    embedding = Embedding(
        vector=pack(values), encoder=EncoderRef.of(encoder), latency_s=0.002, batch=1
    )
    return extend(message or described(), Embedded, embedding=embedding)


def wish(profile: str = "balanced") -> Wish:
    """What a profile stands for, as the selector decides by it."""
    return Wish(PROFILES[profile])


def placed(of: RoutingTable, message: Embedded | None = None) -> Placed:
    ref = TableRef(epoch=0, sequence=1, digest=of.digest)
    clusters = (
        ClusterWeight(id=of.clusters[0].id, label=of.clusters[0].label, weight=1.0, distance=0.5),
    )
    return extend(
        message or embedded(encoder=of.encoder),
        Placed,
        assignment=Assigned(table=ref, clusters=clusters, novel=False),
    )


def model_of(name: str, context_tokens: int = 10**6, **fields: Any) -> Model:
    """A model of a catalogue."""
    return Model.model_validate(
        {
            "name": name,
            "openrouter": f"maker/{name}",
            "price": {"input": 1.0, "output": 2.0},
            "context_tokens": context_tokens,
            "latency_s": 1.0,
            "as_of": "2026-11-26",
            "source": "a test",
        }
        | fields
    )
