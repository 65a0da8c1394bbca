"""Which entry of a weight lies where on its map: a matrix, whatever the weight's rank.

Inputs run down and outputs run across. What has a structure of its own - heads, gates, the window
of a convolution - is laid out tile by tile. Pure NumPy: who knows the layer says what it is, from
the layer itself (`values`) or from the config in a file (`_cli/pictures`).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from frostline._arrays.equation import Equation
from frostline._catalogue import CATALOGUE, OUTPUT_CHANNEL, UNIT, Axis, StockClass
from frostline._plots.cells import Side

WINDOWED = 96  # entries along a side: of more, windows are a cell each, or they could not be read
_USUAL = CATALOGUE["SimpleRNNCell"]  # what any layer's `kernel` and `recurrent_kernel` are


@dataclass(frozen=True)
class Arrangement:
    """A weight's axes in another order, of which `rows` are the first and `columns` the others."""

    order: tuple[int, ...]
    rows: Side
    columns: Side
    windows: bool = False  # of a convolution

    @property
    def windowed(self) -> bool:
        """Whether windows are drawn entry by entry, as the small pictures that they are."""
        rows, columns = self.rows, self.columns
        tiled = self.windows and (rows.tiled or columns.tiled)
        return tiled and max(rows.size, columns.size) <= WINDOWED

    def down(self, shape: tuple[int, ...]) -> int:
        """How many axes of a weight of `shape`, in this order, run down."""
        count, size = 0, 1
        while size != self.rows.size and count < len(shape):
            size *= shape[self.order[count]]
            count += 1
        return count

    def lay_out(self, array: np.ndarray) -> np.ndarray:
        """An array of the weight's shape as `(rows, columns)`, without a copy if it can be."""
        return array.transpose(self.order).reshape(self.rows.size, self.columns.size)


def arrangement(
    name: str,
    shape: tuple[int, ...],
    stock: StockClass,
    equation: Equation | None = None,
    heads: int | None = None,
) -> Arrangement:
    """How to show a weight: by its rank, the class of its layer, its equation and axis of heads."""
    if len(shape) >= 2 and equation is not None:
        found = _einsum(name, shape, equation, heads)
        if found is not None:
            return found
    axes = stock.axes(name)
    gates = stock.gates if axes[-1:] == (UNIT,) else ()
    if len(shape) < 2:
        label = axes[-1].label if axes else "entry"
        return Arrangement(tuple(range(len(shape))), Side(1, 1), _last(shape, gates, label))
    if len(shape) == 2:
        axes = axes or _USUAL.axes(name)
        rows, columns = (a.label for a in axes) if len(axes) == 2 else ("axis 0", "axis 1")
        return Arrangement((0, 1), Side(1, shape[0], rows), _last(shape, gates, columns))
    if "conv" in stock.product:
        # Another weight of such a layer, as LoRA's, has the axes of the kernel.
        return _windows(axes or stock.variables[-2].axes, shape)
    return _by_axis(shape)


def _last(shape: tuple[int, ...], gates: tuple[str, ...], label: str) -> Side:
    """The last axis: gates side by side in a recurrent cell, else one entry after another."""
    size = shape[-1] if shape else 1
    if gates and size % len(gates) == 0:
        return _tiles(len(gates), size // len(gates), "gate", "columns", gates)
    return Side(1, size, label)


def _tiles(tiles: int, inner: int, label: str, along: str, names: tuple[str, ...] = ()) -> Side:
    if inner == 1 and not names:
        return Side(1, tiles, label)
    names = names or (("0",) if tiles == 1 else ())  # or it would pass for a side without tiles
    return Side(tiles, inner, f"{label} ({inner:,} {along} each)", names)


def _einsum(
    name: str, shape: tuple[int, ...], equation: Equation, heads: int | None
) -> Arrangement | None:
    """What is summed over runs down and what is made runs across; heads are tiles."""
    if name != "kernel":
        if heads is None or len(shape) != 2:
            return None
        rows = Side(1, shape[heads], "head")
        return Arrangement((heads, 1 - heads), rows, Side(1, shape[1 - heads], "feature"))
    if len(equation.kernel) != len(shape):
        return None
    down = [a for a, letter in enumerate(equation.kernel) if letter in equation.inputs]
    across = [a for a in range(len(shape)) if a not in down]
    if not down or not across:
        return None
    return Arrangement(
        (*_heads_first(down, heads), *_heads_first(across, heads)),
        _side(down, heads, shape, "input", "rows"),
        _side(across, heads, shape, "unit", "columns"),
    )


def _heads_first(axes: list[int], heads: int | None) -> list[int]:
    return sorted(axes, key=lambda axis: (axis != heads, axis))


def _side(
    axes: list[int], heads: int | None, shape: tuple[int, ...], label: str, along: str
) -> Side:
    first, *others = (shape[axis] for axis in _heads_first(axes, heads))
    if heads in axes:
        return _tiles(first, math.prod(others), "head", along)
    if others:
        numbers = " x ".join(map(str, axes[1:]))
        return _tiles(first, math.prod(others), f"axis {axes[0]}, in it axis {numbers}", along)
    return Side(1, first, label)


def _windows(axes: tuple[Axis, ...], shape: tuple[int, ...]) -> Arrangement:
    """A window for each pair of an input and an output channel."""
    *high, wide, down, across = range(len(shape))
    if axes[-1] != OUTPUT_CHANNEL:
        down, across = across, down
        axes = axes[::-1]
    return Arrangement(
        (down, *high, across, wide),
        _tiles(shape[down], math.prod(shape[a] for a in high), axes[0].label, "rows"),
        _tiles(shape[across], shape[wide], axes[1].label, "columns"),
        windows=True,
    )


def _by_axis(shape: tuple[int, ...]) -> Arrangement:
    """Matrices of the last two axes, one below the other."""
    *first, high, wide = shape
    numbers = ", ".join(map(str, range(len(first))))
    label = f"axis {numbers}" if len(first) == 1 else f"axes {numbers}"
    return Arrangement(
        tuple(range(len(shape))),
        _tiles(math.prod(first), high, label, "rows"),
        Side(1, wide, f"axis {len(shape) - 1}"),
    )
