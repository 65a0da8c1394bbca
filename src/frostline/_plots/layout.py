"""Where the maps lie on a page: columns of panels that fill it, each map near to its proportions.

Sizes are in inches and laid out here: a layout engine takes seconds for thirty panels.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes

from frostline._plots.arrange import Arrangement
from frostline._plots.cells import Side
from frostline._plots.fold import leaks
from frostline._plots.maps import Panel
from frostline._plots.panel import facts

LINE = 0.17  # height of a line of text
BELOW = 0.6  # room below a map
_WIDTHS = ((1, 5.6), (8, 2.9))  # width of a map on a page of at most so many
_NARROW = 2.4  # on a page of more
_LEFT, _RIGHT = 0.75, 0.2  # room beside a map
_STRIP = 0.28  # height of a vector
_COLUMNS = 6


@dataclass
class Placed:
    """A panel, and its map in inches from the left and the top of all panels."""

    panel: Panel
    left: float
    top: float
    wide: float
    high: float

    @property
    def pixels(self) -> tuple[float, float]:
        dpi = float(mpl.rcParams["figure.dpi"])
        return self.high * dpi, self.wide * dpi


def map_width(weights: int) -> float:
    """How wide one of so many maps is, in inches."""
    return next((width for most, width in _WIDTHS if weights <= most), _NARROW)


def pixels(rows: Side, columns: Side, axes: Axes | None, weights: int) -> tuple[int, int]:
    """Pixels of a map, down and across: a cell is one of them or more, so that none is lost."""
    if axes is not None:
        box = axes.get_window_extent()
        return max(int(box.height), 1), max(int(box.width), 1)
    dpi = float(mpl.rcParams["figure.dpi"])
    high, wide = _map_size(Arrangement((), rows, columns), map_width(weights))
    return max(int(high * dpi), 1), max(int(wide * dpi), 1)


def title_of(panel: Panel, width: float) -> list[str]:
    """The path in as many lines as it needs, and what leaked."""
    path = panel.alike.name if panel.alike else panel.row.path
    letters = max(int((width + 0.2) / 0.097), 8)
    lines: list[str] = []
    while len(path) > letters:
        cut = (path.rfind("/", 1, letters) + 1) or (path.rfind("_", 1, letters) + 1) or letters
        lines.append(path[:cut])
        path = path[cut:]
    return [*lines, path, *([leaks(panel.leaked)] if panel.leaked else [])]


def layout(panels: Sequence[Panel]) -> tuple[list[Placed], float, float]:
    """Where each panel lies, and the width and height of them all."""
    if not panels:
        return [], 7.0, 0.0
    width = map_width(len(panels))
    texts = [len(title_of(p, width)) + facts(p).count("\n") + 1 for p in panels]
    heads = [LINE * lines + 0.14 for lines in texts]
    heights = [
        head + _map_size(panel.laid, width)[0] + BELOW
        for head, panel in zip(heads, panels, strict=True)
    ]
    columns = _columns(heights, width + _LEFT + _RIGHT)
    body = max(sum(heights[place] for place in column) for column in columns)
    placed: dict[int, Placed] = {}
    for number, column in enumerate(columns):
        top, spare = 0.0, body - sum(heights[place] for place in column)
        for place in column:
            laid = panels[place].laid
            least = _map_size(laid, width)[0]
            high, wide = _map_size(laid, width, least + spare)
            spare -= high - least
            left = number * (width + _LEFT + _RIGHT) + _LEFT
            placed[place] = Placed(panels[place], left, top + heads[place], wide, high)
            top += heads[place] + high + BELOW
    return (
        [placed[place] for place in sorted(placed)],
        len(columns) * (width + _LEFT + _RIGHT),
        body,
    )


def _map_size(laid: Arrangement, width: float, most: float = 0) -> tuple[float, float]:
    """How high and wide a map is, with room for `most`: near to its proportions."""
    rows, columns = laid.rows, laid.columns
    if rows.size <= 1:
        return _STRIP, width
    ratio = rows.size / max(columns.size, 1)
    # A few long rows stay high enough to see, and a few long columns fit the page.
    least = _STRIP * (1.5 if rows.size < 4 else 3)
    high = min(max(width * ratio, least), max(width * 0.9, min(most, width * 2)))
    if laid.windowed:
        # A window is a picture: an entry of it is no more than twice as wide as high, or as high.
        high = min(high, 2 * width * ratio)
        return max(high, _STRIP), min(width, 2 * max(high, _STRIP) / ratio)
    return high, width


def _columns(heights: Sequence[float], width: float) -> list[list[int]]:
    """Each panel in the shortest column so far; as few columns as fill a page of a good shape."""
    tried = [_filled(heights, count) for count in range(1, min(_COLUMNS, len(heights)) + 1)]
    shapes = [high / (len(columns) * width) for columns, high in tried]
    full = [sum(heights) / (len(columns) * high) for columns, high in tried]
    good = [n for n, shape in enumerate(shapes) if 0.35 <= shape <= 1.25]
    if not good:
        return tried[int(np.abs(np.log(shapes)).argmin())][0]
    most = max(full[n] for n in good)
    return next(tried[n][0] for n in good if full[n] >= 0.85 * most)


def _filled(heights: Sequence[float], count: int) -> tuple[list[list[int]], float]:
    columns: list[list[int]] = [[] for _ in range(count)]
    used = [0.0] * count
    for place, height in enumerate(heights):
        shortest = used.index(min(used))
        columns[shortest].append(place)
        used[shortest] += height
    return columns, max(used)
