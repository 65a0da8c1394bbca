"""A weight to be looked at, and its map: the one way for models and files, piece by piece.

A weight comes in pieces of some megabytes, in C order, and what is kept of it are the cells of its
map. No Keras, no matplotlib.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from frostline._arrays.bits import First, differ, first_of
from frostline._arrays.frozen import Frozen
from frostline._arrays.pieces import PIECE, pieces
from frostline._plots.arrange import Arrangement
from frostline._plots.cells import MOST, Drift, Grid, Region, Side, add_frozen
from frostline._summaries import Row

Pixels = Callable[[Side, Side], tuple[int, int]]
"""The two sides of a map -> the pixels down and across."""


@dataclass(frozen=True)
class Subject:
    """A weight as its map needs it, in a model or in a file.

    Attributes:
        row: Its numbers.
        laid: How its entries lie on a map.
        frozen: What is frozen of it, None where nothing is.
    """

    row: Row
    laid: Arrangement
    frozen: Frozen | None

    def grid(self, pixels: Pixels) -> Grid:
        """Cells of its map: no more than pixels, and than 512 along a side."""
        down, across = (min(most, MOST) for most in pixels(self.laid.rows, self.laid.columns))
        return Grid(self.laid.rows.edges(down), self.laid.columns.edges(across))

    def region(
        self, grid: Grid, start: int, stop: int
    ) -> tuple[Region, Callable[[np.ndarray], np.ndarray]]:
        """Where the piece `start:stop` lies on the map, and what lays it out as there."""
        ranges = _ranges(self.row.shape, start, stop)
        order, down = self.laid.order, self.laid.down(self.row.shape)
        rows, columns = (
            _places([self.row.shape[a] for a in axes], [ranges[a] for a in axes])
            for axes in (order[:down], order[down:])
        )
        shape = [len(places) for places in ranges]

        def lay_out(flat: np.ndarray) -> np.ndarray:
            return flat.reshape(shape).transpose(order).reshape(len(rows), len(columns))

        return grid.region(rows, columns), lay_out

    def share(self, grid: Grid) -> np.ndarray:
        """`float64[rows, columns]`: the frozen part of each cell, 0 and 1 only where exact."""
        if self.frozen is None or not self.row.size:
            return np.zeros(grid.shape)
        if self.frozen.kind == "whole":
            return np.ones(grid.shape)
        counts = np.zeros(grid.shape, np.int64)
        for piece in pieces(self.row.shape, 1):
            region, lay_out = self.region(grid, piece.start, piece.stop)
            add_frozen(counts, region, lay_out(self.frozen.flat_mask(piece.start, piece.stop)))
        return counts / grid.sizes


@dataclass(frozen=True)
class Panel:
    """All that is shown of one weight.

    Attributes:
        row: Its numbers.
        laid: How its entries lie on the map.
        grid: The cells.
        share: The frozen part of each cell.
        drift: What moved in each cell; None in a map of what is frozen.
        first: The first frozen entry that moved.
    """

    row: Row
    laid: Arrangement
    grid: Grid
    share: np.ndarray
    drift: Drift | None = None
    first: First | None = None

    @property
    def rows(self) -> Side:
        return self.laid.rows

    @property
    def columns(self) -> Side:
        return self.laid.columns

    def total(self, name: str) -> int:
        """The sum of a count of the drift over all cells."""
        return 0 if self.drift is None else int(getattr(self.drift, name).sum())

    @property
    def leaked(self) -> int:
        return self.total("leaked")

    @property
    def largest(self) -> float:
        """The largest finite `|after - before|`, 0 where nothing moved."""
        return 0.0 if self.drift is None else float(self.drift.largest.max(initial=0))


class Comparing:
    """Two values of a weight, compared piece by piece.

    Args:
        subject: The weight.
        grid: The cells of its map.
    """

    def __init__(self, subject: Subject, grid: Grid) -> None:
        self._subject = subject
        self._grid = grid
        self._drift = Drift.zeros(grid.shape)
        self._first: tuple[int, np.generic, np.generic] | None = None

    def add(self, start: int, before: np.ndarray, after: np.ndarray) -> None:
        """Take in a piece from the flat place `start` on: its entries before and after."""
        stop = start + before.size
        differs = differ(before, after)
        if not differs.any():
            return
        leaked = np.zeros_like(differs)
        if self._subject.frozen is not None:
            leaked = differs & self._subject.frozen.flat_mask(start, stop)
        if leaked.any():
            place = int(leaked.argmax())
            here = start + place, before[place], after[place]
            self._first = min(self._first or here, here, key=lambda found: found[0])
        region, lay_out = self._subject.region(self._grid, start, stop)
        self._drift.add(region, *map(lay_out, (before, after, differs, leaked)))

    def panel(self) -> Panel:
        """What was found."""
        row, grid = self._subject.row, self._grid
        first = None if self._first is None else first_of(row, *self._first)
        share = self._subject.share(grid)
        return Panel(row, self._subject.laid, grid, share, self._drift, first)


def frozen_panel(subject: Subject, grid: Grid) -> Panel:
    """What is frozen of a weight; nothing of it is read."""
    return Panel(subject.row, subject.laid, grid, subject.share(grid))


def drift_panel(
    subject: Subject, grid: Grid, pairs: Iterable[tuple[int, np.ndarray, np.ndarray]]
) -> Panel:
    """What moved in a weight, whose pieces before and after are given one by one."""
    comparing = Comparing(subject, grid)
    for start, before, after in pairs:
        comparing.add(start, before, after)
    return comparing.panel()


def in_pieces(
    before: np.ndarray, after: np.ndarray, limit: int = PIECE
) -> Iterator[tuple[int, np.ndarray, np.ndarray]]:
    """Two arrays of one shape and dtype piece by piece, flat, without a copy if it can be.

    Yields:
        The flat place where a piece starts, and its entries in both.
    """
    for piece in pieces(after.shape, after.dtype.itemsize, limit):
        one, other = (np.ascontiguousarray(a[piece.index]).reshape(-1) for a in (before, after))
        yield piece.start, one, other


class Scale:
    """The range of drifts that the colours of all maps tell apart."""

    def __init__(self) -> None:
        self._low, self._high = math.inf, 0.0

    def add(self, drift: Drift) -> None:
        """Take in a map. A leak has a colour of its own, and would stretch the scale."""
        shown = drift.largest[(drift.largest > 0) & (drift.leaked == 0)]
        self._low = min(self._low, float(shown.min(initial=math.inf)))
        self._high = max(self._high, float(shown.max(initial=0)))

    @property
    def seen(self) -> tuple[float, float] | None:
        """The lowest and the highest that there are, None where nothing moved by a distance."""
        return (self._low, self._high) if self._high else None

    @property
    def limits(self) -> tuple[float, float]:
        """The lowest and the highest: a decade apart at least, or a bar has nothing to say."""
        low, high = (self._low, self._high) if self._high else (1.0, 1.0)
        if high < 10 * low:
            low, high = math.sqrt(low * high / 10), math.sqrt(low * high * 10)
        return low, high


class Gallery:
    """The panels that are drawn of many: those with a leak first, and no more than a limit kept.

    Args:
        limit: How many are drawn.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._leaking: list[tuple[int, Panel]] = []
        self._others: list[tuple[int, Panel]] = []
        self.seen = self.weights_leaked = self.entries_leaked = 0

    def add(self, panel: Panel) -> None:
        """Take in the next panel."""
        kept = self._leaking if panel.leaked else self._others
        # Of a large model no more is kept than is drawn.
        if len(kept) < self._limit:
            kept.append((self.seen, panel))
        self.seen += 1
        self.weights_leaked += bool(panel.leaked)
        self.entries_leaked += panel.leaked

    @property
    def shown(self) -> list[Panel]:
        """What is drawn, in the order in which it came."""
        chosen = [*self._leaking, *self._others][: self._limit]
        return [panel for _, panel in sorted(chosen, key=lambda placed: placed[0])]

    @property
    def said(self) -> str:
        """What there is to say of leaks, in words."""
        if not self.entries_leaked:
            return "no frozen entry moved"
        among = f" in {self.weights_leaked:,} of {self.seen:,} weights" if self.seen > 1 else ""
        return leaks(self.entries_leaked) + among


def leaks(count: int) -> str:
    """How many frozen entries moved, in words."""
    return f"{count:,} frozen {'entry' if count == 1 else 'entries'} moved"


def _ranges(shape: tuple[int, ...], start: int, stop: int) -> list[np.ndarray]:
    """The indices along each axis of a piece, which is a block: a range of rows of some axis."""
    ends = (np.unravel_index(place, shape) if shape else () for place in (start, stop - 1))
    first, last = (tuple(int(i) for i in end) for end in ends)
    apart = next((axis for axis, n in enumerate(first) if n != last[axis]), len(shape))
    return [
        np.arange(size) if axis > apart else np.arange(first[axis], last[axis] + 1)
        for axis, size in enumerate(shape)
    ]


def _places(sizes: Sequence[int], ranges: Sequence[np.ndarray]) -> np.ndarray:
    """`int[n]`: the places of a block along a side that several axes run down, sorted."""
    places = np.zeros(1, np.int64)
    for size, along in zip(sizes, ranges, strict=True):
        places = (places[:, None] * size + along).reshape(-1)
    return places
