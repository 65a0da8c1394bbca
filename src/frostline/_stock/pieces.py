"""Stock operations around the two parts of a layer: split its input, join its outputs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import keras
import numpy as np
from keras import ops

from frostline._weights.split import is_block, slice_along

TRAINABLE, FROZEN = "trainable", "frozen"


def part_name(name: str, *, trainable: bool) -> str:
    """`hidden__trainable` or `hidden__frozen`."""
    return f"{name}__{TRAINABLE if trainable else FROZEN}"


def value(variable: Any) -> np.ndarray:
    """A copy of the value of a variable."""
    return np.array(ops.convert_to_numpy(variable.value))


def parts_of(frozen: np.ndarray) -> list[tuple[bool, np.ndarray]]:
    """For each non-empty part of an axis, whether it trains, and its positions."""
    found = [(True, np.flatnonzero(~frozen)), (False, np.flatnonzero(frozen))]
    return [(trainable, positions) for trainable, positions in found if positions.size]


def output_positions(positions: np.ndarray, repeats: int) -> np.ndarray:
    """The outputs of positions that have `repeats` outputs each."""
    return (positions[:, None] * repeats + np.arange(repeats)).reshape(-1)


def taken(x: Any, axis: int, positions: np.ndarray) -> Any:
    """Some positions of a symbolic tensor along an axis, sorted; `x` itself for all of them."""
    axis %= len(x.shape)
    if is_block(positions):
        return slice_along(x, axis, int(positions[0]), int(positions[-1]) + 1)
    return ops.take(x, positions, axis=axis)


def put_together(
    outputs: Sequence[Any], positions: Sequence[np.ndarray], axis: int, name: str
) -> Any:
    """Join outputs along `axis`, each at its positions."""
    if len(outputs) == 1:
        return outputs[0]
    # Sorted by first position, so that two blocks need no reordering.
    pairs = sorted(zip(positions, outputs, strict=True), key=lambda pair: int(pair[0][0]))
    axis %= len(outputs[0].shape)
    whole = keras.layers.Concatenate(axis, name=f"{name}__concatenate")([y for _, y in pairs])
    order = np.argsort(np.concatenate([places for places, _ in pairs]))
    if (order == np.arange(order.size)).all():
        return whole
    return ops.take(whole, order, axis=axis)


def in_parts(frozen: np.ndarray, axis: int, name: str, part: Callable[..., Any]) -> Any:
    """Join the results of `part(positions, trainable)` for both parts of an axis of the outputs."""
    divided = parts_of(frozen)
    outputs = [part(positions, trainable) for trainable, positions in divided]
    return put_together(outputs, [positions for _, positions in divided], axis, name)


def vector(
    y: Any,
    name: str,
    axis: int,
    values: np.ndarray,
    frozen: np.ndarray,
    note: str = "",
    **options: Any,
) -> Any:
    """A separate weight, partly trainable, in a shape that broadcasts to `y` from `axis` on.

    No stock layer has only a scale or only an offset. A `Dense` kernel applied to the number 1 can
    be any vector. `note` is the end of the name of the last layer.
    """
    ones = ops.ones_like(y[(slice(None), *(0,) * (len(y.shape) - 2), slice(0, 1))])
    flat = values.reshape(-1)

    def part(positions: np.ndarray, trainable: bool) -> Any:
        layer = keras.layers.Dense(
            positions.size,
            use_bias=False,
            trainable=trainable,
            name=part_name(name, trainable=trainable),
            **options,
        )
        found = layer(ones)
        layer.kernel.assign(flat[None, positions])
        return found

    shape = [1] * (len(y.shape) - 1)
    first = axis % len(y.shape) - 1
    shape[first : first + values.ndim] = values.shape
    whole = in_parts(frozen.reshape(-1), -1, name, part)
    return keras.layers.Reshape(shape, name=f"{name}__reshape{note}")(whole)
