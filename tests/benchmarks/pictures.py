"""The figures of `make bench` as one picture."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import matplotlib as mpl

mpl.use("Agg")
mpl.rcParams["svg.hashsalt"] = "pointsman"

from matplotlib import pyplot as plt  # noqa: E402


def draw(results: dict[str, Any], path: Path) -> None:
    """Latency by load, CPU by service, and what grows with clusters, models and prompt length, into
    an SVG."""
    grown = [name for name in ("clusters", "models", "prompt_chars") if name in results]
    figure, axes = plt.subplots(
        1, 2 + len(grown), figsize=(4 * (2 + len(grown)), 3.6), layout="constrained"
    )
    by_rate = results["by_rate"]
    for key, style in (("p50_ms", "o-"), ("p99_ms", "s-")):
        axes[0].plot(
            list(by_rate), [one[key] for one in by_rate.values()], style, label=key[:3], ms=4
        )
    axes[0].set(
        xlabel="prompts a second, offered", ylabel="ms until the decision", ylim=0, title="latency"
    )
    axes[0].set_yscale("symlog", linthresh=100)
    axes[0].legend()
    parts = results["all_at_once"]["cpu_ms"]
    axes[1].barh(list(parts)[::-1], list(parts.values())[::-1])
    axes[1].set(xlabel="ms", title="CPU a decision")
    for axis, name in zip(axes[2:], grown, strict=True):
        sizes = list(results[name])
        for service in ("describer", "embedder", "assigner", "selector"):
            axis.plot(
                sizes,
                [results[name][size]["cpu_ms"][service] for size in sizes],
                "o-",
                label=service,
                ms=4,
            )
        axis.set(xscale="log", ylim=0, xlabel=name.replace("_", " "), title="CPU a decision, ms")
        axis.legend(fontsize=8)
    for axis in axes:
        axis.grid(alpha=0.3)
    figure.savefig(path, metadata={"Date": None})
    plt.close(figure)
