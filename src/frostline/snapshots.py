"""Weights by their paths: the variables, copies of their values, and these written back or over."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np

from frostline import _keras
from frostline._console import each
from frostline._errors import PathError, RestoreError, TargetError
from frostline._weights import values
from frostline._weights.changing import alone
from frostline._weights.copied import plan
from frostline._weights.earlier import keys_of, refuse_twice
from frostline._weights.suggest import nearest
from frostline._weights.tree import Found, read_value, select, unique, walk, weights_of


@dataclass(frozen=True)
class RestoredWeight:
    """What `restore` changed of one weight.

    Attributes:
        path: The path of the weight below the model.
        entries: How many of its entries had other bits before.
        size: How many entries it has.
    """

    path: str
    entries: int
    size: int


class Restored(tuple[RestoredWeight, ...]):
    """What `restore` changed, one `RestoredWeight` a weight that changed, in the model's order.

    Attributes:
        weights: How many weights the snapshot holds, changed or not.
    """

    weights: int = 0

    def __repr__(self) -> str:
        total = f"{self.weights:,} {'weight' if self.weights == 1 else 'weights'}"
        if not self:
            return f"nothing changed: {total} compared"
        lines = [f"{w.path}: {w.entries:,} of {w.size:,} entries restored" for w in self]
        return "\n".join([*lines, f"{len(self):,} of {total} changed"])


def weights(model: Any, weights: Any = "*") -> dict[str, Any]:
    """The weights of a layer or model by the paths that every function here uses.

    These are the paths that `freeze` prints, the keys of `snapshot`, and the names that `freeze`
    takes. They are the names of the layers below `model` and the name of the variable.

    Args:
        model: A built layer or model.
        weights: Which weights, as in `freeze`: a glob on the path, a regex, a variable, a list.

    Returns:
        A dictionary from the path of each weight to its variable, the object that the layer holds
        (`layer.kernel`), in the order of the model. A weight that several layers share is in it
        once, under the first of its paths.

    Raises:
        TargetError: `model` is not a layer or model.
        NotBuiltError: `model` has no weights yet.
        PathError: No weight is named by `weights`, or two different ones have one path.

    Note:
        State that a layer updates by itself is not in it: the moving statistics of a
        `BatchNormalization`, the seeds of a `Dropout`, the variables of metrics and optimizers.

    Examples:
        >>> import keras, frostline as fl
        >>> layer = keras.layers.Dense(3)
        >>> layer.build((None, 4))
        >>> fl.weights(layer)["kernel"] is layer.kernel
        True
        >>> [path for path, variable in fl.weights(layer).items() if fl.is_frozen(variable)]
        []
    """
    return {found.path: found.variable for found in _named(model, weights)}


@alone
def snapshot(model: Any, weights: Any = "*") -> dict[str, np.ndarray]:
    """Copy the weights of a layer or model, bit for bit, for `restore` or `plot_drift` later.

    Args:
        model: A built layer or model.
        weights: Which weights, as in `freeze`.

    Returns:
        A dictionary from the path of each weight to an array of its shape and dtype, whatever is
        frozen of it. `numpy.savez(file, **snapshot)` keeps it, and `numpy.load(file)` gives a
        mapping that can be used in its place.

    Raises:
        TargetError: `model` is not a layer or model.
        NotBuiltError: `model` has no weights yet.
        PathError: No weight is named by `weights`, or two different ones have one path.
        ProcessError: Weights span processes, and the others do not make this call.

    Note:
        Weights that span processes (`ModelParallel` with `jax.distributed`) are gathered one by
        one: call this in every process.

        State is not in a snapshot: moving statistics, seeds, and what metrics and optimizers keep.
        For the statistics of `BatchNormalization`, copy them beside it:
        `{v.path: np.array(v.numpy()) for v in model.variables if v.name.startswith("moving_")}`.

    Examples:
        >>> import keras, frostline as fl
        >>> layer = keras.layers.Dense(3)
        >>> layer.build((None, 4))
        >>> {path: array.shape for path, array in fl.snapshot(layer).items()}
        {'kernel': (4, 3), 'bias': (3,)}
    """
    chosen = _named(model, weights)
    return {found.path: np.array(read_value(found)) for found in each("copying", chosen)}


@alone
def restore(model: Any, snapshot: Mapping[str, Any]) -> Restored:
    """Write the values of a snapshot back into a layer or model, bit for bit.

    Frozen entries are written too. What is frozen, and every variable object, stays as it is.

    Args:
        model: A built layer or model.
        snapshot: What `snapshot` gave, or any mapping from paths to arrays of the shapes and dtypes
            of the weights, such as `numpy.load("weights.npz")` or the `weights` of another model.
            It may lack weights: they are left alone. A key is a path as in `weights`, with or
            without the name of the model before it, or the `variable.path` of Keras.

    Returns:
        A sequence with a `RestoredWeight` for each weight that changed. It is empty if all values
        were there already.

    Raises:
        TargetError: `model` is not a layer or model, or `snapshot` is not a mapping.
        NotBuiltError: `model` has no weights yet.
        PathError: A key names no weight or several, or two keys name one weight.
        RestoreError: An array has another shape or dtype than its weight, or the call comes from
            inside the call of a layer.

    After any of these, and after an interrupt, the model is as it was.

    Note:
        Only weights are written. State is not: moving statistics, seeds, and what metrics and
        optimizers keep, such as momentum. To bring the statistics back that `snapshot` says how to
        copy: `for v in model.variables: v.assign(statistics.get(v.path, v))`.
        The old values of the weights that change are kept in memory until the end.

    Examples:
        >>> import keras, frostline as fl
        >>> layer = keras.layers.Dense(3)
        >>> layer.build((None, 4))
        >>> _ = fl.freeze(layer, "kernel", fl.at[0])
        >>> start = fl.snapshot(layer)
        >>> _ = layer.kernel.assign(layer.kernel + 1)
        >>> fl.restore(layer, start)
        kernel: 12 of 12 entries restored
        1 of 2 weights changed
        >>> fl.restore(layer, start)
        nothing changed: 2 weights compared
    """
    found = unique(weights_of(model))
    _refuse_in_call(model, "restore")
    arrays = _arrays_of(model, found, snapshot)
    named = [weight for weight in found if weight.path in arrays]
    writing = each("restoring", named)
    counts = values.write_all((weight.variable, arrays[weight.path]) for weight in writing)
    restored = Restored(
        RestoredWeight(weight.path, count, arrays[weight.path].size)
        for weight, count in zip(named, counts, strict=True)
        if count
    )
    restored.weights = len(arrays)
    return restored


@alone
def copy_weights(
    old: Any,
    new: Any,
    *,
    at: Mapping[Any, Any] | None = None,
    fill: Any = None,
    missing: str = "error",
    seed: int = 0,
) -> dict[str, np.ndarray]:
    """Copy the weights of a model into a larger one, bit for bit, to be frozen there or trained on.

    Each weight goes to the weight of the same path, into the block that begins at 0 along each
    axis. The rest of a weight keeps its values or starts as `fill` says. In a recurrent layer each
    gate has such a block, in grouped-query attention each group of query heads. Paths that differ
    only in automatic numbers, `dense` and `dense_3`, are matched by place among their kind. Moving
    statistics and other state are copied too. A weight that several layers share is copied once.

    Args:
        old: A built layer or model.
        new: A built layer or model whose weights are at least as large.
        at: Where other blocks are, by weights of `new` as in `freeze`: a path, a glob, a variable.
            A value is a NumPy index, such as `np.s_[:, 3:]`, `fl.at[:, 3:]` or a list of positions
            along the first axis, and must name a region of exactly the shape of the old weight.
            `None` leaves the weight out. The last key that matches a weight counts.
        fill: What the new entries of a weight start with: `None`, as initialised; `"zeros"`;
            `"mean"`, the mean of the old weight along the axes that grew, taken over all of them at
            once; `"noise"`, normal noise with the mean and the standard deviation along these; or a
            function of the old array and the new shape that gives an array of that shape. For
            single weights, a mapping as `at`. State keeps its values.
        missing: `"error"`, or `"skip"` to leave out weights of `old` that have no counterpart in
            `new`, and to leave alone weights of `new` that have none in `old`.
        seed: Of the noise.

    Returns:
        A dictionary from the path of each weight of `new` that was copied to a boolean array of its
        shape: `True` where the value came from `old`. `fl.freeze(new, copied)` freezes these.

    Raises:
        TargetError: `old` or `new` is not a layer or model.
        NotBuiltError: `old` or `new` has no weights yet.
        PathError: A weight has no counterpart, a key names no weight, or two have one path.
        SelectionError: An argument is malformed, or an index is out of range.
        RestoreError: A weight of `new` is smaller, has another number of axes, or a dtype that does
            not hold every value of the old one (float16 goes into float32, not the reverse); or the
            call comes from inside the call of a layer.

    After any of these, and after an interrupt, `new` is as it was.

    Note:
        Old units also read the new inputs. To keep their outputs, start those entries at zero and
        freeze them too. Where the new inputs are not behind the old ones, as after a `Flatten`, a
        `Concatenate` or a `Bidirectional` layer, name the old ones in `at`. What a normalization or
        a softmax computes over an axis that grew, and the scale of attention whose `key_dim` grew,
        changes with its size. The seeds of random layers are not copied.

    Examples:
        >>> import keras, frostline as fl
        >>> old, new = keras.layers.Dense(2), keras.layers.Dense(3)
        >>> old.build((None, 4)), new.build((None, 4))
        (None, None)
        >>> copied = fl.copy_weights(old, new, fill="mean")
        >>> copied["bias"].tolist()
        [True, True, False]
        >>> fl.freeze(new, copied)
        kernel: 8 entries changed, 8 of 12 frozen
        bias: 2 entries changed, 2 of 3 frozen
    """
    copies = plan(old, new, at, fill, missing, seed)
    _refuse_in_call(new, "copy_weights")
    masks = {copy.new.path: copy.mask() for copy in copies if not copy.new.state}
    writing = each("copying", copies)
    values.write_all((copy.new.variable, copy.value()) for copy in writing)
    return masks


def _refuse_in_call(model: Any, name: str) -> None:
    if _keras.in_call():
        raise RestoreError(
            f"{model.name}: frozen entries cannot be written from inside the call of a layer; got "
            f"a call of `fl.{name}` there. Call it between the steps."
        )


def _named(model: Any, chosen: Any) -> list[Found]:
    found = select(model, weights_of(model), chosen)
    refuse_twice(found)
    return found


def _arrays_of(model: Any, found: Sequence[Found], given: Any) -> dict[str, np.ndarray]:
    """The array for each weight that is named, by its path, when all of them fit."""
    if not isinstance(given, Mapping):
        kind = type(given).__name__
        do = "Take `snapshot = fl.snapshot(model)`, or load one with `np.load(file)`."
        if isinstance(given, keras.layers.Layer):
            do = "Pass its weights: `fl.restore(model, fl.weights(other))`."
        raise TargetError(
            f"snapshot: not a mapping from paths to arrays; got snapshot={kind}. {do}"
        )
    keys = keys_of(given, found, "snapshot")
    _refuse_unknown(model, found, given, keys.values())
    arrays = {}
    for weight in found:
        if id(weight.variable) in keys:
            arrays[weight.path] = _fitting(weight, given[keys[id(weight.variable)]])
    return arrays


def _refuse_unknown(
    model: Any, found: Sequence[Found], given: Mapping[str, Any], known: Iterable[str]
) -> None:
    unknown = sorted(map(str, set(given).difference(known)))
    if not unknown:
        return
    key, more = unknown[0], len(unknown) - 1
    got = f"got snapshot with {key!r}" + (f" and {more} more of this kind" if more else "")
    state = [weight for weight in walk(model, state=True) if weight.state]
    if any(key in weight.names for weight in state):
        raise PathError(
            f"{key}: not a weight that an optimizer trains, its layer updates it by itself; {got}. "
            "Assign it yourself: `variable.assign(array)`."
        )
    near = nearest(key, [weight.path for weight in found])
    do = f"Nearest: {', '.join(map(repr, near))}." if near else "`fl.weights(model)` has the paths."
    raise PathError(f"{model.name}: no weight has this path; {got}. {do}")


def _fitting(weight: Found, given: Any) -> np.ndarray:
    shape, dtype = tuple(weight.variable.shape), np.dtype(weight.variable.dtype)
    array = values.as_array(given, dtype)
    for what, same in (("shape", array.shape == shape), ("dtype", array.dtype == dtype)):
        if not same:
            raise RestoreError(
                f"{weight.path}: the snapshot holds an array of another {what}; got snapshot "
                f"(shape {array.shape}, dtype {array.dtype}), weight (shape {shape}, dtype "
                f"{dtype}). Take `fl.snapshot(model)` from a model like this one, or convert "
                "the array."
            )
    # It may be the memory of another weight, which is written before this one.
    return array if array.flags.owndata else np.array(array)
