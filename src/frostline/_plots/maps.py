"""A weight to be looked at, and its map: the one way for models and files, piece by piece.

A weight comes in pieces of some megabytes, in C order, and what is kept of it are the cells of its
map. No Keras, no matplotlib.
"""

from __future__ import annotations

import functools
import itertools
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

ENDS = (0.01, 0.99)  # quantiles of the distances at which the colours of what moved begin and end
STOPS = 9

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
        """Cells of its map: no more than pixels, and than 512 along a side.

        Windows of a convolution that would be too small to be read are a cell each.
        """
        rows, columns = self.laid.rows, self.laid.columns
        down, across = (min(most, MOST) for most in pixels(rows, columns))
        if self.laid.windows and not self.laid.windowed:
            down = min(down, rows.tiles if rows.tiled else rows.size)
            across = min(across, columns.tiles if columns.tiled else columns.size)
        return Grid(rows.edges(down), columns.edges(across))

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
        for piece in pieces(self.row.shape, 8):  # a place along a side takes eight bytes
            region, lay_out = self.region(grid, piece.start, piece.stop)
            add_frozen(counts, region, lay_out(self.frozen.flat_mask(piece.start, piece.stop)))
        return counts / grid.sizes


@dataclass(frozen=True)
class Alike:
    """Weights of which one map is drawn, that of the first: they differ in numbers alone.

    Attributes:
        first: The map that is drawn.
        name: The path of all, with `*` for what differs.
        count: How many there are.
        shares: The lowest and the highest frozen part.
        largest: The lowest and the highest of their largest drifts.
        same: Whether one map of what is frozen is true of all.
    """

    first: Panel
    name: str
    count: int
    shares: tuple[float, float]
    largest: tuple[float, float]
    same: bool

    @classmethod
    def of(cls, panel: Panel) -> Alike:
        share, largest = panel.row.share, panel.largest
        same = panel.drift is None
        return cls(panel, panel.row.path, 1, (share, share), (largest, largest), same)

    def with_another(self, panel: Panel) -> Alike:
        """With one more, of the same shape and kind."""
        shares, largest = (*self.shares, panel.row.share), (*self.largest, panel.largest)
        return Alike(
            self.first,
            merged(self.name, panel.row.path),
            self.count + 1,
            (min(shares), max(shares)),
            (min(largest), max(largest)),
            self.same and np.array_equal(self.first.share, panel.share),
        )


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
        alike: Where the map stands for several weights, all of them.
    """

    row: Row
    laid: Arrangement
    grid: Grid
    share: np.ndarray
    drift: Drift | None = None
    first: First | None = None
    alike: Alike | None = None

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
    """The range of drifts that the colours of all maps tell apart: it follows the values."""

    def __init__(self) -> None:
        self._found: list[np.ndarray] = []

    def add(self, drift: Drift) -> None:
        """Take in a map. A leak has a colour of its own, and would stretch the scale."""
        self._found.append(drift.largest[(drift.largest > 0) & (drift.leaked == 0)])

    @property
    def seen(self) -> tuple[float, float] | None:
        """The lowest and the highest that there are, None where nothing moved by a distance."""
        found = [array for array in self._found if array.size]
        return (min(map(np.min, found)), max(map(np.max, found))) if found else None

    @functools.cached_property
    def stops(self) -> list[float]:
        """Distances whose colours are evenly apart; between two of them it is logarithmic.

        Most entries move by nearly the same, and some by decades less. So half of the colours
        follow the logarithm, and half how many cells there are.
        """
        found = np.log(np.concatenate([*self._found, np.zeros(0)]))
        even = np.linspace(0, 1, STOPS)
        values = np.quantile(found, np.linspace(*ENDS, 1000)) if found.size else np.zeros(2)
        low, high = values[0], values[-1]
        if high - low < math.log(2):
            # A bar of nearly one number has nothing to say.
            return np.exp((low + high - math.log(2)) / 2 + even * math.log(2)).tolist()
        ranks = np.linspace(0, 1, len(values))
        return np.exp(np.interp(even, (ranks + (values - low) / (high - low)) / 2, values)).tolist()


def merged(name: str, path: str) -> str:
    """A pattern of both: `layer_0/kernel` and `layer_1/kernel` are `layer_*/kernel`."""

    def joined(one: str, other: str) -> str:
        if one == other:
            return one
        start = _common(one.partition("*")[0], other)
        end = _common(one.rpartition("*")[2][::-1], other[: len(start) - 1 : -1])
        return "".join([*start, "*", *end[::-1]])

    return "/".join(map(joined, name.split("/"), path.split("/")))


def _common(one: Sequence[str], other: Sequence[str]) -> list[str]:
    """What two sequences begin with."""
    same = itertools.takewhile(lambda pair: pair[0] == pair[1], zip(one, other, strict=False))
    return [first for first, _ in same]


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
