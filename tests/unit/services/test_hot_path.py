"""One prompt through the services' own functions."""

import numpy as np
from described import REF, Asking, Remembering, backend
from support import ENCODER, submitted, table, wish

from services.assigner.assign import place
from services.describer.describe import describe
from services.embedder.embed import embed
from services.selector.decide import decide
from shared.contracts.messages import Placed
from shared.contracts.wishes import Profile


async def test_one_prompt_can_be_read_as_code() -> None:
    """The README's snippet: a prompt through all stages, without a broker."""
    tab = table()
    message = await describe(
        submitted(profile=Profile.quality), backend("local"), Asking(""), Remembering()
    )
    vectors = embed([message], lambda texts: np.ones((len(texts), 4), np.float32) / 2, ENCODER)
    assigned = place(vectors, REF, tab)[0]
    assert isinstance(assigned, Placed)
    decided = decide(assigned, tab, {}, wish("balanced"), candidates=10)
    assert decided.decision.model in tab.models
    assert decided.description.text == "Translate this notice into French"
    assert decided.prompt == submitted().prompt
    assert decided.decision.table == decided.assignment.table
