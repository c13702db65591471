"""The short form of `make chaos`: each kind of fault once, on one installation, with less load. All
that it claims stands in `faults`."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator

import pytest
from faults import FAULTS, SHORT
from scene import Scene, installation, scene

from services.local import supervise

CHOSEN = (
    "kill-describer",
    "kill-embedder",
    "kill-assigner",
    "kill-selector",
    "kill-dispatcher",
    "kill-judge",
    "kill-reclusterer",
    "stop-selector",
    "redis-wiped",
    "redis-replaced",
    "tables",
    "poison",
    "providers",
    "broker-stopped",
)


@pytest.fixture(scope="module")
async def there() -> AsyncIterator[Scene]:
    logging.getLogger("aiokafka").setLevel(
        logging.CRITICAL
    )  # the load and the ledger outlive the broker
    supervise.warm()
    with installation(SHORT.session_s) as made:
        async with scene(made) as ready:
            yield ready
    logging.getLogger("aiokafka").setLevel(logging.NOTSET)


@pytest.mark.parametrize("fault", CHOSEN)
async def test_nothing_is_lost_and_nothing_happens_twice(there: Scene, fault: str) -> None:
    findings = await FAULTS[fault](there, SHORT)
    print(findings.figures)
    assert not findings.wrong, findings
    assert findings.counted.accepted > 20
