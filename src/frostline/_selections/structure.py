"""Selections by the structure of a layer: output units, tokens, attention heads.

The axes of each layer class are in the catalogue, so Keras is not needed here.
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

_LISTED = 8  # longer lists of numbers in equal steps print as a range


@dataclass(frozen=True, init=False, repr=False)
class _Numbered(Selection):
    """Base: some of the numbered parts of a layer."""

    picked: int | Slice | Array
    _part: ClassVar[str] = "part"

    def __init__(self, indices: Any, *more: Any) -> None:
        if more:
            given = ", ".join(map(repr, (indices, *more)))
            raise SelectionError(
                f"{self._name}: several numbers go into one list; got {shorten(given)}. "
                f"Write `fl.{self._name}([{shorten(given)}])`."
            )
        item: object = None
        # The error for a bad index is raised below, in terms of units, tokens or heads.
        with contextlib.suppress(SelectionError):
            if indices is not None:
                item = parse_item(list(indices) if isinstance(indices, tuple) else indices)
        flat = isinstance(item, Array) and len(item.shape) == 1 and not item.boolean
        if not (flat or isinstance(item, int | Slice)):
            raise SelectionError(
                f"{self._name}: {self._part} numbers must be an integer, a slice, or a flat list "
                f"or array of integers; got {shorten(repr(indices))}. Write fl.{self._name}([0, "
                f"1]), or fl.{self._name}(np.flatnonzero(array)) for a boolean array."
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
    """Select output units of a layer: neurons, filters, channels, features.

    A unit is a column of a `Dense` kernel and its bias entry, a filter, the columns of all gates
    in a recurrent cell, an output dimension of an embedding, the scale and offset of a feature.

    Args:
        indices: An integer, a slice, or a flat list, range or array of integers; negative ones
            count from the end.

    Raises:
        SelectionError: `indices` is none of these. When used: a number is out of range, the layer
            class is unknown, or its outputs run along several axes.

    Note:
        This freezes the weights that compute a unit, not its output: the output still changes when
        the layers before it train. It does not apply to weights without units, such as the
        depthwise kernel of a separable convolution or the moving statistics of a batch
        normalization.

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
    """Select the vectors of tokens in an embedding: rows of `embeddings`.

    In a `ReversibleEmbedding` with `tie_weights=False`, this also selects the columns of
    `reverse_embeddings`. It does not apply to the weights of other layers.

    Args:
        indices: A token id, a slice, or a flat list, range or array of ids; negative ones count
            from the end of the vocabulary.

    Raises:
        SelectionError: `indices` is none of these; or, when used, an id is out of range.

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
    """Select attention heads: their share of the query, key, value and output projections.

    This works for `MultiHeadAttention`, `GroupQueryAttention` and every other layer that has an
    attribute for the number of heads (`num_heads`, or `num_query_heads` and `num_key_value_heads`)
    and its own `EinsumDense` projections: the equation and the sizes show which axis runs over
    heads. For KerasHub's attention layers it also works if heads and their features share one axis
    of a kernel, and if one kernel makes queries, keys and values. It does not apply to the bias of
    the output projection, which all heads share, or to any other weight.

    Args:
        indices: A head number, a slice, or a flat list, range or array of them; negative ones count
            from the end.

    Raises:
        SelectionError: `indices` is none of these. When used: a number is out of range, or it is
            unknown which axis of a projection runs over heads.

    Note:
        In grouped-query attention the numbers are those of query heads. A key/value head is
        selected if every query head that reads it is. So `~heads(0)` also selects the key/value
        head of query head 0, if another query head shares it.

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
    """The positions of the output units in a weight; None if it has none.

    Raises:
        SelectionError: They are unknown. `got` is the selection, for the message.
    """
    layer: Any = weight.owner
    stock = stock_of(layer)
    if stock.product == "normalize" and len(weight.shape) != 1:
        raise weight.error(
            "a normalization over several axes has no single number for a feature",
            got,
            "Use fl.at[...].",
        )
    if not stock.product:
        others = ("EinsumDense", "ConvLSTMCell")
        known = sorted(n for n, s in CATALOGUE.items() if s.product and n not in others)
        raise weight.error(
            f"fl.units does not know the units of {type(layer).__name__}",
            got,
            f"Use fl.at[...]. fl.units knows {', '.join(known)}, EinsumDense and ConvLSTM layers.",
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
    """The axes of the units in the equation: those that only kernel and output have."""
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
