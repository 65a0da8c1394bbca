"""Convolutions with a partly frozen kernel: `Conv1D`, `Conv2D`, `Conv3D` and similar layers.

The kernel is merged, which costs little compared with the convolution. The gradient is computed
only for the trainable filters or input channels. Two convolutions would cost more than one.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import keras
from keras import ops

from frostline._arrays.plan import AxisPlan
from frostline._backends.current import backend
from frostline._fast.product import Product, axis_parts, multiply
from frostline._weights.parts import Parts
from frostline._weights.split import in_weight_order


def conv(inputs: Any, kernel: Any, **options: Any) -> Any:
    """Replaces `keras.ops.conv` in the layers: kernel `(..., channels, filters)`."""
    run = functools.partial(ops.conv, **options)
    parts = _parts(inputs, kernel)
    if parts is None:
        return run(inputs, kernel)
    channels = _channel_axis(inputs, options)
    *_, of_channels, of_filters = range(len(parts.plan.shape))
    # In a grouped convolution, the axes of the kernel do not match those of input and output.
    if inputs.shape[channels] != parts.plan.shape[of_channels]:
        return run(inputs, kernel)
    x_axis = channels if parts.plan.axis == of_channels else None
    y_axis = channels if parts.plan.axis == of_filters else None
    return _multiply(run, inputs, kernel, parts, x_axis, y_axis)


def depthwise_conv(inputs: Any, kernel: Any, **options: Any) -> Any:
    """Replaces `keras.ops.depthwise_conv`: kernel `(..., channels, multiplier)`."""
    run = functools.partial(ops.depthwise_conv, **options)
    parts = _parts(inputs, kernel)
    if parts is None:
        return run(inputs, kernel)
    *_, of_channels, _ = range(len(parts.plan.shape))
    # With a multiplier, the filters of a channel are side by side in the output.
    one_each = parts.plan.axis == of_channels and parts.plan.shape[-1] == 1
    axis = _channel_axis(inputs, options) if one_each else None
    return _multiply(run, inputs, kernel, parts, axis, axis)


def separable_conv(
    inputs: Any, depthwise_kernel: Any, pointwise_kernel: Any, **options: Any
) -> Any:
    """Replaces `keras.ops.separable_conv` by a depthwise and a pointwise convolution."""
    if _parts(inputs, depthwise_kernel) is None and _parts(inputs, pointwise_kernel) is None:
        return ops.separable_conv(inputs, depthwise_kernel, pointwise_kernel, **options)
    between = depthwise_conv(inputs, depthwise_kernel, **options)
    data_format = options.get("data_format")
    return conv(between, pointwise_kernel, strides=1, padding="valid", data_format=data_format)


def _multiply(
    run: Callable[..., Any],
    inputs: Any,
    kernel: Any,
    parts: Parts[AxisPlan],
    x_axis: int | None,
    y_axis: int | None,
) -> Any:
    plan = parts.plan
    if x_axis is None and y_axis is None:
        return run(inputs, kernel)

    def apply(x: Any, weight: Any) -> Any:
        return run(x, in_weight_order(plan, weight))

    product = Product(
        plan=plan,
        apply=apply,
        gradient_x=lambda x, weight, upstream: backend.pull_back(
            lambda x: apply(x, weight), x, upstream
        ),
        gradient_weight=lambda x, weight, upstream: backend.pull_back(
            lambda weight: apply(x, weight), weight, upstream
        ),
        x_axis=x_axis,
        y_axis=y_axis,
        splits=False,
    )
    return multiply(product, ops.convert_to_tensor(inputs), parts)


def _parts(inputs: Any, kernel: Any) -> Parts[AxisPlan] | None:
    return axis_parts(inputs, kernel) if backend.divides_convolutions else None


def _channel_axis(inputs: Any, options: dict[str, Any]) -> int:
    data_format = options.get("data_format") or keras.config.image_data_format()
    return len(inputs.shape) - 1 if data_format == "channels_last" else 1
