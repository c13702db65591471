"""Settings of the re-clusterer."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field
from pydantic_settings import SettingsConfigDict

from shared.contracts.settings import ServiceSettings


class ReclustererSettings(ServiceSettings):
    """POINTSMAN_RECLUSTERER_*"""

    model_config = SettingsConfigDict(
        env_prefix="POINTSMAN_RECLUSTERER_",
        frozen=True,
        use_attribute_docstrings=True,
        extra="ignore",
    )

    method: Literal["kmeans", "dbscan", "hdbscan"] = "kmeans"
    """How tasks are found. k-means changes to mini-batches by itself where there are many
    embeddings."""
    clusters: Annotated[int, Field(ge=1)] = 25
    """Clusters that k-means begins with, once there are enough prompts."""
    most_clusters: Annotated[int, Field(ge=1)] = 1000
    """The most clusters."""
    min_size: Annotated[int, Field(ge=2)] = 20
    """Prompts that make a new task a cluster."""
    reach: Annotated[float, Field(gt=0)] = 0.6
    """DBSCAN's eps: prompts nearer than this belong together (Euclidean, between embeddings of
    length 1)."""
    profile: str = "current"
    """The catalogue's models that are ranked."""
    reference: str | None = None
    """The reference model, whose strength is 0. None: the most expensive of the profile."""
    catalog: Path | None = None
    """File of models with their prices and ids. None: the catalogue that comes with Pointsman."""
    encoder_dir: Path | None = None
    """Directory of the encoder, as the embedder's; the library's tasks lie in its space. None:
    those of the default encoder."""
    sample: Annotated[float, Field(gt=0, le=1)] = 1.0
    """Fraction of embeddings that are used, by hash of the request id."""
    embeddings: Annotated[int, Field(ge=100)] = 100_000
    """Embeddings kept in memory: a uniform sample of all, 1.6 KB each."""
    evaluations: Annotated[int, Field(ge=100)] = 200_000
    """Evaluations kept in memory, the newest, 2 KB each."""
    observations: Annotated[int, Field(ge=100)] = 20_000
    """Costs and latencies kept in memory, the newest."""
    every_s: Annotated[float, Field(gt=0)] = 30.0
    """How often to check whether there is something to publish."""
    grown: Annotated[float, Field(gt=0)] = 0.5
    """Re-cluster once the number of embeddings has grown by this fraction since the last time."""
    novel: Annotated[float, Field(gt=0, le=1)] = 0.1
    """Re-cluster when this fraction of the embeddings since the last time is novel."""
    drift: Annotated[float, Field(gt=0)] = 0.15
    """Re-cluster when the mean distance to the nearest centroid has grown by this fraction."""
    age_s: Annotated[float, Field(gt=0)] = 24 * 3600.0
    """Re-cluster when the last time was this long ago."""
    half_life_s: Annotated[float, Field(gt=0)] = 30 * 24 * 3600.0
    """After this time an evaluation counts half."""
    weigh_judge: Annotated[float, Field(ge=0)] = 1.0
    """Weight of a judge's votes."""
    weigh_human: Annotated[float, Field(ge=0)] = 2.0
    """Weight of a person's vote."""
    weigh_feedback: Annotated[float, Field(ge=0)] = 0.3
    """Weight of a sender's thumb."""
    unproven: Annotated[float, Field(gt=0)] = 1.5
    """A model with a larger standard error (in logits) is unproven. It ranks above a proven model
    only if it would with the performance of the worst model."""
    top_p: Annotated[int, Field(ge=1)] = 4
    """Most clusters of an assignment."""
    seed: int = 0
    """Of k-means."""
