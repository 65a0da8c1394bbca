"""Selections by the structure of a layer: output units, tokens, attention heads.

What the axes of a layer are is read from the catalogue, so Keras is not needed here.
"""

from __future__ import annotations

import contextlib
import math
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from frostline._arrays.equation import Equation
from frostline._catalogue import CATALOGUE, TOKEN, stock_of
from frostline._errors import SelectionError
from frostline._selections.algebra import Selection
from frostline._selections.heads import head_parts
from frostline._selections.index import Array, Slice, out_of_range, parse_item, shorten, to_numpy
from frostline._selections.parts import Parts
from frostline._selections.weight import Weight

_LISTED = 8  # longer lists of numbers in equal steps are shown as a range


@dataclass(frozen=True, init=False, repr=False)
class _Numbered(Selection):
    """Base: some of the numbered parts of a layer."""

    picked: int | Slice | Array
    _part: ClassVar[str] = "part"

    def __init__(self, indices: Any) -> None:
        item: object = None
        # A bad index is told below in terms of units, tokens or heads.
        with contextlib.suppress(SelectionError):
            if indices is not None:
                item = parse_item(list(indices) if isinstance(indices, tuple) else indices)
        flat = isinstance(item, Array) and len(item.shape) == 1 and not item.boolean
        if not (flat or isinstance(item, int | Slice)):
            raise SelectionError(
                f"{self._name}: {self._part} numbers are an integer, a slice, or a flat list or "
                f"array of integers; got {shorten(repr(indices))}. "
                f"Use fl.{self._name}(np.flatnonzero(array)) for a boolean array."
            )
        object.__setattr__(self, "picked", item)  # the dataclass is frozen

    @property
    def _name(self) -> str:
        return type(self).__name__.lower()

    def _pick(self, weight: Weight, count: int) -> np.ndarray:
        """Boolean array `(count,)`: the parts that are selected."""
        item = self.picked
        if not isinstance(item, Slice):
            rule = f"{self._part} {{}} is out of range for {{}} {self._part}s"
            broken = out_of_range(item, count, rule)
            if broken is not None:
                raise weight.error(broken[0], repr(self), broken[1])
        picked = np.zeros(count, bool)
        picked[to_numpy((item,))] = True
        return picked

    def __repr__(self) -> str:
        item = self.picked
        if isinstance(item, Slice):
            return f"{self._name}(slice({item.start}, {item.stop}, {item.step}))"
        if isinstance(item, Array) and item.shape[0] > _LISTED:
            values = item.numpy()
            steps = np.unique(np.diff(values))
            if steps.size == 1 and steps[0] != 0:
                first, last, step = int(values[0]), int(values[-1]), int(steps[0])
                end = last + (1 if step > 0 else -1)
                return f"{self._name}({range(first, end, step)})"
        return f"{self._name}({item})"


class Units(_Numbered):
    """Selects output units of a layer, whatever its class: neurons, filters, channels, features.

    A unit is a column of a `Dense` kernel and its bias entry, a filter, the columns of all gates
    in a recurrent cell, an output dimension of an embedding, the scale and offset of a feature.

    Args:
        indices: An integer, a slice, or a flat list, range or array of integers; negative ones
            count from the end.

    Raises:
        SelectionError: `indices` is of another kind. When used: a number is out of range, the layer
            is of an unknown class, or its outputs run along several axes.

    Note:
        Freezes what computes a unit, not its output: a frozen unit still changes when the layers
        before it train. Says nothing about weights without units, such as the depthwise kernel of a
        separable convolution or the moving statistics of a batch normalization.

    Examples:
        >>> import keras, frostline as fl
        >>> layer = keras.layers.Dense(3)
        >>> layer.build((None, 2))
        >>> _ = fl.freeze(layer, "*", fl.units([0, -1]))
        >>> fl.frozen_mask(layer.kernel).tolist()
        [[True, False, True], [True, False, True]]
        >>> fl.frozen_mask(layer.bias).tolist()
        [True, False, True]
    """

    _part: ClassVar[str] = "unit"

    def mask(self, weight: Weight) -> np.ndarray | None:
        parts = unit_parts(weight, repr(self))
        return None if parts is None else parts.mask(weight, self._pick(weight, parts.count))


