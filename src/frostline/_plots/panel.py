"""One weight on one pair of axes."""

from __future__ import annotations

from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.colors import (
    BoundaryNorm,
    Colormap,
    LinearSegmentedColormap,
    ListedColormap,
    LogNorm,
)
from matplotlib.image import AxesImage
from matplotlib.patches import PathPatch
from matplotlib.path import Path
from matplotlib.ticker import MaxNLocator, StrMethodFormatter

from frostline._console import percent
from frostline._plots.cells import Drift, Side
from frostline._plots.colors import (
    DRIFT,
    EQUAL,
    FROZEN,
    HATCH,
    LEAK,
    LINED,
    NONFINITE,
    PARTLY,
    RINGS,
    SHARES,
    TRAINS,
)
from frostline._plots.maps import Panel

DENSE, SPARSE = "//////", "///"
SMALL, LABEL = 7.5, 9.0  # points
_TICKS = 8


def facts(panel: Panel) -> str:
    """Lines below the title of a map."""
    row = panel.row
    text = f"{row.shape}, {percent(row.frozen, row.size)} frozen"
    if not row.trains and row.kind != "whole":
        text += ", layer off"
    if panel.drift is None:
        return text
    nonfinite = panel.total("nonfinite")
    text += f"\nmoved by up to {panel.largest:.2g}" if panel.total("moved") else "\nnothing moved"
    return text + (f", {nonfinite:,} NaN or infinite" if nonfinite else "")


def frozen_colors() -> tuple[ListedColormap, BoundaryNorm]:
    """Colours for a share: two for exactly nothing and all, four between."""
    colors = ListedColormap([TRAINS, *PARTLY, FROZEN])
    return colors, BoundaryNorm([-1, *SHARES, 2], colors.N)


def drift_colors() -> Colormap:
    """Viridis without its darkest part, and the colour of what is exactly equal."""
    return LinearSegmentedColormap.from_list("drift", DRIFT).with_extremes(bad=EQUAL)


def draw(panel: Panel, axes: Axes, scale: LogNorm | None) -> AxesImage | None:
    """Draw a weight; the image whose colours a colour bar explains, if there is one."""
    axes.set_facecolor(EQUAL)
    image = None
    if panel.row.size == 0:
        axes.text(0.5, 0.5, "no entries", transform=axes.transAxes, ha="center", va="center")
    elif panel.drift is None:
        colors, norm = frozen_colors()
        image = _image(axes, panel, panel.share, "frozen", cmap=colors, norm=norm)
    else:
        image = _draw_drift(axes, panel, panel.drift, scale)
    _draw_tiles(axes, panel)
    for side, axis in ((panel.rows, axes.yaxis), (panel.columns, axes.xaxis)):
        _label(side, axis)
    return image


def _draw_drift(axes: Axes, panel: Panel, drift: Drift, scale: LogNorm | None) -> AxesImage:
    largest = np.ma.masked_where(drift.moved == 0, drift.largest)
    image = _image(axes, panel, largest, "drift", cmap=drift_colors(), norm=scale)
    for gid, cells, color in (
        ("nonfinite", drift.nonfinite, NONFINITE),
        ("leaked", drift.leaked, LEAK),
    ):
        if cells.any():
            shown = np.ma.masked_equal(cells, 0)
            _image(axes, panel, shown, gid, cmap=ListedColormap([color]))
    for gid, cells, hatch in (
        ("partly frozen", (panel.share > 0) & (panel.share < 1), SPARSE),
        ("frozen", panel.share == 1, DENSE),
    ):
        if cells.any():
            # Without edges: `hatch` alone takes the colour of an edge of no width.
            patch = PathPatch(
                _outline(cells, panel), fc="none", ec=HATCH, lw=0, hatch=hatch, gid=gid
            )
            axes.add_artist(patch)  # `add_patch` looks at each corner of the path in Python
    _ring(axes, panel, np.argwhere(drift.leaked))
    return image


