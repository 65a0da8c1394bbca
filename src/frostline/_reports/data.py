"""What a page knows of each weight: its numbers, and the cells of its map packed small. No Keras.

A page of many weights has room for so many cells. They are shared among the weights: one with few
entries leaves what it does not need to the others, down to `FEWEST` each.
"""

from __future__ import annotations

import base64
import math
import zlib
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np

from frostline._arrays.bits import First
from frostline._plots import MOST, Panel, Pixels, Scale, Side
from frostline._summaries import Row, Totals, described, numbers

CELLS = 1 << 20
"""Cells of all maps of a page: with what moved some three bytes each in the file."""
FEWEST = 1024
"""Cells that each weight may have, however many weights there are."""


@dataclass(frozen=True)
class Entry:
    """A weight on the page.

    Attributes:
        row: Its numbers.
        packed: Its map, as the script of the page reads it.
        changed: How many entries have other bits, None where nothing was compared.
        largest: The largest finite `|after - before|`.
        nonfinite: How many of the changed entries are an infinity or a NaN apart.
        leaked: How many of the changed entries are frozen.
        first: The first of these.
    """

    row: Row
    packed: dict[str, Any]
    changed: int | None = None
    largest: float | None = None
    nonfinite: int | None = None
    leaked: int | None = None
    first: First | None = None


@dataclass
class Report:
    """All that a page tells.

    Attributes:
        name: What it is about.
        compared: Whether there is an earlier state.
        facts: Names and values that are told of it, versions and files.
        from_files: Whether it is of files, which do not tell what trains.
        freeze_known: Whether it is known what is frozen.
        entries: The weights, in their order.
        scale: The colours of what moved.
    """

    name: str
    compared: bool
    facts: Sequence[tuple[str, str]] = ()
    from_files: bool = False
    freeze_known: bool = True
    entries: list[Entry] = field(default_factory=list)
    scale: Scale = field(default_factory=Scale)

    def add(self, panel: Panel) -> None:
        """Take in the next weight. No more than is in the file is kept of it."""
        packed = pack(panel)
        if panel.drift is None:
            self.entries.append(Entry(panel.row, packed))
            return
        self.scale.add(panel.drift)
        self.entries.append(
            Entry(
                panel.row,
                packed,
                changed=panel.total("moved"),
                largest=panel.largest,
                nonfinite=panel.total("nonfinite"),
                leaked=panel.leaked,
                first=panel.first,
            )
        )

    @property
    def totals(self) -> Totals:
        return Totals(entry.row for entry in self.entries)

    def total(self, name: str) -> int:
        """The sum of a count of what moved over all weights."""
        return sum(getattr(entry, name) or 0 for entry in self.entries)

    @property
    def largest(self) -> float:
        return max((entry.largest or 0.0 for entry in self.entries), default=0.0)

    @property
    def first(self) -> tuple[int, First] | None:
        """The first leak: the place of its weight, and the entry."""
        found = ((place, entry.first) for place, entry in enumerate(self.entries))
        return next(((place, first) for place, first in found if first is not None), None)

    def described(self) -> dict[str, Any]:
        """What the script of the page reads, as plain data."""
        return {
            "name": self.name,
            "compared": self.compared,
            "freezeKnown": self.freeze_known,
            "summary": numbers(self.totals),
            "scale": self.scale.stops,
            "weights": [_described(entry, self) for entry in self.entries],
        }


def cells_each(sizes: Sequence[int]) -> int:
    """How many cells a weight may have, by the entries of all.

    >>> cells_each([10, 10_000_000, 10_000_000])
    524283
    """
    left, each = CELLS, 0
    for place, size in enumerate(sorted(sizes)):
        each = left // (len(sizes) - place)
        if size > each:
            break
        left -= size
    return max(each, FEWEST)


def pixels_of(cells: int) -> Pixels:
    """Cells down and across of maps that may have so many."""

    def sides(rows: Side, columns: Side) -> tuple[int, int]:
        down, across = max(min(rows.size, MOST), 1), max(min(columns.size, MOST), 1)
        if down * across > cells:
            root = math.isqrt(cells)
            # The shorter side keeps what it has if it can.
            short = min(down, across, root)
            down, across = (
                (short, min(across, cells // short))
                if down <= across
                else (min(down, cells // short), short)
            )
        return down, across

    return sides


def pack(panel: Panel) -> dict[str, Any]:
    """The map of a weight: its sides in words, its cells as compressed bytes in base64.

    The bytes are arrays of numbers of 32 bits, the lowest bytes of all numbers first: where the
    cells begin down and across, the frozen entries of each cell, and of what moved the entries, the
    frozen and the infinite ones of them, and the largest distance.
    """
    arrays = [panel.grid.rows, panel.grid.columns, np.rint(panel.share * panel.grid.sizes)]
    if panel.drift is not None:
        drift = panel.drift
        arrays += [drift.moved, drift.leaked, drift.nonfinite, _rounded(drift.largest)]
    content = b"".join(_bytes(array) for array in arrays)
    return {
        "rows": _side(panel.rows),
        "columns": _side(panel.columns),
        "order": panel.laid.order,
        "down": panel.laid.down(panel.row.shape),
        "grid": panel.grid.shape,
        "content": base64.b64encode(zlib.compress(content, 9)).decode("ascii"),
    }


def _bytes(array: np.ndarray) -> bytes:
    # Byte by byte: the upper ones are alike, and compress to nearly nothing.
    return array.ravel().astype("<u4").view(np.uint8).reshape(-1, 4).T.tobytes()


def _rounded(distances: np.ndarray) -> np.ndarray:
    """The bits of float32 with three digits that count; what is above zero stays so."""
    limits = np.finfo(np.float32)
    within = np.clip(distances, limits.tiny, limits.max / 2)
    bits = np.where(distances > 0, within, 0).astype(np.float32).view(np.uint32)
    return (bits + 0x1000) & 0xFFFFE000


def _side(side: Side) -> dict[str, Any]:
    return {**asdict(side), "size": side.size}


def _described(entry: Entry, report: Report) -> dict[str, Any]:
    found = described(entry.row)
    if report.from_files:
        found.update(trained=None, trains=None, delta_bytes=None)
    if entry.changed is not None:
        found.update(
            changed=entry.changed,
            largest=entry.largest,
            nonfinite=entry.nonfinite,
            leaked=entry.leaked,
            first=None if entry.first is None else str(entry.first),
        )
    return {**found, "map": entry.packed}
