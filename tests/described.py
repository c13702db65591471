"""Language models and caches for tests of the describer."""

from dataclasses import dataclass

from support import table

from services.describer.settings import DescriberSettings
from shared.contracts.places import TableRef

REF = TableRef(epoch=0, sequence=1, digest=table().digest)


@dataclass
class Said:
    text: str
    model: str = "tiny"
    simulated: bool = False
    cost_usd: float = 0.001
    finish_reason: str | None = "stop"


class Asking:
    def __init__(self, answer: str | Exception) -> None:
        self.answer, self.asked = answer, []

    async def __call__(self, instruction: str, content: str) -> Said:
        self.asked.append((instruction, content))
        if isinstance(self.answer, Exception):
            raise self.answer
        return Said(self.answer)


class Remembering(dict[str, str]):
    async def get(self, key: str, /) -> str | None:  # type: ignore[override]
        return dict.get(self, key)

    async def put(self, key: str, text: str, /) -> None:
        self[key] = text


def backend(name: str) -> DescriberSettings:
    return DescriberSettings(backend=name)  # type: ignore[arg-type]
