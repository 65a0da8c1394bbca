"""Split layers that multiply by a kernel along an axis of the inputs, of the outputs, or of both.

A layer with `y = activation(kernel(x) + bias)` is split into two layers of the same class. Along an
axis of the outputs, their results are concatenated. Along an axis of the inputs, each gets its part
of the input and their results are added. Along channels that are never mixed, each gets its part
and the results are concatenated.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np

from frostline._arrays.equation import Equation
from frostline._catalogue import stock_of
from frostline._stock.masks import Masks, along_axis
from frostline._stock.pieces import (
    output_positions,
    part_name,
    parts_of,
    put_together,
    taken,
    vector,
)

LINEAR = ("matmul", "einsum", "conv", "conv_transpose", "depthwise_conv")
"""The products of the layers that this module splits."""


@dataclass(frozen=True)
class Axes:
    """The axes of the inputs and outputs that an axis of a kernel runs along."""

    inputs: int | None
    outputs: int | None
    resized: Callable[[dict[str, Any], int], dict[str, Any]]
    """Returns the config entries for another number of positions."""
    repeats: int = 1
    """The number of outputs for each position."""


def linear(x: Any, layer: Any, masks: Masks) -> Any:
    """The output of a split layer, with its activation."""
    config = masks.config()
    name = layer.name
    kernel = masks.frozen("kernel")
    axis = along_axis(kernel)
    roles = None if axis is None else axes_of(layer, axis)
    if axis is not None and getattr(layer, "groups", 1) != 1:
        raise masks.error("kernel", f"its channels are in {layer.groups} groups")
    if axis is not None and roles is None:
        raise masks.error("kernel", f"axis {axis} runs neither along inputs nor along outputs")
    if axis is None:
        along = np.full(1, kernel.flat[0])
    else:
        along = np.moveaxis(kernel, axis, 0).reshape(kernel.shape[axis], -1)[:, 0]
        masks.check_divisible("kernel", axis)
    inside = _bias_inside(layer, masks, roles, along)
    outputs, places = [], []
    for trainable, positions in parts_of(along):
        chosen = config | {
            "name": part_name(name, trainable=trainable),
            "trainable": trainable,
            "activation": "linear",
            "activity_regularizer": None,
        }
        whole, given = masks.value("kernel"), x
        if axis is not None and roles is not None:
            chosen |= roles.resized(chosen, positions.size)
            whole = np.take(whole, positions, axis)
            if roles.inputs is not None:
                given = taken(x, roles.inputs, positions)
        outputs.append(_part(masks, chosen, given, whole, inside.get(trainable)))
        places.append(positions)
    y = _joined(outputs, places, roles, name)
    if layer.bias is not None and not inside:
        y = _shifted(y, layer, masks)
    return _activated(y, config)


def _part(masks: Masks, config: dict[str, Any], x: Any, kernel: np.ndarray, bias: Any) -> Any:
    if isinstance(masks.layer, keras.layers.EinsumDense):
        config["bias_axes"] = None if bias is None else config["bias_axes"]
    else:
        config["use_bias"] = bias is not None
    part = masks.kind.from_config(config)
    y = part(x)
    part.kernel.assign(kernel)
    if bias is not None:
        part.bias.assign(bias)
    return y


def _joined(outputs: list[Any], places: list[np.ndarray], roles: Axes | None, name: str) -> Any:
    if len(outputs) == 1 or roles is None:
        return outputs[0]
    if roles.outputs is None:
        return keras.layers.Add(name=f"{name}__add")(outputs)
    return put_together(
        outputs, [output_positions(at, roles.repeats) for at in places], roles.outputs, name
    )


def _bias_inside(
    layer: Any, masks: Masks, roles: Axes | None, along: np.ndarray
) -> Mapping[bool, np.ndarray]:
    """The bias of each part, if it is frozen like the parts of the kernel; else empty."""
    if layer.bias is None:
        return {}
    bias, frozen = masks.value("bias"), masks.frozen("bias")
    if roles is None or roles.outputs is None:
        # One part has the whole bias; the other part, if there is one, has none.
        status = not frozen.flat[0]
        has_part = any(trainable is status for trainable, _ in parts_of(along))
        return {status: bias} if has_part and (frozen == frozen.flat[0]).all() else {}
    axis = bias_axis(layer, roles.outputs)
    if axis is None:
        return {}
    expected = np.repeat(along, roles.repeats)
    expected = expected.reshape([-1 if a == axis else 1 for a in range(bias.ndim)])
    if (frozen != expected).any():
        return {}
    masks.check_divisible("bias", axis)
    return {
        trainable: np.take(bias, output_positions(at, roles.repeats), axis)
        for trainable, at in parts_of(along)
    }


def bias_axis(layer: Any, outputs: int) -> int | None:
    """The axis of the bias that runs along that axis of the outputs, None for none."""
    if not isinstance(layer, keras.layers.EinsumDense):
        return 0
    equation = Equation.parse(layer.equation)
    letter = equation.output[outputs]  # negative: counted from the end
    return equation.axis(letter, "bias", layer.bias_axes)


def _shifted(y: Any, layer: Any, masks: Masks) -> Any:
    """Add a separate bias, which is frozen at other positions than the kernel."""
    bias = masks.value("bias")
    first, note = _channels(layer), ""
    if isinstance(layer, keras.layers.EinsumDense):
        # The bias runs along the last axes of the outputs; its shape does not show which ones.
        first, note = len(y.shape) - bias.ndim, f"_{layer.bias_axes}"
    masks.check_by_entry("bias")
    added = vector(
        y,
        f"{layer.name}__bias",
        first,
        bias,
        masks.frozen("bias"),
        note,
        dtype=masks.config()["dtype"],
        kernel_regularizer=layer.bias_regularizer,
        kernel_constraint=layer.bias_constraint,
    )
    return keras.layers.Add(name=f"{layer.name}__shifted")([y, added])


def _activated(y: Any, config: dict[str, Any]) -> Any:
    activity = config.get("activity_regularizer")
    if config["activation"] in (None, "linear") and activity is None:
        return y
    return keras.layers.Activation(
        config["activation"],
        activity_regularizer=activity,
        dtype=config["dtype"],
        name=f"{config['name']}__activation",
    )(y)


def _channels(layer: Any) -> int:
    """The axis of channels in a tensor."""
    return 1 if getattr(layer, "data_format", None) == "channels_first" else -1


def axes_of(layer: Any, axis: int) -> Axes | None:
    """The axes that an axis of the weight runs along; None if the layer cannot be split there."""
    if isinstance(layer, keras.layers.EinsumDense):
        return _einsum_axes(layer, axis)
    own = stock_of(layer).variables[0]
    place = axis - len(getattr(layer, own.name).shape) + len(own.axes)
    if place < 0 or getattr(layer, "groups", 1) != 1:
        return None
    found, channels = own.axes[place], _channels(layer)
    if not found.inputs and not found.size:
        return None
    return Axes(
        channels if found.inputs else None,
        channels if found.outputs else None,
        lambda _, n: {found.size: n} if found.size else {},
        repeats=getattr(layer, "depth_multiplier", 1),
    )


def _einsum_axes(layer: Any, axis: int) -> Axes | None:
    left, output = layer.equation.split("->")
    inputs, kernel = left.split(",")
    letter = kernel[axis]

    def from_end(term: str) -> int | None:
        # An ellipsis stands for any number of axes; it is supported only at the start of a term.
        place = term.find(letter)
        return None if place < 0 else place - len(term)

    def resized(config: dict[str, Any], count: int) -> dict[str, Any]:
        place = from_end(output)
        shape = config["output_shape"]
        shape = [shape] if isinstance(shape, int) else list(shape)
        if place is not None and -place <= len(shape):
            shape[place] = count
        return {"output_shape": tuple(shape)}

    if "..." in left[1:] or not letter.isalpha():
        return None
    return Axes(from_end(inputs), from_end(output), resized)
