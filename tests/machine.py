"""What machine a figure comes from: shared ones differ from day to day by a factor of three, so
figures name theirs."""

from __future__ import annotations

import os
import platform
import time
from pathlib import Path

ADDITIONS = 3_000_000
INT8 = ("amx_int8", "avx512_vnni", "avx_vnni", "avx2")
"""Instructions that int8 runs with, the fastest first, as Linux names them."""


def machine() -> dict[str, str | int | float]:
    """Its processor and the best instructions that it has for int8, its cores, and how fast one of
    them runs Python just now."""
    known = {
        key.strip(): value.strip()
        for key, _, value in (line.partition(":") for line in _cpuinfo().splitlines())
    }
    flags = known.get("flags", "").split()
    began = time.process_time()
    total = 0
    for i in range(ADDITIONS):
        total += i
    return {
        "processor": known.get("model name") or platform.processor() or platform.machine(),
        "int8": next((name for name in INT8 if name in flags), "unknown"),
        "cores": os.cpu_count() or 1,
        "python": platform.python_version(),
        "million_additions_per_s": round(ADDITIONS / 1e6 / (time.process_time() - began), 1),
    }


def described(found: dict[str, str | int | float]) -> str:
    """A line for people."""
    return (
        f"{found['processor']} ({found['int8']}), {found['cores']} cores, "
        f"{found['million_additions_per_s']} million additions a second in Python"
    )


def _cpuinfo() -> str:
    try:
        return Path("/proc/cpuinfo").read_text()
    except OSError:
        return ""
