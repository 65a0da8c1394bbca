"""The figure: a title, a legend, columns of panels, lines of text. Sizes are in inches."""

from __future__ import annotations

import io
import textwrap
from collections.abc import Sequence
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.image import AxesImage
from matplotlib.legend_handler import HandlerTuple
from matplotlib.patches import Rectangle
from matplotlib.transforms import ScaledTranslation

from frostline._plots.colors import FROZEN, LEAK, TRAINS
from frostline._plots.fold import Line
from frostline._plots.layout import BELOW, LINE, layout, map_width, pixels, title_of
from frostline._plots.legend import explained, kinds
from frostline._plots.maps import Panel, Scale
from frostline._plots.panel import LABEL, SMALL, Stops, draw, facts

__all__ = ["notes", "on_axes", "page", "pixels"]

_MARGIN = 0.14
_BAR_ROOM = 0.62
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


def page(
    panels: Sequence[Panel],
    title: str,
    notes: Sequence[str] = (),
    lines: Sequence[Line] = (),
    freeze_known: bool = True,
) -> Figure:
    """A new figure of all panels, of which pyplot knows nothing."""
    placed, wide, body = layout(panels)
    handles, labels = explained([(one.panel, one.pixels) for one in placed])
    across = _across(labels, wide)
    texts = [(line, 12, "bold", 1.6) for line in textwrap.wrap(title, int(wide / 0.105))]
    texts += [
        (line, LABEL, "normal", 1.1)
        for note in notes
        for line in textwrap.wrap(note, int(wide / 0.075))
    ]
    bar = bool(panels) and panels[0].drift is not None
    legend_at = _MARGIN + sum(LINE * leap for *_, leap in texts) + 0.06
    head = legend_at + 0.21 * -(-len(handles) // across) + 0.1 + bar * _BAR_ROOM
    words = [
        line for kind in kinds(panels, lines) for line in textwrap.wrap(kind, int(wide / _LETTER))
    ]
    unmoved = "Nothing moved in these" if bar else "Frozen whole, or not frozen at all"
    said = _said(lines, unmoved, wide, freeze_known)
    foot = LINE * (len(words) + 1.25 * len(said)) + _MARGIN * (1 + bool(words) + bool(said))
    high = head + body + foot
    figure = NotebookFigure(figsize=(wide, high))
    figure.set_layout_engine("none")  # one that a user's settings turn on would move it all
    top = _MARGIN
    for text, size, weight, leap in texts:
        # A name may hold a dollar, which is no formula.
        style = {"fontsize": size, "weight": weight, "va": "top", "parse_math": False}
        figure.text(_MARGIN / wide, 1 - top / high, text, **style)
        top += leap * LINE
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
    below = ScaledTranslation(0, -BELOW, axes.figure.dpi_scale_trans)
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
        "\n".join(title_of(panel, width)),
        loc="left",
        fontsize=LABEL,
        weight="bold",
        pad=6 + 12 * (said.count("\n") + 1),
        color=LEAK if panel.leaked else mpl.rcParams["text.color"],
        parse_math=False,
    )
    return image


def _said(
    lines: Sequence[Line], head: str, wide: float, freeze_known: bool
) -> list[tuple[str, float | None]]:
    """The lines of text below the maps, each with the share that its bar shows, if it has one."""
    if not lines:
        return []
    found: list[tuple[str, float | None]] = [
        (f"{head}, a line for each layer; the bar is the frozen share", None)
    ]
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
    y = foot - LINE
    for number, (text, share) in enumerate(said):
        x = _MARGIN if number == 0 else _MARGIN + 0.95
        weight = "bold" if number == 0 else "normal"
        figure.text(x / wide, y / high, text, weight=weight, **style)
        if share is not None:
            for begin, part, color in ((0, share, FROZEN), (share, 1 - share, TRAINS)):
                corner = ((_MARGIN + 0.8 * begin) / wide, (y - 0.01) / high)
                size = 0.8 * part / wide, 0.11 / high
                figure.add_artist(Rectangle(corner, *size, color=color, lw=0))
        y -= 1.25 * LINE
    y -= _MARGIN * bool(said) - 0.25 * LINE
    for text in words:
        figure.text(_MARGIN / wide, y / high, text, alpha=0.85, **style)
        y -= LINE


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
