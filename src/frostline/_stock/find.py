"""Find layers that were split by hand."""

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

# Options in which parts may differ: their initial state, and what frozen parts never use.
_BEGUN = ("name", "trainable", "kernel_initializer", "bias_initializer", "embeddings_initializer")
_TRAINED = (
    *(f"{weight}_regularizer" for weight in ("kernel", "bias", "depthwise", "embeddings")),
    *(f"{weight}_constraint" for weight in ("kernel", "bias", "depthwise", "embeddings")),
)


@dataclass(frozen=True)
class Split:
    """A layer that was split by hand: see `find_splits`."""

    name: str
    """The name of the merged layer: the name of the operation that joins the parts, if you chose
    it, else the common beginning of their names. Change it with
    `dataclasses.replace(split, name="head")`."""
    kind: str
    """The class of that layer, such as `Dense`."""
    frozen: tuple[str, ...]
    """The names of the layers that are not trainable."""
    trainable: tuple[str, ...]
    """The names of the layers that are trainable."""
    axis: int
    """The axis of the weight along which it is split."""
    core: Core = field(repr=False, compare=False)

    def whole(self) -> Whole:
        """The merged layer."""
        return whole(self.core, lambda layer: not layer.trainable)


def find_splits(model: keras.Model) -> list[Split]:
    """Find the layers of a model that were split by hand to freeze a part of each.

    These are layers of one class, some frozen and some trainable, that have the same input and
    whose outputs are concatenated; or that have slices of one input and whose outputs are added.
    They are listed if one partly frozen layer could replace them: they have equal options, the
    activation acts entry by entry, and nothing else uses the tensors between them. `Dense`,
    `EinsumDense`, convolutions, and the columns of an `Embedding` are found.

    Args:
        model: A built functional model; it may be nested.

    Returns:
        The splits, in the order of the model, for `from_stock(model, splits)`. Splits made by
        `to_stock` are not listed: `from_stock` recognizes them by name.

    Raises:
        TargetError: `model` is not a model, or is a subclassed model, whose graph is unknown.
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
    """Whether nothing else uses the tensors inside the split."""
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
    """The joining operation's chosen name, else the parts' common prefix, else Keras's name."""
    joint = core.operations[-1]
    automatic = re.sub(r"(?<!^)(?=[A-Z])", "_", type(joint).__name__).lower()
    if not re.fullmatch(rf"{automatic}(_\d+)?", joint.name):
        return joint.name
    shared = os.path.commonprefix([part.layer.name for part in core.parts])  # noqa: RUF071 - letters
    name = shared.rstrip("_-./ ")
    gone = {operation.name for operation in core.operations}
    return joint.name if not name or name in names - gone else name


def _would_be_one(core: Core) -> bool:
    """Whether one partly frozen layer computes the same as the parts."""
    layers = [part.layer for part in core.parts]
    trained = [layer for layer in layers if layer.trainable]
    if core.roles is None or core.axis is None or len(trained) in (0, len(layers)):
        return False
    if any(v.trainable is not one.trainable for one in layers for v in one.weights):
        return False
    if keras.backend.standardize_dtype(core.outputs.dtype) != layers[0].compute_dtype:
        return False

    def differ(some: list[Any], ignored: tuple[str, ...]) -> bool:
        options = [_options(one, core.size, ignored) for one in some]
        return any(one != options[0] for one in options)

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
    """The config of a layer, without `ignored` and without the name of an activation layer."""
    options = {k: v for k, v in (layer.get_config() | size).items() if k not in ignored}
    activation = options.get("activation")
    if isinstance(activation, dict) and isinstance(activation.get("config"), dict):
        inner = {k: v for k, v in activation["config"].items() if k != "name"}
        options["activation"] = activation | {"config": inner}
    return options


def _is_divisible(layer: Any, core: Core) -> bool:
    """Whether no penalty or constraint uses both parts together."""
    masks = Masks(layer, layer.name, coarsen=False)
    try:
        masks.check_divisible(WEIGHT[core.kind], core.axis or 0)
        if core.bias_axis is not None:
            masks.check_divisible("bias", core.bias_axis)
    except UnsupportedError:
        return False
    return True


def _by_entry(activation: Any) -> bool:
    """Whether a function acts entry by entry, tested by calling it on a part of an array."""
    if getattr(activation, "variables", None):
        return False  # it has weights, which differ between the parts
    x = np.linspace(-3, 3, 8, dtype="float32").reshape(1, 8)
    try:
        whole, part = (np.array(ops.convert_to_numpy(activation(one))) for one in (x, x[:, :3]))
    except Exception:  # user code: it may need another shape
        return False
    return whole.shape == x.shape and bool(np.allclose(whole[:, :3], part, rtol=1e-5))
