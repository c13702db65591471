"""Figures and long texts as people read them."""

from __future__ import annotations

import math
from collections.abc import Sequence


def usd(amount: float) -> str:
    """Dollars with enough digits to compare."""
    if amount == 0:
        return "$0"
    if abs(amount) < 0.01:
        digits = 1 - math.floor(math.log10(abs(amount)))
        return f"${amount:.{digits}f}".rstrip("0")
    return f"${amount:,.2f}" if abs(amount) >= 1 else f"${amount:.3f}"


def percentile(values: Sequence[float], share: float) -> float:
    """The smallest value that `share` of them do not exceed; NaN of none."""
    if not values:
        return math.nan
    place = math.ceil(share * len(values) - 1e-9) - 1
    return sorted(values)[min(len(values) - 1, max(0, place))]


def shortened(text: str, chars: int) -> str:
    """Beginning and end of a long text: instructions stand there."""
    if len(text) <= chars:
        return text
    head = chars * 2 // 3
    return f"{text[:head]}\n[…]\n{text[-(chars - head) :]}"
