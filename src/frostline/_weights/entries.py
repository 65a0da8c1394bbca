"""Read and write some entries of a weight, bit for bit, at a cost that depends on their number."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from frostline._arrays.places import Places, along_one_axis, axis_of, in_parts
from frostline._arrays.plan import AxisPlan, SplitPlan
from frostline._backends.current import backend
from frostline._weights import values
from frostline._weights.parts import parts_of


def read(variable: Any, plan: SplitPlan | None) -> np.ndarray:
    """A copy of the entries that are trainable in a plan, in the plan's compact shape.

    Args:
        variable: The variable that its layer holds; any part of it may be frozen.
        plan: A plan of its shape, None for all entries.
    """
    if plan is None:
        return np.array(values.read(variable), order="C")
    parts = parts_of(variable)
    if parts is None:
        return np.array(backend.read_at(variable, plan.trainable, axis_of(plan)), order="C")
    taken = [
        (places.chosen, np.moveaxis(_read_at(part, places), places.axis or 0, 0))
        for part, places in _shares(parts, plan)
    ]
    rows = np.empty((len(taken[0][0]), *taken[0][1].shape[1:]), taken[0][1].dtype)
    for chosen, some in taken:
        rows[chosen] = some
    return np.array(_from_rows(rows, plan, parts.plan), order="C")


def write(variable: Any, plan: SplitPlan | None, given: np.ndarray) -> None:
    """Write what `read` returned, also to frozen entries.

    Args:
        variable: The variable that its layer holds.
        plan: A plan of its shape, None for all entries.
        given: An array of its dtype and of the plan's compact shape.
    """
    parts = parts_of(variable)
    if plan is None:
        values.write(variable, given)
    elif parts is None:
        backend.write_at(variable, plan.trainable, axis_of(plan), given)
    else:
        rows = given.reshape(-1)
        if isinstance(plan, AxisPlan) and along_one_axis(parts.plan, plan):
            rows = np.moveaxis(given, plan.axis, 0)
        for part, places in _shares(parts, plan):
            some = np.moveaxis(rows[places.chosen], 0, places.axis or 0)
            backend.write_at(part, places.positions, places.axis, some)


def _shares(parts: Any, plan: SplitPlan) -> Iterator[tuple[Any, Places]]:
    """Each part that has some of the entries, and their places."""
    shares = in_parts(parts.plan, plan)
    for part, places in zip((parts.trainable, parts.frozen), shares, strict=True):
        if len(places.positions):
            yield part, places


def _read_at(part: Any, places: Places) -> np.ndarray:
    return backend.read_at(part, places.positions, places.axis)


def _from_rows(rows: np.ndarray, plan: SplitPlan, own: SplitPlan) -> np.ndarray:
    """Bring entries, which have the axis of both plans first or are flat, into compact shape."""
    if not isinstance(plan, AxisPlan):
        return rows
    if along_one_axis(own, plan):
        return np.moveaxis(rows, 0, plan.axis)
    shape = list(plan.shape)
    shape[plan.axis] = len(plan.trainable)
    return rows.reshape(shape)
