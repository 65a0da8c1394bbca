"""Split a tensor into parts by a plan, and merge parts again, without variables or layers.

Every function only moves values, so that their bits (signed zeros, NaN payloads) stay the same.
"""

from __future__ import annotations

from typing import Any

from keras import ops

from frostline._arrays.plan import AxisPlan, EntriesPlan, SplitPlan
from frostline._backends.current import backend


def take_trainable(plan: SplitPlan, whole: Any) -> Any:
    """The trainable entries of `whole` (`plan.shape`), as a new tensor of the compact shape."""
    if isinstance(plan, EntriesPlan):
        return backend.take(whole if plan.sharded else ops.reshape(whole, (-1,)), plan, 0)
    if plan.kind == "positions":
        return backend.take(ops.moveaxis(whole, plan.axis, 0), plan, 0)
    if plan.sharded:
        return backend.take(whole, plan, plan.axis)
    return _take(whole, plan, trainable=True)


def take_frozen(plan: SplitPlan, whole: Any) -> Any:
    """The frozen part of `whole`, as a new tensor; see the kinds of plans."""
    if isinstance(plan, EntriesPlan):
        return backend.own(whole)
    if not plan.keeps_length:
        return _take(whole, plan, trainable=False)
    rows = in_stored_order(plan, whole)
    if backend.merges_in_place:
        return backend.own(rows)
    # Zeros at the trainable positions: a product may read them, and a NaN there would spread.
    blank = list(rows.shape)
    blank[plan.stored_axis] = len(plan.trainable)
    return put_along(rows, plan, ops.zeros(blank, dtype=whole.dtype), plan.stored_axis)


def merge(plan: SplitPlan, trainable: Any, frozen: Any) -> Any:
    """Merge the two parts: a tensor of `plan.shape`, differentiable in both parts."""
    return in_weight_order(plan, merge_stored(plan, trainable, frozen))


def in_weight_order(plan: SplitPlan, stored: Any) -> Any:
    """A whole weight, or a part of it, with its axes in the order of the weight."""
    if isinstance(plan, AxisPlan) and plan.stored_axis != plan.axis:
        return ops.moveaxis(stored, plan.stored_axis, plan.axis)
    return stored


def in_stored_order(plan: AxisPlan, whole: Any) -> Any:
    """The inverse of `in_weight_order`."""
    if plan.stored_axis == plan.axis:
        return whole
    return ops.moveaxis(whole, plan.axis, plan.stored_axis)


def put_along(base: Any, plan: AxisPlan, rows: Any, axis: int) -> Any:
    """A copy of `base` with `rows` at the trainable positions along an axis."""
    if axis == 0:
        return backend.put(base, plan, rows)
    base, rows = ops.moveaxis(base, axis, 0), ops.moveaxis(rows, axis, 0)
    return ops.moveaxis(backend.put(base, plan, rows), 0, axis)


def merge_stored(plan: SplitPlan, trainable: Any, frozen: Any) -> Any:
    """The result of `merge`, with the axes in the order of the parts."""
    if isinstance(plan, EntriesPlan):
        if plan.sharded:
            return backend.put(frozen, plan, trainable)
        # In one expression: a name would keep the intermediate copy that JAX makes in memory.
        return ops.reshape(backend.put(ops.reshape(frozen, (-1,)), plan, trainable), plan.shape)
    if plan.keeps_length:
        return put_along(frozen, plan, trainable, plan.stored_axis)
    pieces = [
        slice_along(trainable if run.trainable else frozen, plan.axis, run.start, run.stop)
        for run in plan.runs
    ]
    return backend.join(pieces, plan.axis)


def scatter_trainable(plan: SplitPlan, trainable: Any) -> Any:
    """A tensor of `plan.shape` with the `trainable` part, and zeros at frozen entries."""
    shape = list(plan.shape)
    if isinstance(plan, AxisPlan):
        length = shape.pop(plan.axis)
        shape.insert(plan.stored_axis, length if plan.keeps_length else len(plan.frozen))
    return merge(plan, trainable, ops.zeros(shape, dtype=trainable.dtype))


def is_block(positions: Any) -> bool:
    """Whether sorted, unique positions are contiguous."""
    return positions[-1] - positions[0] + 1 == len(positions)


def slice_along(tensor: Any, axis: int, start: int, stop: int) -> Any:
    """The positions `start:stop` of `tensor` along `axis`; `tensor` itself for all of them."""
    if start == 0 and stop == tensor.shape[axis]:
        return tensor
    return tensor[(slice(None),) * axis + (slice(start, stop),)]


def _take(whole: Any, plan: AxisPlan, *, trainable: bool) -> Any:
    pieces, start = [], 0
    for run in plan.runs:
        stop = start + run.stop - run.start
        if run.trainable is trainable:
            pieces.append(slice_along(whole, plan.axis, start, stop))
        start = stop
    return backend.own(pieces[0]) if len(pieces) == 1 else backend.join(pieces, plan.axis)
