"""The page of a report, from the files `page.*` and its numbers as HTML. No Keras."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Iterator, Sequence
from datetime import datetime
from importlib import resources
from pathlib import Path
from string import Template

from frostline._console import percent
from frostline._errors import ReportError
from frostline._plots import colors
from frostline._reports.data import Report
from frostline._reports.table import bar, body, columns_of, head, words
from frostline._reports.verdict import counted, headline, verdict, visible
from frostline._summaries import UNKNOWN
from frostline._version import __version__
from frostline._writing import replacing

_FILES = resources.files("frostline._reports")


def write_page(report: Report, out: Path) -> None:
    """Write the page to a file. An old one stays until the new one is complete.

    Raises:
        ReportError: The file cannot be written.
    """
    text = page(report, datetime.now())
    with replacing(out, ReportError) as unfinished:
        unfinished.write_text(text, encoding="utf-8", newline="\n")


def page(report: Report, when: datetime) -> str:
    """The text of the page, which loads nothing."""
    style, script = _read("page.css"), _read("maps.js") + _read("page.js")
    columns = columns_of(report)
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
        head=head(columns),
        rows=body(report, columns),
        words=words(report),
        weights=counted(len(report.entries), "weight"),
        style=style,
        script=script,
        data=_json(data),
        note=_note(report),
    )


def _read(name: str) -> str:
    return (_FILES / name).read_text(encoding="utf-8")


def _policy(style: str, script: str) -> str:
    """A content security policy: a browser loads and runs nothing but this style and script."""
    allowed = {"style-src": f"\n{style}", "script-src": f"\n{script}"}
    hashes = {
        name: base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
        for name, text in allowed.items()
    }
    sources = "; ".join(f"{name} 'sha256-{digest}'" for name, digest in hashes.items())
    return f"default-src 'none'; {sources}; img-src data:; base-uri 'none'; form-action 'none'"


def _json(data: object) -> str:
    """JSON in a form that cannot end its script element, whatever the layers are called."""
    text = json.dumps(data, allow_nan=False, separators=(",", ":"))
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def _fact(name: str, value: str) -> str:
    return f"<div><dt>{visible(name)}</dt><dd>{visible(value)}</dd></div>"


def _made(when: datetime) -> list[tuple[str, str]]:
    return [("frostline", __version__), ("made", f"{when:%Y-%m-%d %H:%M}")]


def _tiles(report: Report) -> Iterator[str]:
    """The numbers of the model, each in a box."""
    totals = report.totals
    yield _tile("entries", f"{totals.size:,}", f"in {counted(len(report.entries), 'weight')}")
    share = percent(totals.frozen, totals.size)
    if report.freeze_known:
        yield _tile("frozen", f"{totals.frozen:,}", f"{bar(totals.share)} {share}")
    else:
        yield _tile("frozen", "&ndash;", "not known: no file holds a freeze")
    if report.from_files:
        return
    off = totals.trainable - totals.trained
    more = f"{off:,} more are off (trainable=False)" if off else "entries"
    yield _tile("train now", f"{totals.trained:,}", more)
    kept, saved = totals.optimizer_bytes_kept, totals.optimizer_bytes_saved
    if kept is None or saved is None:
        yield _tile("optimizer state", "&ndash;", UNKNOWN)
    else:
        yield _tile("optimizer state", f"{kept:,}", f"bytes kept, {saved:,} bytes saved")
    yield _tile("delta file", f"{totals.delta_bytes:,}", "bytes, values and indices")


def _tile(name: str, value: str, more: str) -> str:
    return f"<div><dt>{name}</dt><dd><b>{value}</b><small>{more}</small></dd></div>"


def _filters(report: Report) -> str:
    filters = [("partly", "partly frozen")] * report.freeze_known
    if report.compared:
        filters += [("changed", "moved"), ("leaks", "leaked")]
    return "".join(
        f'<label><input type="checkbox" name="{name}"> <span>{said}</span></label>'
        for name, said in filters
    )


def _distances(low: float, high: float) -> str:
    by = f"{low:.2g}" if low == high else f"{low:.2g} to {high:.2g}"
    return f"moved by {by}, the largest in each cell"


def _legend(report: Report) -> str:
    """What the colours of the maps mean; the script paints the boxes."""
    totals = report.totals
    all_on = not report.from_files and totals.trained == totals.trainable
    frozen = [
        ("trains", "trains" if all_on else "not frozen"),
        ("partly", "partly frozen, little to much"),
        ("frozen", "frozen"),
        ("mark", "smaller than 2 pixels, drawn larger"),
    ]
    made = _swatches("What is frozen", frozen)
    if report.compared:
        moved = [
            *([("scale", _distances(*report.scale.seen))] if report.scale.seen else []),
            ("equal", "bit-identical"),
            ("hatched", "frozen"),
            ("sparse", "partly frozen"),
            ("nonfinite", "NaN or infinite"),
            ("leak", "leaked: frozen, but moved"),
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
        return "Each cell of a map is one entry."
    note = (
        f"In the maps of {coarse:,} of {counted(len(report.entries), 'weight')} a cell is more "
        "than one entry: it shows their largest drift, and one leaked entry makes it a leak."
    )
    if report.from_files:
        return note
    return f"{note} Name fewer weights for finer maps: <code>fl.report(model, weights=...)</code>."


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
