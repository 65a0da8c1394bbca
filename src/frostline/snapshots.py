"""Weights by path: list them, snapshot and restore their values, copy them to another model."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from os import PathLike
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
    """What `restore` changed in one weight.

    Attributes:
        path: The path of the weight below the model.
        entries: The number of entries whose bits changed.
        size: The number of entries of the weight.
    """

    path: str
    entries: int
    size: int


class Restored(tuple[RestoredWeight, ...]):
    """What `restore` changed: a `RestoredWeight` for each weight that changed, in model order.

    Attributes:
        weights: The number of weights in the snapshot, changed or not.
    """

    weights: int = 0

    def __repr__(self) -> str:
        total = f"{self.weights:,} {'weight' if self.weights == 1 else 'weights'}"
        if not self:
            return f"nothing changed: {total} compared"
        lines = [f"{w.path}: {w.entries:,} of {w.size:,} entries restored" for w in self]
        return "\n".join([*lines, f"{len(self):,} of {total} changed"])


def weights(model: Any, weights: Any = "*") -> dict[str, Any]:
    """List the weights of a layer or model by path.

    All functions of frostline use these paths: `freeze` accepts and prints them, and they are the
    keys of `snapshot`. A path is the names of the layers below `model` and the name of the
    variable.

    Args:
        model: A built layer or model.
        weights: Which weights, as in `freeze`: a glob on the path, a regex, a variable, a list.

    Returns:
        A dictionary from the path of each weight to its variable, the object that the layer holds
        (`layer.kernel`), in the order of the model. A weight that several layers share appears
        once, under its first path.

    Raises:
        TargetError: `model` is not a layer or model.
        NotBuiltError: `model` has no weights yet.
        PathError: `weights` matches no weight, or two weights have the same path.

    Note:
        State is not listed: the moving statistics of a `BatchNormalization`, the seeds of a
        `Dropout`, the variables of metrics and optimizers.

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
        A dictionary from the path of each weight to an array of its shape and dtype, with frozen
        and trainable entries. `numpy.savez(file, **snapshot)` saves it, and `numpy.load(file)`
        gives a mapping that can be used in its place.

    Raises:
        TargetError: `model` is not a layer or model.
        NotBuiltError: `model` has no weights yet.
        PathError: `weights` matches no weight, or two weights have the same path.
        ProcessError: Weights are spread over processes, and not all of them make this call.

    Note:
        Weights that are spread over processes (`ModelParallel` with `jax.distributed`) are gathered
        one by one: call this in every process.

        State is not in a snapshot: moving statistics, seeds, the variables of metrics and
        optimizers. To also copy the statistics of `BatchNormalization`:
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

    Frozen entries are written too. What is frozen does not change, and neither does any variable
    object.

    Args:
        model: A built layer or model.
        snapshot: The result of `snapshot`, or any mapping from paths to arrays of the shapes and
            dtypes of the weights, such as `numpy.load("weights.npz")` or the `weights` of another
            model. Weights that it lacks do not change. A key is a path as in `weights`, with or
            without the name of the model before it, or the `variable.path` of Keras.

    Returns:
        A sequence with a `RestoredWeight` for each weight that changed. It is empty if all values
        were the same already.

    Raises:
        TargetError: `model` is not a layer or model, or `snapshot` is not a mapping.
        NotBuiltError: `model` has no weights yet.
        PathError: A key names no weight or several, or two keys name the same weight.
        RestoreError: An array has another shape or dtype than its weight, or `restore` is called
            while a layer runs.

    After any of these errors, and after an interrupt, the model is unchanged.

    Note:
        State is not restored: moving statistics, seeds, the variables of metrics and optimizers,
        such as momentum. If you copied the statistics as shown for `snapshot`, write them back
        with `for v in model.variables: v.assign(statistics.get(v.path, v))`.
        The old values of the weights that change stay in memory until the call ends.

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
    """Copy the weights of a model into a larger one, bit for bit.

    Each weight is copied to the weight with the same path, into the block that begins at 0 along
    each axis. The other entries keep their values, or start as `fill` says. In a recurrent layer
    each gate has such a block, in grouped-query attention each group of query heads. If paths
    differ only in automatic numbers, such as `dense` and `dense_3`, the weights are matched by
    their order. Moving statistics and other state are copied too. A weight that several layers
    share is copied once.

    Args:
        old: A built layer or model.
        new: A built layer or model whose weights are at least as large.
        at: Other blocks to copy to: a mapping whose keys name weights of `new` as in `freeze` (a
            path, a glob, a variable). A value is a NumPy index, such as `np.s_[:, 3:]`,
            `fl.at[:, 3:]` or a list of positions along the first axis. It must select a region of
            exactly the shape of the old weight. `None` skips the weight. If several keys match a
            weight, the last one counts.
        fill: The value of the other entries of a weight: `None` keeps the initial values;
            `"zeros"`; `"mean"` is the mean of the old weight over the axes that grew; `"noise"` is
            normal noise with that mean and the standard deviation over the same axes; or a function
            of the old array and the new shape that returns an array of that shape. For single
            weights, pass a mapping as for `at`. State keeps its values.
        missing: `"error"`, or `"skip"` to skip weights of either model that have no counterpart in
            the other.
        seed: The seed of the noise.

    Returns:
        A dictionary from the path of each copied weight of `new` to a boolean array of its shape:
        `True` for entries that came from `old`. `fl.freeze(new, copied)` freezes these.

    Raises:
        TargetError: `old` or `new` is not a layer or model.
        NotBuiltError: `old` or `new` has no weights yet.
        PathError: A weight has no counterpart, a key names no weight, or two weights have the same
            path.
        SelectionError: An argument is malformed, or an index is out of range.
        RestoreError: A weight of `new` is smaller, has another number of axes, or has a dtype that
            cannot hold every value of the old one (float16 fits into float32, not the reverse); or
            `copy_weights` is called while a layer runs.

    After any of these errors, and after an interrupt, `new` is unchanged.

    Note:
        Old units also read the new inputs. To keep their outputs, start those entries at zero and
        freeze them too. If the new inputs do not come after the old ones, as behind a `Flatten`, a
        `Concatenate` or a `Bidirectional` layer, give the positions of the old ones in `at`. Three
        things change with size: a normalization or a softmax over an axis that grew, and the scale
        of attention whose `key_dim` grew. The seeds of random layers are not copied.

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
            f"{model.name}: frozen entries cannot be written while a layer runs; got a call of "
            f"`fl.{name}` inside a layer's `call`. Call it between training steps."
        )


def _named(model: Any, chosen: Any) -> list[Found]:
    found = select(model, weights_of(model), chosen)
    refuse_twice(found)
    return found


def _arrays_of(model: Any, found: Sequence[Found], given: Any) -> dict[str, np.ndarray]:
    """The array for the path of each weight that the snapshot names; all of them fit."""
    if not isinstance(given, Mapping):
        kind = type(given).__name__
        do = "Take `snapshot = fl.snapshot(model)`, or load one with `np.load(file)`."
        if isinstance(given, str | PathLike):
            do = "Read a weight file with `model.load_weights(file)`."
        elif isinstance(given, keras.layers.Layer):
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
            f"{key}: this is state, which its layer updates itself and `fl.restore` does not "
            f"write; {got}. Assign it yourself: `variable.assign(array)`."
        )
    near = nearest(key, [weight.path for weight in found])
    do = f"Nearest: {', '.join(map(repr, near))}." if near else "`fl.weights(model)` lists all."
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
    # A view may share the memory of another weight, which may be written before this one.
    return array if array.flags.owndata else np.array(array)
