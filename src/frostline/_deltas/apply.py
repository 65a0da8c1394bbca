"""What applying a delta to a model and removing it take: the base compared, entries written.

Where no other delta lies on a weight, only the entries of this one are read and written. Where
several do, the whole weight is read, to find out which of them wins.
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
"""What `all_or_none` gives."""


def check_base(delta: Delta, pairs: Pairs, name: str) -> None:
    """The error for a base that is not the one of a delta."""
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
    """The error for a word that says of no delta that it wins."""
    if overlap not in OVERLAPS:
        raise RestoreError(
            f"overlap: one of {', '.join(map(repr, OVERLAPS))}; got overlap={overlap!r}. "
            "Leave it out to refuse two values for one entry."
        )


def pairs_of(delta: Delta, found: Sequence[ModelWeight], name: str, *, check: bool) -> Pairs:
    """Each weight of a delta with that of a model, whose base is compared where asked."""
    pairs = list(zip(delta.weights, match(delta.weights, found, name), strict=True))
    if check:
        check_base(delta, pairs, name)
    return pairs


def put_on(write: Write, pairs: Pairs, delta: Delta, overlap: str) -> None:
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


def take_off(write: Write, targets: Sequence[ModelWeight], delta: Delta, *, force: bool) -> None:
    """Write what the base has in the place of a delta, or what others on it have."""
    for target in targets:
        patch = patch_of(target, delta)
        weight = patch.weight
        if len(target.patches) == 1:
            now = target.take(weight) if force else unmoved(target)
            write(target, weight, now, patch.replaced, [])
        elif base_again([target]):
            now = target.take(weight)
            write(target, weight, now, now, [p for p in target.patches if p.delta != delta])
        else:
            now = target.read()
            left, value = removed(target.path, now, target.patches, delta, force=force)
            write(target, weight, weight.take(now), weight.take(value), left)


def base_again(targets: Sequence[ModelWeight]) -> bool:
    """Whether all that deltas changed has the values of the base again, by other means.

    A weight alone does not say that: what a delta wrote may be what the base has.
    """
    patches = [(target, patch) for target in targets for patch in target.patches]
    return any(differ(patch.values, patch.replaced).any() for _, patch in patches) and not any(
        differ(target.take(patch.weight), patch.replaced).any() for target, patch in patches
    )


def unmoved(target: ModelWeight) -> np.ndarray:
    """The entries of the one delta on a weight, or the error where they are of something else.

    They are what it wrote, or those of the base, if these were loaded again.
    """
    (patch,) = target.patches
    now = target.take(patch.weight)
    moved = differ(now, patch.values)
    if moved.any() and differ(now, patch.replaced).any():
        raise moved_since(target.path, int(moved.sum()), target.size, target.patches)
    return now


def carrying(
    found: Sequence[ModelWeight], delta: Delta, name: str, *, force: bool = False
) -> list[ModelWeight]:
    """The weights that a delta lies on, or the error where some of them are not there."""
    wanted = [w for w in found if any(patch.delta == delta for patch in w.patches)]
    held = sum(weight.held > 0 for weight in delta.weights)
    if wanted and len(wanted) < held and not force:
        raise RestoreError(
            f"{name}: not all that this delta was written to is here; got {len(wanted)} of "
            f"{held} weights. Pass the model that it was applied to; where layers have got other "
            "weights since, as `quantize` gives them, load the base again."
        )
    return wanted


def lying_on(found: Sequence[ModelWeight]) -> tuple[Delta, ...]:
    """The deltas that lie on weights, in the order in which they win."""
    order: TopologicalSorter[Delta] = TopologicalSorter()
    for weight in found:
        below: list[Delta] = []
        for patch in weight.patches:
            order.add(patch.delta, *below)
            below = [patch.delta]
    return tuple(order.static_order())


def patch_of(target: ModelWeight, delta: Delta) -> Patch:
    """A delta on a weight that it lies on."""
    return next(patch for patch in target.patches if patch.delta == delta)


def plans_of(pairs: Pairs) -> list[tuple[Any, Plan | None]]:
    """What freezes all that is not in the delta, and nothing less than is frozen."""
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
    """Turn layers off that were, and that would update what is not in the delta by themselves.

    They are on again, and what was compiled is there again, where the block or this fails.
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
