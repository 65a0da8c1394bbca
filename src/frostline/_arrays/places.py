"""The places of entries of a weight: in C order, and in its two parts.

Pure NumPy. The cost depends on the number of requested entries and on the length of an axis.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from frostline._arrays.plan import AxisPlan, SplitPlan

Shape = tuple[int, ...]
Index = tuple[Any, ...]


@dataclass(frozen=True)
class Places:
    """The requested entries that are in one part of a weight.

    Attributes:
        chosen: `bool[k]`: which of the requested entries, or positions along an axis, these are.
        positions: The place of each in the part: flat in C order, or along `axis`.
        axis: An axis of the part, None for flat positions.
    """

    chosen: np.ndarray
    positions: np.ndarray
    axis: int | None


def axis_of(plan: SplitPlan) -> int | None:
    """The axis of the positions of a plan, None for flat positions."""
    return plan.axis if isinstance(plan, AxisPlan) else None


def index_of(shape: Shape, positions: np.ndarray, axis: int | None) -> Index:
    """A NumPy index for entries of an array of any memory layout."""
    if axis is None:
        return np.unravel_index(positions, shape)
    return (*(slice(None),) * axis, positions)


def flat_positions(shape: Shape, positions: np.ndarray, axis: int | None) -> np.ndarray:
    """`int64[k]`: the flat positions of the entries in C order."""
    if axis is None:
        return np.asarray(positions, np.int64)
    outer, length, inner = _around(shape, axis)
    starts = np.arange(outer)[:, None, None] * length + np.asarray(positions)[None, :, None]
    return (starts * inner + np.arange(inner)).reshape(-1)


def along_one_axis(own: SplitPlan, plan: SplitPlan) -> bool:
    """Whether a weight is divided along the axis of the requested positions."""
    return isinstance(own, AxisPlan) and isinstance(plan, AxisPlan) and own.axis == plan.axis


def in_parts(own: SplitPlan, plan: SplitPlan) -> tuple[Places, Places]:
    """The places of the trainable entries of `plan` in the two parts made by `own`.

    Returns:
        The places in the trainable part, and those in the frozen part.
    """
    if isinstance(own, AxisPlan) and along_one_axis(own, plan):
        chosen, trains, frozen = _along(own, plan.trainable)
        return Places(chosen, trains, own.stored_axis), Places(~chosen, frozen, own.stored_axis)
    flat = flat_positions(plan.shape, plan.trainable, axis_of(plan))
    if isinstance(own, AxisPlan):
        chosen, trains, frozen = _along(own, flat // _around(own.shape, own.axis)[2])
        trains = _flat_in_part(own, flat[chosen], trains, len(own.trainable))
        rest = own.shape[own.axis] if own.keeps_length else len(own.frozen)
        frozen = _flat_in_part(own, flat[~chosen], frozen, rest)
    else:
        flat = flat.astype(own.trainable.dtype)  # of another dtype all that train are converted
        at = np.minimum(np.searchsorted(own.trainable, flat), len(own.trainable) - 1)
        chosen = own.trainable[at] == flat
        trains, frozen = at[chosen], flat[~chosen]
    return Places(chosen, trains, None), Places(~chosen, frozen, None)


def _along(own: AxisPlan, positions: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Which positions of the axis train, their places in that part, and those of the others.

    Positions are taken modulo the length of the axis.
    """
    positions = positions % own.shape[own.axis]
    places = own.places[positions]
    chosen = places > 0
    others = positions[~chosen]
    frozen = others if own.keeps_length else own.frozen_places[others]
    return chosen, places[chosen] - 1, frozen


def _flat_in_part(own: AxisPlan, flat: np.ndarray, along: np.ndarray, length: int) -> np.ndarray:
    """Flat positions in a part, for positions `along` its divided axis of this length."""
    outer, whole, inner = _around(own.shape, own.axis)
    before, after = flat // (whole * inner), flat % inner
    if own.stored_axis != own.axis:
        return (along.astype(np.int64) * outer + before) * inner + after
    return (before * length + along) * inner + after


def _around(shape: Shape, axis: int) -> tuple[int, int, int]:
    """Entries before an axis, along it, and after it."""
    return math.prod(shape[:axis]), shape[axis], math.prod(shape[axis + 1 :])
