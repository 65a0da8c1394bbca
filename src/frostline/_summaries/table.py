"""The table of a summary: in colour on a terminal, plain text elsewhere."""

from __future__ import annotations

import re
from collections.abc import Sequence

from rich.box import ASCII, SIMPLE
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from frostline._console import percent, span
from frostline._summaries.layers import Line, printed
from frostline._summaries.numbers import KINDS, UNKNOWN, Totals

HEAD = ("weight", "shape", "frozen / size", "share", "kind", "bytes saved", "delta bytes")
NAME, SHAPE, COUNTS, SHARE, KIND, SAVED, DELTA = range(len(HEAD))
RIGHT = (COUNTS, SHARE, SAVED, DELTA)  # columns of numbers
_BAR = 10  # characters of a full share
_PATH = 16  # characters of a name before it folds, where room is short
# What a narrow terminal goes without, in this order. The lines below the table give the totals of
# the columns that are left out.
_GIVE_WAY = (DELTA, SAVED, SHAPE, "bars", KIND)


def table(of: Sequence[Line], totals: Totals, width: int, *, ascii_only: bool) -> Table:
    """The lines and their total, at most `width` characters wide."""
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
    longest = max(6, *(len(texts[SHARE]) for _, texts in indented))
    for indent, line, texts in below:
        # Text, since rich reads `[red]` and `:smile:` in a string as markup.
        row: list[Text | Padding] = [Text(text) for text in texts]
        left = _step(width) * indent
        name = _folded(texts[NAME], room - left)
        row[NAME] = Padding(Text(name, "" if line.row else "bold"), (0, 0, 0, left))
        if bars:
            bar = ("#" if ascii_only else "█") * round(line.share * _BAR)
            row[SHARE] = Text.assemble((f"{bar:<{_BAR}}", "cyan"), f" {texts[SHARE]:>{longest}}")
        made.add_row(*(row[place] for place in shown))
    return made


def has(column: int, totals: Totals) -> bool:
    """Whether the table has a column: bytes saved are unknown without an optimizer."""
    return column != SAVED or totals.slots_saved is not None


def cells(line: Line) -> tuple[str, ...]:
    """A line as texts, one for each column of `HEAD`."""
    of = line.alike or (line.totals,)
    known = of[0].optimizer_bytes_saved is not None
    return (
        line.name,
        "" if line.row is None else str(line.row.shape),
        f"{span(one.frozen for one in of)} / {of[0].size:,}",
        span((one.share for one in of), lambda share: percent(share, 1)),
        _kind(line),
        span(one.optimizer_bytes_saved for one in of) if known else "",
        span(one.delta_bytes for one in of),
    )


def title(name: str, totals: Totals) -> str:
    """How many entries there are, are frozen, and train."""
    text = f"{name}: {totals.frozen:,} of {totals.size:,} entries frozen, {totals.trained:,} train"
    off = totals.trainable - totals.trained
    return f"{text}, {off:,} are off (trainable=False)" if off else text


def notes(of: Sequence[Line], totals: Totals, depth: int | None, fold: bool) -> list[str]:
    """What is below the table: the bytes of the whole, and what its words mean.

    Args:
        of: The lines of the table, those that a notebook opens too.
        totals: What they add up to.
        depth: What to leave out so that every weight has a line, if it is not None.
        fold: The same, if it is true.
    """
    kept, saved = totals.optimizer_bytes_kept, totals.optimizer_bytes_saved
    known = kept is not None and saved is not None
    state = f": {kept:,} bytes kept, {saved:,} bytes saved" if known else f" {UNKNOWN}"
    said = [
        f"optimizer state{state}",
        f"delta file: {totals.delta_bytes:,} bytes, the values that train and their indices",
    ]
    kinds = {row.kind for row in totals.rows}
    said.append("; ".join(f"{kind}: {words}" for kind, words in KINDS.items() if kind in kinds))
    if not all(row.trains or row.kind == "whole" for row in totals.rows):
        said.append("off: trainable=False on its layer or variable")
    if any(line.alike and len({one.frozen for one in line.alike}) > 1 for line in of):
        said.append("a to b: the lowest and the highest of equal blocks")
    hidden = len(totals.rows) - sum(line.row is not None for line in of)
    if hidden:
        ask = ", ".join(["depth=None"] * (depth is not None) + ["fold=False"] * fold)
        said.append(f"folded: {hidden:,} of {len(totals.rows):,} weights; {ask} lists them")
    return [note for note in said if note]


def _kind(line: Line) -> str:
    """The kind of a weight; of a layer the kinds of its weights if these are not shown."""
    if line.shown and line.row is None:
        return ""
    rows = line.totals.rows
    kinds = ", ".join(sorted({row.kind for row in rows} - {""}))
    if all(row.trains or row.kind == "whole" for row in rows):
        return kinds
    return f"{kinds} ({'partly ' if line.totals.trained else ''}off)".strip()


def _folded(name: str, room: int) -> str:
    """A name in lines of `room` characters: a path may break after a slash, a count may not."""
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
    """The columns that fit without cutting a number, whether bars fit, and the room for a name."""
    needed = [max(len(texts[place]) for _, texts in indented) + 2 for place in range(len(HEAD))]
    # The name of several layers may take several lines.
    needed[NAME] = 2 + max(
        _step(width) * indent + max(map(len, _pieces(texts[NAME]))) for indent, texts in indented
    )
    bars = True
    for place in _GIVE_WAY:
        # The other columns go before a name is broken, the kinds only before a number would be.
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
