"""From the numbers of a paper to its section in Markdown and its picture."""

from __future__ import annotations

import textwrap
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.papers.paper import Paper, spread

# Colours of Okabe and Ito. The background is white whatever theme the page has.
DOT, MEAN = "#56B4E9", "#D55E00"


def arrays(result: dict[str, Any]) -> dict[str, np.ndarray]:
    """For each condition an array (seeds, measures)."""
    return {name: np.array(rows) for name, rows in result["conditions"].items()}


def seeds(result: dict[str, Any]) -> int:
    return len(next(iter(result["conditions"].values())))


def table(paper: Paper, result: dict[str, Any]) -> list[str]:
    """Markdown: a row for each condition, a column for each measure."""
    lines = ["| | " + " | ".join(paper.measures) + " |", "|---|" + "---:|" * len(paper.measures)]
    for name, rows in arrays(result).items():
        lines.append(f"| {name} | " + " | ".join(spread(column) for column in rows.T) + " |")
    return lines


def markdown(paper: Paper, result: dict[str, Any]) -> str:
    """The section of one paper."""
    return "\n".join(
        [
            f'<a id="{paper.name}"></a>',
            "",
            f"## {paper.title}",
            "",
            *_filled(paper.cite),
            *_filled(f"**Claim.** {paper.claim} {paper.theirs}"),
            *_filled(f"**Here.** {paper.setup} {seeds(result)} seeds; {result['where']}."),
            *table(paper, result),
            "",
            *_filled(f"**Verdict.** {paper.verdict(arrays(result))}"),
            f"![{paper.title}: a dot for each seed, and the mean](reproduced_{paper.name}.png)",
            "",
            *_filled(f"Run it: `python -m benchmarks.papers.{paper.name}`."),
        ]
    )


def _filled(text: str) -> list[str]:
    """A paragraph as the other pages are broken into lines, and an empty line."""
    return [*textwrap.wrap(text, 120, break_long_words=False, break_on_hyphens=False), ""]


def figure(paper: Paper, result: dict[str, Any], path: Path) -> None:
    """A panel for each measure that differs between seeds: dots for seeds, a bar for their mean."""
    from matplotlib.figure import Figure

    found = arrays(result)
    varying = [
        place
        for place in range(len(paper.measures))
        if any(np.ptp(rows[:, place]) for rows in found.values())
    ]
    drawn = varying or [0]
    size = (2.2 + 3.4 * len(drawn), 0.8 + 0.3 * len(found))
    drawing = Figure(figsize=size, facecolor="white", layout="constrained")
    grid: Any = drawing.subplots(1, len(drawn), sharey=True, squeeze=False)
    for axes, place in zip(grid[0], drawn, strict=True):
        for line, rows in enumerate(found.values()):
            values = rows[:, place]
            axes.plot(values, np.full(len(values), line), "o", color=DOT, ms=4, alpha=0.8, mew=0)
            axes.plot([values.mean()] * 2, [line - 0.3, line + 0.3], color=MEAN, lw=2)
        axes.set_xlabel(paper.measures[place], fontsize=9)
        axes.tick_params(labelsize=8)
        axes.set_yticks(range(len(found)), list(found))
        axes.grid(axis="x", color="0.9", lw=0.8)
        axes.set_axisbelow(True)
    grid[0][0].set_ylim(len(found) - 0.5, -0.5)
    drawing.savefig(path, dpi=110)
