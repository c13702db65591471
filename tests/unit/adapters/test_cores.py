"""How many threads an encoder starts in a container."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from shared.adapters import cores


@pytest.mark.parametrize(
    ("group", "files", "allowed"),
    [
        ("0::/\n", {"cpu.max": "150000 100000\n"}, 2),
        ("0::/\n", {"cpu.max": "max 100000\n"}, 8),
        ("0::/pod/me\n", {"pod/cpu.max": "50000 100000\n", "pod/me/cpu.max": "max 100000"}, 1),
        (
            "4:cpu,cpuacct:/me\n",
            {
                "cpu,cpuacct/me/cpu.cfs_quota_us": "300000",
                "cpu,cpuacct/me/cpu.cfs_period_us": "100000",
            },
            3,
        ),
        ("4:cpu:/\n", {"cpu/cpu.cfs_quota_us": "-1", "cpu/cpu.cfs_period_us": "100000"}, 8),
        ("rubbish\n\n", {"cpu.max": "x"}, 8),
        ("", {}, 8),
    ],
)
def test_a_quota_counts(
    group: str, files: dict[str, str], allowed: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    (tmp_path / "own").write_text(group)
    monkeypatch.setattr(cores, "CGROUPS", tmp_path)
    monkeypatch.setattr(cores, "OWN", tmp_path / "own")
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(8)))
    assert cores.allowed_cores() == allowed


def test_an_affinity_counts() -> None:
    code = (
        f"import os; os.sched_setaffinity(0, {{{min(os.sched_getaffinity(0))}}}); from "
        "shared.adapters.cores import allowed_cores; print(allowed_cores())"
    )
    assert (
        subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, check=True
        ).stdout.strip()
        == "1"
    )
