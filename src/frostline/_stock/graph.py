"""Read the graph of a functional model: find a layer that is split into parts.

Positions are never read from a slice or an index list. Instead the operation is run on an array of
labels, so that every way to write it works.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
from keras import ops

from frostline import _keras
from frostline._catalogue import CATALOGUE
from frostline._stock.linear import LINEAR, Axes, axes_of, bias_axis
from frostline._stock.pieces import output_positions

WEIGHT: dict[type, str] = {
    vars(keras.layers)[name]: stock.variables[0].name
    for name, stock in CATALOGUE.items()
    if stock.product in (*LINEAR, "take")
}
"""The name of the split weight of each class."""


@dataclass(frozen=True)
class PartLayer:
    """A layer of a `Core` and its positions along the axis of the weight; empty for all of it."""

    layer: Any
    positions: np.ndarray
    outputs: np.ndarray
    """Its positions along the axis of the outputs; those of the weight if there is no such axis."""


@dataclass(frozen=True)
class Core:
    """Layers of one class whose outputs are concatenated or added: one weight in parts."""

    parts: tuple[PartLayer, ...]
    axis: int | None
    """The split axis of the weight, None if one part has all of it."""
    roles: Axes | None
    source: Any
    """The input tensor."""
    operations: tuple[Any, ...]
    """All operations that a whole layer replaces; the last one returns the output."""
    outputs: Any
    """The output tensor."""

    @property
    def kind(self) -> type:
        return type(self.parts[0].layer)

    @property
    def with_bias(self) -> list[PartLayer]:
        """The parts that have a bias."""
        return [part for part in self.parts if getattr(part.layer, "bias", None) is not None]

    @property
    def bias_axis(self) -> int | None:
        """The split axis of the bias; None if one part has all of it."""
        if self.roles is None or self.roles.outputs is None or not self.with_bias:
            return None
        return bias_axis(self.with_bias[0].layer, self.roles.outputs)

    @property
    def size(self) -> dict[str, Any]:
        """The config entries of the whole layer for its size."""
        if self.roles is None:
            return {}
        total = sum(part.positions.size for part in self.parts)
        return self.roles.resized(self.parts[0].layer.get_config(), total)

    def joined(self, values: Sequence[np.ndarray]) -> np.ndarray:
        """Join the arrays for the weights of the parts."""
        if self.axis is None:
            return values[0]
        return placed(values, [part.positions for part in self.parts], self.axis)

    def joined_bias(self, values: Sequence[np.ndarray]) -> np.ndarray:
        """Join the arrays for the biases of the parts."""
        if self.bias_axis is None:
            return values[0]
        return placed(values, [part.outputs for part in self.with_bias], self.bias_axis)


def placed(values: Sequence[np.ndarray], places: Sequence[np.ndarray], axis: int) -> np.ndarray:
    """Arrays side by side along `axis`, each at its own positions."""
    whole = np.concatenate(values, axis)
    return np.take(whole, np.argsort(np.concatenate(places)), axis)


def core_of(outputs: Any) -> Core | None:
    """The layers, or the one layer, that a symbolic tensor is computed by; None for others.

    The result says where each entry of the weight belongs. The caller must check whether one layer
    would compute the same, with its activation, penalties and so on.
    """
    joint, order = _ordered(outputs)
    call = _keras.call_of(joint)
    kinds = _kinds()
    operations = [call.operation, *([] if joint is outputs else [_operation(outputs)])]
    if type(call.operation) in WEIGHT:
        given = _given(joint)
        none = np.arange(0)
        part = PartLayer(call.operation, none, none)
        if given is None or order:
            return None
        return Core((part,), None, None, given, (part.layer,), outputs)
    branches, sums = _branches(call)
    classes = {type(_operation(branch)) for branch in branches}
    if len(classes) != 1 or not classes <= WEIGHT.keys():
        return None
    inputs = _inputs(branches)
    if inputs is None:
        return None
    source, in_axis, taken, indexing = inputs
    operations = [*indexing, *map(_operation, branches), *sums, *operations]
    out_axis = None
    made: list[np.ndarray] = taken
    if isinstance(call.operation, kinds.side_by_side):
        out_axis = call.operation.axis % len(joint.shape)
        sizes = [branch.shape[out_axis] for branch in branches]
        if None in sizes:
            return None
        places = np.arange(sum(sizes))
        if order:
            if order[0] != out_axis:
                return None
            places = np.argsort(order[1])
        made = np.split(places, np.cumsum(sizes)[:-1])
    elif order or not taken:
        return None
    layers = [_operation(branch) for branch in branches]
    found = _axis(layers[0], in_axis, out_axis, len(source.shape), len(joint.shape))
    if found is None:
        return None
    axis, roles = found
    expected = [output_positions(at, roles.repeats) for at in taken or made]
    if any(not np.array_equal(a, b) for a, b in zip(expected, made, strict=True)):
        return None
    parts = zip(layers, taken or made, made, strict=True)
    made_of = tuple(PartLayer(*part) for part in parts)
    return Core(made_of, axis, roles, source, tuple(operations), outputs)


def _ordered(outputs: Any) -> tuple[Any, tuple[int, np.ndarray] | None]:
    """The tensor that was reordered into `outputs`, with the axis and the order."""
    found = _indexed(outputs)
    if found is None:
        return outputs, None
    joint, axis, positions = found
    if not _is_all(positions, joint.shape[axis]):
        return outputs, None
    return joint, (axis, positions)


def _branches(call: _keras.Call) -> tuple[list[Any], list[Any]]:
    """The tensors that an operation adds or concatenates, and the nested additions."""
    kinds = _kinds()
    if not isinstance(call.operation, (*kinds.side_by_side, *kinds.sum)):
        return [], []
    first = call.args[0] if call.args else ()
    given = list(first) if isinstance(first, (list, tuple)) else list(call.args)
    if not all(isinstance(one, keras.KerasTensor) for one in given):
        return [], []
    branches, sums = [], []
    for one in given:
        inner = _keras.call_of(one)
        if isinstance(call.operation, kinds.sum) and isinstance(inner.operation, kinds.sum):
            found, below = _branches(inner)  # a + b + c
            branches += found
            sums += [*below, inner.operation]
        else:
            branches.append(one)
    return branches, sums


def _inputs(branches: Sequence[Any]) -> tuple[Any, int | None, list[np.ndarray], list[Any]] | None:
    """The common input of all branches: the same tensor, or positions that together cover it."""
    given = [_given(branch) for branch in branches]
    if any(one is None for one in given):
        return None
    if all(one is given[0] for one in given):
        return given[0], None, [], []
    found = [_indexed(one) for one in given]
    sources = {(id(one[0]), one[1]) if one else None for one in found}
    if None in sources or len(sources) != 1:
        return None
    source, axis, _ = next(one for one in found if one)
    taken = [one[2] for one in found if one]
    if not _is_all(np.concatenate(taken), source.shape[axis]):
        return None
    return source, axis, taken, [_operation(one) for one in given]


def _is_all(positions: np.ndarray, length: int) -> bool:
    """Whether each position of an axis occurs once."""
    return np.array_equal(np.sort(positions), np.arange(length))


def _axis(
    layer: Any, in_axis: int | None, out_axis: int | None, in_rank: int, out_rank: int
) -> tuple[int, Axes] | None:
    """The axis of the weight that runs along these axes of the input and output."""
    for axis in range(len(getattr(layer, WEIGHT[type(layer)]).shape)):
        roles = axes_of(layer, axis)
        if roles is None:
            continue
        inputs = None if roles.inputs is None else roles.inputs % in_rank
        outputs = None if roles.outputs is None else roles.outputs % out_rank
        if (inputs, outputs) == (in_axis, out_axis):
            return axis, roles
    return None


def _indexed(tensor: Any) -> tuple[Any, int, np.ndarray] | None:
    """The tensor, axis and positions that an indexing operation took a tensor from."""
    call = _keras.call_of(tensor)
    if not isinstance(call.operation, _kinds().indexing) or not call.args:
        return None
    source = call.args[0]
    if not isinstance(source, keras.KerasTensor):
        return None
    # Axes of unknown length get two positions, so that a cut along one is visible.
    shape = [length or 2 for length in source.shape]
    labels = np.arange(np.prod(shape), dtype="int32").reshape(shape)
    try:
        found = ops.convert_to_numpy(call.again(ops.convert_to_tensor(labels)))
    except Exception:  # backends raise different errors for a position beyond those two
        return None
    if found.ndim != labels.ndim or not found.size:
        return None
    for axis in range(1, labels.ndim):
        if source.shape[axis] is None:
            continue
        along = np.moveaxis(labels, axis, 0).reshape(shape[axis], -1)[:, 0]
        wanted = np.moveaxis(found, axis, 0).reshape(found.shape[axis], -1)[:, 0]
        positions = np.searchsorted(along, wanted).clip(max=along.size - 1)
        if np.array_equal(np.take(labels, positions, axis), found):
            return source, axis, positions
    return None


def _given(output: Any) -> Any:
    """The only input tensor of the layer that computed an output; None if there are several."""
    call = _keras.call_of(output)
    only = len(call.args) == 1 and not any(v is not None for v in call.kwargs.values())
    return call.args[0] if only and isinstance(call.args[0], keras.KerasTensor) else None


def _operation(tensor: Any) -> Any:
    return _keras.call_of(tensor).operation


@dataclass(frozen=True)
class _Kinds:
    side_by_side: tuple[type, ...]
    sum: tuple[type, ...]
    indexing: tuple[type, ...]


@functools.cache
def _kinds() -> _Kinds:
    """The classes of operations; Keras has functions for them, but no public names."""
    x = keras.KerasTensor((2, 2))
    taken = (x[:, :1], ops.take(x, [0], axis=1), ops.split(x, 2)[0])
    return _Kinds(
        (keras.layers.Concatenate, type(_operation(ops.concatenate([x, x])))),
        (keras.layers.Add, type(_operation(ops.add(x, x)))),
        tuple(type(_operation(tensor)) for tensor in taken),
    )
