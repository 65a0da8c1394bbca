"""Several deltas on one weight: which wins, what lies below, and what is left when one goes.

Each keeps what the base had at its entries, so they go in any order. Pure NumPy.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from frostline._arrays.bits import differ
from frostline._deltas.delta import SHOWN, Delta
from frostline._deltas.held import DeltaWeight, fingerprint_of
from frostline._errors import RestoreError

OVERLAPS = ("error", "last", "first")


@dataclass(frozen=True)
class Patch:
    """A delta on a weight, and what the base had in its place, in the order of its values."""

    delta: Delta
    weight: DeltaWeight
    replaced: np.ndarray

    @property
    def values(self) -> np.ndarray:
        """What the delta writes."""
        return self.weight.written


def base_below(now: np.ndarray, patches: Sequence[Patch]) -> np.ndarray:
    """The weight without any delta; not a copy where none lies on it."""
    if not patches:
        return now
    base = np.array(now, order="C")
    for patch in patches:
        patch.weight.put(base, patch.replaced)
    return base


def with_patches(base: np.ndarray, patches: Sequence[Patch]) -> np.ndarray:
    """The weight with these deltas, later ones over earlier ones; a copy in C order."""
    whole = np.array(base, order="C")
    for patch in patches:
        patch.weight.put(whole, patch.values)
    return whole


def fits(weight: DeltaWeight, now: np.ndarray, patches: Sequence[Patch]) -> bool:
    """Whether what a delta does not hold is as in training, under other deltas or without."""
    if weight.plan is None or fingerprint_of(weight.plan, now) == weight.fingerprint:
        return True
    if not patches:
        return False
    return fingerprint_of(weight.plan, base_below(now, patches)) == weight.fingerprint


def added(
    path: str,
    now: np.ndarray,
    patches: Sequence[Patch],
    delta: Delta,
    weight: DeltaWeight,
    overlap: str,
) -> tuple[list[Patch], np.ndarray]:
    """Put a delta on a weight: all that lie on it then, and the value.

    Args:
        path: The weight, for messages.
        now: Its value.
        patches: The deltas on it, those that win last.
        delta: The one to add.
        weight: What of this weight it holds.
        overlap: Which of two wins, one of `OVERLAPS`.

    Raises:
        RestoreError: An entry has two values, or is not what a delta wrote.
    """
    _refuse_moved(path, now, patches)
    others = [patch for patch in patches if patch.delta != delta]
    if overlap == "error" and len(others) < len(patches):
        return list(patches), now
    base = base_below(now, patches)
    if overlap == "error":
        for patch in others:
            _refuse_overlap(path, base, patch, delta, weight)
    new = Patch(delta, weight, weight.take(base))
    on_it = [new, *others] if overlap == "first" else [*others, new]
    return on_it, with_patches(base, on_it)


def removed(
    path: str, now: np.ndarray, patches: Sequence[Patch], delta: Delta, *, force: bool
) -> tuple[list[Patch], np.ndarray]:
    """Take a delta off a weight: those that are left on it, and the value.

    Raises:
        RestoreError: An entry is not what a delta wrote, and `force` is not given.
    """
    if not force:
        _refuse_moved(path, now, patches)
    gone, left = ([p for p in patches if (p.delta == delta) is is_it] for is_it in (True, False))
    value = np.array(now, order="C")
    below = with_patches(base_below(now, patches), left) if left else None
    for patch in gone:
        patch.weight.put(value, patch.replaced if below is None else patch.weight.take(below))
    return left, value


def _refuse_moved(path: str, now: np.ndarray, patches: Sequence[Patch]) -> None:
    if not patches:
        return
    if len(patches) == 1:
        # As below, without whole weights: a delta may be three rows of a large table.
        moved = differ(patches[0].weight.take(now), patches[0].values)
    else:
        moved = differ(now, with_patches(base_below(now, patches), patches))
    if moved.any():
        raise moved_since(path, int(moved.sum()), now.size, patches)


def moved_since(path: str, moved: int, size: int, patches: Sequence[Patch]) -> RestoreError:
    """The error for entries that are not what deltas wrote."""
    names = ", ".join(patch.delta.fingerprint[:SHOWN] for patch in patches)
    return RestoreError(
        f"{path}: it has changed since a delta was applied; got {moved:,} of {size:,} entries "
        f"that are not what delta {names} wrote. Keep what training made of them, "
        "`fl.extract_delta(model)`, or give it up: "
        "`fl.remove_delta(model, delta, force=True)`."
    )


def _refuse_overlap(
    path: str, base: np.ndarray, patch: Patch, delta: Delta, weight: DeltaWeight
) -> None:
    both = ~(patch.weight.mask() | weight.mask())
    if not both.any():
        return
    one, other = base.copy(), base.copy()
    patch.weight.put(one, patch.values)
    weight.put(other, weight.written)
    both &= differ(one, other)
    if both.any():
        place = tuple(int(n) for n in np.unravel_index(int(both.argmax()), both.shape))
        raise RestoreError(
            f"{path}: two deltas write other values to the same entries; got "
            f"{int(both.sum()):,} such entries, weight{list(place)}={one[place]} in delta "
            f"{patch.delta.fingerprint[:SHOWN]} and {other[place]} in "
            f"{delta.fingerprint[:SHOWN]}. Say which wins: overlap='last' or overlap='first'."
        )
