"""Split layers without a single kernel: normalizations, embeddings, separable convolutions."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
from keras import ops

from frostline._stock.linear import linear
from frostline._stock.masks import Masks, along_axis
from frostline._stock.pieces import in_parts, part_name, parts_of, vector
from frostline._weights.split import is_block


def normalization(x: Any, layer: Any, masks: Masks) -> Any:
    """The same layer without scale and offset, followed by separate, split scale and offset.

    The normalization itself uses all channels or the batch, so it is not divided.
    """
    rms = isinstance(layer, keras.layers.RMSNormalization)
    weights = {"gamma": "scale"} if rms else {"gamma": "gamma", "beta": "beta"}
    weights = {k: v for k, v in weights.items() if getattr(layer, v, None) is not None}
    values = {key: masks.value(name) for key, name in weights.items()}
    frozen = {key: masks.frozen(name) for key, name in weights.items()}
    if any(value.ndim != 1 for value in values.values()):
        raise masks.error(next(iter(weights.values())), "it normalizes over several axes")
    if getattr(layer, "rms_scaling", False):
        raise masks.error("gamma", "with `rms_scaling` the layer always has a scale")
    for name in weights.values():
        masks.check_by_entry(name)
    config = masks.config() | {"name": f"{layer.name}__normalization"}
    axis = np.atleast_1d(config["axis"])[0].item()
    config |= {"trainable": False} if rms else {"center": False, "scale": False}
    plain = masks.kind.from_config(config)
    y = plain(x)
    for name in ("moving_mean", "moving_variance"):
        if hasattr(layer, name):
            getattr(plain, name).assign(masks.value(name))
    if rms:
        plain.scale.assign(np.ones(values["gamma"].shape))
    for key, merge in (("gamma", keras.layers.Multiply), ("beta", keras.layers.Add)):
        if key in values:
            weight = vector(
                y,
                f"{layer.name}__{key}",
                axis,
                values[key],
                frozen[key],
                dtype=config["dtype"],
                kernel_regularizer=getattr(layer, f"{key}_regularizer", None),
                kernel_constraint=getattr(layer, f"{key}_constraint", None),
            )
            y = merge(name=f"{layer.name}__{merge.__name__.lower()}")([y, weight])
    return y


def embedding(ids: Any, layer: Any, masks: Masks) -> Any:
    """Two tables side by side for columns, or two tables and a choice for each id for rows."""
    table, frozen = masks.value("embeddings"), masks.frozen("embeddings")
    axis = along_axis(frozen)

    def part(values: np.ndarray, *, trainable: bool):
        config = masks.config() | {
            "name": part_name(layer.name, trainable=trainable),
            "input_dim": len(values),
            "output_dim": values.shape[1],
            "trainable": trainable,
        }
        made = masks.kind.from_config(config)
        made.build()
        made.embeddings.assign(values)
        return made

    if axis is not None:
        masks.check_divisible("embeddings", axis)
    if axis is None:
        return part(table, trainable=not frozen.flat[0])(ids)
    if axis == 1:

        def columns(positions: np.ndarray, trainable: bool) -> Any:
            return part(table[:, positions], trainable=trainable)(ids)

        return in_parts(frozen[0], -1, layer.name, columns)
    return _rows(ids, layer, table, frozen[:, 0], part)


def _rows(ids: Any, layer: Any, table: np.ndarray, frozen: np.ndarray, part: Any) -> Any:
    trains = np.flatnonzero(~frozen)
    place = np.zeros(len(frozen), "int32")
    found = {}
    for trainable, rows in parts_of(frozen):
        place[rows] = np.arange(rows.size)
        found[trainable] = part(table[rows], trainable=trainable)
    ids = ops.cast(ids, "int32")
    first, last = int(trains[0]), int(trains[-1]) + 1
    if is_block(trains):
        # A block of rows needs only its first and last row, not a list of positions.
        hit = ops.logical_and(ids >= first, ids < last)
        of_trainable = ops.clip(ids - first, 0, trains.size - 1)
        others = ops.where(ids < first, ids, ids - trains.size)
        of_frozen = ops.clip(others, 0, len(frozen) - trains.size - 1)
    else:
        where = ops.take(np.where(frozen, 0, 1 + place), ids, axis=0)
        hit = where > 0
        of_trainable = ops.maximum(where - 1, 0)
        of_frozen = ops.take(np.where(frozen, place, 0), ids, axis=0)
    return ops.where(ops.expand_dims(hit, -1), found[True](of_trainable), found[False](of_frozen))


def separable(x: Any, layer: Any, masks: Masks) -> Any:
    """A depthwise and a pointwise convolution, each split on its own."""
    config = masks.config()
    rank = len(layer.kernel_size)
    shared = {key: config[key] for key in ("dtype", "data_format")}
    depthwise = getattr(keras.layers, f"DepthwiseConv{rank}D")(
        kernel_size=config["kernel_size"],
        strides=config["strides"],
        padding=config["padding"],
        depth_multiplier=config["depth_multiplier"],
        dilation_rate=config["dilation_rate"],
        use_bias=False,
        depthwise_initializer=layer.depthwise_initializer,
        depthwise_regularizer=layer.depthwise_regularizer,
        depthwise_constraint=layer.depthwise_constraint,
        name=f"{layer.name}__depthwise",
        **shared,
    )
    pointwise = getattr(keras.layers, f"Conv{rank}D")(
        filters=config["filters"],
        kernel_size=1,
        activation=config["activation"],
        use_bias=config["use_bias"],
        kernel_initializer=layer.pointwise_initializer,
        bias_initializer=layer.bias_initializer,
        kernel_regularizer=layer.pointwise_regularizer,
        kernel_constraint=layer.pointwise_constraint,
        bias_regularizer=layer.bias_regularizer,
        bias_constraint=layer.bias_constraint,
        activity_regularizer=layer.activity_regularizer,
        name=f"{layer.name}__pointwise",
        **shared,
    )
    pointwise.build(depthwise.compute_output_shape(x.shape))
    depthwise.build(x.shape)
    values = {"depthwise_kernel": depthwise, "pointwise_kernel": pointwise}
    inner = {}
    for name, of in values.items():
        inner[name] = Renamed(masks, of, {"kernel": name, "bias": "bias"})
    y = linear(x, depthwise, inner["depthwise_kernel"])
    return linear(y, pointwise, inner["pointwise_kernel"])


class Renamed(Masks):
    """The masks of a layer, for another layer that computes a part of it."""

    def __init__(self, masks: Masks, layer: Any, names: dict[str, str]) -> None:
        super().__init__(layer, masks.path, masks.coarsen)
        self._masks, self._names = masks, names

    def value(self, name: str) -> np.ndarray:
        return self._masks.value(self._names[name])

    def frozen(self, name: str) -> np.ndarray:
        return self._masks.frozen(self._names[name])

    def error(self, name: str, rule: str, do: str = "") -> Any:
        return self._masks.error(self._names[name], rule, do)
