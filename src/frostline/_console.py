"""Tables, numbers and progress bars on a terminal. No Keras."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, TypeVar

from rich.box import ASCII, SIMPLE
from rich.console import Console
from rich.control import Control
from rich.segment import ControlType
from rich.table import Table
from rich.text import Text

from frostline._errors import visible

if TYPE_CHECKING:
    from rich.progress import Progress

T = TypeVar("T")

_WIDE = 10_000  # characters: no line of a table breaks where no terminal shows it
_PATIENCE = 1.0  # seconds before a bar appears
_running = False  # whether something is metered now


def percent(part: float, whole: float) -> str:
    """The share in percent; 0% and 100% only if that is exact.

    >>> percent(1, 3), percent(0, 3), percent(1, 10_000)
    ('33.3%', '0.0%', '<0.1%')
    """
    share = part / whole if whole else 0.0
    if 0 < part < whole and not 0.0005 <= share < 0.9995:
        return "<0.1%" if share < 0.5 else ">99.9%"
    return f"{share:.1%}"


def span(values: Iterable[Any], show: Callable[[Any], str] = "{:,}".format) -> str:
    """The one value that all of them have, or the lowest and the highest.

    >>> span([1, 1]), span([1000, 1, 20]), span([0.263, 0.266], lambda share: percent(share, 1))
    ('1', '1 to 1,000', '26.3 to 26.6%')
    """
    found = list(values)
    low, high = show(min(found)), show(max(found))
    return low if low == high else f"{low.removesuffix('%')} to {high}"


def shortened(path: str, room: int) -> tuple[str, str, str]:
    """A path in three parts: without the one in the middle it has `room` for the others and an "…".

    >>> shortened("backbone/transformer_layer_11/self_attention/query/kernel", 48)
    ('backbone/transformer_layer_11/', 'self_attention', '/query/kernel')
    >>> shortened("out/kernel", 48)
    ('out/kernel', '', '')
    """
    if len(path) <= room:
        return path, "", ""
    slashes = [place for place, sign in enumerate(path) if sign == "/"]
    cuts = [
        (stop - start, abs(start + stop - len(path)), start + 1, stop)
        for start in slashes
        for stop in slashes
        if 0 <= len(path) - room < stop - start - 1
    ]
    if cuts:
        *_, start, stop = min(cuts)
    else:
        start = room // 3
        stop = len(path) - (room - start - 1)
    return path[:start], path[start:stop], path[stop:]


def prints_utf() -> bool:
    """Whether the standard output can print more than ASCII."""
    return (getattr(sys.stdout, "encoding", None) or "utf-8").lower().startswith("utf")


def show_json(value: Any) -> None:
    """Print plain data as strict JSON, without NaN and infinity."""
    print(json.dumps(value, indent=2, allow_nan=False).replace("\x7f", "\\u007f"))


def show(text: str) -> None:
    """Print a line, with the invisible characters in names from files escaped."""
    print(visible(text))


def show_table(
    head: Sequence[str],
    rows: Sequence[Sequence[str]],
    total: Sequence[str],
    left: Sequence[int] = (0,),
) -> None:
    """Print a table with a row of totals.

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
            # A number on two lines reads as two numbers. A path may break.
            no_wrap=place > 0,
            overflow="fold",
        )
    for row in rows:
        # rich reads `[red]` and `:smile:` in a plain string as markup.
        table.add_row(*(Text(visible(cell)) for cell in row))
    console = Console(file=sys.stdout, width=None if sys.stdout.isatty() else _WIDE)
    with console.capture() as captured:
        console.print(table)
    print("\n".join(line.rstrip() for line in captured.get().strip("\n").split("\n")))


@contextmanager
def meter(
    label: str, total: int | None, *, quiet: bool = False, unit: str = "bytes"
) -> Iterator[Callable[[int], None]]:
    """A progress bar on the standard error, if that is a terminal and the work takes over a second.

    The bar disappears at the end. A bar inside another is not shown, and none is shown after
    `keras.config.disable_interactive_logging()`.

    Args:
        label: What is done.
        total: How much there is to do, None if unknown.
        quiet: Whether no bar is shown.
        unit: What is counted: `"bytes"`, `"weights"`, ...

    Yields:
        A function to call with the amount done since the last call.
    """
    global _running
    if quiet or _running or not _is_terminal(sys.stderr) or _keras_is_silent():
        yield lambda done: None
        return
    progress = _bar(unit)
    task = progress.add_task(label, total=total)
    began = time.monotonic()

    def advance(done: int) -> None:
        progress.advance(task, done)
        if not progress.live.is_started and time.monotonic() - began > _PATIENCE:
            # Keras leaves the line of its own bar open, and writes it anew afterwards.
            progress.console.control(_clear_line())
            progress.start()

    _running = True
    try:
        yield advance
    finally:
        _running = False
        progress.stop()


def each(label: str, items: Collection[T], unit: str = "weights") -> Iterator[T]:
    """The items, with a `meter` that counts them."""
    with meter(label, len(items), unit=unit) as advance:
        for item in items:
            yield item
            advance(1)


def _is_terminal(stream: Any) -> bool:
    return stream is not None and stream.isatty()  # None in a program without a console


def _keras_is_silent() -> bool:
    keras = sys.modules.get("keras")  # the commands that read files do not import it
    return keras is not None and not keras.config.is_interactive_logging_enabled()


def _bar(unit: str) -> Progress:
    from rich import progress  # late: most programs never show a bar

    counted = (
        [progress.DownloadColumn()]
        if unit == "bytes"
        else [progress.MofNCompleteColumn(), progress.TextColumn(unit)]
    )
    return progress.Progress(
        progress.TextColumn("{task.description}"),
        progress.BarColumn(),
        *counted,
        progress.TimeRemainingColumn(),
        console=Console(stderr=True),
        transient=True,
    )


def _clear_line() -> Control:
    return Control(ControlType.CARRIAGE_RETURN, (ControlType.ERASE_IN_LINE, 2))
