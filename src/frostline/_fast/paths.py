"""Fast paths: products with a partly frozen weight that cost what trains. Optional, all of them.

A fast path replaces a product and not a layer. It is a subclass of a stock layer in which one
method runs as Keras wrote it, with one of the `ops` that it calls exchanged. The class of a partly
frozen layer has it among its bases, right before the stock class: so a subclass of the user's that
calls `super().call(...)` reaches it, and one that multiplies in its own way does not, and reads
the weight put together. Both are equal, see `test_a_fast_path_equals_the_generic_one`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import keras

from frostline import _keras
from frostline._fast.conv import conv, depthwise_conv, separable_conv
from frostline._fast.dense import matmul
from frostline._fast.einsum import einsum
from frostline._fast.embedding import cast, convert_to_tensor, matmul_reverse, take, transpose
from frostline._fast.product import generic
from frostline._weights.tree import Found

__all__ = ["FAST_PATHS", "generic", "has_fast_path", "with_fast_paths"]


@dataclass(frozen=True)
class FastPath:
    """Which product of a stock layer is replaced."""

    layer: type
    method: str
    replaced: Mapping[str, Callable[..., Any]]
    """The name of an operation in `keras.ops`, and what is called in its place."""
    weights: tuple[str, ...]
    """The attributes of the layer that hold the weights it multiplies with."""


def _base(layer: type) -> type:
    """The class that the layers of two and three dimensions share, which has no public name."""
    return layer.__mro__[1]


FAST_PATHS = (
    FastPath(keras.layers.Dense, "call", {"matmul": matmul}, ("_kernel",)),
    FastPath(keras.layers.EinsumDense, "call", {"einsum": einsum}, ("_kernel",)),
    FastPath(keras.layers.Conv1D, "call", {"conv": conv}, ("_kernel",)),
    FastPath(_base(keras.layers.Conv2D), "convolution_op", {"conv": conv}, ("_kernel",)),
    FastPath(
        _base(keras.layers.DepthwiseConv2D),
        "call",
        {"depthwise_conv": depthwise_conv},
        ("kernel",),
    ),
    FastPath(
        _base(keras.layers.SeparableConv2D),
        "call",
        {"separable_conv": separable_conv},
        ("depthwise_kernel", "pointwise_kernel"),
    ),
    FastPath(keras.layers.Embedding, "call", {"take": take}, ("_embeddings",)),
    FastPath(
        keras.layers.ReversibleEmbedding,
        "call",
        {
            "convert_to_tensor": convert_to_tensor,
            "transpose": transpose,
            "cast": cast,
            "matmul": matmul_reverse,
        },
        ("_embeddings", "reverse_embeddings"),
    ),
)

_classes = {
    path.layer: type(
        path.layer.__name__,
        (path.layer,),
        {path.method: _keras.with_ops(getattr(path.layer, path.method), path.replaced)},
    )
    for path in FAST_PATHS
    if hasattr(path.layer, path.method)
}


def with_fast_paths(base: type) -> tuple[type, ...]:
    """The bases that a subclass of a layer class needs: itself, and the fast paths open to it."""
    found = tuple(_classes[kind] for kind in base.__mro__ if kind in _classes)
    return found if base in _classes else (base, *found)


def has_fast_path(weight: Found) -> bool:
    """Whether a weight may be multiplied with without being put together."""
    return any(
        getattr(weight.owner, name, None) is weight.variable
        for path in FAST_PATHS
        if isinstance(weight.owner, path.layer)
        for name in path.weights
    )
