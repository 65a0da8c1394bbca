"""A weight as a map of few cells, each of which says what is true of all its entries. Pure NumPy.

One leaked entry of millions must stay visible, so a cell holds the largest drift in it, counts and
exact shares, never an average of drifts. A weight comes in parts, each of which is looked at in
blocks of rows: what is needed besides the parts themselves is small.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

MOST = 512  # cells along a side, at most


@dataclass(frozen=True)
class Side:
    """One side of a map: `tiles` of `inner` entries each, side by side.

    Attributes:
        tiles: How many tiles there are, 1 for a side without.
        inner: Entries along one tile.
        label: What runs along the side.
        names: What the tiles are called, numbers where it is empty.
    """

    tiles: int
    inner: int
    label: str = ""
    names: tuple[str, ...] = ()

    @property
    def size(self) -> int:
        return self.tiles * self.inner

    @property
    def tiled(self) -> bool:
        return self.tiles > 1 or bool(self.names)

    def edges(self, most: int) -> np.ndarray:
        """`int[cells + 1]`: where each cell begins, and the end. No cell crosses a tile's edge.

        Unless there are more tiles than `most`, the largest number of cells.
        """
        if self.tiles > most or self.tiles < 2:
            return _even(self.size, most)
        inside = _even(self.inner, max(most // self.tiles, 1))[:-1]
        begins = np.arange(self.tiles)[:, None] * self.inner + inside
        return np.append(begins.ravel(), self.size)


@dataclass(frozen=True)
class Grid:
    """How the entries of a map fall into cells: the edges along both sides."""

    rows: np.ndarray
    columns: np.ndarray

    @property
    def shape(self) -> tuple[int, int]:
        return len(self.rows) - 1, len(self.columns) - 1

    @property
    def sizes(self) -> np.ndarray:
        """`int[rows, columns]`: the entries of each cell."""
        return np.diff(self.rows)[:, None] * np.diff(self.columns)

    def whole(self) -> Region:
        """All entries of the map."""
        return self.region(np.arange(self.rows[-1]), np.arange(self.columns[-1]))

    def region(self, rows: np.ndarray, columns: np.ndarray) -> Region:
        """Where some rows and columns of the map lie.

        Args:
            rows: `int[n]`: which, in their order.
            columns: Likewise.
        """
        return Region(_Runs.of(self.rows, rows), _Runs.of(self.columns, columns))


@dataclass(frozen=True)
class _Runs:
    """Neighbours of one cell: its number along the side, where they begin, and the end."""

    cells: np.ndarray
    begins: np.ndarray
    end: int

    @classmethod
    def of(cls, edges: np.ndarray, places: np.ndarray) -> _Runs:
        cells = np.searchsorted(edges, places, side="right") - 1
        begins = np.append(0, np.flatnonzero(np.diff(cells)) + 1)
        return cls(cells[begins], begins, len(places))


@dataclass(frozen=True)
class Region:
    """Some rows and columns of a map, and the cells that they are in."""

    rows: _Runs
    columns: _Runs

    @property
    def cells(self) -> np.ndarray:
        """`int[n]`: the numbers of the columns of cells."""
        return self.columns.cells

    def blocks(self) -> Iterator[tuple[int, slice]]:
        """The number of each row of cells, and the rows of the region in it."""
        edges = [*self.rows.begins.tolist(), self.rows.end]
        for number, (start, stop) in zip(self.rows.cells.tolist(), pairwise(edges), strict=True):
            yield number, slice(start, stop)

    def count(self, block: np.ndarray) -> np.ndarray:
        """`int[n]`: how many entries of a boolean block are True in each of `cells`."""
        return np.add.reduceat(np.count_nonzero(block, axis=0), self.columns.begins)

    def largest(self, block: np.ndarray) -> np.ndarray:
        """The largest entry of a block in each of `cells`."""
        return np.maximum.reduceat(block.max(axis=0), self.columns.begins)


@dataclass(frozen=True)
class Drift:
    """What happened between two values of a weight, cell by cell.

    Attributes:
        largest: `float64[rows, columns]`: the largest finite `|after - before|`.
        moved: `int[rows, columns]`: entries whose bits differ.
        nonfinite: Those of them whose difference is NaN or infinite.
        leaked: Those of them that are frozen.
    """

    largest: np.ndarray
    moved: np.ndarray
    nonfinite: np.ndarray
    leaked: np.ndarray

    @classmethod
    def zeros(cls, shape: tuple[int, int]) -> Drift:
        return cls(np.zeros(shape), *(np.zeros(shape, np.int64) for _ in range(3)))

    def add(
        self,
        region: Region,
        before: np.ndarray,
        after: np.ndarray,
        differs: np.ndarray,
        leaked: np.ndarray,
    ) -> None:
        """Take in a part of the weight, in which arrays lie as on the map.

        Args:
            region: Where it lies.
            before: `(rows, columns)` of the region.
            after: The same entries later.
            differs: Where their bits differ.
            leaked: Where they differ and are frozen.
        """
        cells = region.cells
        for number, rows in region.blocks():
            here = differs[rows]
            if not here.any():
                continue
            self.moved[number, cells] += region.count(here)
            self.leaked[number, cells] += region.count(leaked[rows])
            apart = _distance(before[rows], after[rows])
            if not np.isfinite(apart.max()):
                finite = np.isfinite(apart)
                self.nonfinite[number, cells] += region.count(here & ~finite)
                apart[~finite] = 0
            found = region.largest(apart)
            self.largest[number, cells] = np.maximum(self.largest[number, cells], found)


def add_frozen(counts: np.ndarray, region: Region, frozen: np.ndarray) -> None:
    """Add the frozen entries of a part to those of each cell, `int[rows, columns]`."""
    for number, rows in region.blocks():
        counts[number, region.cells] += region.count(frozen[rows])


def _distance(before: np.ndarray, after: np.ndarray) -> np.ndarray:
    if str(before.dtype).startswith("|V"):
        return np.zeros(before.shape)  # bytes without a meaning
    # In 64 bits, or two large numbers of opposite signs are an infinity apart.
    wide = np.complex128 if before.dtype.kind == "c" else np.float64
    with np.errstate(invalid="ignore", over="ignore"):
        apart = after.astype(wide)
        apart -= before
        return np.abs(apart, out=apart if wide is np.float64 else None)


def _even(size: int, most: int) -> np.ndarray:
    """`size` entries in at most `most` cells, whose lengths differ by one at most."""
    cells = min(size, most)
    return np.arange(cells + 1) * size // max(cells, 1)
