"""Exchange one delta for another, and apply deltas for the length of a `with` block."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from frostline._deltas.apply import (
    Write,
    applied_to,
    check_overlap,
    current_entries,
    erase_delta,
    pairs_of,
    weights_with,
    write_delta,
)
from frostline._deltas.compose import Patch
from frostline._deltas.delta import SHOWN, Delta
from frostline._deltas.held import DeltaWeight
from frostline._deltas.load import as_delta
from frostline._deltas.model import ModelWeight, all_or_none, weights_in
from frostline._errors import RestoreError
from frostline._weights.changing import CHANGING, alone


@alone
def switch_delta(model: Any, delta: Any, *, check: bool = True) -> Delta:
    """Exchange the delta that is applied to a model for another one of the same base.

    Afterwards the entries of the new delta have its values. The other entries of the old delta have
    the values of the base again, bit for bit. If no delta is applied, the new one is applied.

    With `check=False` only entries of the two deltas are read and written. The time then depends on
    their size, not on that of the model, except on JAX: its arrays are immutable, so each weight
    that a delta writes to is copied.

    Args:
        model: The built layer or model that the old delta was applied to, the same object.
        delta: A `Delta`, or the path of its file.
        check: Compare the base with that of the new delta, which reads the whole model. Use
            `check=False` if you know that both deltas were trained from this base.

    Returns:
        The `Delta` that is applied now.

    Raises:
        TargetError: `model` is not a layer or model, or `delta` is not a delta.
        NotBuiltError: `model` has no weights yet.
        PathError: Two weights have the same path.
        FileError: The file cannot be read, is not a delta, or is damaged.
        RestoreError: Several deltas are applied; entries of the old one have changed since; or the
            model is not the base of the new one, or has another architecture, shape or dtype.

    After any of these errors, and after an interrupt, the old delta is still applied.

    Examples:
        >>> import keras, numpy as np, frostline as fl
        >>> layer = keras.layers.Dense(3)
        >>> layer.build((None, 4))
        >>> before, deltas = layer.get_weights()[0], []
        >>> for row in (0, 1):
        ...     _ = fl.train_only(layer, "kernel", fl.at[row])
        ...     _ = layer.kernel.assign(np.where(fl.frozen_mask(layer.kernel), before, 1.0))
        ...     deltas.append(fl.extract_delta(layer))
        ...     _ = layer.kernel.assign(before)
        >>> _ = fl.apply_delta(layer, deltas[0])
        >>> _ = fl.switch_delta(layer, deltas[1])
        >>> fl.applied_deltas(layer) == (deltas[1],)
        True
    """
    delta = as_delta(delta)
    found = weights_in(model)
    current = applied_to(found)
    if len(current) > 1:
        shown = ", ".join(one.fingerprint[:SHOWN] for one in current)
        raise RestoreError(
            f"{model.name}: several deltas are applied, so it is unclear which one to exchange; "
            f"got {len(current)}: {shown}. Remove the old one with `fl.remove_delta(model, delta)` "
            "and add the new one with `fl.apply_delta`."
        )
    for old in current:
        weights_with(found, old, model.name)
    pairs = pairs_of(delta, found, model.name, check=check)
    with all_or_none() as write:
        for weight, target in pairs:
            _exchange(write, target, weight, delta)
        return delta


@contextmanager
def applied(
    model: Any, delta: Any, *, overlap: str = "error", check: bool = True
) -> Iterator[Delta | tuple[Delta, ...]]:
    """Apply a delta for the length of a `with` block.

    Inside the block the model is the trained one. After the block, also after an exception or an
    interrupt, it is the base again, bit for bit. Deltas that were applied before the block stay
    applied. Deltas that you apply or switch to inside it are removed too.

    Args:
        model: The base, a built layer or model, as for `apply_delta`.
        delta: A `Delta`, the path of its file, or a list of these, which are applied in order.
        overlap: Which value an entry gets if two deltas have different values for it, as for
            `apply_delta`.
        check: Compare the base with that of each delta, as for `apply_delta`. With `check=False`
            only the entries of the delta are read and written.

    Yields:
        The `Delta`, or a tuple of them if a list was given.

    Raises:
        FrostlineError: As for `apply_delta`.
        RestoreError: The delta is already applied, so the block could not end with the base.

    Note:
        If you train inside the block, the entries of the delta lose the result when it ends. To
        keep it, take `before = fl.snapshot(model)` before the block, and call
        `fl.extract_delta(model, base=before)` inside it. Entries that are not in the delta keep
        what you write.

    Examples:
        >>> import keras, numpy as np, frostline as fl
        >>> layer = keras.layers.Dense(3)
        >>> layer.build((None, 4))
        >>> before = layer.get_weights()[0]
        >>> _ = fl.train_only(layer, "kernel", fl.at[0])
        >>> _ = layer.kernel.assign(np.where(fl.frozen_mask(layer.kernel), before, 1.0))
        >>> tuned = fl.extract_delta(layer)
        >>> _ = layer.kernel.assign(before)
        >>> with fl.applied(layer, tuned):
        ...     print(layer.get_weights()[0][0])
        [1. 1. 1.]
        >>> np.array_equal(layer.get_weights()[0], before)
        True
    """
    check_overlap(overlap)
    several = isinstance(delta, (list, tuple))
    deltas = tuple(map(as_delta, delta if several else [delta]))
    before = None
    try:
        with CHANGING:
            before = applied_to(weights_in(model))
            _refuse_applied(model, deltas, before)
            with all_or_none() as write:
                for one in deltas:
                    pairs = pairs_of(one, weights_in(model), model.name, check=check)
                    write_delta(write, pairs, one, overlap)
        yield deltas if several else deltas[0]
    finally:
        if before is not None:
            _remove_others(model, before)


def _refuse_applied(model: Any, deltas: Sequence[Delta], before: Sequence[Delta]) -> None:
    for one in deltas:
        if one in before:
            raise RestoreError(
                f"{model.name}: this delta is already applied, so the block could not end with "
                f"the base; got delta {one.fingerprint[:SHOWN]}. Call "
                "`fl.remove_delta(model, delta)` before the block, or use no block."
            )


@alone
def _remove_others(model: Any, kept: Sequence[Delta]) -> None:
    found = weights_in(model)
    with all_or_none() as write:
        for one in applied_to(found):
            if one not in kept:
                erase_delta(write, weights_with(found, one, model.name), one, force=True)


def _exchange(write: Write, target: ModelWeight, weight: DeltaWeight, delta: Delta) -> None:
    """Replace the delta on a weight, if there is one, by another."""
    for patch in target.patches:
        now = current_entries(target)
        if weight.held and patch.weight.plan == weight.plan:
            write(target, weight, now, weight.written, [Patch(delta, weight, patch.replaced)])
            return
        write(target, patch.weight, now, patch.replaced, [])
    write_delta(write, [(weight, target)], delta, "error")
