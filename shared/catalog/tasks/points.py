"""Where the library's tasks lie in an encoder's space, and how sure it is that a prompt poses the
nearest of them."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from pathlib import Path
from zipfile import BadZipFile

import numpy as np
import numpy.typing as npt

from shared.routing.deciding.projection import TASK
from shared.routing.deciding.table import Encoder

Array = npt.NDArray[np.float32]

FILE = "points.npz"
"""Its name beside an encoder of one's own."""
PLACES = {
    "fp32": Path(__file__).with_name("points_3.npz"),
    "tasks2-fp32": Path(__file__).with_name("points_2.npz"),
    "tasks1-fp32": Path(__file__).with_name("points_1.npz"),
}
"""Of the encoders that come with Pointsman, by the variant that they were made with; written by
`pointsman model train-tasks`."""
NEAR = 8
"""Tasks that a prompt may well pose: the nearest ones."""
SHARPNESS = 40.0
"""They are weighed by exp(SHARPNESS x cosine); with 15 it was nearly as good."""


@dataclass(frozen=True, eq=False, slots=True)
class Points:
    """The tasks of a library in one space."""

    encoder: str
    """Id and revision of the encoder, whatever its quantization: `id@revision`."""
    names: tuple[str, ...]
    families: tuple[str, ...]
    vectors: Array
    """(tasks, TASK), of length 1: the mean of a task's prompts and descriptions."""
    reach: float
    """Euclidean distance from a task within which most of its prompts lie."""
    calibration: tuple[float, float, float]
    """Log-odds that the nearest task is the right one: constant, by its cosine, by its lead over
    the second."""

    def nearest(self, embeddings: Array) -> tuple[npt.NDArray[np.intp], Array]:
        """The nearest task of each embedding (n, dimension), and how probably it is the right
        one."""
        cosines = self.cosines(embeddings)
        best = cosines.argmax(axis=1)
        rows = np.arange(len(cosines))
        first = cosines[rows, best]
        cosines[rows, best] = -np.inf
        constant, by_cosine, by_lead = self.calibration
        odds = constant + by_cosine * first + by_lead * (first - cosines.max(axis=1))
        return best, (1.0 / (1.0 + np.exp(-odds))).astype(np.float32)

    def around(self, embedding: Array) -> Array:
        """(TASK,), of length 1: the tasks nearest to one embedding (dimension,), weighed by how
        near they are."""
        cosines = self.cosines(embedding[None])[0]
        near = np.argsort(-cosines)[:NEAR]
        weights = np.exp(SHARPNESS * (cosines[near] - cosines[near[0]]))
        middle = weights @ self.vectors[near]
        unit: Array = (middle / np.linalg.norm(middle)).astype(np.float32)
        return unit

    def cosines(self, embeddings: Array) -> Array:
        """(n, tasks): of each embedding's task part with each task."""
        cosines: Array = task_part(embeddings) @ self.vectors.T
        return cosines

    def save(self, path: Path) -> None:
        np.savez_compressed(
            path,
            encoder=np.array(self.encoder),
            names=np.array(self.names),
            families=np.array(self.families),
            vectors=self.vectors.astype(np.float16),
            reach=np.array(self.reach),
            calibration=np.array(self.calibration),
        )


def task_part(embeddings: Array) -> Array:
    """(n, TASK) of length 1: what embeddings (n, dimension) say of the task."""
    part = embeddings[:, :TASK]
    unit: Array = (part / np.maximum(np.linalg.norm(part, axis=1, keepdims=True), 1e-9)).astype(
        np.float32
    )
    return unit


@cache
def load(path: Path) -> Points:
    """The points of a file."""
    with np.load(path, allow_pickle=False) as data:
        vectors = data["vectors"].astype(np.float32)
        if vectors.ndim != 2 or vectors.shape != (len(data["names"]), TASK):
            raise ValueError(f"an array of shape {vectors.shape} for {len(data['names'])} tasks")
        constant, by_cosine, by_lead = (float(number) for number in data["calibration"])
        return Points(
            str(data["encoder"]),
            tuple(map(str, data["names"])),
            tuple(map(str, data["families"])),
            vectors / np.linalg.norm(vectors, axis=1, keepdims=True),
            float(data["reach"]),
            (constant, by_cosine, by_lead),
        )


def space_of(encoder: Encoder) -> str:
    """Names an encoder's space as `Points.encoder` does; the quantization moves tasks too little to
    tell them apart."""
    return f"{encoder.id}@{encoder.revision}"


def known(encoder: Encoder, directory: Path | None = None) -> Points | None:
    """As `beside`; None if there are none."""
    try:
        return beside(space_of(encoder), directory)
    except LookupError:
        return None


def beside(encoder: str, directory: Path | None = None) -> Points:
    """The points of an encoder, `id@revision`: those beside it, or those that come with Pointsman.
    Raises `LookupError` if there are none."""
    beside = directory / FILE if directory is not None else None
    for path in (beside, *PLACES.values()):
        if path is None or not path.exists():
            continue
        try:
            found = load(path)
        except (OSError, ValueError, KeyError, BadZipFile) as error:
            raise LookupError(
                f"{path} does not hold the places of tasks ({error}); make it again with "
                "`pointsman model train-tasks`"
            ) from None
        if found.encoder == encoder:
            return found
    raise LookupError(
        f"no tasks are known for {encoder}: give it a task head with `pointsman model train-tasks`"
    )
