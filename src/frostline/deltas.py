"""Deltas: the trained entries of a model, saved in a small file and applied to the base model."""

from __future__ import annotations

from typing import Any

from frostline import _console
from frostline._deltas.apply import (
    applied_to,
    check_overlap,
    erase_delta,
    pairs_of,
    plans_of,
    switched_off,
    weights_with,
    write_delta,
)
from frostline._deltas.delta import SHOWN, Delta
from frostline._deltas.extract import extract
from frostline._deltas.held import DeltaWeight
from frostline._deltas.load import as_delta, read
from frostline._deltas.model import all_or_none, base_values, size_of, weights_in
from frostline._deltas.switch import applied, switch_delta
from frostline._errors import RestoreError
from frostline._freezing.apply import plans_applied
from frostline._version import __version__
from frostline._weights.changing import alone

__all__ = [
    "Delta",
    "DeltaWeight",
    "applied",
    "applied_deltas",
    "apply_delta",
    "extract_delta",
    "load_delta",
    "remove_delta",
    "switch_delta",
]


@alone
def extract_delta(model: Any, base: Any = None) -> Delta:
    """Extract the entries of a model that train: their values and their positions.

    A delta holds the entries that are not frozen, of layers with `trainable=True`, and the state
    that such layers update themselves, such as the moving statistics of a `BatchNormalization`.
    `apply_delta` turns the base, the model before training, into this model, bit for bit.

    Args:
        model: A built layer or model.
        base: The model before training: the result of `snapshot`, a mapping from paths to arrays,
            or a model with the same paths. Then only entries that differ from it are taken, and a
            frozen entry that differs is an error. State that a mapping lacks is taken whole.

    Returns:
        A `Delta`; `.save("tuned.safetensors")` writes it to a file.

    Raises:
        TargetError: `model` is not a layer or model, or `base` is none of the above.
        NotBuiltError: `model` has no weights yet.
        PathError: Two weights have the same path, or `base` lacks one.
        RestoreError: A weight has another shape or dtype in `base`, or `base` contains the weight
            itself instead of a copy.
        AuditError: A frozen entry has other bits in `base`.
        ProcessError: Weights are spread over processes, and not all of them make this call.

    Note:
        Weights that are spread over processes are gathered: call this in every process, and `save`
        in one. The state of optimizers, random seeds and metrics is not in a delta. On PyTorch,
        Keras reads bfloat16 through float32, which makes all NaNs of one sign the same.

    Examples:
        >>> import keras, frostline as fl
        >>> model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(3, name="hidden")])
        >>> _ = fl.freeze(model, "hidden/kernel", fl.at[:3, :])
        >>> delta = fl.extract_delta(model)
        >>> delta.size, delta.nbytes  # a row and a bias, and which row it is
        (6, 28)
        >>> [(weight.path, weight.held, weight.kind) for weight in delta.weights]
        [('hidden/kernel', 3, 'block'), ('hidden/bias', 3, 'whole')]
    """
    found = weights_in(model)
    before = None if base is None else base_values(base, found)
    with _console.meter("extracting", size_of(found), unit="entries") as advance:
        return extract(found, before, __version__, advance)


def load_delta(path: Any) -> Delta:
    """Read a delta from a file.

    Args:
        path: A file that `Delta.save` or `frostline delta extract` wrote.

    Returns:
        The `Delta`, equal to the one that was saved.

    Raises:
        TargetError: `path` is not a path.
        FileError: The file cannot be read, is not a delta, or is damaged.

    Note:
        Nothing in a file is run. A hash detects damage, but does not prove who wrote the file:
        whoever changes it on purpose can also change the hash.

    Examples:
        >>> import keras, frostline as fl, os, tempfile
        >>> layer = keras.layers.Dense(3)
        >>> layer.build((None, 4))
        >>> _ = fl.freeze(layer, "bias")
        >>> path = os.path.join(tempfile.mkdtemp(), "tuned.safetensors")
        >>> fl.extract_delta(layer).save(path)
        >>> fl.load_delta(path) == fl.extract_delta(layer)
        True
    """
    return read(path)


