"""Layers that somebody split by hand."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import keras
import numpy as np
from keras import ops

from frostline._errors import UnsupportedError
from frostline._stock.calls import Calls, masked
from frostline._stock.graph import WEIGHT, Core, core_of
from frostline._stock.masks import Masks
from frostline._stock.rebuild import check_rebuildable, models
from frostline._stock.recognize import is_split
from frostline._stock.whole import Whole, whole

# What parts may differ in: how they began, and what their frozen ones never use.
_BEGUN = ("name", "trainable", "kernel_initializer", "bias_initializer", "embeddings_initializer")
_TRAINED = (
    *(f"{weight}_regularizer" for weight in ("kernel", "bias", "depthwise", "embeddings")),
    *(f"{weight}_constraint" for weight in ("kernel", "bias", "depthwise", "embeddings")),
)


@dataclass(frozen=True)
class Split:
    """A layer that was split by hand: see `find_splits`."""

    name: str
    """Of the layer that it would be: the name that was given to the operation that puts the parts
    together, else what their names begin with. `dataclasses.replace(split, name="head")` gives
    another."""
    kind: str
    """The class of that layer, as `Dense`."""
    frozen: tuple[str, ...]
    """Names of the layers that are not trainable."""
    trainable: tuple[str, ...]
    """Names of those that are."""
    axis: int
    """The axis of the weight along which it is split."""
    core: Core = field(repr=False, compare=False)

    def whole(self) -> Whole:
        """The layer in one piece."""
        return whole(self.core, lambda layer: not layer.trainable)


def find_splits(model: keras.Model) -> list[Split]:
    """The layers of a model that were split by hand to freeze a part of each.

    Layers of one class with the same input, some frozen and some trainable, whose outputs are
    concatenated; or those given slices of it, whose outputs are added up. They are listed where one
    partly frozen layer would do the same: with equal options, an activation that acts entry by
    entry, and no other use of what lies between. `Dense`, `EinsumDense`, convolutions, and the
    columns of an `Embedding`.

    Args:
        model: A built functional model, nested ones included.

    Returns:
        What was found, in the order of the model, for `from_stock(model, splits)`. What `to_stock`
        made is not among it: `from_stock` knows it by its names.

    Raises:
        TargetError: `model` is not a model, or is a subclass, whose call can't be looked into.
        NotBuiltError: It has no weights yet.

    Examples:
        >>> import keras, frostline as fl
        >>> x = keras.Input((3,))
        >>> old = keras.layers.Dense(4, name="head_old", trainable=False)
        >>> new = keras.layers.Dense(2, name="head_new")
        >>> model = keras.Model(x, keras.layers.Concatenate()([old(x), new(x)]))
        >>> fl.find_splits(model)
        [Split(name='head', kind='Dense', frozen=('head_old',), trainable=('head_new',), axis=1)]
        >>> moved = fl.from_stock(model, fl.find_splits(model))
        >>> fl.frozen_mask(moved.get_layer("head").bias).tolist()
        [True, True, True, True, False, False]
    """
    check_rebuildable(model)
    with_mask = masked(model)
    found = []
    for inner in models(model):
        if not is_split(inner) and not isinstance(inner, keras.Sequential):
            found += _splits(inner, with_mask)
    return found


def _splits(model: Any, with_mask: set[int]) -> Iterator[Split]:
    calls = Calls(model)
    names = {operation.name for operation in model.operations}
    found: list[Split] = []
    within = set(with_mask)
    for operation in reversed(model.operations):
        for tensor in calls.outputs.get(id(operation), ()):
            core = core_of(tensor) if id(operation) not in within else None
            if core is None or within.intersection(map(id, core.operations)):
                continue
            if _is_closed(core, calls) and _would_be_one(core):
                within |= {id(one) for one in core.operations}
                found.append(_split(core, names))
                names.add(found[-1].name)
    return reversed(found)


def _is_closed(core: Core, calls: Calls) -> bool:
    """Whether nothing else uses what lies between."""
    if any(calls.calls[id(operation)] != 1 for operation in core.operations):
        return False
    inner = [calls.outputs[id(operation)] for operation in core.operations[:-1]]
    return all(calls.uses[id(tensor)] == 1 for tensors in inner for tensor in tensors)


def _split(core: Core, names: set[str]) -> Split:
    layers = [part.layer for part in core.parts]
    assert core.axis is not None
    return Split(
        _name(core, names),
        core.kind.__name__,
        tuple(layer.name for layer in layers if not layer.trainable),
        tuple(layer.name for layer in layers if layer.trainable),
        core.axis,
        core,
    )


def _name(core: Core, names: set[str]) -> str:
    """What somebody called the whole, else what the parts' names begin with, else Keras's name."""
    joint = core.operations[-1]
    automatic = re.sub(r"(?<!^)(?=[A-Z])", "_", type(joint).__name__).lower()
    if not re.fullmatch(rf"{automatic}(_\d+)?", joint.name):
        return joint.name
    shared = os.path.commonprefix([part.layer.name for part in core.parts])  # noqa: RUF071 - letters
    name = shared.rstrip("_-./ ")
    gone = {operation.name for operation in core.operations}
    return joint.name if not name or name in names - gone else name


def _would_be_one(core: Core) -> bool:
    """Whether one layer, partly frozen, does what the parts do."""
    layers = [part.layer for part in core.parts]
    trained = [layer for layer in layers if layer.trainable]
    if core.roles is None or core.axis is None or len(trained) in (0, len(layers)):
        return False
    if any(v.trainable is not one.trainable for one in layers for v in one.weights):
        return False
    if keras.backend.standardize_dtype(core.outputs.dtype) != layers[0].compute_dtype:
        return False

    def differ(some: list[Any], ignored: tuple[str, ...]) -> bool:
        told = [_options(one, core.size, ignored) for one in some]
        return any(one != told[0] for one in told)

    summed = core.roles.outputs is None
    ignored = (*_BEGUN, *(("use_bias", "bias_axes") if summed else ()))
    if differ(trained, ignored) or differ(layers, (*ignored, *_TRAINED)):
        return False
    biases = len(core.with_bias)
    if biases > 1 if summed else biases and core.bias_axis is None:
        return False
    activation = getattr(layers[0], "activation", keras.activations.linear)
    if activation is not keras.activations.linear and (summed or not _by_entry(activation)):
        return False
    regular = getattr(layers[0], "activity_regularizer", None) is None
    return regular and _is_divisible(trained[0], core)


def _options(layer: Any, size: dict[str, Any], ignored: tuple[str, ...]) -> dict[str, Any]:
    """The config of a layer, but for some of it and the name of an activation that is a layer."""
    told = {k: v for k, v in (layer.get_config() | size).items() if k not in ignored}
    activation = told.get("activation")
    if isinstance(activation, dict) and isinstance(activation.get("config"), dict):
        inner = {k: v for k, v in activation["config"].items() if k != "name"}
        told["activation"] = activation | {"config": inner}
    return told


def _is_divisible(layer: Any, core: Core) -> bool:
    """Whether no penalty or constraint looks at both parts at once."""
    masks = Masks(layer, layer.name, coarsen=False)
    try:
        masks.check_divisible(WEIGHT[core.kind], core.axis or 0)
        if core.bias_axis is not None:
            masks.check_divisible("bias", core.bias_axis)
    except UnsupportedError:
        return False
    return True


def _by_entry(activation: Any) -> bool:
    """Whether a function acts entry by entry, seen by what it makes of a part of some numbers."""
    if getattr(activation, "variables", None):
        return False  # numbers of its own, of each part others
    x = np.linspace(-3, 3, 8, dtype="float32").reshape(1, 8)
    try:
        whole, part = (np.array(ops.convert_to_numpy(activation(one))) for one in (x, x[:, :3]))
    except Exception:  # somebody's code: it may want another shape
        return False
    return whole.shape == x.shape and bool(np.allclose(whole[:, :3], part, rtol=1e-5))
