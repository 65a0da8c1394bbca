"""The table of a page: its columns, its lines, and the words below it. No Keras."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import count
from typing import Any

from frostline._console import percent, span
from frostline._reports.data import Entry, Report
from frostline._reports.groups import Fold, Line, sections
from frostline._reports.verdict import path, visible
from frostline._summaries import KINDS


@dataclass(frozen=True)
class Column:
    """A column: the key of its values in the page's data, and its name.

    `cell` makes the text of a line: of one or several weights, as `each` of them is or as a sum.
    """

    key: str
    name: str
    cell: Callable[[Sequence[Entry], bool], str]
    text: bool = False


def _ranged(text: str) -> str:
    """Two numbers, which a line may break between."""
    low, to, high = text.partition(" to ")
    return f"<span>{low}</span>{to}<span>{high}</span>" if to else text


def _text(key: str, name: str, of: Callable[[Entry], str]) -> Column:
    """Text, equal in equal weights."""

    def cell(entries: Sequence[Entry], each: bool) -> str:
        return visible(of(entries[0])) if each else ""

    return Column(key, name, cell, text=True)


def _count(key: str, name: str, of: Callable[[Entry], Any]) -> Column:
    def cell(entries: Sequence[Entry], each: bool) -> str:
        counts = [of(entry) for entry in entries]
        return _ranged(span(counts)) if each else f"{sum(counts):,}"

    return Column(key, name, cell)


def _largest(entries: Sequence[Entry], each: bool) -> str:
    moved = [entry.largest or 0.0 for entry in entries if entry.changed]
    if not moved:
        return ""
    return _ranged(span(moved if each else [max(moved)], "{:.3g}".format))


def _share(entries: Sequence[Entry], each: bool) -> str:
    frozen, size = (sum(getattr(entry.row, key) for entry in entries) for key in ("frozen", "size"))
    shares = [entry.row.share for entry in entries] if each else [frozen / size if size else 0.0]
    text = _ranged(span(shares, lambda share: percent(share, 1)))
    return f'<span>{bar(frozen / size if size else 0.0)} <span class="percent">{text}</span></span>'


def bar(share: float) -> str:
    """A bar, on which what there is and what is missing can both be seen."""
    wide = min(max(100 * share, 2 * (share > 0)), 100 - 2 * (share < 1))
    return (
        '<svg class="bar" viewBox="0 0 100 10" preserveAspectRatio="none" aria-hidden="true">'
        f'<rect width="{wide:.4g}" height="10"/></svg>'
    )


def _trains(entry: Entry) -> str:
    if entry.row.trains:
        return "yes"
    return "no" if entry.row.kind == "whole" else "no, off"


def columns_of(report: Report) -> list[Column]:
    """The columns that have something to show."""
    columns = [
        Column("path", "weight", lambda entries, each: path(entries[0].row.path), text=True),
        _text("shape", "shape", lambda entry: str(entry.row.shape)),
        _text("dtype", "dtype", lambda entry: entry.row.dtype),
        _count("size", "entries", lambda entry: entry.row.size),
    ]
    if report.freeze_known:
        columns += [
            _count("frozen", "frozen", lambda entry: entry.row.frozen),
            Column("share", "share", _share),
            _text("kind", "kind", lambda entry: entry.row.kind),
        ]
    if not report.from_files:
        columns.append(_text("trains", "trains", _trains))
    if report.totals.slots_kept is not None:
        columns.append(_count("slots_kept", "slots", lambda entry: entry.row.slots_kept))
    if report.compared:
        columns += [
            _count("changed", "moved", lambda entry: entry.changed),
            Column("largest", "largest drift", _largest),
        ]
        if report.freeze_known:
            columns.append(_count("leaked", "leaked", lambda entry: entry.leaked))
    return columns


def head(columns: Sequence[Column]) -> str:
    """The cells of the head."""
    return "".join(
        f'<th role="columnheader" scope="col" data-name="{column.name}"{_class(column)}>'
        f"{column.name}</th>"
        for column in columns
    )


def body(report: Report, columns: Sequence[Column]) -> str:
    """All lines: each weight once, below the folds that it is in."""
    places = {id(entry): place for place, entry in enumerate(report.entries)}
    folds = count()

    def lines(of: Iterable[Line], within: str, level: int) -> Iterator[str]:
        for line in of:
            attributes = f' data-level="{level}"' + (f' data-in="{within}"' if within else "")
            if isinstance(line, Fold):
                fold = f"f{next(folds)}"
                yield _fold(line, fold, attributes, columns)
                yield from lines(line.below, fold, level + 1)
            else:
                yield _weight(line, f"w{places[id(line)]}", attributes, columns)

    made = []
    for section in sections(report):
        made.append(
            f'<tr role="row" class="title"><th role="rowheader" scope="rowgroup" '
            f'colspan="{len(columns)}">{section.title}</th></tr>\n'
        )
        made += lines(section.lines, "", 0)
    return "".join(made)


def _weight(entry: Entry, id_: str, attributes: str, columns: Sequence[Column]) -> str:
    leaking = ' class="leaking"' if entry.leaked else ""
    cells = [column.cell([entry], True) for column in columns]
    return _line(f'id="{id_}"{leaking}{attributes}', cells, columns)


def _fold(fold: Fold, id_: str, attributes: str, columns: Sequence[Column]) -> str:
    kind = "fold each" if fold.each else "fold"
    opened = " data-open" if fold.opened else ""
    name = " &hellip; ".join(map(path, fold.names))
    if fold.times > 1:
        name += f' <span class="times">&times;&nbsp;{fold.times:,}</span>'
    if fold.more:
        name += f' <span class="moreof">{fold.more}</span>'
    cells = [name, *(column.cell(fold.entries, fold.each) for column in columns[1:])]
    return _line(f'class="{kind}" id="{id_}"{attributes}{opened}', cells, columns)


def _line(attributes: str, cells: Sequence[str], columns: Sequence[Column]) -> str:
    made = [f'<tr role="row" {attributes}><th role="rowheader" scope="row">{cells[0]}</th>']
    for column, cell in zip(columns[1:], cells[1:], strict=True):
        made.append(f'<td role="cell" data-name="{column.name}"{_class(column)}>{cell}</td>')
    return "".join([*made, "</tr>\n"])


def _class(column: Column) -> str:
    return "" if column.text else ' class="number"'


def words(report: Report) -> str:
    """What the words of the table and of the numbers above it mean."""
    kinds = {entry.row.kind for entry in report.entries}
    meant = [("entries", "the single numbers in a weight")]
    if kinds - {""}:
        said = (f"<i>{kind}</i>: {words}" for kind, words in KINDS.items() if kind in kinds)
        meant.append(("kind", "; ".join(said)))
    if not report.from_files:
        meant += [
            (
                "trains",
                "whether any entry trains now; off: trainable=False on its layer or variable",
            ),
            ("delta file", "bytes of the values that train and of their indices"),
        ]
    if report.totals.slots_kept is not None:
        meant += [
            ("slots", "values that the optimizer keeps for the entries that train"),
            (
                "optimizer state",
                "bytes of the slots; saved: bytes not needed because of the freeze",
            ),
        ]
    if report.compared:
        meant += [
            ("moved", "entries whose bits differ from before"),
            ("drift", "|after &minus; before| of an entry"),
            ("leaked", "frozen entries that moved"),
        ]
    meant += [
        ("&times; n", "one line for equal weights of n blocks: the numbers of each, or a range"),
        ("other lines that open", "sums over their weights, and the largest drift"),
    ]
    return "".join(f"<div><dt>{word}:</dt> <dd>{meaning}</dd></div>" for word, meaning in meant)
