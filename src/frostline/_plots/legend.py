"""What the colours, hatches and marks of some maps say, and the words in their titles."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from frostline._plots.colors import EQUAL, FROZEN, HATCH, LEAK, MARK, NONFINITE, PARTLY, TRAINS
from frostline._plots.fold import Line
from frostline._plots.maps import Panel
from frostline._plots.marks import THIN, small
from frostline._plots.panel import DENSE, SPARSE
from frostline._summaries import KINDS


def explained(
    panels: Sequence[tuple[Panel, tuple[float, float]]],
) -> tuple[list[Any], list[str]]:
    """The handles and labels of what occurs in maps of so many pixels, and of nothing else."""
    shares = np.concatenate([panel.share.ravel() for panel, _ in panels] or [np.zeros(0)])
    partly = bool(((shares > 0) & (shares < 1)).any())
    drifts = [panel.drift for panel, _ in panels if panel.drift is not None]
    hatched = {"facecolor": EQUAL, "edgecolor": HATCH, "linewidth": 0}
    if not drifts:
        between = tuple(Patch(color=color) for color in PARTLY)
        found: list[tuple[bool, Any, str]] = [
            (bool((shares < 1).any()), Patch(color=TRAINS), "trains"),
            (partly, between, "cell frozen in part"),
            (bool((shares > 0).any()), Patch(color=FROZEN), "frozen"),
        ]
    else:
        found = [
            (any((d.moved == 0).any() for d in drifts), Patch(color=EQUAL), "bit-identical"),
            (bool((shares == 1).any()), Patch(hatch=DENSE, **hatched), "frozen"),
            (partly, Patch(hatch=SPARSE, **hatched), "cell frozen in part"),
            (any(d.nonfinite.any() for d in drifts), Patch(color=NONFINITE), "NaN or infinite"),
            (any(d.leaked.any() for d in drifts), _ring("o", LEAK), "frozen, and moved"),
        ]
    marked = any(small(panel, *pixels) for panel, pixels in panels)
    found.append((marked, _ring("D", MARK), f"smaller than {THIN} pixels, drawn larger"))
    shown = [(handle, label) for there, handle, label in found if there]
    return [handle for handle, _ in shown], [label for _, label in shown]


def kinds(panels: Sequence[Panel], lines: Sequence[Line]) -> list[str]:
    """What each kind of freeze is that occurs in maps or lines."""
    rows = [row for line in lines for row in line.rows]
    there = {row.kind for row in (*rows, *(panel.row for panel in panels))}
    return [f"{kind}: {words}" for kind, words in KINDS.items() if kind in there]


def _ring(marker: str, color: str) -> Line2D:
    return Line2D([], [], ls="none", marker=marker, mfc="none", mec=color, mew=1.6, ms=7)
