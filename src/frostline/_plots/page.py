"""The figure: columns of panels that are read from top to bottom, a legend, a colour bar.

Sizes are in inches and laid out here: a layout engine takes seconds for thirty panels.
"""

from __future__ import annotations

import io
import textwrap
from collections.abc import Sequence
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import LogNorm
from matplotlib.figure import Figure
from matplotlib.image import AxesImage
from matplotlib.legend_handler import HandlerTuple
from matplotlib.patches import Patch
from matplotlib.transforms import ScaledTranslation

from frostline._plots.cells import Side
from frostline._plots.colors import EQUAL, FROZEN, HATCH, LEAK, NONFINITE, PARTLY, TRAINS
from frostline._plots.maps import Panel, Scale, leaks
from frostline._plots.panel import DENSE, LABEL, SMALL, SPARSE, draw, facts

_WIDTHS = ((1, 5.6), (8, 2.9))  # width of a map on a page of at most so many
_NARROW = 2.2  # on a page of more
_LEFT, _RIGHT, _BELOW = 0.7, 0.25, 0.55  # room around a map
_LINE = 0.16  # height of a line of text
_STRIP = 0.28  # height of a vector
_MARGIN = 0.12
_COLUMNS = 6
_BAR = "|after - before|, the largest in each cell"
_LEGEND = {"handler_map": {tuple: HandlerTuple(None, 0)}, "frameon": False, "borderaxespad": 0}


class NotebookFigure(Figure):
    """A figure that a notebook shows whether or not pyplot was ever imported there."""

    def _repr_png_(self) -> bytes:
        stream = io.BytesIO()
        self.savefig(stream, format="png")
        return stream.getvalue()


def map_width(weights: int) -> float:
    """How wide one of so many maps is, in inches."""
    return next((width for most, width in _WIDTHS if weights <= most), _NARROW)


def pixels(rows: Side, columns: Side, axes: Axes | None, weights: int) -> tuple[int, int]:
    """Pixels of a map, down and across: a cell is one of them or more, so that none is lost."""
    if axes is not None:
        box = axes.get_window_extent()
        return max(int(box.height), 1), max(int(box.width), 1)
    width, dpi = map_width(weights), float(mpl.rcParams["figure.dpi"])
    return max(int(_map_height(rows, columns, width) * dpi), 1), max(int(width * dpi), 1)


