"""A weight as a map of few cells, each of which says what is true of all its entries. Pure NumPy.

One leaked entry of millions must stay visible, so a cell holds the largest drift in it, counts and
exact shares, never an average of drifts. Blocks of rows are taken one after another: what is needed
besides the arrays themselves is small.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from frostline._bits import differ

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

    def blocks(self) -> Iterator[tuple[int, slice]]:
        """The number of each row of cells, and the rows of entries in it."""
        for number, (start, stop) in enumerate(pairwise(self.rows.tolist())):
            yield number, slice(start, stop)

    def count(self, block: np.ndarray) -> np.ndarray:
        """`int[columns]`: how many entries of a boolean block are True in each cell."""
        return np.add.reduceat(np.count_nonzero(block, axis=0), self.columns[:-1])


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


def frozen_share(frozen: np.ndarray, grid: Grid) -> np.ndarray:
    """`float64[rows, columns]`: the frozen part of each cell, 0 and 1 only where that is exact."""
    if not any(frozen.strides):  # one value, broadcast: all of it is frozen, or nothing
        return np.full(grid.shape, float(frozen.any()))
    counts = np.zeros(grid.shape, np.int64)
    for number, rows in grid.blocks():
        counts[number] = grid.count(frozen[rows])
    return counts / grid.sizes


def drift(before: np.ndarray, after: np.ndarray, frozen: np.ndarray, grid: Grid) -> Drift:
    """Compare two values of a weight of the same shape and dtype, by their bits.

    Args:
        before: `(rows, columns)` as the map has them.
        after: The same entries later.
        frozen: Boolean, True where frozen.
        grid: The cells.
    """
    found = Drift.zeros(grid.shape)
    for number, rows in grid.blocks():
        then, now = before[rows], after[rows]
        differs = differ(then, now)
        if not differs.any():
            continue
        found.moved[number] = grid.count(differs)
        found.leaked[number] = grid.count(differs & frozen[rows])
        with np.errstate(invalid="ignore", over="ignore"):
            # In 64 bits, or two large numbers of opposite signs are an infinity apart.
            apart = now.astype(np.float64)
            apart -= then
        np.abs(apart, out=apart)
        if not np.isfinite(apart.max()):
            finite = np.isfinite(apart)
            found.nonfinite[number] = grid.count(differs & ~finite)
            apart[~finite] = 0
        found.largest[number] = np.maximum.reduceat(apart.max(axis=0), grid.columns[:-1])
    return found


def _even(size: int, most: int) -> np.ndarray:
    """`size` entries in at most `most` cells, whose lengths differ by one at most."""
    cells = min(size, most)
    return np.arange(cells + 1) * size // max(cells, 1)
