"""The table of a summary for a terminal: rich where there is one, plain text elsewhere."""

from __future__ import annotations

import re
from collections.abc import Sequence

from rich.box import ASCII, SIMPLE
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from frostline._console import percent
from frostline._summaries.layers import Line, printed
from frostline._summaries.numbers import UNKNOWN, Totals

HEAD = ("weight", "shape", "frozen / size", "share", "kind", "bytes saved", "delta bytes")
NAME, SHAPE, COUNTS, SHARE, KIND, SAVED, DELTA = range(len(HEAD))
RIGHT = (COUNTS, SHARE, SAVED, DELTA)  # columns of numbers
_BAR = 10  # characters of a full share
_PATH = 16  # characters of a name before it folds, where room is short
# What a narrow terminal goes without, the first one first. What is left out here, the lines below
# the table say of the whole.
_GIVE_WAY = (DELTA, SAVED, SHAPE, "bars", KIND)


def table(of: Sequence[Line], totals: Totals, width: int, *, ascii_only: bool) -> Table:
    """The lines and what they add up to, in what `width` characters have room for."""
    below = [(indent, line, cells(line)) for indent, line in printed(of)]
    total = cells(Line("total", totals))
    indented = [(0, HEAD), (0, total), *((indent, texts) for indent, _, texts in below)]
    shown, bars, room = _layout(indented, width, [c for c in range(len(HEAD)) if has(c, totals)])
    made = Table(
        show_footer=True,
        box=ASCII if ascii_only else SIMPLE,
        collapse_padding=True,
        pad_edge=False,
    )
    for place in shown:
        made.add_column(
            HEAD[place],
            footer=total[place],
            justify="right" if place in RIGHT else "left",
            # A number in two lines reads as two numbers; a name may fold.
            no_wrap=place != NAME,
            overflow="fold",
        )
    for indent, line, texts in below:
        # Text, since rich reads `[red]` and `:smile:` in a string as markup.
        row: list[Text | Padding] = [Text(text) for text in texts]
        left = _step(width) * indent
        name = _folded(texts[NAME], room - left)
        row[NAME] = Padding(Text(name, "" if line.row else "bold"), (0, 0, 0, left))
        if bars:
            bar = ("#" if ascii_only else "█") * round(line.totals.share * _BAR)
            row[SHARE] = Text.assemble((f"{bar:<{_BAR}}", "cyan"), f" {texts[SHARE]:>6}")
        made.add_row(*(row[place] for place in shown))
    return made


def has(column: int, totals: Totals) -> bool:
    """Whether a column says anything: where no optimizer is known there is nothing to save."""
    return column != SAVED or totals.slots_saved is not None


def cells(line: Line) -> tuple[str, ...]:
    """A line as texts, one for each column of `HEAD`."""
    of, row = line.totals, line.row
    saved = of.optimizer_bytes_saved
    return (
        line.name,
        "" if row is None else str(row.shape),
        f"{of.frozen:,} / {of.size:,}",
        percent(of.frozen, of.size),
        _kind(line),
        "" if saved is None else f"{saved:,}",
        f"{of.delta_bytes:,}",
    )


def title(name: str, totals: Totals) -> str:
    """How many entries there are, and what becomes of each."""
    text = f"{name}: {totals.frozen:,} of {totals.size:,} entries frozen, {totals.trained:,} train"
    off = totals.trainable - totals.trained
    return f"{text}, {off:,} in layers that are off" if off else text


def notes(totals: Totals, listed: int, depth: int | None, fold: bool) -> list[str]:
    """What stands below the table; `listed` is how many weights have a line in it."""
    kept, saved = totals.optimizer_bytes_kept, totals.optimizer_bytes_saved
    known = kept is not None and saved is not None
    said = [
        f"optimizer: {kept:,} bytes kept, {saved:,} saved" if known else f"optimizer: {UNKNOWN}",
        f"delta: {totals.delta_bytes:,} bytes for what trains, values and indices",
    ]
    hidden = len(totals.rows) - listed
    if hidden:
        ask = ", ".join(["depth=None"] * (depth is not None) + ["fold=False"] * fold)
        said.append(f"folded: {hidden:,} of {len(totals.rows):,} weights; {ask} lists them")
    return said


def _kind(line: Line) -> str:
    """How the frozen entries of a weight lie; of a layer only where its weights are not shown."""
    if line.shown and line.row is None:
        return ""
    rows = line.totals.rows
    kinds = ", ".join(sorted({row.kind for row in rows} - {""}))
    if all(row.trains or row.kind == "whole" for row in rows):
        return kinds
    return f"{kinds} ({'partly' if line.totals.trained else 'layer'} off)".strip()


def _folded(name: str, room: int) -> str:
    """A name in lines of `room` characters: a count is not broken, a path after its slashes."""
    folded: list[str] = []
    for piece in _pieces(name):
        if folded and len(folded[-1]) + 1 + len(piece) <= room:
            folded[-1] += f" {piece}"
        else:
            folded.append(piece)
    return "\n".join(line.replace("/", "/\n") if len(line) > room else line for line in folded)


def _pieces(name: str) -> list[str]:
    return re.split(r"(?<=\.\.\.) | (?=\()", name)


def _step(width: int) -> int:
    return 2 if width >= 60 else 1


def _layout(
    indented: list[tuple[int, tuple[str, ...]]], width: int, shown: list[int]
) -> tuple[list[int], bool, int]:
    """Which columns fit with no number cut, whether bars do too, and the room for a name."""
    needed = [max(len(texts[place]) for _, texts in indented) + 2 for place in range(len(HEAD))]
    # What is said of several layers may stand in several lines.
    needed[NAME] = 2 + max(
        _step(width) * indent + max(map(len, _pieces(texts[NAME]))) for indent, texts in indented
    )
    bars = True
    for place in _GIVE_WAY:
        # All but the kinds give way before a name is broken, those before a number is.
        name = min(needed[NAME], _PATH + 2) if place == KIND else needed[NAME]
        if name + _others(needed, shown, bars) <= width:
            break
        if place == "bars":
            bars = False
        elif place in shown:
            shown.remove(place)
    return shown, bars, width - _others(needed, shown, bars) - 2


def _others(needed: list[int], shown: list[int], bars: bool) -> int:
    return sum(needed[place] for place in shown[1:]) + (_BAR + 1) * bars + 1
