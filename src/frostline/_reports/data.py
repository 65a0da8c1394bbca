"""The data of a page: the numbers of each weight, and its map in compressed cells. No Keras.

The maps of a page share a fixed number of cells. A small weight leaves the cells that it does not
need to the others, and each weight may have `FEWEST`.
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
"""Cells of all maps of a page. A cell with drift takes about three bytes in the file."""
FEWEST = 1024
"""Cells that each weight may have, however many weights there are."""


@dataclass(frozen=True)
class Entry:
    """A weight on the page.

    Attributes:
        row: Its numbers.
        packed: Its map, as the script of the page reads it.
        changed: How many entries have other bits than before, None without a comparison.
        largest: The largest finite `|after - before|`.
        nonfinite: How many of the changed entries are NaN or infinite, before or after.
        leaked: How many of the changed entries are frozen.
        first: The first frozen entry that changed.
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
    """The contents of a page.

    Attributes:
        name: The name of the model or file.
        compared: Whether it is compared with an earlier state.
        facts: Names and values for the top of the page: versions and files.
        from_files: Whether it is about files, which do not say what trains.
        freeze_known: Whether it is known what is frozen.
        entries: The weights, in the order of the model.
        scale: The range of the drifts, for their colours.
    """

    name: str
    compared: bool
    facts: Sequence[tuple[str, str]] = ()
    from_files: bool = False
    freeze_known: bool = True
    entries: list[Entry] = field(default_factory=list)
    scale: Scale = field(default_factory=Scale)

    def add(self, panel: Panel) -> None:
        """Add the next weight. Only what the page shows of it is kept."""
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
    """How many cells each weight may have, from the sizes of all weights.

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
    """The number of rows and columns of a map with at most so many cells."""

    def sides(rows: Side, columns: Side) -> tuple[int, int]:
        down, across = max(min(rows.size, MOST), 1), max(min(columns.size, MOST), 1)
        if down * across > cells:
            root = math.isqrt(cells)
            # The shorter side keeps its length if possible.
            short = min(down, across, root)
            down, across = (
                (short, min(across, cells // short))
                if down <= across
                else (min(down, cells // short), short)
            )
        return down, across

    return sides


def pack(panel: Panel) -> dict[str, Any]:
    """The map of a weight: its sides, and its cells as compressed bytes in base64.

    The bytes are arrays of 32-bit numbers, with the lowest bytes of all numbers first: the edges of
    the cells down and across, the frozen entries of each cell, and in a comparison the entries of
    each cell that moved, that leaked and that are not finite, and the largest drift.
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
    # The upper bytes of all numbers are much alike, so side by side they compress well.
    return array.ravel().astype("<u4").view(np.uint8).reshape(-1, 4).T.tobytes()


def _rounded(distances: np.ndarray) -> np.ndarray:
    """The bits as float32, rounded to three digits. What is above zero stays above zero."""
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
