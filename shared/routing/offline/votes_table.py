"""A first routing table from votes: pairs of answers to prompts, and which was better.

Clusters are k-means', rankings Bradley-Terry's as the re-clusterer makes them, and success is the
probability of winning against the reference model. A vote counts as what its rater meant: one
vote a comparison leaves nothing to be told of raters.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from shared.routing.deciding.frontier import frontier_of
from shared.routing.deciding.selection import expectations
from shared.routing.deciding.table import Array, Encoder, Provenance, RoutingTable, Text
from shared.routing.errors import OutcomesInvalid
from shared.routing.learning.bradley_terry import Comparisons, fit
from shared.routing.learning.clustering import kmeans
from shared.routing.learning.regressing import fit_votes_estimator
from shared.routing.offline.outcomes import named_clusters

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.intp]

SURE = 30.0
"""Log-odds of a vote that is certain."""
VOTES_PER_CLUSTER = 40
UNPROVEN = 1.5
"""As the re-clusterer's setting has it."""


@dataclass(frozen=True, slots=True)
class PairVotes:
    """n votes on answers of models `first` and `second` to prompts `prompt`, each (n,); `better`
    (n,): how probably the first is better.

    `texts` and `tokens` (p,) are the prompts' descriptions and lengths; `usd_per_token` and
    `answer_usd` (m,) what models cost, 0 where that is not known.
    """

    texts: tuple[str, ...]
    models: tuple[str, ...]
    prompt: Ints
    first: Ints
    second: Ints
    better: Floats
    tokens: Floats
    usd_per_token: Floats
    answer_usd: Floats

    def __post_init__(self) -> None:
        if len(self.models) < 2 or not len(self.better):
            raise OutcomesInvalid("votes must compare at least two models, and not all be ties")


def build_from_votes(
    votes: PairVotes,
    features: Array,
    encoder: Encoder,
    *,
    text: Text,
    k: int | None,
    seed: int,
    source: str,
    reference: str | None = None,
    top_p: int = 4,
) -> RoutingTable:
    """`features` (p, dimension + form.SIZE) of the prompts; `reference` None: the model of the most
    votes. `k` None: by their number.

    Raises `OutcomesInvalid` if nobody voted on the reference.
    """
    models = votes.models
    vectors = features[:, : encoder.dimension]
    counts = np.bincount(np.concatenate([votes.first, votes.second]), minlength=len(models))
    reference = reference or models[int(counts.argmax())]
    if reference not in models:
        raise OutcomesInvalid(
            f"the reference model {reference} is not among the models: {', '.join(models)}"
        )
    base = models.index(reference)
    wanted = k or int(np.clip(len(votes.better) // VOTES_PER_CLUSTER, 1, 25))
    clustering = kmeans(vectors, min(wanted, len(vectors)), seed)
    clusters = len(clustering.centroids)
    data = Comparisons(
        clustering.labels[votes.prompt].astype(np.intp),
        votes.first,
        votes.second,
        np.ones(len(votes.better)),
        votes.prompt,
    )
    sure = np.exp(-SURE)
    ratio = np.log(np.clip(votes.better, sure, 1.0)) - np.log(
        np.clip(1.0 - votes.better, sure, 1.0)
    )
    ranking = fit(data, ratio, clusters, len(models), base)
    tokens = np.array([votes.tokens[clustering.labels == c].mean() for c in range(clusters)])
    table = RoutingTable(
        encoder=encoder,
        models=models,
        reference_model=reference,
        clusters=named_clusters(votes.texts, vectors, clustering),
        centroids=clustering.centroids,
        strength=ranking.strength.astype(np.float32),
        standard_error=ranking.standard_error.astype(np.float32),
        cost_usd=(votes.answer_usd + tokens[:, None] * votes.usd_per_token).astype(np.float32),
        latency_s=np.zeros((clusters, len(models)), np.float32),
        provenance=Provenance(source, False, len(votes.texts), seed),
        top_p=top_p,
        unproven_error=UNPROVEN,
        estimator=fit_votes_estimator(
            features[votes.prompt], data, ratio, clusters, len(models), base
        ),
        reference_success=np.full(clusters, 0.5, np.float32),
        usd_per_token=votes.usd_per_token.astype(np.float32),
        prompt_tokens=tokens.astype(np.float32),
        text=text,
    )
    expected = expectations(table, features, votes.tokens)
    return replace(table, frontier=frontier_of(expected.success, expected.cost_usd, models))
