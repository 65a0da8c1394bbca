"""The HTML of a summary for a notebook, in the notebook's colours and without a script."""

from __future__ import annotations

import html
from collections.abc import Iterable, Sequence
from dataclasses import replace

from frostline._summaries.layers import Line
from frostline._summaries.numbers import Totals
from frostline._summaries.table import HEAD, NAME, RIGHT, SHAPE, SHARE, cells, has

_PLAIN = "background:transparent;color:inherit"
_TABLE = f"border-collapse:collapse;font-variant-numeric:tabular-nums;{_PLAIN}"
_CAPTION = f"text-align:left;padding:0.3em 0.5em;{_PLAIN}"


def page(title: str, of: Sequence[Line], totals: Totals, notes: Iterable[str]) -> str:
    """A table; a click opens a folded layer."""
    shown = [column for column in range(len(HEAD)) if has(column, totals)]
    head = "".join(f"<th style='{_align(column)}'>{HEAD[column]}</th>" for column in shown)
    total = _row(Line("total", totals), 0, shown)
    said = "<br>".join(html.escape(note) for note in notes)
    return (
        f"<table style='{_TABLE}'>"
        f"<caption style='{_CAPTION}'>{html.escape(title)}</caption>"
        f"<thead style='border-bottom:1px solid currentColor'><tr>{head}</tr></thead>"
        f"<tbody>{_rows(of, 0, shown)}</tbody>"
        f"<tfoot style='border-top:1px solid currentColor'>{total}</tfoot></table>"
        f"<div style='font-size:smaller;padding:0.3em 0.6em'>{said}</div>"
    )


def _rows(of: Iterable[Line], indent: int, shown: list[int]) -> str:
    made = []
    for line in of:
        made.append(_row(line, indent, shown))
        if not line.below:
            continue
        if line.shown and line.times == 1:
            made.append(_rows(line.below, indent + 1, shown))
        else:
            made.append(_closed(line, indent + 1, shown))
    return "".join(made)


def _closed(line: Line, indent: int, shown: list[int]) -> str:
    """A row below the totals of a layer, which opens to its weights."""
    label, inside = f"{len(line.totals.rows):,} weights", line.below
    if line.times > 1:
        label, inside = f"one of {line.times}", [replace(one, shown=True) for one in inside]
    head = "".join(f"<th style='{_align(column)}'>{HEAD[column]}</th>" for column in shown)
    return (
        f"<tr><td colspan='{len(shown)}' style='text-align:left;padding-left:{_pad(indent)}'>"
        f"<details><summary style='cursor:pointer'>{html.escape(label)}</summary>"
        f"<table style='{_TABLE}'><thead><tr>{head}</tr></thead>"
        f"<tbody>{_rows(inside, 0, shown)}</tbody></table></details></td></tr>"
    )


def _row(line: Line, indent: int, shown: list[int]) -> str:
    texts = [html.escape(text) for text in cells(line)]
    if line.row is None:
        texts[NAME] = f"<b>{texts[NAME]}</b>"
    # The line below the bar is as long as a full bar.
    texts[SHARE] = (
        "<span style='display:inline-block;width:5em;height:0.6em;text-align:left;line-height:0;"
        "border-bottom:1px solid currentColor'>"
        "<span style='display:inline-block;height:0.6em;background:currentColor;opacity:0.6;"
        f"width:{5 * line.share:.2f}em'></span></span>"
        f"<span style='display:inline-block;min-width:4em'>{texts[SHARE]}</span>"
    )
    made = []
    for column in shown:
        style = _align(column)
        if column == NAME:
            style += f";padding-left:{_pad(indent)}"
        made.append(f"<td style='{style}'>{texts[column]}</td>")
    return f"<tr>{''.join(made)}</tr>"


def _align(column: int) -> str:
    nowrap = ";white-space:nowrap" if column in (*RIGHT, SHAPE) else ""
    return f"text-align:{'right' if column in RIGHT else 'left'};padding:0.2em 0.5em{nowrap}"


def _pad(indent: int) -> str:
    return f"{0.5 + 1.2 * indent:.1f}em"
