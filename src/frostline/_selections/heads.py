"""Where the heads of an attention layer are in the weights of its projections.

Known by what a layer says of itself and not by its class: how many heads it has, and the equations
of its `EinsumDense` layers.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from frostline._arrays.equation import Equation
from frostline._catalogue import has_heads_first, stock_of
from frostline._selections.weight import Weight

# What layers call the number of their heads, with or without an underscore in front.
_QUERY_HEADS = ("num_heads", "num_query_heads", "num_attention_heads")
_KEY_VALUE_HEADS = ("num_key_value_heads", "num_kv_heads")
_NAMES = ("query", "key", "value")


@dataclass(frozen=True)
class HeadAxis:
    """The axis of a weight that runs over heads.

    Attributes:
        axis: Which one.
        count: How many heads it has.
        queries: How many query heads the layer has: as many, or a multiple.
    """

    axis: int
    count: int
    queries: int


@dataclass(frozen=True)
class _Counts:
    query: int
    key_value: int


@dataclass(frozen=True)
class _Candidate:
    """An axis of a kernel that may run over heads."""

    letter: str
    axis: int
    count: int
    out: bool
    """Heads end here: the kernel sums over them."""


def head_axis(weight: Weight, got: str) -> HeadAxis | None:
    """The axis of `weight` that runs over the heads of the layer around its own; None for no axis.

    Raises:
        SelectionError: More than one axis may, or there is none in a projection that has heads.
            `got` is the selection, for the message.
    """
    layers: tuple[Any, ...] = (None, None, *weight.layers)
    attention, projection = layers[-2:]
    counts = _counts(attention)
    if counts is None or weight.name not in ("kernel", "bias"):
        return None
    found = list(_candidates(projection, counts))
    if not found:
        if weight.name == "kernel" and _hides_heads(weight, counts):
            raise weight.error(
                f"the {counts.query} heads of this {type(attention).__name__} have no axis of "
                "their own here",
                got,
                "Name its other weights, and use fl.at[...] for this one.",
            )
        return None
    if len(found) > 1 and not has_heads_first(attention):
        axes = " or ".join(f"{one.axis} ({one.count})" for one in found)
        raise weight.error(
            f"the heads of this {type(attention).__name__} may be axis {axes} of the kernel of "
            f"{projection.equation}",
            got,
            "Use fl.at[...].",
        )
    count = found[0].count
    if counts.query % count:
        raise weight.error(
            f"{counts.query} query heads can not share {count} key/value heads evenly",
            got,
            "Use fl.at[...].",
        )
    equation = Equation.parse(projection.equation)
    axis = equation.axis(found[0].letter, weight.name, projection.bias_axes)
    return None if axis is None else HeadAxis(axis, count, counts.query)


def _counts(layer: Any) -> _Counts | None:
    query = _integer(layer, _QUERY_HEADS)
    return None if query is None else _Counts(query, _integer(layer, _KEY_VALUE_HEADS) or query)


def _integer(layer: Any, names: tuple[str, ...]) -> int | None:
    spelt = (getattr(layer, before + name, None) for name in names for before in ("", "_"))
    return next((int(n) for n in spelt if isinstance(n, int | np.integer) and n > 0), None)


def _candidates(projection: Any, counts: _Counts) -> Iterator[_Candidate]:
    """A head has a number and features, so its axis is one of two that come or go together."""
    if stock_of(projection).product != "einsum" or not projection.built:
        return
    equation = Equation.parse(projection.equation)
    sizes = dict(zip(equation.kernel, map(int, projection.kernel.shape), strict=True))
    coming = {counts.query, counts.key_value}
    if _is_named(projection, "query") != _is_named(projection, "key", "value"):
        coming = {counts.query if _is_named(projection, "query") else counts.key_value}
    for letters, wanted in ((equation.summed, {counts.query}), (equation.produced, coming)):
        for letter in letters if len(letters) > 1 else ():
            if sizes[letter] in wanted:
                out = letters == equation.summed
                yield _Candidate(letter, equation.kernel.index(letter), sizes[letter], out)


def _hides_heads(weight: Weight, counts: _Counts) -> bool:
    """Whether a kernel has heads side by side in one axis, where nothing says which they are.

    To be silent about it would freeze a part of a head. So it is for what is called a query, key or
    value, and for the other projections where heads come out of some and go into none. A layer that
    says how many heads it has and has none of these is no attention but a block around one.
    """
    *_, attention, projection = weight.layers
    if not _is_projection(projection):
        return False
    fellows = list(filter(_is_projection, weight.children(attention)))
    ends = {found.out for fellow in fellows for found in _candidates(fellow, counts)}
    named = all(any(_is_named(fellow, word) for fellow in fellows) for word in _NAMES)
    return bool(ends or named) and (_is_named(projection, *_NAMES) or True not in ends)


def _is_projection(layer: Any) -> bool:
    return stock_of(layer).product in ("matmul", "einsum")


def _is_named(layer: Any, *words: str) -> bool:
    return any(word in layer.name for word in words)
