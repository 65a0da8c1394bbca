"""Which entry of a weight lies where on its map: a matrix, whatever the weight's rank.

Inputs run down and outputs run across. What has a structure of its own - heads, gates, the window
of a convolution - is laid out tile by tile. Pure NumPy: who knows the layer says what it is, from
the layer itself (`_layers`) or from the config in a file (`_stored`).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from frostline._arrays.equation import Equation
from frostline._plots.cells import Side

_EMBEDDING = ("Embedding", "ReversibleEmbedding")
_CONVOLUTION = ("Conv1D", "Conv2D", "Conv3D", "SeparableConv1D", "SeparableConv2D")
_TRANSPOSED = ("Conv1DTranspose", "Conv2DTranspose", "Conv3DTranspose")
_DEPTHWISE = ("DepthwiseConv1D", "DepthwiseConv2D")
_NORMALIZATION = (
    *("BatchNormalization", "LayerNormalization", "GroupNormalization", "RMSNormalization"),
)
# The gates in the order in which Keras lays them side by side.
_GATES = {
    "LSTMCell": ("input", "forget", "cell", "output"),
    "GRUCell": ("update", "reset", "state"),
}
_ENTRIES = {
    **dict.fromkeys((*_CONVOLUTION, *_TRANSPOSED, *_DEPTHWISE), "channel"),
    **dict.fromkeys(_NORMALIZATION, "feature"),
    **dict.fromkeys(("Dense", "EinsumDense", "SimpleRNNCell"), "unit"),
}
KINDS = frozenset((*_EMBEDDING, *_GATES, *_ENTRIES))
"""Names of Keras's classes whose weights have axes with a meaning."""


@dataclass(frozen=True)
class Known:
    """What is known of the layer that a weight belongs to.

    Attributes:
        kind: Which of `KINDS` it is, empty for any other.
        equation: That of an `EinsumDense`.
        heads: The axis of the weight that runs over heads.
    """

    kind: str = ""
    equation: Equation | None = None
    heads: int | None = None


@dataclass(frozen=True)
class Arrangement:
    """A weight's axes in another order, of which `rows` are the first and `columns` the others."""

    order: tuple[int, ...]
    rows: Side
    columns: Side

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


def arrangement(name: str, shape: tuple[int, ...], known: Known) -> Arrangement:
    """How to show a weight, by its rank and by what is known of its layer."""
    if len(shape) >= 2 and known.equation is not None:
        found = _einsum(name, shape, known.equation, known.heads)
        if found is not None:
            return found
    across = _last(known.kind, shape)
    if len(shape) < 2:
        return Arrangement(tuple(range(len(shape))), Side(1, 1), across)
    if len(shape) == 2:
        labels = {"kernel": ("input", "unit"), "recurrent_kernel": ("state", "unit")}
        rows, columns = labels.get(name, ("axis 0", "axis 1"))
        if known.kind in _EMBEDDING:
            rows, columns = ("token", "feature") if name == "embeddings" else ("feature", "token")
        label = across.label if across.tiles > 1 else columns
        return Arrangement((0, 1), Side(1, shape[0], rows), _relabelled(across, label))
    return _convolution(known.kind, name, shape) or _by_axis(shape)


def _last(kind: str, shape: tuple[int, ...]) -> Side:
    """The last axis: gates side by side in a recurrent cell, else one entry after another."""
    size = shape[-1] if shape else 1
    gates = _GATES.get(kind, ())
    if gates and size % len(gates) == 0:
        return _tiles(len(gates), size // len(gates), "gate", "columns", gates)
    return Side(1, size, _ENTRIES.get(kind, "entry"))


def _relabelled(side: Side, label: str) -> Side:
    return Side(side.tiles, side.inner, label, side.names)


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


def _convolution(kind: str, name: str, shape: tuple[int, ...]) -> Arrangement | None:
    """A window for each pair of an input and an output channel."""
    rank = len(shape)
    down, across = rank - 2, rank - 1
    labels = ("input channel", "output channel")
    if kind in _TRANSPOSED:
        down, across = across, down
    elif kind in _DEPTHWISE or name == "depthwise_kernel":
        down, across = across, down
        labels = ("multiplier", "channel")
    elif kind not in _CONVOLUTION:
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