def page(panels: Sequence[Panel], title: str, notes: Sequence[str]) -> Figure:
    """A new figure of all panels, of which pyplot knows nothing."""
    width = map_width(len(panels))
    heights = [_height(panel, width) for panel in panels]
    columns = _columns(heights, width + _LEFT + _RIGHT)
    wide = len(columns) * (width + _LEFT + _RIGHT)
    handles, labels = _legend(panels)
    legend_lines = -(-len(handles) // _legend_columns(wide))
    notes = [line for note in notes for line in textwrap.wrap(note, int(wide / 0.075))]
    titles = textwrap.wrap(title, int(wide / 0.1))
    head = _MARGIN * 2 + _LINE * (1.5 * len(titles) + len(notes))
    foot = _MARGIN * 2 + 0.22 * legend_lines + (0 if panels[0].drift is None else 0.6)
    body = max(sum(heights[place] for place in column) for column in columns)
    high = head + body + foot
    figure = NotebookFigure(figsize=(wide, high))
    figure.set_layout_engine("none")  # one that a user's settings turn on would move it all
    y = high - _MARGIN
    for text, size, leap in [(line, 12, 1.5) for line in titles] + [(n, LABEL, 1) for n in notes]:
        weight = "bold" if size == 12 else "normal"
        # A name may hold a dollar, which is no formula.
        style = {"fontsize": size, "weight": weight, "va": "top", "parse_math": False}
        figure.text(_MARGIN / wide, y / high, text, **style)
        y -= leap * _LINE
    scale, image = shared_scale(panels), None
    for number, column in enumerate(columns):
        top = high - head
        for place in column:
            panel = panels[place]
            left = number * (width + _LEFT + _RIGHT) + _LEFT
            bottom = top - heights[place] + _BELOW
            box = (
                left / wide,
                bottom / high,
                width / wide,
                _map_height(panel.rows, panel.columns, width) / high,
            )
            image = _titled(panel, figure.add_axes(box), scale, width) or image
            top -= heights[place]
    bottom = _MARGIN
    if scale is not None and image is not None:
        box = (_LEFT / wide, (_MARGIN + 0.36) / high, min(5.6, wide - 1.2) / wide, 0.12 / high)
        _bar(figure.colorbar(image, cax=figure.add_axes(box), orientation="horizontal"))
        bottom += 0.6
    _place_legend(figure, handles, labels, wide, (_LEFT - 0.1) / wide, bottom / high)
    return figure


def notes(shown: int, matched: int, do: str = "") -> list[str]:
    """What a page says of the weights that are not on it, and what to do."""
    if shown == matched:
        return []
    do = do or f"Name the others with weights=..., or pass limit={matched}."
    return [f"{shown:,} of {matched:,} weights are drawn. {do}"]


def on_axes(panel: Panel, axes: Axes) -> Figure:
    """Draw one weight on axes that somebody else has made, with its legend and colour bar."""
    scale = shared_scale([panel])
    image = _titled(panel, axes, scale, axes.get_window_extent().width / axes.figure.dpi)
    handles, labels = _legend([panel])
    below = ScaledTranslation(0, -_BELOW, axes.figure.dpi_scale_trans)
    axes.legend(
        handles,
        labels,
        loc="upper left",
        bbox_to_anchor=(0, 0),
        bbox_transform=axes.transAxes + below,
        ncols=2,
        fontsize=SMALL,
        **_LEGEND,
    )
    if scale is not None and image is not None:
        _bar(axes.figure.colorbar(image, ax=axes))
    return axes.figure.canvas.figure  # the figure around a subfigure too


def shared_scale(panels: Sequence[Panel]) -> LogNorm | None:
    """One scale for the drift of all panels, so that their colours say the same."""
    drifts = [panel.drift for panel in panels if panel.drift is not None]
    if not drifts:
        return None
    scale = Scale()
    for drift in drifts:
        scale.add(drift)
    # Clipped: what moved by nothing, a zero that changed its sign, has the lowest colour.
    return LogNorm(*scale.limits, clip=True)


def _titled(panel: Panel, axes: Axes, scale: LogNorm | None, width: float) -> AxesImage | None:
    image = draw(panel, axes, scale)
    said = facts(panel)
    axes.annotate(
        said,
        (0, 1),
        (0, 4),
        xycoords="axes fraction",
        textcoords="offset points",
        fontsize=SMALL + 0.5,
        alpha=0.8,
        va="bottom",
    )
    axes.set_title(
        "\n".join(_title(panel, width)),
        loc="left",
        fontsize=LABEL,
        weight="bold",
        pad=6 + 11.5 * (said.count("\n") + 1),
        color=LEAK if panel.leaked else mpl.rcParams["text.color"],
        parse_math=False,
    )
    return image


def _title(panel: Panel, width: float) -> list[str]:
    """The path in as many lines as it needs, and what leaked."""
    path = panel.row.path
    letters = max(int((width + 0.3) / 0.087), 8)
    lines: list[str] = []
    while len(path) > letters:
        cut = (path.rfind("/", 1, letters) + 1) or (path.rfind("_", 1, letters) + 1) or letters
        lines.append(path[:cut])
        path = path[cut:]
    return [*lines, path, *([leaks(panel.leaked)] if panel.leaked else [])]


def _height(panel: Panel, width: float) -> float:
    lines = len(_title(panel, width)) + facts(panel).count("\n") + 1
    return _map_height(panel.rows, panel.columns, width) + _LINE * lines + 0.12 + _BELOW


def _map_height(rows: Side, columns: Side, width: float) -> float:
    if rows.size <= 1:
        return _STRIP
    # A few long rows are not to be a hair's breadth, and a few long columns not a mile.
    least = _STRIP * (1.5 if rows.size < 4 else 3)
    return min(max(width * rows.size / max(columns.size, 1), least), width * 0.9)


def _columns(heights: Sequence[float], width: float) -> list[list[int]]:
    """Panels in order, column by column, for a page that is a little wider than high."""
    columns: list[list[int]] = []
    for count in range(1, _COLUMNS + 1):
        most = max(max(heights), sum(heights) / count)
        columns = _filled(heights, most)
        while len(columns) > count:
            most *= 1.03
            columns = _filled(heights, most)
        if most <= 0.8 * count * width:
            break
    return columns


def _filled(heights: Sequence[float], most: float) -> list[list[int]]:
    columns: list[list[int]] = [[]]
    used = 0.0
    for place, height in enumerate(heights):
        if columns[-1] and used + height > most + 1e-6:
            columns.append([])
            used = 0.0
        columns[-1].append(place)
        used += height
    return columns


def _legend(panels: Sequence[Panel]) -> tuple[list[Any], list[str]]:
    """What occurs in the panels, and nothing else."""
    shares = np.concatenate([panel.share.ravel() for panel in panels])
    partly = bool(((shares > 0) & (shares < 1)).any())
    drifts = [panel.drift for panel in panels if panel.drift is not None]
    hatched = {"facecolor": EQUAL, "edgecolor": HATCH, "linewidth": 0}
    found: list[tuple[bool, Any, str]] = []
    if not drifts:
        between = tuple(Patch(color=color) for color in PARTLY)
        found = [
            (bool((shares < 1).any()), Patch(color=TRAINS), "trains"),
            (partly, between, "a part of the cell is frozen: little to much"),
            (bool((shares > 0).any()), Patch(color=FROZEN), "frozen"),
        ]
    else:
        same = any((drift.moved == 0).any() for drift in drifts)
        nonfinite = any(drift.nonfinite.any() for drift in drifts)
        leaked = any(drift.leaked.any() for drift in drifts)
        found = [
            (same, Patch(color=EQUAL), "exactly equal"),
            (bool((shares == 1).any()), Patch(hatch=DENSE, **hatched), "frozen"),
            (partly, Patch(hatch=SPARSE, **hatched), "a part of the cell is frozen"),
            (nonfinite, Patch(color=NONFINITE), "NaN or infinite"),
            (leaked, Patch(color=LEAK), "frozen, and moved"),
        ]
    shown = [(handle, label) for there, handle, label in found if there]
    return [handle for handle, _ in shown], [label for _, label in shown]


def _legend_columns(wide: float) -> int:
    return max(int(wide / 2.1), 1)


def _place_legend(
    figure: Figure, handles: list[Any], labels: list[str], wide: float, x: float, y: float
) -> None:
    figure.legend(
        handles,
        labels,
        loc="lower left",
        bbox_to_anchor=(x, y),
        ncols=_legend_columns(wide),
        fontsize=SMALL + 0.5,
        **_LEGEND,
    )


def _bar(bar: Any) -> None:
    bar.set_label(_BAR, fontsize=SMALL + 0.5)
    bar.ax.tick_params(which="both", labelsize=SMALL)
    bar.outline.set_linewidth(0.5)
