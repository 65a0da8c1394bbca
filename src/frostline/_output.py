"""What commands print: tables, numbers, and a bar while they work. No Keras."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from rich.box import ASCII, SIMPLE
from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table
from rich.text import Text

_WIDE = 10_000  # characters: no line of a table breaks where no terminal shows it
_PATIENCE = 1.0  # seconds before a bar appears


def percent(part: int, whole: int) -> str:
    """The share, and 0% and 100% only where that is exact.

    >>> percent(1, 3), percent(0, 3), percent(1, 10_000)
    ('33.3%', '0.0%', '<0.1%')
    """
    share = part / whole if whole else 0.0
    if 0 < part < whole and not 0.0005 <= share < 0.9995:
        return "<0.1%" if share < 0.5 else ">99.9%"
    return f"{share:.1%}"


def prints_utf() -> bool:
    """Whether the standard output takes more than ASCII."""
    return (getattr(sys.stdout, "encoding", None) or "utf-8").lower().startswith("utf")


def show_json(value: Any) -> None:
    """Print plain data as JSON, strictly: no NaN and no infinity."""
    print(json.dumps(value, indent=2, allow_nan=False))


def show_table(
    head: Sequence[str],
    rows: Sequence[Sequence[str]],
    total: Sequence[str],
    left: Sequence[int] = (0,),
) -> None:
    """Print a table with its totals.

    Args:
        head: The name of each column.
        rows: The cells of each row.
        total: The last row.
        left: Which columns are text; the others are numbers.
    """
    table = Table(
        show_footer=True,
        box=SIMPLE if prints_utf() else ASCII,
        pad_edge=False,
        collapse_padding=True,
    )
    for place, name in enumerate(head):
        table.add_column(
            name,
            footer=total[place],
            justify="left" if place in left else "right",
            # A number in two lines reads as two numbers; a path may fold.
            no_wrap=place > 0,
            overflow="fold",
        )
    for row in rows:
        # Text, since rich reads `[red]` and `:smile:` in a string as markup.
        table.add_row(*(Text(cell) for cell in row))
    console = Console(file=sys.stdout, width=None if sys.stdout.isatty() else _WIDE)
    with console.capture() as captured:
        console.print(table)
    print("\n".join(line.rstrip() for line in captured.get().strip("\n").split("\n")))


@contextmanager
def meter(label: str, total: int, *, quiet: bool) -> Iterator[Callable[[int], None]]:
    """A bar on the standard error, for what takes a while, where that is a terminal.

    Args:
        label: What is done.
        total: How many bytes there are.
        quiet: Whether there is no bar at all.

    Yields:
        A function that is told how many bytes have been worked on since it was last.
    """
    if quiet or not sys.stderr.isatty():
        yield lambda done: None
        return
    began = time.monotonic()
    progress = Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        DownloadColumn(),
        TimeRemainingColumn(),
        console=Console(stderr=True),
        transient=True,
    )
    task = progress.add_task(label, total=total)

    def advance(done: int) -> None:
        progress.advance(task, done)
        if not progress.live.is_started and time.monotonic() - began > _PATIENCE:
            progress.start()

    try:
        yield advance
    finally:
        progress.stop()