@alone
def apply_delta(
    model: Any,
    delta: Any,
    *,
    overlap: str = "error",
    freeze: bool = False,
    check: bool = True,
) -> Delta:
    """Write the entries of a delta into the model it was trained from.

    All other entries stay bit-identical. They must be equal to those of the base that the delta was
    trained on; then all weights are those of the trained model, bit for bit. The overwritten values
    are kept for `remove_delta`. Several deltas can be applied to one model. Applying the same delta
    again changes nothing, unless `overlap` gives it another place.

    Args:
        model: The base, a built layer or model. What is frozen in it does not matter.
        delta: A `Delta`, or the path of its file.
        overlap: Which value an entry gets if two deltas have different values for it: that of this
            delta (`"last"`), that of the deltas applied before (`"first"`), or `"error"`.
        freeze: Also freeze every entry that is not in the delta, and set `trainable=False` on
            layers that had it when the delta was made and would update their moving statistics.
            You can then continue training. What was frozen stays frozen. `remove_delta` does not
            undo this.
        check: Compare the base with that of the delta. If you know that it is the same,
            `check=False` saves reading the whole model: only entries of the delta are read and
            written, unless another delta is applied to the same weight.

    Returns:
        The `Delta` that was applied.

    Raises:
        TargetError: `model` is not a layer or model, or `delta` is not a delta.
        NotBuiltError: `model` has no weights yet.
        PathError: Two weights have the same path.
        FileError: The file cannot be read, is not a delta, or is damaged.
        RestoreError: The model is not the base of the delta (the message shows both fingerprints)
            or has another architecture, shape or dtype; two deltas have different values for an
            entry; `overlap` is none of these; or weights have changed since another delta was
            applied.

    After any of these errors the model is unchanged.

    Note:
        Keras numbers layers that you do not name in the order in which they are made: `dense_7`.
        If paths differ only in such numbers, weights are matched by their order.

    Examples:
        >>> import keras, numpy as np, frostline as fl
        >>> model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(3, name="hidden")])
        >>> _ = fl.freeze(model, "hidden/kernel", fl.at[:3, :])
        >>> base = keras.models.clone_model(model)
        >>> base.set_weights(model.get_weights())
        >>> model.compile("adamw", "mse")
        >>> _ = model.fit(np.ones((8, 4)), np.ones((8, 3)), verbose=0)
        >>> _ = fl.apply_delta(base, fl.extract_delta(model))
        >>> x = np.ones((2, 4), "float32")
        >>> bool(keras.ops.all(base(x) == model(x)))
        True
    """
    check_overlap(overlap)
    delta = as_delta(delta)
    pairs = pairs_of(delta, weights_in(model), model.name, check=check)
    frozen = plans_of(pairs) if freeze else []
    with all_or_none() as write:
        write_delta(write, pairs, delta, overlap)
        if freeze:
            with plans_applied(model, frozen), switched_off(model, pairs):
                pass
        return delta


@alone
def remove_delta(model: Any, delta: Any, *, force: bool = False) -> Delta:
    """Remove a delta from a model: its entries get back the values of the base, bit for bit.

    Several deltas can be removed in any order. If another applied delta also has a value for an
    entry, the entry gets that value.

    Args:
        model: The layer or model that it was applied to, the same object.
        delta: The `Delta`, or the path of its file.
        force: Remove it even if its entries have changed since. These changes are lost.

    Returns:
        The `Delta` that was removed.

    Raises:
        TargetError, NotBuiltError, PathError, FileError: As for `apply_delta`.
        RestoreError: It is not applied to this model, or no longer to all of its weights; or
            weights have changed since.

    After any of these errors the model is unchanged.

    Examples:
        >>> import keras, numpy as np, frostline as fl
        >>> layer = keras.layers.Dense(3)
        >>> layer.build((None, 4))
        >>> before = layer.get_weights()
        >>> _ = fl.freeze(layer, "kernel", fl.at[0])
        >>> _ = layer.kernel.assign(np.where(fl.frozen_mask(layer.kernel), before[0], 1.0))
        >>> tuned = fl.extract_delta(layer)
        >>> layer.set_weights(before)
        >>> _ = fl.apply_delta(layer, tuned)
        >>> fl.applied_deltas(layer) == (tuned,)
        True
        >>> _ = fl.remove_delta(layer, tuned)
        >>> np.array_equal(layer.get_weights()[0], before[0])
        True
    """
    delta = as_delta(delta)
    found = weights_in(model)
    wanted = weights_with(found, delta, model.name, force=force)
    if not wanted:
        names = ", ".join(d.fingerprint[:SHOWN] for d in applied_to(found)) or "none"
        raise RestoreError(
            f"{model.name}: this delta is not applied to this model; got delta "
            f"{delta.fingerprint[:SHOWN]}, applied: {names}. A copied or reloaded model no longer "
            "knows its deltas; load the base instead."
        )
    with all_or_none() as write:
        erase_delta(write, wanted, delta, force=force)
        return delta


def applied_deltas(model: Any) -> tuple[Delta, ...]:
    """The deltas that are applied to a model; where several have an entry, the last one wins.

    Args:
        model: A built layer or model.

    Returns:
        A tuple of the `Delta` objects that were applied to this model object and not removed. A
        model that was saved and loaded has their values, but no longer knows the deltas. Writing
        other weights, with `load_weights` for example, does not remove a delta.

    Raises:
        TargetError, NotBuiltError, PathError: As for `extract_delta`.

    Examples:
        >>> import keras, frostline as fl
        >>> layer = keras.layers.Dense(3)
        >>> layer.build((None, 4))
        >>> fl.applied_deltas(layer)
        ()
    """
    return applied_to(weights_in(model))
