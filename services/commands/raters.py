"""What votes show of the raters, printed."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from services.screen import out
from services.workbench.study_report import why

PEOPLE = {"human": "people", "feedback": "thumbs"}


def show_raters(facts: Mapping[str, Any]) -> None:
    """Print what votes show of those who cast them."""
    for line in facts["votes"]:
        told = (
            "too few to say how accurate"
            if line["accuracy"] is None
            else (
                f"{line['pull']:.0%} for the first regardless of quality, accuracy "
                f"{line['accuracy']:.0%}"
            )
        )
        out.print(
            f"{PEOPLE.get(line['kind'], line['rater'])}: {line['comparisons']} comparisons, "
            f"{line['votes']} votes, "
            f"{line['ties']:.1%} ties, "
            f"{line['abstentions']:.1%} abstentions{why(line['abstained'])}, {told}",
            soft_wrap=True,
        )
    for line in facts["agreement"]:
        out.print(
            f"agreement of {line['one']} and {line['other']}: kappa {line['kappa']:.2f} "
            f"[{line['low']:.2f}, {line['high']:.2f}] on {line['both']} comparisons",
            soft_wrap=True,
        )
