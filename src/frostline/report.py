"""What is frozen, in exact numbers: a table in a terminal, HTML in a notebook, plain data."""

from __future__ import annotations

import html
import io
import math
import sys
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
from rich.box import ASCII, SIMPLE
from rich.console import Console, ConsoleOptions, RenderResult
from rich.table import Table
from rich.text import Text

from frostline._optimizer import slots_per_weight
from frostline._output import percent
from frostline._tree import Found, unique, weights_of
from frostline._view import plan_of

_BAR = 10  # characters of a full share
_PATH = 16  # characters of a path before it folds, where room is short
_GIVE_WAY = (1, 4, 5)  # columns that a narrow terminal goes without, the first one first
_UNKNOWN = "slots saved: known for a compiled model whose optimizer treats all entries alike"


@dataclass(frozen=True)
class Row:
    """One weight: `frozen` of its `size` entries do not train.

    Attributes:
        path: The path of the weight below the target.
        shape: Its shape, a tuple of integers.
        dtype: Its dtype, `"float32"`.
        size: How many entries it has.
        frozen: How many of them are frozen.
        share: `frozen / size`, 0 to 1.
        kind: How the frozen entries lie: `"whole"`, `"slab"` (one block along an axis), `"indices"`
            (positions along an axis), `"entries"`, or `""` where nothing is frozen.
        slots_saved: Optimizer values that need not exist: none where the layer is off, None where
            no optimizer is known, or where what it keeps depends on more than a weight's size.
        trains: False where nothing of the weight moves now: all of it is frozen, or its layer has
            `trainable = False`, which the table calls "layer off".
    """

    path: str
    shape: tuple[int, ...]
    dtype: str
    size: int
    frozen: int
    kind: str
    slots_saved: int | None
    trains: bool

    @property
    def share(self) -> float:
        """The frozen part of the entries, 0 to 1."""
        return self.frozen / self.size if self.size else 0.0


class Summary:
    """What is frozen in a layer or model; printed it is a table.

    Attributes:
        rows: A tuple with a `Row` for each weight that an optimizer can train, shared ones once.
        size: Entries of all weights: the trainable parameters of the plain model.
        frozen: Entries that are frozen.
        trainable: Entries that are not.
        share: `frozen / size`, 0 to 1.
        slots_saved: Optimizer values that need not exist; None where no optimizer is known.
        optimizer_bytes_saved: The same in bytes.
    """

    def __init__(self, name: str, rows: tuple[Row, ...]) -> None:
        self.name = name
        self.rows = rows

    @property
    def size(self) -> int:
        """Entries of all weights: the trainable parameters of the plain model."""
        return sum(row.size for row in self.rows)

    @property
    def frozen(self) -> int:
        """Entries that are frozen."""
        return sum(row.frozen for row in self.rows)

    @property
    def trainable(self) -> int:
        """Entries that are not frozen."""
        return self.size - self.frozen

    @property
    def share(self) -> float:
        """The frozen part of all entries, 0 to 1."""
        return self.frozen / self.size if self.size else 0.0

    @property
    def slots_saved(self) -> int | None:
        """Optimizer values that need not exist, None where no optimizer is known."""
        saved = [row.slots_saved for row in self.rows]
        return None if None in saved else sum(s for s in saved if s is not None)

    @property
    def optimizer_bytes_saved(self) -> int | None:
        """The same in bytes; Keras keeps slots in the dtype of their weight."""
        if self.slots_saved is None:
            return None
        return sum((row.slots_saved or 0) * _bytes(row.dtype) for row in self.rows)

    def __str__(self) -> str:
        stream = io.StringIO()
        # No colour system: `FORCE_COLOR` would put escapes into a plain string.
        console = Console(file=stream, force_jupyter=False, color_system=None)
        encoding = getattr(sys.stdout, "encoding", None) or "utf-8"
        console.print(self._table(console.width, ascii_only=not _is_utf(encoding)))
        return "\n".join(line.rstrip() for line in stream.getvalue().rstrip().split("\n"))

    def __repr__(self) -> str:
        return str(self)

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """The table: with bars where there is room, without shapes where there is little."""
        yield self._table(options.max_width, ascii_only=options.ascii_only)

    def _repr_html_(self) -> str:
        cells = [_html_row(_cells(row), row.share) for row in self.rows]
        total = _html_row(self._total, self.share)
        head = "".join(f"<th style='text-align:left'>{html.escape(h)}</th>" for h in _HEAD)
        return (
            "<table style='background:transparent;color:inherit'>"
            f"<caption>{html.escape(self._title)}</caption>"
            f"<thead><tr>{head}</tr></thead><tbody>{''.join(cells)}</tbody>"
            f"<tfoot style='border-top:1px solid currentColor'>{total}</tfoot></table>"
        )

    @property
    def _title(self) -> str:
        return f"{self.name}: {self.frozen:,} of {self.size:,} entries frozen"

    @property
    def _total(self) -> tuple[str, ...]:
        counts = f"{self.frozen:,} / {self.size:,}"
        share = percent(self.frozen, self.size)
        return ("total", "", counts, share, "", _count(self.slots_saved))

    def _table(self, width: int, *, ascii_only: bool) -> Table:
        rows = [_cells(row) for row in self.rows]
        shown, bars = _layout([_HEAD, self._total, *rows], width)
        table = Table(
            title=Text(self._title),
            title_justify="left",
            caption=None if self.slots_saved is not None else _UNKNOWN,
            caption_justify="left",
            show_footer=True,
            box=ASCII if ascii_only else SIMPLE,
            collapse_padding=True,
            pad_edge=False,
        )
        for place in shown:
            table.add_column(
                _HEAD[place],
                footer=self._total[place],
                justify="right" if place in (2, 3, 5) else "left",
                # A number in two lines reads as two numbers; a path may fold.
                no_wrap=place > 0,
                overflow="fold",
            )
        for row, texts in zip(self.rows, rows, strict=True):
            # Text, since rich reads `[red]` and `:smile:` in a string as markup.
            cells = [Text(text) for text in texts]
            if bars:
                bar = ("#" if ascii_only else "█") * round(row.share * _BAR)
                cells[3] = Text.assemble((bar, "cyan"), f" {texts[3]:>6}")
            table.add_row(*(cells[place] for place in shown))
        return table


