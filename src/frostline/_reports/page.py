"""The page of a report: its numbers as HTML, around which lie the files `page.*`. No Keras."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from importlib import resources
from pathlib import Path
from string import Template

from frostline._console import percent
from frostline._errors import ReportError
from frostline._plots import colors
from frostline._reports.data import Entry, Report
from frostline._reports.verdict import counted, headline, path, verdict, visible
from frostline._summaries import UNKNOWN
from frostline._version import __version__
from frostline._writing import replacing

_FILES = resources.files("frostline._reports")


@dataclass(frozen=True)
class Column:
    """A column of the table: the key of its numbers in the page's data, its name, its cells."""

    key: str
    name: str
    cell: Callable[[Entry], str]
    text: bool = False


def write_page(report: Report, out: Path) -> None:
    """Write the page to a file: an old one stays until the new one is whole.

    Raises:
        ReportError: The file cannot be written.
    """
    text = page(report, datetime.now())
    with replacing(out, ReportError) as unfinished:
        unfinished.write_text(text, encoding="utf-8", newline="\n")


def page(report: Report, when: datetime) -> str:
    """The whole page, which asks for nothing from anywhere."""
    style, script = _read("page.css"), _read("maps.js") + _read("page.js")
    columns = _columns(report)
    data = {
        **report.described(),
        "columns": [{"key": c.key, "name": c.name, "text": c.text} for c in columns],
        "colors": _palette(),
    }
    title = f"{report.name}: {headline(report)}"
    return Template(_read("page.html")).substitute(
        policy=_policy(style, script),
        version=__version__,
        title=visible(title),
        name=visible(report.name),
        facts="".join(_fact(*fact) for fact in [*report.facts, *_made(when)]),
        verdict=verdict(report),
        tiles="".join(_tiles(report)),
        legend=_legend(report),
        filters=_filters(report),
        head="".join(_head(column) for column in columns),
        rows="".join(_row(n, entry, columns) for n, entry in enumerate(report.entries)),
        weights=counted(len(report.entries), "weight"),
        style=style,
        script=script,
        data=_json(data),
        note=_note(report),
    )


def _read(name: str) -> str:
    return (_FILES / name).read_text(encoding="utf-8")


def _policy(style: str, script: str) -> str:
    """A content security policy under which no browser loads or runs anything else."""
    allowed = {"style-src": f"\n{style}", "script-src": f"\n{script}"}
    hashes = {
        name: base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
        for name, text in allowed.items()
    }
    sources = "; ".join(f"{name} 'sha256-{digest}'" for name, digest in hashes.items())
    return f"default-src 'none'; {sources}; img-src data:; base-uri 'none'; form-action 'none'"


def _json(data: object) -> str:
    """JSON in which no name of a layer can end the script element or begin another."""
    text = json.dumps(data, allow_nan=False, separators=(",", ":"))
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def _fact(name: str, value: str) -> str:
    return f"<div><dt>{visible(name)}</dt><dd>{visible(value)}</dd></div>"


def _made(when: datetime) -> list[tuple[str, str]]:
    return [("frostline", __version__), ("made", f"{when:%Y-%m-%d %H:%M}")]


def _tiles(report: Report) -> Iterator[str]:
    """The numbers of the whole, each in a box of its own."""
    totals = report.totals
    yield _tile("entries", f"{totals.size:,}", f"in {counted(len(report.entries), 'weight')}")
    share = percent(totals.frozen, totals.size)
    if report.freeze_known:
        yield _tile("frozen", f"{totals.frozen:,}", f"{_bar(totals.share)} {share}")
    else:
        yield _tile("frozen", "&ndash;", "not known: no file holds a freeze")
    if report.from_files:
        return
    off = totals.trainable - totals.trained
    yield _tile(
        "train now", f"{totals.trained:,}", f"{off:,} in layers that are off" if off else ""
    )
    kept, saved = totals.optimizer_bytes_kept, totals.optimizer_bytes_saved
    if kept is None or saved is None:
        yield _tile("optimizer", "&ndash;", UNKNOWN)
    else:
        yield _tile("optimizer bytes kept", f"{kept:,}", f"{saved:,} saved")
    yield _tile("delta bytes", f"{totals.delta_bytes:,}", "for what trains, values and indices")


def _tile(name: str, value: str, more: str) -> str:
    return f"<div><dt>{name}</dt><dd><b>{value}</b><small>{more}</small></dd></div>"


def _bar(share: float) -> str:
    # What is there is seen, and what is missing too.
    wide = min(max(100 * share, 2 * (share > 0)), 100 - 2 * (share < 1))
    return (
        '<svg class="bar" viewBox="0 0 100 10" preserveAspectRatio="none" aria-hidden="true">'
        f'<rect width="{wide:.4g}" height="10"/></svg>'
    )