class Tokens(_Numbered):
    """Selects the vectors of tokens in an embedding: rows of `embeddings`.

    In a `ReversibleEmbedding` with a projection of its own, also the columns of
    `reverse_embeddings`. Says nothing about the weights of other layers.

    Args:
        indices: A token id, a slice, or a flat list, range or array of ids; negative ones count
            from the end of the vocabulary.

    Raises:
        SelectionError: `indices` is of another kind; or, when used, an id is out of range.

    Examples:
        >>> import keras, frostline as fl
        >>> layer = keras.layers.Embedding(4, 2)
        >>> layer.build()
        >>> _ = fl.train_only(layer, "embeddings", fl.tokens([3]))
        >>> fl.frozen_mask(layer.embeddings).tolist()
        [[True, True], [True, True], [True, True], [False, False]]
    """

    _part: ClassVar[str] = "token"

    def mask(self, weight: Weight) -> np.ndarray | None:
        axes = stock_of(weight.owner).axes(weight.name)
        if TOKEN not in axes:
            return None
        axis = axes.index(TOKEN) - len(axes)
        parts = Parts((axis,), weight.shape[axis])
        return parts.mask(weight, self._pick(weight, parts.count))


class Heads(_Numbered):
    """Selects attention heads: their share of the query, key, value and output projections.

    Works in `MultiHeadAttention`, `GroupQueryAttention` and every other layer that says how many
    heads it has (`num_heads`, or `num_query_heads` and `num_key_value_heads`) and projects with
    `EinsumDense` layers of its own: the axis of the heads is read off the equation and its size.
    In KerasHub's attention also where heads and their features share one axis of a kernel, and
    where one kernel makes queries, keys and values. Says nothing about the bias of the output
    projection, which all heads share, nor about any other weight.

    Args:
        indices: A head number, a slice, or a flat list, range or array of them; negative ones count
            from the end.

    Raises:
        SelectionError: `indices` is of another kind. When used: a number is out of range, or
            nothing tells which axis of a projection the heads are.

    Note:
        In grouped-query attention the numbers are those of query heads. A key/value head is
        selected when every query head that reads it is. So `~heads(0)` selects the key/value head
        of query head 0 too, if another query head shares it.

    Examples:
        >>> import keras, frostline as fl
        >>> layer = keras.layers.MultiHeadAttention(num_heads=2, key_dim=1)
        >>> layer.build((None, 5, 3), (None, 5, 3))
        >>> _ = fl.freeze(layer, "*", fl.heads(0))
        >>> fl.frozen_mask(layer.query_dense.kernel)[:, :, 0].tolist()
        [[True, False], [True, False], [True, False]]
    """

    _part: ClassVar[str] = "head"

    def mask(self, weight: Weight) -> np.ndarray | None:
        parts = head_parts(weight, repr(self))
        return None if parts is None else parts.mask(weight, self._pick(weight, parts.count))


def unit_parts(weight: Weight, got: str) -> Parts | None:
    """Where the output units of its layer are in a weight; None for a weight that has none.

    Raises:
    SelectionError: That is not known. `got` is the selection, for the message.
    """
    layer: Any = weight.owner
    stock = stock_of(layer)
    if stock.product == "normalize" and len(weight.shape) != 1:
        raise weight.error(
            "the features of a normalization over several axes have no single number",
            got,
            "Use fl.at[...].",
        )
    if not stock.product:
        others = ("EinsumDense", "ConvLSTMCell")
        known = sorted(n for n, s in CATALOGUE.items() if s.product and n not in others)
        raise weight.error(
            f"fl.units does not know where the units of {type(layer).__name__} are",
            got,
            f"Use fl.at[...]. Known are {', '.join(known)}, EinsumDense and ConvLSTM layers.",
        )
    own = stock.axes(weight.name)
    axes = tuple(place - len(own) for place, axis in enumerate(own) if axis.outputs)
    if stock.product == "einsum":
        axes = _einsum_axes(weight, layer, got)
    if not axes:
        return None
    count = math.prod(weight.shape[axis] for axis in axes)
    if stock.product == "recurrent":  # all units once for each gate
        count = getattr(layer, stock.axes("kernel")[-1].size)
    return Parts(axes, count)


def _einsum_axes(weight: Weight, layer: Any, got: str) -> tuple[int, ...]:
    """Reads the axes off the equation: units are what only kernel and output share."""
    if weight.name not in ("kernel", "bias"):
        return ()
    equation = Equation.parse(layer.equation)
    count = len(equation.produced)
    if count != 1:
        raise weight.error(
            f"the kernel of {layer.equation} has {count} axes of output units, not one",
            got,
            "Use fl.heads(...) in an attention layer, or fl.at[...].",
        )
    axis = equation.axis(equation.produced, weight.name, layer.bias_axes)
    return () if axis is None else (axis,)


units = Units
tokens = Tokens
heads = Heads
