"""The figure: a title, a legend, columns of panels that are read from top to bottom, lines of text.

Sizes are in inches and laid out here: a layout engine takes seconds for thirty panels.
"""

from __future__ import annotations

import io
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.image import AxesImage
from matplotlib.legend_handler import HandlerTuple
from matplotlib.patches import Rectangle
from matplotlib.transforms import ScaledTranslation

from frostline._plots.arrange import Arrangement
from frostline._plots.cells import Side
from frostline._plots.colors import FROZEN, LEAK, TRAINS
from frostline._plots.fold import Line, leaks
from frostline._plots.legend import explained, kinds
from frostline._plots.maps import Panel, Scale
from frostline._plots.panel import LABEL, SMALL, Stops, draw, facts

_WIDTHS = ((1, 5.6), (8, 2.9))  # width of a map on a page of at most so many
_NARROW = 2.4  # on a page of more
_LEFT, _RIGHT, _BELOW = 0.75, 0.2, 0.6  # room around a map
_LINE = 0.17  # height of a line of text
_STRIP = 0.28  # height of a vector
_MARGIN = 0.14
_BAR_ROOM = 0.62
_COLUMNS = 6
_LETTER = 0.066  # width of a letter of small text
_SAID = 24  # lines of text, at most
_BAR = "|after - before|, the largest in each cell"
_LEGEND = {"handler_map": {tuple: HandlerTuple(None, 0)}, "frameon": False, "borderaxespad": 0}


class NotebookFigure(Figure):
    """A figure that a notebook shows whether or not pyplot was ever imported there."""

    def _repr_png_(self) -> bytes:
        stream = io.BytesIO()
        self.savefig(stream, format="png")
        return stream.getvalue()


@dataclass
class _Placed:
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


