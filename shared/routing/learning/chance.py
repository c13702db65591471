"""Chances that follow from a name: the same for everybody who asks, and again after a restart."""

from __future__ import annotations

import hashlib


def chance(*names: str) -> float:
    """A number in 0..1, evenly spread over names."""
    return int.from_bytes(hashlib.sha256("\0".join(names).encode()).digest()[:8], "big") / 2**64
