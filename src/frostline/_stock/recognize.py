"""Rebuild a layer from the model that `to_stock` made of it."""

from __future__ import annotations

import math
from typing import Any

import keras
import numpy as np

from frostline import _keras
from frostline._catalogue import stock_class
from frostline._stock.graph import Core, core_of, placed
from frostline._stock.pieces import FROZEN, TRAINABLE, part_name, value
from frostline._stock.whole import Whole, whole


def is_split(model: keras.Model) -> bool:
    """Whether a model has layers named like the parts of a split layer."""
    ends = tuple(part_name("", trainable=trainable) for trainable in (True, False))
    names = [layer.name for layer in model.layers]
    return any(name.startswith(f"{model.name}__") and name.endswith(ends) for name in names)


def whole_of(model: Any) -> Whole | None:
    """The layer that `to_stock` turned into this model; None for any other model.

    Parts are recognized by name. The caller must check that splitting the layer gives this model.
    """
    layers = {layer.name: layer for layer in model.layers}
    name, outputs = model.name, model.outputs[0]
    normalization = layers.get(f"{name}__normalization")
    if stock_class(type(normalization)).product == "normalize":
        return _normalization(name, normalization, layers)
    if any(isinstance(layer, keras.layers.Embedding) for layer in layers.values()):
        return _embedding(name, model, layers)
    if any(layer.startswith(f"{name}__depthwise__") for layer in layers):
        return _separable(name, outputs, layers)
    found = _linear(name, outputs, layers)
    return found and found[0]


def _linear(prefix: str, y: Any, layers: dict[str, Any]) -> tuple[Whole, Any] | None:
    """A layer with a kernel, and its input tensor."""
    own: dict[str, Any] = {}
    activation = layers.get(f"{prefix}__activation")
    if activation is not None:
        config = activation.get_config()
        own = {key: config[key] for key in ("activation", "activity_regularizer") if key in config}
        y = activation.input
    bias = None
    if f"{prefix}__shifted" in layers:
        y, shift = layers[f"{prefix}__shifted"].input
        bias = _vector(f"{prefix}__bias", shift)
        own |= _bias_config(layers, prefix)
    core = core_of(y)
    made = core and _named(core, prefix)
    if core is None or made is None:
        return None
    made.config |= own
    if bias is not None:
        made.values["bias"], made.frozen["bias"] = bias
    return made, core.source


def _named(core: Core, prefix: str) -> Whole | None:
    """A merged layer, frozen as the names of its parts say; None for other names."""
    frozen = part_name(prefix, trainable=False)
    if any(
        part.layer.name not in (frozen, part_name(prefix, trainable=True)) for part in core.parts
    ):
        return None
    return whole(core, lambda layer: layer.name == frozen)


def _bias_config(layers: dict[str, Any], prefix: str) -> dict[str, Any]:
    """The config entry for a bias."""
    reshape = next(name for name in layers if name.startswith(f"{prefix}__bias__reshape"))
    letters = reshape.removeprefix(f"{prefix}__bias__reshape")
    return {"bias_axes": letters.removeprefix("_")} if letters else {"use_bias": True}


def _vector(prefix: str, reshaped: Any) -> tuple[np.ndarray, np.ndarray] | None:
    """A separate scale or offset, flat, and its mask."""
    core = core_of(_keras.call_of(reshaped).args[0])
    made = core and _named(core, prefix)
    return None if made is None else (made.values["kernel"][0], made.frozen["kernel"][0])


def _normalization(prefix: str, layer: Any, layers: dict[str, Any]) -> Whole | None:
    rms = isinstance(layer, keras.layers.RMSNormalization)
    made = Whole(type(layer), layer.get_config(), {}, {})
    merges = {"gamma": ("scale", "multiply"), "beta": ("center", "add")}
    for key, (option, merge) in merges.items():
        merged = layers.get(f"{prefix}__{merge}")
        if not rms:
            made.config[option] = merged is not None
        if merged is not None:
            found = _vector(f"{prefix}__{key}", merged.input[1])
            if found is None:
                return None
            name = "scale" if rms else key
            made.values[name], made.frozen[name] = found
    for name in ("moving_mean", "moving_variance"):
        if hasattr(layer, name):
            made.state[name] = value(getattr(layer, name))
    return made


def _separable(prefix: str, y: Any, layers: dict[str, Any]) -> Whole | None:
    second = _linear(f"{prefix}__pointwise", y, layers)
    first = second and _linear(f"{prefix}__depthwise", second[1], layers)
    if first is None or second is None:
        return None
    depthwise, pointwise = first[0], second[0]
    rank = len(depthwise.config["kernel_size"])
    config = dict(pointwise.config)
    for key in ("kernel_size", "strides", "padding", "dilation_rate", "depth_multiplier"):
        config[key] = depthwise.config[key]
    for key in ("initializer", "regularizer", "constraint"):
        config[f"depthwise_{key}"] = depthwise.config[f"depthwise_{key}"]
        config[f"pointwise_{key}"] = config.pop(f"kernel_{key}")
    config.pop("groups")
    return Whole(
        getattr(keras.layers, f"SeparableConv{rank}D"),
        config,
        _renamed(depthwise.values, pointwise.values),
        _renamed(depthwise.frozen, pointwise.frozen),
    )


def _renamed(depthwise: dict[str, Any], pointwise: dict[str, Any]) -> dict[str, Any]:
    names = {"kernel": "pointwise_kernel"}
    found = {names.get(key, key): one for key, one in pointwise.items()}
    return {"depthwise_kernel": depthwise["kernel"], **found}


def _embedding(prefix: str, model: Any, layers: dict[str, Any]) -> Whole | None:
    core = core_of(model.outputs[0])
    if core is not None:
        return _named(core, prefix)
    tables = {key: layers.get(f"{prefix}__{key}") for key in (TRAINABLE, FROZEN)}
    if None in tables.values():
        return None
    values = {key: value(table.embeddings) for key, table in tables.items() if table is not None}
    places = _rows(model, [len(one) for one in values.values()])
    frozen = [np.full(one.shape, key == FROZEN) for key, one in values.items()]
    config = layers[f"{prefix}__{TRAINABLE}"].get_config()
    return Whole(
        keras.layers.Embedding,
        config | {"input_dim": sum(map(len, frozen))},
        {"embeddings": placed(list(values.values()), places, 0)},
        {"embeddings": placed(frozen, places, 0)},
    )


def _rows(model: Any, sizes: list[int]) -> list[np.ndarray]:
    """The ids in the trainable and in the frozen table, found by looking up every id."""
    chosen, *found = _keras.call_of(model.outputs[0]).args
    ids_of = [_keras.call_of(one).args[0] for one in found]
    lookup = keras.Function(model.inputs[0], [chosen, *ids_of])
    shape = [length or 1 for length in model.inputs[0].shape[1:]]
    ids = np.arange(sum(sizes), dtype="int32")
    batch = -(-ids.size // math.prod(shape))
    asked = np.resize(ids, (batch, *shape))
    hit, *within = (
        np.array(keras.ops.convert_to_numpy(one)).reshape(-1)[: ids.size] for one in lookup(asked)
    )
    hit = hit.astype(bool)
    places = []
    for size, table, where in zip(sizes, within, (hit, ~hit), strict=True):
        place = np.zeros(size, "int64")
        place[table[where]] = ids[where]
        places.append(place)
    return places