def page(
    panels: Sequence[Panel],
    title: str,
    notes: Sequence[str] = (),
    lines: Sequence[Line] = (),
    freeze_known: bool = True,
) -> Figure:
    """A new figure of all panels, of which pyplot knows nothing."""
    placed, wide, body = _layout(panels)
    handles, labels = explained([(one.panel, one.pixels) for one in placed])
    across = _across(labels, wide)
    texts = [(line, 12, "bold", 1.6) for line in textwrap.wrap(title, int(wide / 0.105))]
    texts += [
        (line, LABEL, "normal", 1.1)
        for note in notes
        for line in textwrap.wrap(note, int(wide / 0.075))
    ]
    bar = bool(panels) and panels[0].drift is not None
    legend_at = _MARGIN + sum(_LINE * leap for *_, leap in texts) + 0.06
    head = legend_at + 0.21 * -(-len(handles) // across) + 0.1 + bar * _BAR_ROOM
    words = [
        line for kind in kinds(panels, lines) for line in textwrap.wrap(kind, int(wide / _LETTER))
    ]
    unmoved = "Nothing moved in these" if bar else "Frozen whole, or not frozen at all"
    said = _said(lines, unmoved, wide, freeze_known)
    foot = _LINE * (len(words) + 1.25 * len(said)) + _MARGIN * (1 + bool(words) + bool(said))
    high = head + body + foot
    figure = NotebookFigure(figsize=(wide, high))
    figure.set_layout_engine("none")  # one that a user's settings turn on would move it all
    top = _MARGIN
    for text, size, weight, leap in texts:
        # A name may hold a dollar, which is no formula.
        style = {"fontsize": size, "weight": weight, "va": "top", "parse_math": False}
        figure.text(_MARGIN / wide, 1 - top / high, text, **style)
        top += leap * _LINE
    figure.legend(
        handles,
        labels,
        loc="upper left",
        bbox_to_anchor=(_MARGIN / wide, 1 - legend_at / high),
        ncols=across,
        fontsize=SMALL,
        **_LEGEND,
    )
    scale, image = shared_scale(panels), None
    for one in placed:
        bottom = high - head - one.top - one.high
        box = (one.left / wide, bottom / high, one.wide / wide, one.high / high)
        image = _titled(one.panel, figure.add_axes(box), scale, map_width(len(panels))) or image
    if scale is not None and image is not None:
        box = (_MARGIN + 0.1, high - head + _BAR_ROOM - 0.34, min(5.6, wide - 0.6), 0.13)
        cax = figure.add_axes((box[0] / wide, box[1] / high, box[2] / wide, box[3] / high))
        _bar(figure.colorbar(image, cax=cax, orientation="horizontal", extend="both"), scale)
    _write(figure, words, said, foot)
    return figure


def notes(left: int, matched: int, do: str = "") -> list[str]:
    """What a page says of the weights that are not on it, and what to do."""
    if not left:
        return []
    do = do or f"Name the others with weights=..., or pass limit={matched}."
    return [f"{matched - left:,} of {matched:,} weights are drawn. {do}"]


def on_axes(panel: Panel, axes: Axes) -> Figure:
    """Draw one weight on axes that somebody else has made, with its legend and colour bar."""
    scale = shared_scale([panel])
    extent = axes.get_window_extent()
    image = _titled(panel, axes, scale, extent.width / axes.figure.dpi)
    below = ScaledTranslation(0, -_BELOW, axes.figure.dpi_scale_trans)
    axes.legend(
        *explained([(panel, (extent.height, extent.width))]),
        loc="upper left",
        bbox_to_anchor=(0, 0),
        bbox_transform=axes.transAxes + below,
        ncols=2,
        fontsize=SMALL,
        **_LEGEND,
    )
    if scale is not None and image is not None:
        _bar(axes.figure.colorbar(image, ax=axes, extend="both"), scale)
    return axes.figure.canvas.figure  # the figure around a subfigure too


def shared_scale(panels: Sequence[Panel]) -> Stops | None:
    """One scale for the drift of all panels, so that their colours say the same."""
    drifts = [panel.drift for panel in panels if panel.drift is not None]
    if not drifts:
        return None
    scale = Scale()
    for drift in drifts:
        scale.add(drift)
    return Stops(scale.stops)


def _titled(panel: Panel, axes: Axes, scale: Stops | None, width: float) -> AxesImage | None:
    image = draw(panel, axes, scale)
    said = facts(panel)
    axes.annotate(
        said,
        (0, 1),
        (0, 4),
        xycoords="axes fraction",
        textcoords="offset points",
        fontsize=SMALL,
        alpha=0.85,
        va="bottom",
    )
    axes.set_title(
        "\n".join(_title(panel, width)),
        loc="left",
        fontsize=LABEL,
        weight="bold",
        pad=6 + 12 * (said.count("\n") + 1),
        color=LEAK if panel.leaked else mpl.rcParams["text.color"],
        parse_math=False,
    )
    return image


def _title(panel: Panel, width: float) -> list[str]:
    """The path in as many lines as it needs, and what leaked."""
    path = panel.alike.name if panel.alike else panel.row.path
    letters = max(int((width + 0.2) / 0.097), 8)
    lines: list[str] = []
    while len(path) > letters:
        cut = (path.rfind("/", 1, letters) + 1) or (path.rfind("_", 1, letters) + 1) or letters
        lines.append(path[:cut])
        path = path[cut:]
    return [*lines, path, *([leaks(panel.leaked)] if panel.leaked else [])]


def _layout(panels: Sequence[Panel]) -> tuple[list[_Placed], float, float]:
    """Where each panel lies, and the width and height of them all."""
    if not panels:
        return [], 7.0, 0.0
    width = map_width(len(panels))
    texts = [len(_title(p, width)) + facts(p).count("\n") + 1 for p in panels]
    heads = [_LINE * lines + 0.14 for lines in texts]
    heights = [
        head + _map_size(panel.laid, width)[0] + _BELOW
        for head, panel in zip(heads, panels, strict=True)
    ]
    columns = _columns(heights, width + _LEFT + _RIGHT)
    body = max(sum(heights[place] for place in column) for column in columns)
    placed: dict[int, _Placed] = {}
    for number, column in enumerate(columns):
        top, spare = 0.0, body - sum(heights[place] for place in column)
        for place in column:
            laid = panels[place].laid
            least = _map_size(laid, width)[0]
            high, wide = _map_size(laid, width, least + spare)
            spare -= high - least
            left = number * (width + _LEFT + _RIGHT) + _LEFT
            placed[place] = _Placed(panels[place], left, top + heads[place], wide, high)
            top += heads[place] + high + _BELOW
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
    # A few long rows are not to be a hair's breadth, and a few long columns not a mile.
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


def _said(
    lines: Sequence[Line], head: str, wide: float, freeze_known: bool
) -> list[tuple[str, float | None]]:
    """The lines of text below the maps, each with the share that its bar shows, if it has one."""
    if not lines:
        return []
    found: list[tuple[str, float | None]] = [(f"{head}, a line for each layer", None)]
    for line in lines[:_SAID]:
        times = f" x {line.blocks}" if line.blocks > 1 else ""
        text = f"{line.name}{times}: {line.said(freeze_known)}"
        first, *others = textwrap.wrap(text, int((wide - 1.2) / _LETTER))
        found += [(first, line.share if freeze_known else None), *((more, None) for more in others)]
    if len(lines) > _SAID:
        found.append((f"and {len(lines) - _SAID:,} more layers", None))
    return found


def _across(labels: Sequence[str], wide: float) -> int:
    """How many columns of a legend fit: it is filled column by column."""
    for count in range(len(labels), 1, -1):
        rows = -(-len(labels) // count)
        columns = [labels[start : start + rows] for start in range(0, len(labels), rows)]
        if sum(0.8 + _LETTER * max(map(len, column)) for column in columns) < wide:
            return count
    return 1


def _write(
    figure: Figure, words: Sequence[str], said: Sequence[tuple[str, float | None]], foot: float
) -> None:
    """The text at the foot of the page: blocks, each with a bar of its share, then words."""
    wide, high = figure.get_size_inches()
    style = {"fontsize": SMALL, "va": "baseline", "parse_math": False}
    y = foot - _LINE
    for number, (text, share) in enumerate(said):
        x = _MARGIN if number == 0 else _MARGIN + 0.95
        weight = "bold" if number == 0 else "normal"
        figure.text(x / wide, y / high, text, weight=weight, **style)
        if share is not None:
            for begin, part, color in ((0, share, FROZEN), (share, 1 - share, TRAINS)):
                corner = ((_MARGIN + 0.8 * begin) / wide, (y - 0.01) / high)
                size = 0.8 * part / wide, 0.11 / high
                figure.add_artist(Rectangle(corner, *size, color=color, lw=0))
        y -= 1.25 * _LINE
    y -= _MARGIN * bool(said) - 0.25 * _LINE
    for text in words:
        figure.text(_MARGIN / wide, y / high, text, alpha=0.85, **style)
        y -= _LINE


def _bar(bar: Any, scale: Stops) -> None:
    ticks = scale.inverse([part / 4 for part in range(5)])
    labels: list[str] = []
    for digits in range(2, 6):
        labels = [f"{tick:.{digits}g}" for tick in ticks]
        if len({*labels}) == len(labels):
            break
    bar.set_ticks(ticks, labels=labels)
    bar.ax.minorticks_off()
    bar.ax.tick_params(labelsize=SMALL, length=2)
    if bar.orientation == "horizontal":
        bar.ax.set_title(_BAR, fontsize=SMALL, loc="center", pad=3)
    else:
        bar.set_label(_BAR, fontsize=SMALL)
    bar.outline.set_linewidth(0.5)