def _image(axes: Axes, panel: Panel, cells: np.ndarray, gid: str, **colors: Any) -> AxesImage:
    extent = (-0.5, panel.columns.size - 0.5, panel.rows.size - 0.5, -0.5)
    # Nearest: a cell is a pixel or more, and what lies between two values was never measured.
    image = axes.imshow(cells, extent=extent, aspect="auto", interpolation="nearest", **colors)
    image.set_gid(gid)
    return image


def _ring(axes: Axes, panel: Panel, cells: np.ndarray) -> None:
    """A ring around each of a few cells `int[n, 2]`: one of them alone is a pixel."""
    if not 0 < len(cells) <= RINGS:
        return
    sizes = np.array([panel.rows.size, panel.columns.size])
    y, x = ((cells + 0.5) * sizes / panel.share.shape - 0.5).T
    for color, width in (("white", 3.2), (LEAK, 1.6)):
        axes.scatter(
            x, y, s=70, facecolors="none", edgecolors=color, linewidths=width, clip_on=False
        )


def _outline(cells: np.ndarray, panel: Panel) -> Path:
    """The area of the True cells as rectangles: runs along rows, equal ones one below the other."""
    high, wide = cells.shape
    padded = np.pad(cells, ((0, 0), (1, 1))).astype(np.int8)
    changes = np.diff(padded, axis=1)
    row, left = np.nonzero(changes == 1)
    right = np.nonzero(changes == -1)[1]
    order = np.lexsort((row, right, left))
    row, left, right = row[order], left[order], right[order]
    begins = np.ones(len(row), bool)
    begins[1:] = (np.diff(left) != 0) | (np.diff(right) != 0) | (np.diff(row) != 1)
    first = np.flatnonzero(begins)
    top, bottom = row[first], row[np.append(first[1:], len(row)) - 1] + 1
    left, right = left[first], right[first]
    across = np.stack([left, right, right, left, left], 1) * panel.columns.size / wide - 0.5
    down = np.stack([top, top, bottom, bottom, top], 1) * panel.rows.size / high - 0.5
    codes = [Path.MOVETO, Path.LINETO, Path.LINETO, Path.LINETO, Path.CLOSEPOLY]
    return Path(np.stack([across.ravel(), down.ravel()], 1), np.tile(codes, len(first)))


def _draw_tiles(axes: Axes, panel: Panel) -> None:
    high, wide = panel.rows.size - 0.5, panel.columns.size - 0.5
    lines = [[(-0.5, y), (wide, y)] for y in _between(panel.rows)]
    lines += [[(x, -0.5), (x, high)] for x in _between(panel.columns)]
    if lines:
        for color, width in (("white", 1.6), ("#333333", 0.6)):
            axes.add_collection(LineCollection(lines, colors=color, linewidths=width))


def _between(side: Side) -> list[float]:
    if side.tiles > LINED:
        return []
    return [tile * side.inner - 0.5 for tile in range(1, side.tiles)]


def _label(side: Side, axis: Any) -> None:
    axis.set_tick_params(labelsize=SMALL, length=2)
    label = side.label if side.size > 1 else ""
    box = axis.axes.get_window_extent()
    if axis.axis_name == "y" and len(label) * 0.07 > box.height / axis.axes.figure.dpi:
        label = label.partition(" (")[0]  # it would run into the title
    axis.set_label_text(label, fontsize=SMALL + 0.5)
    if side.size <= 1:
        axis.set_ticks([])
    elif side.tiles > 1 or side.names:
        step = -(-side.tiles // _TICKS)
        shown = range(0, side.tiles, step)
        names = [side.names[tile] if side.names else f"{tile:,}" for tile in shown]
        axis.set_ticks([(tile + 0.5) * side.inner - 0.5 for tile in shown], names)
    else:
        axis.set_major_locator(MaxNLocator(5, integer=True))
        axis.set_major_formatter(StrMethodFormatter("{x:,.0f}"))