def _columns(report: Report) -> list[Column]:
    columns = [
        Column("path", "weight", lambda e: path(e.row.path), text=True),
        Column("shape", "shape", lambda e: str(e.row.shape), text=True),
        Column("dtype", "dtype", lambda e: visible(e.row.dtype), text=True),
        Column("size", "entries", lambda e: f"{e.row.size:,}"),
        Column("frozen", "frozen", lambda e: f"{e.row.frozen:,}"),
        Column("share", "share", _share),
        Column("kind", "kind", lambda e: e.row.kind, text=True),
    ]
    if not report.from_files:
        columns.append(Column("trains", "trains", _trains, text=True))
    if report.totals.slots_kept is not None:
        columns.append(Column("slots_kept", "slots", lambda e: f"{e.row.slots_kept:,}"))
    if report.compared:
        columns += [
            Column("changed", "changed", lambda e: f"{e.changed:,}"),
            Column("largest", "largest drift", lambda e: f"{e.largest:.3g}" if e.changed else ""),
            Column("leaked", "frozen changed", lambda e: f"{e.leaked:,}"),
        ]
    return columns


def _share(entry: Entry) -> str:
    share = percent(entry.row.frozen, entry.row.size)
    return f'<span>{_bar(entry.row.share)} <span class="percent">{share}</span></span>'


def _trains(entry: Entry) -> str:
    if entry.row.trains:
        return "yes"
    return "no" if entry.row.kind == "whole" else "no, layer off"


def _head(column: Column) -> str:
    kind = "" if column.text else ' class="number"'
    return f'<th role="columnheader" scope="col"{kind}>{column.name}</th>'


def _row(number: int, entry: Entry, columns: Sequence[Column]) -> str:
    leaking = ' class="leaking"' if entry.leaked else ""
    first, *others = columns
    made = [
        f'<tr role="row" id="w{number}"{leaking}>'
        f'<th role="rowheader" scope="row">{first.cell(entry)}</th>'
    ]
    for column in others:
        kind = "" if column.text else ' class="number"'
        made.append(f'<td role="cell" data-name="{column.name}"{kind}>{column.cell(entry)}</td>')
    return "".join([*made, "</tr>\n"])


def _filters(report: Report) -> str:
    filters = [("partly", "frozen in part")]
    if report.compared:
        filters += [("changed", "changed"), ("leaks", "leaks")]
    return "".join(
        f'<label><input type="checkbox" name="{name}"> <span>{said}</span></label>'
        for name, said in filters
    )


def _distances(low: float, high: float) -> str:
    by = f"{low:.2g}" if low == high else f"{low:.2g} to {high:.2g}"
    return f"moved by {by}, the largest in each cell"


def _legend(report: Report) -> str:
    """What the colours of the maps say; the script paints the boxes."""
    totals = report.totals
    all_on = not report.from_files and totals.trained == totals.trainable
    frozen = [
        ("trains", "trains" if all_on else "not frozen"),
        ("partly", "a part of the cell is frozen: little to much"),
        ("frozen", "frozen"),
        ("mark", "smaller than 2 pixels, drawn larger"),
    ]
    made = _swatches("What is frozen", frozen)
    if report.compared:
        moved = [
            *([("scale", _distances(*report.scale.seen))] if report.scale.seen else []),
            ("equal", "exactly equal"),
            ("hatched", "frozen"),
            ("sparse", "a part of the cell is frozen"),
            ("nonfinite", "NaN or infinite"),
            ("leak", "frozen, and moved"),
        ]
        made += _swatches("How far each entry moved", moved)
    return made


def _swatches(title: str, entries: Sequence[tuple[str, str]]) -> str:
    boxes = "".join(
        f'<li><span class="swatch" data-color="{name}"></span>{said}</li>' for name, said in entries
    )
    return f"<ul><li><b>{title}</b></li>{boxes}</ul>"


def _note(report: Report) -> str:
    coarse = sum(
        entry.packed["grid"][0] * entry.packed["grid"][1] < entry.row.size
        for entry in report.entries
    )
    if not coarse:
        return "On the maps each cell is one entry."
    note = (
        f"On the maps of {coarse:,} of {counted(len(report.entries), 'weight')} a cell is more "
        "than one entry: it says what is true of all of them, and one leak makes it a leak."
    )
    if report.from_files:
        return note
    return f"{note} A page of few, <code>fl.report(model, weights=...)</code>, has finer maps."


def _palette() -> dict[str, object]:
    return {
        "trains": colors.TRAINS,
        "partly": colors.PARTLY,
        "frozen": colors.FROZEN,
        "equal": colors.EQUAL,
        "hatch": colors.HATCH,
        "nonfinite": colors.NONFINITE,
        "leak": colors.LEAK,
        "mark": colors.MARK,
        "drift": colors.DRIFT,
        "shares": colors.SHARES,
        "rings": colors.RINGS,
        "bands": colors.BANDS,
        "lined": colors.LINED,
    }
