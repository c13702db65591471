"""How many processor cores this process may use: fewer than the machine has, in a container or
under `taskset`."""

from __future__ import annotations

import os
from math import ceil
from pathlib import Path

CGROUPS = Path("/sys/fs/cgroup")
OWN = Path("/proc/self/cgroup")


def allowed_cores() -> int:
    """Cores that the scheduler gives this process: its affinity, and the quota of its control group
    (cpu.max), rounded up."""
    try:
        cores = len(os.sched_getaffinity(0))
    except (AttributeError, OSError):  # not on macOS
        cores = os.cpu_count() or 1
    quota = _quota()
    return max(1, cores if quota is None else min(cores, ceil(quota)))


def _quota() -> float | None:
    """Cores by the tightest quota of the process's control groups, of version 2 or 1; None without
    one."""
    quotas: list[float] = []
    for line in _read(OWN).splitlines():
        _, _, rest = line.partition(":")
        controllers, _, path = rest.partition(":")
        if not controllers:
            folders = _up(CGROUPS, path)
            pairs = [_read(folder / "cpu.max").strip().partition(" ")[::2] for folder in folders]
        elif "cpu" in controllers.split(","):
            folders = [*_up(CGROUPS / controllers, path), *_up(CGROUPS / "cpu", path)]
            pairs = [
                (_read(f / "cpu.cfs_quota_us").strip(), _read(f / "cpu.cfs_period_us").strip())
                for f in folders
            ]
        else:
            continue
        quotas += [share for quota, period in pairs if (share := _share(quota, period)) is not None]
    return min(quotas, default=None)


def _up(root: Path, path: str) -> list[Path]:
    """The folder of a control group and of those above it; in a container the root is its own."""
    steps = [part for part in path.split("/") if part and part != ".."]
    return [root.joinpath(*steps[:n]) for n in range(len(steps) + 1)]


def _share(quota: str, period: str) -> float | None:
    try:
        share = int(quota) / int(period)
    except (ValueError, ZeroDivisionError):
        return None
    return share if share > 0 else None


def _read(file: Path) -> str:
    try:
        return file.read_text()
    except OSError:
        return ""
