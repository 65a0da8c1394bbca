"""Which entry of a weight lies where on its map: a matrix, whatever the weight's rank.

Inputs run down and outputs run across. What has a structure of its own - heads, gates, the window
of a convolution - is laid out tile by tile.
"""

from __future__ import annotations

import contextlib
import math
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np

from frostline._algebra import Weight
from frostline._attention import head_axis
from frostline._equation import Equation
from frostline._errors import SelectionError
from frostline._plots._cells import Side
from frostline._tree import Found


def _classes(*names: str) -> tuple[type, ...]:
    """The classes of these names that this release of Keras has."""
    found = (getattr(keras.layers, name, None) for name in names)
    return tuple(cls for cls in found if isinstance(cls, type))


_EMBEDDING = _classes("Embedding", "ReversibleEmbedding")
_CONVOLUTION = _classes("Conv1D", "Conv2D", "Conv3D", "SeparableConv1D", "SeparableConv2D")
_TRANSPOSED = _classes("Conv1DTranspose", "Conv2DTranspose", "Conv3DTranspose")
_DEPTHWISE = _classes("DepthwiseConv1D", "DepthwiseConv2D")
_NORMALIZATION = _classes(
    "BatchNormalization", "LayerNormalization", "GroupNormalization", "RMSNormalization"
)
# The gates in the order in which Keras lays them side by side.
_GATES = (
    (_classes("LSTMCell"), ("input", "forget", "cell", "output")),
    (_classes("GRUCell"), ("update", "reset", "state")),
)
_ENTRIES = (
    ((*_CONVOLUTION, *_TRANSPOSED, *_DEPTHWISE), "channel"),
    (_NORMALIZATION, "feature"),
    (_classes("Dense", "EinsumDense", "SimpleRNNCell"), "unit"),
)


@dataclass(frozen=True)
class Arrangement:
    """A weight's axes in another order, of which `rows` are the first and `columns` the others."""

    order: tuple[int, ...]
    rows: Side
    columns: Side

    def lay_out(self, array: np.ndarray) -> np.ndarray:
        """An array of the weight's shape as `(rows, columns)`, without a copy if it can be."""
        return array.transpose(self.order).reshape(self.rows.size, self.columns.size)


def arrangement(weight: Found) -> Arrangement:
    """How to show a weight, by its rank and by what its layer says of its axes."""
    shape = tuple(int(n) for n in weight.variable.shape)
    name, owner = weight.variable.name, weight.owner
    if len(shape) >= 2 and isinstance(owner, keras.layers.EinsumDense):
        found = _einsum(weight, owner, shape)
        if found is not None:
            return found
    if len(shape) < 2:
        return Arrangement(tuple(range(len(shape))), Side(1, 1), _last(owner, shape))
    if len(shape) == 2:
        labels = {"kernel": ("input", "unit"), "recurrent_kernel": ("state", "unit")}
        rows, columns = labels.get(name, ("axis 0", "axis 1"))
        if isinstance(owner, _EMBEDDING):
            rows, columns = ("token", "feature") if name == "embeddings" else ("feature", "token")
        across = _last(owner, shape)
        label = across.label if across.tiles > 1 else columns
        return Arrangement((0, 1), Side(1, shape[0], rows), _relabelled(across, label))
    convolution = _convolution(owner, name, shape)
    return convolution or _by_axis(shape)


def _last(owner: Any, shape: tuple[int, ...]) -> Side:
    """The last axis: gates side by side in a recurrent cell, else one entry after another."""
    size = shape[-1] if shape else 1
    for cells, gates in _GATES:
        if isinstance(owner, cells) and size % len(gates) == 0:
            return _tiles(len(gates), size // len(gates), "gate", "columns", gates)
    labels = (label for classes, label in _ENTRIES if isinstance(owner, classes))
    return Side(1, size, next(labels, "entry"))


def _relabelled(side: Side, label: str) -> Side:
    return Side(side.tiles, side.inner, label, side.names)


def _tiles(tiles: int, inner: int, label: str, along: str, names: tuple[str, ...] = ()) -> Side:
    if inner == 1 and not names:
        return Side(1, tiles, label)
    names = names or (("0",) if tiles == 1 else ())  # or it would pass for a side without tiles
    return Side(tiles, inner, f"{label} ({inner:,} {along} each)", names)


def _einsum(weight: Found, owner: Any, shape: tuple[int, ...]) -> Arrangement | None:
    """What is summed over runs down and what is made runs across; heads are tiles."""
    heads = None
    asked = Weight(weight.path, weight.variable.name, shape, "", lambda: np.empty(0), weight.layers)
    # An axis that may or may not be the heads is an axis like another.
    with contextlib.suppress(SelectionError):
        found = head_axis(asked, "plot")
        heads = None if found is None else found.axis
    if weight.variable.name != "kernel":
        if heads is None or len(shape) != 2:
            return None
        rows = Side(1, shape[heads], "head")
        return Arrangement((heads, 1 - heads), rows, Side(1, shape[1 - heads], "feature"))
    equation = Equation.parse(owner.equation)
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


def _convolution(owner: Any, name: str, shape: tuple[int, ...]) -> Arrangement | None:
    """A window for each pair of an input and an output channel."""
    rank = len(shape)
    down, across = rank - 2, rank - 1
    labels = ("input channel", "output channel")
    if isinstance(owner, _TRANSPOSED):
        down, across = across, down
    elif isinstance(owner, _DEPTHWISE) or name == "depthwise_kernel":
        down, across = across, down
        labels = ("multiplier", "channel")
    elif not isinstance(owner, _CONVOLUTION):
        return None
    *high, wide = range(rank - 2)
    return Arrangement(
        (down, *high, across, wide),
        _tiles(shape[down], math.prod(shape[a] for a in high), labels[0], "rows"),
        _tiles(shape[across], shape[wide], labels[1], "columns"),
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
