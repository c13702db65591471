"""One prompt through the services' own functions."""

import textwrap
from pathlib import Path
from typing import Any

import numpy as np
from blocks import blocks
from described import REF, Asking, Remembering, backend
from support import ENCODER, submitted, table, wish

from services.assigner.assign import place
from services.describer.describe import describe
from services.embedder.embed import embed
from services.selector.decide import decide
from shared.contracts.wishes import Profile

PAGE = Path(__file__).parents[3] / "docs/architecture.md"


async def test_one_prompt_can_be_read_as_code() -> None:
    """docs/architecture.md's lines: a prompt through all stages, without a broker."""
    (lines,) = blocks(PAGE.read_text(), "python")
    tab = table()
    names = {
        "submitted": submitted(profile=Profile.quality),
        "settings": backend("local"),
        "ask": Asking(""),
        "cache": Remembering(),
        "encode": lambda texts: np.ones((len(texts), 4), np.float32) / 2,
        "encoder": ENCODER,
        "ref": REF,
        "table": tab,
        "contexts": {},
        "default": wish("balanced"),
    }
    functions = {"describe": describe, "embed": embed, "place": place, "decide": decide}
    body = textwrap.indent(lines + "return decided", "    ")
    room: dict[str, Any] = {**names, **functions}
    exec(f"async def read():\n{body}", room)
    decided = await room["read"]()
    assert decided.decision.model in tab.models
    assert decided.description.text == "Translate this notice into French"
    assert decided.prompt == submitted().prompt
    assert decided.decision.table == decided.assignment.table
