"""The trained entries of a model as a small file: taken out, kept, put on the base again."""

from __future__ import annotations

from typing import Any

from frostline import _console
from frostline._deltas.apply import (
    carrying,
    check_overlap,
    lying_on,
    pairs_of,
    plans_of,
    put_on,
    switched_off,
    take_off,
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
    """Take what trains out of a model: its values, and which entries they are.

    Holds every entry that is not frozen, of layers that are on, and what such layers update by
    themselves, as the moving statistics of a `BatchNormalization`. On the base, which is all else,
    `apply_delta` makes the same model of it, bit for bit.

    Args:
        model: A built layer or model.
        base: What `snapshot` gave before training, a mapping from paths to arrays, or a model of
            the same paths. Only what has other bits than there is taken then, and a frozen entry
            that has is an error. State that a mapping does not have is taken whole.

    Returns:
        A `Delta`; `.save("tuned.safetensors")` writes it to a file.

    Raises:
        TargetError: `model` is not a layer or model, or `base` neither that nor a mapping.
        NotBuiltError: `model` has no weights yet.
        PathError: Two weights have one path, or `base` lacks one.
        RestoreError: A weight has another shape or dtype in `base`, or is what `base` holds itself.
        AuditError: A frozen entry has other bits in `base`.
        ProcessError: Weights span processes, and the others do not make this call.

    Note:
        Weights that span processes are gathered: call this in every process, and `save` in one.
        The state of an optimizer is not in it, and neither is that of random seeds and metrics.
        On PyTorch Keras reads bfloat16 through float32, in which all NaNs of a sign are one.

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
        TargetError: `path` is no path.
        FileError: The file cannot be read, is not a delta, is cut off, or is not as it was
            written.

    Note:
        Nothing in a file is run. A hash tells what was damaged, not who wrote it: whoever changes a
        file on purpose can write the hash too.

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

    Every entry that is not in it stays bit-identical, and must be as it was when the delta was
    trained: then all weights are those of the model that was trained, to the bit. What is
    overwritten is kept for `remove_delta`. Several deltas may lie on one model. One that does
    already is left as it is, unless `overlap` says where it is to lie.

    Args:
        model: The base, a built layer or model. What is frozen in it does not matter.
        delta: A `Delta`, or the path of its file.
        overlap: Whose value an entry gets that two deltas have other values for: of this one
            (`"last"`), of those before it (`"first"`), or none, an error.
        freeze: Freeze all that is not in the delta as well as what is frozen already, and turn
            layers off that were off and would update moving statistics: training goes on as it did
            where nothing else was frozen. `remove_delta` leaves that as it is.
        check: Compare the base with that of the delta. Where it is known to be the same,
            `check=False` saves reading all of the model: only entries of the delta are read and
            written, unless another one lies on the same weight.

    Returns:
        The `Delta` that was applied.

    Raises:
        TargetError: `model` is not a layer or model, or `delta` is not a delta.
        NotBuiltError: `model` has no weights yet.
        PathError: Two weights have one path.
        FileError: The file cannot be read, or is not a whole delta.
        RestoreError: The base is another one (both fingerprints are told), or of another
            architecture, shape or dtype; an entry has two values; `overlap` is none of these; or
            weights have changed since another delta was applied.

    After any of these the model is as it was.

    Note:
        Layers without a name of your own are called `dense_7` in the order in which Python makes
        them. Where paths differ in such numbers alone, weights are matched by their places.

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
        put_on(write, pairs, delta, overlap)
        if freeze:
            with plans_applied(model, frozen), switched_off(model, pairs):
                pass
        return delta


@alone
def remove_delta(model: Any, delta: Any, *, force: bool = False) -> Delta:
    """Take a delta off a model: its entries are again what they were, bit for bit.

    In any order where there are several. An entry that another delta has a value for too gets that
    one.

    Args:
        model: The layer or model it was applied to, the same object.
        delta: The `Delta`, or the path of its file.
        force: Take it off even if its entries have changed since, and lose that.

    Returns:
        The `Delta` that was removed.

    Raises:
        TargetError, NotBuiltError, PathError, FileError: As for `apply_delta`.
        RestoreError: It is not applied to this model, or no longer to all of it, or weights have
            changed since.

    After any of these the model is as it was.

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
    wanted = carrying(found, delta, model.name, force=force)
    if not wanted:
        lies = ", ".join(d.fingerprint[:SHOWN] for d in lying_on(found)) or "none"
        raise RestoreError(
            f"{model.name}: this delta is not applied to this model; got delta "
            f"{delta.fingerprint[:SHOWN]}, applied are {lies}. A copy of a model, or one loaded "
            "from a file, does not know its deltas: load the base to be without them."
        )
    with all_or_none() as write:
        take_off(write, wanted, delta, force=force)
        return delta


def applied_deltas(model: Any) -> tuple[Delta, ...]:
    """The deltas that lie on a model, in the order in which they win, the last one last.

    Args:
        model: A built layer or model.

    Returns:
        A tuple of `Delta`: those that were applied to these objects and not removed. A model that
        was saved and loaded has their values and knows of none; what wrote other weights into the
        model, as `load_weights`, does not count as removing.

    Raises:
        TargetError, NotBuiltError, PathError: As for `extract_delta`.

    Examples:
        >>> import keras, frostline as fl
        >>> layer = keras.layers.Dense(3)
        >>> layer.build((None, 4))
        >>> fl.applied_deltas(layer)
        ()
    """
    return lying_on(weights_in(model))
