"""One weight on one pair of axes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.colors import (
    BoundaryNorm,
    Colormap,
    LinearSegmentedColormap,
    ListedColormap,
    Normalize,
    to_rgba,
)
from matplotlib.image import AxesImage
from matplotlib.patches import PathPatch
from matplotlib.path import Path
from matplotlib.ticker import MaxNLocator, StrMethodFormatter

from frostline._console import percent, span
from frostline._plots.cells import Drift, Side
from frostline._plots.colors import (
    DRIFT,
    EQUAL,
    FROZEN,
    HATCH,
    LEAK,
    LINED,
    MARK,
    NONFINITE,
    PARTLY,
    RINGS,
    SHARES,
    TRAINS,
)
from frostline._plots.maps import Panel
from frostline._plots.marks import boxes, placed, small

DENSE, SPARSE = "//////", "///"
SMALL, LABEL = 8.5, 10.0  # points
NEAR = 16  # pixels of a tile below which lines between them would hide them
LARGE = 6  # pixels of what is less than two
APART = 3  # pixels between a band and the lines along it
_TICKS = 8


def facts(panel: Panel) -> str:
    """Lines below the title of a map."""
    row, alike = panel.row, panel.alike
    shares = span(alike.shares if alike else [row.share], lambda share: percent(share, 1))
    kind = f" ({row.kind})" if 0 < row.share < 1 else ""
    text = f"{row.shape}, {shares} frozen{kind}"
    if not row.trains and row.kind != "whole":
        text += ", off (trainable=False)"
    if panel.drift is not None:
        text += f"\n{_moved(panel)}"
    if alike:
        text += f"\n{alike.count} alike" + ("" if alike.same else ": this is the first")
    return text


def _moved(panel: Panel) -> str:
    largest = span(panel.alike.largest if panel.alike else [panel.largest], "{:.2g}".format)
    nonfinite = panel.total("nonfinite")
    text = f"moved by up to {largest}"
    return (text if panel.total("moved") else "nothing moved") + (
        f", {nonfinite:,} NaN or infinite" if nonfinite else ""
    )


def frozen_colors() -> tuple[ListedColormap, BoundaryNorm]:
    """Colours for a share: two for exactly nothing and all, four between."""
    colors = ListedColormap([TRAINS, *PARTLY, FROZEN])
    return colors, BoundaryNorm([-1, *SHARES, 2], colors.N)


def drift_colors() -> Colormap:
    """Viridis without its darkest part, and the colour of bit-identical entries."""
    return LinearSegmentedColormap.from_list("drift", DRIFT).with_extremes(bad=EQUAL)


class Stops(Normalize):
    """Distances to colours: between stops, whose colours are evenly apart, it is logarithmic.

    Clipped: what moved by nothing, a zero that changed its sign, has the lowest colour.
    """

    def __init__(self, stops: Sequence[float]) -> None:
        super().__init__(stops[0], stops[-1], clip=True)
        self._logs = np.log(stops)
        self._even = np.linspace(0, 1, len(stops))

    def __call__(self, value: Any, clip: bool | None = None) -> Any:
        values = np.ma.masked_invalid(value)
        above = np.maximum(values.filled(self.vmin), np.finfo(float).tiny)
        found = np.interp(np.log(above), self._logs, self._even)
        return np.ma.array(found, mask=np.ma.getmaskarray(values))

    def inverse(self, value: Any) -> Any:
        return np.exp(np.interp(value, self._even, self._logs))


def draw(panel: Panel, axes: Axes, scale: Normalize | None) -> AxesImage | None:
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
    _mark(axes, panel, scale)
    for side, axis in ((panel.rows, axes.yaxis), (panel.columns, axes.xaxis)):
        _label(side, axis)
    return image


def _draw_drift(axes: Axes, panel: Panel, drift: Drift, scale: Normalize | None) -> AxesImage:
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
    top, bottom, left, right = placed(panel, np.repeat(cells, 2, axis=1) + np.array([0, 1, 0, 1])).T
    x, y = (left + right) / 2, (top + bottom) / 2
    for color, width in (("white", 3.2), (LEAK, 1.6)):
        axes.scatter(
            x, y, s=70, facecolors="none", edgecolors=color, linewidths=width, clip_on=False
        )


def _mark(axes: Axes, panel: Panel, scale: Normalize | None) -> None:
    """What is less than two pixels is drawn larger, with a diamond; a band has lines along it."""
    extent = axes.get_window_extent()
    found = small(panel, extent.height, extent.width)
    if not found:
        return
    colors = _colors(panel, scale, found.most)
    sides = np.array([panel.rows.size, panel.columns.size])
    pixel = sides / (extent.height, extent.width)  # in entries
    lines, diamonds = [], []
    for number, cells in enumerate([*found.bands, *found.spots]):
        box = placed(panel, cells[None]).reshape(2, 2)
        (top, bottom), (left, right) = larger = _larger(box, pixel, sides)
        axes.imshow(
            colors[slice(*cells[:2]), slice(*cells[2:])],
            extent=(left, right, bottom, top),
            **{"aspect": "auto", "interpolation": "nearest", "gid": "mark", "zorder": 3},
        )
        diamonds.append(((left + right) / 2, (top + bottom) / 2))
        if number < len(found.bands):
            across = (larger[0] != box[0]).any()
            diamonds[-1] = (right, diamonds[-1][1]) if across else (diamonds[-1][0], bottom)
            lines += _along(larger, pixel, sides, 0 if across else 1)
    for color, width in (("white", 3.6), (MARK, 1.8)):
        style: dict[str, Any] = {"gid": "mark", "zorder": 4, "linewidths": width}
        axes.add_collection(LineCollection(lines, colors=color, **style), autolim=False)
        style |= {"marker": "D", "s": 120, "facecolors": "none", "clip_on": False}
        axes.scatter(*np.transpose(diamonds), edgecolors=color, **style)
    axes.set(xlim=(-0.5, sides[1] - 0.5), ylim=(sides[0] - 0.5, -0.5))


def _larger(box: np.ndarray, pixel: np.ndarray, sides: np.ndarray) -> np.ndarray:
    """`box` as high and wide as can be seen, and still on the map."""
    lengths = np.minimum(np.maximum(box[:, 1] - box[:, 0], LARGE * pixel), sides)
    starts = np.clip(box.mean(axis=1) - lengths / 2, -0.5, sides - 0.5 - lengths)
    return np.stack([starts, starts + lengths], 1)


def _along(
    box: np.ndarray, pixel: np.ndarray, sides: np.ndarray, thin: int
) -> Iterator[list[tuple[float, float]]]:
    """The lines along a band, a few pixels from it; none where the map ends."""
    apart = APART * pixel[thin]
    for end in (box[thin, 0] - apart, box[thin, 1] + apart):
        if 0 < end < sides[thin] - 0.5:
            ends = [(end, other) for other in box[1 - thin]]
            yield ends if thin else [(x, y) for y, x in ends]


def _colors(panel: Panel, scale: Normalize | None, most: int) -> np.ndarray:
    """The colours of all cells: what is frozen in part has that of what most cells are not."""
    if panel.drift is None or scale is None:
        colors, norm = frozen_colors()
        return colors(norm(np.where(panel.share > 0 if most == 0 else panel.share == 1, 1.0, 0.0)))
    found = drift_colors()(scale(np.ma.masked_where(panel.drift.moved == 0, panel.drift.largest)))
    found[panel.drift.nonfinite > 0] = to_rgba(NONFINITE)
    return found


def _outline(cells: np.ndarray, panel: Panel) -> Path:
    """The area of the True cells as rectangles."""
    top, bottom, left, right = placed(panel, boxes(cells)).T
    across = np.stack([left, right, right, left, left], 1)
    down = np.stack([top, top, bottom, bottom, top], 1)
    codes = [Path.MOVETO, Path.LINETO, Path.LINETO, Path.LINETO, Path.CLOSEPOLY]
    return Path(np.stack([across.ravel(), down.ravel()], 1), np.tile(codes, len(top)))


def _draw_tiles(axes: Axes, panel: Panel) -> None:
    extent = axes.get_window_extent()
    high, wide = panel.rows.size - 0.5, panel.columns.size - 0.5
    lines = [[(-0.5, y), (wide, y)] for y in _between(panel.rows, extent.height)]
    lines += [[(x, -0.5), (x, high)] for x in _between(panel.columns, extent.width)]
    if lines:
        for color, width in (("white", 1.6), ("#333333", 0.6)):
            axes.add_collection(LineCollection(lines, colors=color, linewidths=width))


def _between(side: Side, pixels: float) -> list[float]:
    if side.tiles > LINED or pixels / side.tiles < NEAR:
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
