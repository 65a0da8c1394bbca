"""Fast paths: products with a partly frozen weight whose cost depends on the trainable part.

They are optional. A fast path replaces a product, not a layer. It is a subclass of a stock layer in
which one method runs as Keras wrote it, with some of the `ops` that it calls replaced. The class of
a partly frozen layer has it among its bases, right before the stock class. So a user's subclass
that calls `super().call(...)` uses it. A subclass that multiplies in its own way does not, and
reads the merged weight. Both give equal results, see `test_a_fast_path_equals_the_generic_one`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import keras

from frostline import _keras
from frostline._catalogue import CATALOGUE, stock_of
from frostline._fast.conv import conv, depthwise_conv, separable_conv
from frostline._fast.dense import matmul
from frostline._fast.einsum import einsum
from frostline._fast.embedding import cast, convert_to_tensor, matmul_reverse, take, transpose
from frostline._fast.product import generic
from frostline._weights.tree import Found

__all__ = ["FAST_PATHS", "generic", "has_fast_path", "with_fast_paths"]

_PRODUCTS: dict[str, Mapping[str, Callable[..., Any]]] = {
    "matmul": {"matmul": matmul},
    "einsum": {"einsum": einsum},
    "conv": {"conv": conv},
    "depthwise_conv": {"depthwise_conv": depthwise_conv},
    "separable_conv": {"separable_conv": separable_conv},
    "take": {"take": take},
    "take_and_matmul": {
        "convert_to_tensor": convert_to_tensor,
        "transpose": transpose,
        "cast": cast,
        "matmul": matmul_reverse,
    },
}
"""For each product, the names of operations in `keras.ops`, and their replacements."""


@dataclass(frozen=True)
class FastPath:
    """The operations of a stock layer that are replaced."""

    layer: type
    replaced: Mapping[str, Callable[..., Any]]

    @property
    def method(self) -> str:
        """The method that multiplies; some convolutions share a `call` that calls it."""
        shared = hasattr(self.layer, "convolution_op") and "call" not in vars(self.layer)
        return "convolution_op" if shared else "call"


FAST_PATHS = tuple(
    FastPath(vars(keras.layers)[name], _PRODUCTS[stock.product])
    for name, stock in CATALOGUE.items()
    if stock.product in _PRODUCTS
)

_classes = {
    path.layer: type(
        path.layer.__name__,
        (path.layer,),
        {path.method: _keras.with_ops(getattr(path.layer, path.method), path.replaced)},
    )
    for path in FAST_PATHS
}


def with_fast_paths(base: type) -> tuple[type, ...]:
    """The bases for a subclass of a layer class: the class itself and its fast paths."""
    found = tuple(_classes[kind] for kind in base.__mro__ if kind in _classes)
    return found if base in _classes else (base, *found)


def has_fast_path(weight: Found) -> bool:
    """Whether a fast path may multiply by this weight without merging it."""
    owner, stock = weight.owner, stock_of(weight.owner)
    return stock.product in _PRODUCTS and any(
        len(own.axes) > 1  # one axis is a bias
        # By attribute: a subclass may give its kernel another name.
        and getattr(owner, own.name, None) is weight.variable
        for own in stock.variables
    )
