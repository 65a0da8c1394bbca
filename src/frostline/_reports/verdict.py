"""The verdict at the top of a page: whether a frozen entry moved."""

from __future__ import annotations

import html

from frostline import _errors
from frostline._console import percent, shortened
from frostline._plots import leaks
from frostline._reports.data import Report

_ROOM = 48  # characters of a path on the page, two lines of the table


def headline(report: Report) -> str:
    """The verdict in a few words, for the title of the page."""
    totals = report.totals
    if report.compared and report.total("leaked"):
        return leaks(report.total("leaked"))
    if not report.freeze_known:
        return "what is frozen is not known"
    if report.compared and totals.frozen:
        return "no frozen entry moved"
    return f"{percent(totals.frozen, totals.size)} frozen"


def verdict(report: Report) -> str:
    """The verdict as a box: `ok`, `leak`, or `none` if there was nothing to compare."""
    kind, said, more = _found(report)
    sign = {"ok": "&check;", "leak": "&#10005;", "none": "&ndash;"}[kind]
    return (
        f'<section class="verdict {kind}" aria-label="Audit">'
        f'<span class="sign" aria-hidden="true">{sign}</span>'
        f"<div><h2>{said}</h2><p>{more}</p>{_moved(report)}</div></section>"
    )


def _found(report: Report) -> tuple[str, str, str]:
    frozen, found = report.totals.frozen, report.first
    if not report.compared:
        how = (
            "Name a file of an earlier state with <code>--before OLD</code>."
            if report.from_files
            else "Call <code>before = fl.snapshot(model)</code> before training, and "
            "<code>fl.report(model, before)</code> after it."
        )
        return "none", "Not compared", f"There is nothing to compare with. {how}"
    if not report.freeze_known:
        return (
            "none",
            "What is frozen is not known",
            "No file holds a freeze. Name one that does with <code>--frozen MODEL.keras</code>.",
        )
    if found is not None:
        place, first = found
        leaked = report.total("leaked")
        among = sum(bool(entry.leaked) for entry in report.entries)
        where = f"{path(first.path)}{visible(str(list(first.index)))}"
        return (
            "leak",
            f"LEAK: {leaks(leaked)}",
            f"{leaked:,} of {_entries(frozen)} differ, in {counted(among, 'weight')}. The first is "
            f'<a href="#w{place}"><code>{where}</code></a>: '
            f"<code>{visible(first.before)}</code> &rarr; <code>{visible(first.after)}</code>",
        )
    if not frozen:
        return "none", "Nothing is frozen", "There is no frozen entry to compare."
    more = f"{_entries(frozen)} compared bit for bit, 0 differ."
    return "ok", "OK: no frozen entry moved", more


def _moved(report: Report) -> str:
    if not report.compared:
        return ""
    weights = sum(bool(entry.changed) for entry in report.entries)
    return (
        f'<p class="moved">Moved: {weights:,} of {counted(len(report.entries), "weight")}, '
        f"{report.total('changed'):,} of {report.totals.size:,} entries, largest |after &minus; "
        f"before| {report.largest:.3g}, {report.total('nonfinite'):,} NaN or infinite.</p>"
    )


def _entries(frozen: int) -> str:
    return f"{frozen:,} frozen {'entry' if frozen == 1 else 'entries'}"


def counted(count: int, what: str) -> str:
    """A count with its noun."""
    return f"{count:,} {what}{'' if count == 1 else 's'}"


def visible(text: str) -> str:
    r"""Text for a page. Invisible characters are escaped.

    >>> visible("<b>" + chr(0))
    '&lt;b&gt;\\x00'
    """
    return html.escape(_errors.visible(text))


def path(text: str) -> str:
    """The path of a weight for a page, which shows an ellipsis for the middle of a long one."""
    # Isolated: a name from right to left must not turn what is beside it. A line may break after a
    # slash. The middle is hidden by the style alone, so search and copying find the whole name.
    start, middle, end = (visible(part).replace("/", "/<wbr>") for part in shortened(text, _ROOM))
    if not middle:
        return f"<bdi>{start}</bdi>"
    return f'<bdi title="{visible(text)}">{start}<span class="cut">{middle}</span>{end}</bdi>'