_HEAD = ("weight", "shape", "frozen / size", "share", "kind", "slots saved")


def summary(target: Any) -> Summary:
    """Say what is frozen of each weight of a layer or model, in exact numbers.

    Args:
        target: A built layer or model. Where it is a compiled model, the table says how many
            values its optimizer need not keep.

    Returns:
        A `Summary`: print it for a table, end a notebook cell with it for HTML, or read `.rows`.
        It takes no time that grows with the size of the weights.

    Raises:
        TargetError: `target` is not a layer or model.
        NotBuiltError: `target` has no weights yet.
        PathError: `target` has no weights that train.

    Note:
        `model.summary()` of Keras counts the variables that there are. It adds up to the same
        total as for the plain model, except that a weight frozen by single entries keeps the
        places of its trainable entries in the frozen part too.

    Examples:
        >>> import keras, frostline as fl
        >>> model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(3, name="hidden")])
        >>> model.compile("adam", "mse")
        >>> _ = fl.freeze(model, "hidden/kernel", fl.at[:2, :])
        >>> row = fl.summary(model).rows[0]
        >>> row.path, row.frozen, row.size, row.share, row.kind, row.slots_saved
        ('hidden/kernel', 6, 12, 0.5, 'slab', 12)
    """
    found = unique(weights_of(target))
    slots = _slots(target)
    return Summary(target.name, tuple(row_of(weight, slots) for weight in found))


def row_of(weight: Found, slots: int | None = None) -> Row:
    """The row of one weight; `slots` is how many values an optimizer keeps for each entry."""
    variable = weight.variable
    plan = plan_of(variable)
    frozen = 0 if plan is None else plan.frozen_count
    shape = tuple(int(n) for n in variable.shape)
    kind = "" if plan is None else plan.kind
    # A wholly frozen variable says of itself that it does not train; its layer knows better.
    on = weight.owner.trainable if kind == "whole" else variable.trainable
    on = bool(on and weight.layers[0].trainable)
    return Row(
        path=weight.path,
        shape=shape,
        dtype=str(variable.dtype),
        size=math.prod(shape),
        frozen=frozen,
        kind=kind,
        slots_saved=None if slots is None else slots * frozen * on,
        trains=on and kind != "whole",
    )


def _slots(target: Any) -> int | None:
    optimizer = getattr(target, "optimizer", None)
    if not isinstance(optimizer, keras.optimizers.Optimizer):
        return None
    try:
        return slots_per_weight(optimizer)
    except Exception:  # an optimizer of any origin builds here; a table must not fail with it
        return None


def _cells(row: Row) -> tuple[str, ...]:
    kind = row.kind if row.trains or row.kind == "whole" else f"{row.kind} (layer off)".strip()
    counts, share = f"{row.frozen:,} / {row.size:,}", percent(row.frozen, row.size)
    return (row.path, str(row.shape), counts, share, kind, _count(row.slots_saved))


def _layout(lines: list[tuple[str, ...]], width: int) -> tuple[list[int], bool]:
    """Which columns fit into `width` characters with no number cut, and whether bars do too."""
    needed = [max(len(line[place]) for line in lines) + 2 for place in range(len(_HEAD))]
    shown = list(range(len(_HEAD)))
    if sum(needed) + _BAR + 2 <= width:
        return shown, True
    for place in _GIVE_WAY:
        # Shapes give way before a path is broken, the rest before a number is.
        path = needed[0] if place == 1 else min(needed[0], _PATH + 2)
        if path + sum(needed[p] for p in shown[1:]) + 1 > width:
            shown.remove(place)
    return shown, False


def _count(number: int | None) -> str:
    return "?" if number is None else f"{number:,}"


def _html_row(cells: tuple[str, ...], share: float) -> str:
    bar = (
        "<span style='display:inline-block;height:0.6em;background:currentColor;opacity:0.5;"
        f"width:{5 * share:.2f}em;margin-right:0.4em'></span>"
    )
    inside = [html.escape(cell) for cell in cells]
    inside[3] = bar + inside[3]
    return "<tr>" + "".join(f"<td style='text-align:left'>{c}</td>" for c in inside) + "</tr>"


def _bytes(dtype: str) -> int:
    return int(np.dtype("float16" if dtype == "bfloat16" else dtype).itemsize)


def _is_utf(encoding: str) -> bool:
    return encoding.lower().startswith("utf")
