"""Several deltas on one weight: which one wins, and what is left when one is removed.

Each keeps the values of the base at its entries, so they can be removed in any order. Pure NumPy.
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
    """A delta applied to a weight, and the values of the base that it replaced, in its order."""

    delta: Delta
    weight: DeltaWeight
    replaced: np.ndarray

    @property
    def values(self) -> np.ndarray:
        """The values that the delta writes."""
        return self.weight.written


def base_below(now: np.ndarray, patches: Sequence[Patch]) -> np.ndarray:
    """The weight without any delta; not a copy if it has none."""
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
    """Whether the entries outside a delta are those of its base, with or without other deltas."""
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
    """Add a delta to a weight; return all its patches and the new value.

    Args:
        path: The path of the weight, for messages.
        now: Its value.
        patches: The deltas applied to it; the last one wins.
        delta: The delta to add.
        weight: What it holds of this weight.
        overlap: Which of two deltas wins, one of `OVERLAPS`.

    Raises:
        RestoreError: Two deltas have different values for an entry, or an entry is no longer what
            a delta wrote.
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
    """Remove a delta from a weight; return the patches that are left and the new value.

    Raises:
        RestoreError: An entry is no longer what a delta wrote, and `force` is False.
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
        # The same as below, without reading whole weights: it may be three rows of a large table.
        moved = differ(patches[0].weight.take(now), patches[0].values)
    else:
        moved = differ(now, with_patches(base_below(now, patches), patches))
    if moved.any():
        raise moved_since(path, int(moved.sum()), now.size, patches)


def moved_since(path: str, moved: int, size: int, patches: Sequence[Patch]) -> RestoreError:
    """The error for entries that have changed since deltas were applied."""
    names = ", ".join(patch.delta.fingerprint[:SHOWN] for patch in patches)
    return RestoreError(
        f"{path}: this weight has changed since a delta was applied; got {moved:,} of {size:,} "
        f"entries that are not what delta {names} wrote. Save the changes with "
        "`fl.extract_delta(model)`, or lose them with `fl.remove_delta(model, delta, force=True)`."
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
    if count := int(both.sum()):
        place = tuple(int(n) for n in np.unravel_index(int(both.argmax()), both.shape))
        raise RestoreError(
            f"{path}: two deltas write different values to the same entries; got "
            f"{count:,} such {'entry' if count == 1 else 'entries'}, "
            f"weight{list(place)}={one[place]} in delta "
            f"{patch.delta.fingerprint[:SHOWN]} and {other[place]} in "
            f"{delta.fingerprint[:SHOWN]}. Choose which wins: overlap='last' or overlap='first' "
            "(--overlap on the command line)."
        )
