"""Turn measurements into Markdown tables and a figure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

FULL, FLOOR, OURS = "training everything", "frozen (floor)", "frostline"


@dataclass(frozen=True)
class Measured:
    """The measurements of one case on one backend."""

    case: str
    group: str
    share: float | None
    batch: int | None
    seconds: dict[str, float]
    memory: dict[str, float | None]


def markdown(results: dict[str, list[Measured]]) -> str:
    """A section for each group of cases, with a table for each backend."""
    groups = list(dict.fromkeys(m.group for measured in results.values() for m in measured))
    lines: list[str] = []
    for group in groups:
        lines += [f"## {group}", ""]
        for backend, measured in results.items():
            rows = [m for m in measured if m.group == group]
            if rows:
                lines += [f"### {backend}", "", *_table(rows), ""]
    return "\n".join(lines)


def _table(rows: Sequence[Measured]) -> list[str]:
    names = list(dict.fromkeys(name for row in rows for name in row.seconds))
    lines = [
        "| | " + " | ".join(f"{name}" for name in names) + " |",
        "|---|" + "---:|" * len(names),
    ]
    for row in rows:
        lines.append(f"| {row.case} | " + " | ".join(_cell(row, name) for name in names) + " |")
    return lines


def _cell(row: Measured, name: str) -> str:
    if name not in row.seconds:
        return ""
    seconds, memory = row.seconds[name], row.memory.get(name)
    text = f"{seconds / row.seconds[FULL]:.2f}"
    if name == FULL:
        text = f"{1e3 * seconds:.1f} ms"
    elif FLOOR in row.seconds and name != FLOOR:
        text += f" ({seconds / row.seconds[FLOOR]:.2f})"
    return text if memory is None else f"{text}, {memory:.0f} MiB"


def figure(results: dict[str, list[Measured]], path: Path) -> None:
    """Plot the cost against the share that trains, with the floor and the limit."""
    import matplotlib.pyplot as plt

    batches = (16, 256)
    grid: Any
    drawing, grid = plt.subplots(
        len(batches), len(results), figsize=(3.2 * len(results), 5.4), sharex=True, sharey=True
    )
    for column, (backend, measured) in enumerate(results.items()):
        for line, batch in enumerate(batches):
            axes = grid[line][column] if len(results) > 1 else grid[line]
            _draw(axes, [m for m in measured if m.batch == batch and m.share is not None])
            axes.set_title(f"{backend}, batch {batch}", fontsize=9)
    drawing.supxlabel("share of each kernel that trains", fontsize=9)
    drawing.supylabel("a step's time, training everything = 1", fontsize=9)
    handles, labels = drawing.axes[0].get_legend_handles_labels()
    drawing.legend(handles, labels, loc="outside upper center", ncols=3, fontsize=8, frameon=False)
    drawing.tight_layout(rect=(0, 0, 1, 0.92))
    drawing.savefig(path, dpi=150)


def _draw(axes: Any, measured: Sequence[Measured]) -> None:
    # Okabe and Ito's colours, which colour-blind readers can tell apart; markers for print.
    styles = {"columns": ("#0072B2", "o"), "random rows": ("#D55E00", "s")}
    for kind, (colour, marker) in styles.items():
        points = sorted(
            (m.share, m.seconds[OURS] / m.seconds[FULL])
            for m in measured
            if m.share is not None and m.case.startswith(kind)
        )
        axes.plot(*zip(*points, strict=True), marker=marker, color=colour, label=kind, ms=4)
    floor = min(m.seconds[FLOOR] / m.seconds[FULL] for m in measured)
    axes.axhline(1, color="0.6", lw=0.8)
    axes.axhline(floor, color="0.6", ls=":", label="frozen: nothing trains")
    # The cost of gradients and slots is proportional to the share that trains.
    axes.plot([0, 1], [floor, 1], color="0.3", ls="--", lw=0.8, label="limit: floor + share")
    axes.set_ylim(0, 1.3)
