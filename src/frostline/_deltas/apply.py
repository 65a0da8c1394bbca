"""Apply a delta to a model and remove it: compare the base, write the entries.

If no other delta is applied to a weight, only the entries of this delta are read and written. If
several are, the whole weight is read to find out which of them wins.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from graphlib import TopologicalSorter
from typing import Any

import keras
import numpy as np

from frostline import _console
from frostline._arrays.bits import differ
from frostline._arrays.plan import Plan
from frostline._deltas.compose import (
    OVERLAPS,
    Patch,
    added,
    base_below,
    fits,
    moved_since,
    removed,
)
from frostline._deltas.delta import Delta, base_of, other_base
from frostline._deltas.held import DeltaWeight, fingerprint_of
from frostline._deltas.match import match
from frostline._deltas.model import ModelWeight, size_of
from frostline._errors import RestoreError
from frostline._freezing.optimizer import steps_remade
from frostline._freezing.verbs import combined, refuse_unsupported
from frostline._weights.view import plan_of

Pairs = Sequence[tuple[DeltaWeight, ModelWeight]]
Write = Callable[..., None]
"""The function that `all_or_none` yields."""


def check_base(delta: Delta, pairs: Pairs, name: str) -> None:
    """Raise an error if the model is not the base of the delta."""
    other = None
    with _console.meter("comparing", size_of(t for _, t in pairs), unit="entries") as advance:
        for weight, target in pairs:
            if other is None and not fits(weight, target.read(), target.patches):
                other = target.path
            advance(target.size)
    if other is None:
        return
    base = base_of(
        (
            target.shape,
            target.dtype,
            fingerprint_of(weight.plan, base_below(target.read(), target.patches)),
        )
        for weight, target in pairs
    )
    raise other_base(other, name, base, delta)


def check_overlap(overlap: str) -> None:
    """Raise an error if `overlap` is not one of the allowed words."""
    if overlap not in OVERLAPS:
        raise RestoreError(
            f"overlap: must be one of {', '.join(map(repr, OVERLAPS))}; got overlap={overlap!r}. "
            "Leave it out to get an error for two values of one entry."
        )


def pairs_of(delta: Delta, found: Sequence[ModelWeight], name: str, *, check: bool) -> Pairs:
    """Pair each weight of a delta with that of the model; with `check`, compare the base too."""
    pairs = list(zip(delta.weights, match(delta.weights, found, name), strict=True))
    if check:
        check_base(delta, pairs, name)
    return pairs


def write_delta(write: Write, pairs: Pairs, delta: Delta, overlap: str) -> None:
    """Write the entries of a delta."""
    if base_again([target for _, target in pairs]):
        for _, target in pairs:
            for patch in target.patches[:1]:
                now = target.take(patch.weight)
                write(target, patch.weight, now, now, [])
    for weight, target in pairs:
        if weight.held and target.patches:
            now = target.read()
            on_it, value = added(target.path, now, target.patches, delta, weight, overlap)
            write(target, weight, weight.take(now), weight.take(value), on_it)
        elif weight.held:
            base = target.take(weight)
            write(target, weight, base, weight.written, [Patch(delta, weight, base)])


def erase_delta(write: Write, targets: Sequence[ModelWeight], delta: Delta, *, force: bool) -> None:
    """Write the values of the base, or of the other deltas applied, over those of a delta."""
    for target in targets:
        patch = patch_of(target, delta)
        weight = patch.weight
        if len(target.patches) == 1:
            now = target.take(weight) if force else current_entries(target)
            write(target, weight, now, patch.replaced, [])
        elif base_again([target]):
            now = target.take(weight)
            write(target, weight, now, now, [p for p in target.patches if p.delta != delta])
        else:
            now = target.read()
            left, value = removed(target.path, now, target.patches, delta, force=force)
            write(target, weight, weight.take(now), weight.take(value), left)


def base_again(targets: Sequence[ModelWeight]) -> bool:
    """Whether all entries of the deltas have the values of the base again, for example reloaded.

    One weight is not enough to decide this: a delta may write the value that the base has.
    """
    patches = [(target, patch) for target in targets for patch in target.patches]
    return any(differ(patch.values, patch.replaced).any() for _, patch in patches) and not any(
        differ(target.take(patch.weight), patch.replaced).any() for target, patch in patches
    )


def current_entries(target: ModelWeight) -> np.ndarray:
    """The current entries of the only delta on a weight; an error if they have changed.

    They must be what the delta wrote, or those of the base, if the base was loaded again.
    """
    (patch,) = target.patches
    now = target.take(patch.weight)
    moved = differ(now, patch.values)
    if moved.any() and differ(now, patch.replaced).any():
        raise moved_since(target.path, int(moved.sum()), target.size, target.patches)
    return now


def weights_with(
    found: Sequence[ModelWeight], delta: Delta, name: str, *, force: bool = False
) -> list[ModelWeight]:
    """The weights that a delta is applied to; an error if some of them are missing."""
    wanted = [w for w in found if any(patch.delta == delta for patch in w.patches)]
    held = sum(weight.held > 0 for weight in delta.weights)
    if wanted and len(wanted) < held and not force:
        raise RestoreError(
            f"{name}: some weights that this delta was applied to are missing; got {len(wanted)} "
            f"of {held} weights. Pass the model that it was applied to; if its layers have new "
            "weights since then, for example after `quantize`, load the base again."
        )
    return wanted


def applied_to(found: Sequence[ModelWeight]) -> tuple[Delta, ...]:
    """The deltas that are applied to weights, in order of precedence: the last one wins."""
    order: TopologicalSorter[Delta] = TopologicalSorter()
    for weight in found:
        below: list[Delta] = []
        for patch in weight.patches:
            order.add(patch.delta, *below)
            below = [patch.delta]
    return tuple(order.static_order())


def patch_of(target: ModelWeight, delta: Delta) -> Patch:
    """The patch of a delta that is applied to a weight."""
    return next(patch for patch in target.patches if patch.delta == delta)


def plans_of(pairs: Pairs) -> list[tuple[Any, Plan | None]]:
    """The plans that freeze all entries outside the delta, and keep what is frozen already."""
    plans = []
    for weight, target in pairs:
        if weight.plan is None or target.state:
            continue
        before = plan_of(target.found.variable)
        after = combined(before, weight.mask(), freezing=True)
        if after != before:
            refuse_unsupported(target.found, divides=weight.held > 0)
            plans.append((target.found.variable, after))
    return plans


@contextmanager
def switched_off(model: Any, pairs: Pairs) -> Iterator[None]:
    """Set `trainable=False` on layers that had it in training and would update their state.

    If the block or this function fails, they are trainable again and the compiled steps are back.
    """
    owners = [t.found.owner for weight, t in pairs if weight.state and not weight.layer_trainable]
    switched = [owner for owner in owners if owner.trainable]
    models = [model] if switched and isinstance(model, keras.Model) else []
    try:
        for owner in switched:
            owner.trainable = False
        with steps_remade(models):
            yield
    except BaseException:
        for owner in switched:
            owner.trainable = True
        raise
