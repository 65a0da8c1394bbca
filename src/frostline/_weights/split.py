"""Plan + tensors -> parts, and parts -> whole. Knows a plan; knows no variable and no layer.

Every function moves values and computes none, so that bits (signed zeros, NaN payloads) survive.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from keras import ops

from frostline._arrays.plan import AxisPlan, EntriesPlan, SplitPlan
from frostline._backends.current import backend


def take_trainable(plan: SplitPlan, whole: Any) -> Any:
    """The entries of `whole` (`plan.shape`) that train, as a new tensor of the compact shape."""
    if isinstance(plan, EntriesPlan):
        return backend.take(ops.reshape(whole, (-1,)), plan, 0)
    if plan.kind == "block":
        return _take(whole, plan, trainable=True)
    return backend.take(ops.moveaxis(whole, plan.axis, 0), plan, 0)


def take_frozen(plan: SplitPlan, whole: Any) -> Any:
    """What the frozen part holds of `whole`, as a new tensor: see the kinds of plans."""
    if isinstance(plan, EntriesPlan):
        return backend.own(whole)
    if plan.kind == "block":
        return _take(whole, plan, trainable=False)
    rows = ops.moveaxis(whole, plan.axis, 0)
    if backend.merges_in_place:
        return backend.own(rows)
    # A product may meet what is not meant, and a NaN would spread from there.
    blank = ops.zeros((len(plan.trainable), *rows.shape[1:]), dtype=whole.dtype)
    return backend.put(rows, plan, blank)


def merge(plan: SplitPlan, trainable: Any, frozen: Any) -> Any:
    """Put the two parts together: a tensor of `plan.shape`, differentiable in both parts."""
    return in_weight_order(plan, merge_stored(plan, trainable, frozen))


def in_weight_order(plan: SplitPlan, stored: Any) -> Any:
    """A whole weight, or a part of it, with its axes in the order of the weight."""
    if isinstance(plan, AxisPlan) and plan.kind == "positions":
        return ops.moveaxis(stored, 0, plan.axis)
    return stored


def merge_stored(plan: SplitPlan, trainable: Any, frozen: Any) -> Any:
    """What `merge` gives, with the axes in the order that the parts have."""
    if isinstance(plan, EntriesPlan):
        # Without a name for what lies between, which would keep its memory: JAX copies it all.
        return ops.reshape(backend.put(ops.reshape(frozen, (-1,)), plan, trainable), plan.shape)
    if plan.kind == "positions":
        return backend.put(frozen, plan, trainable)
    pieces = [
        slice_along(trainable if run.trainable else frozen, plan.axis, run.start, run.stop)
        for run in plan.runs
    ]
    return ops.concatenate(pieces, axis=plan.axis)


def scatter_trainable(plan: SplitPlan, trainable: Any) -> Any:
    """A tensor of `plan.shape` with `trainable` in its places and zeros where frozen."""
    shape = list(plan.shape)
    if isinstance(plan, AxisPlan):
        if plan.kind == "block":
            shape[plan.axis] = len(plan.frozen)
        else:
            shape.insert(0, shape.pop(plan.axis))
    return merge(plan, trainable, ops.zeros(shape, dtype=trainable.dtype))


def is_block(positions: Any) -> bool:
    """Whether sorted, unique positions follow one another without a gap."""
    return positions[-1] - positions[0] + 1 == len(positions)


def slice_along(tensor: Any, axis: int, start: int, stop: int) -> Any:
    """The positions `start:stop` of `tensor` along `axis`; all of them is `tensor` itself."""
    if start == 0 and stop == tensor.shape[axis]:
        return tensor
    return tensor[(slice(None),) * axis + (slice(start, stop),)]


def _take(whole: Any, plan: AxisPlan, *, trainable: bool) -> Any:
    positions = plan.trainable if trainable else plan.frozen
    if is_block(positions):
        return backend.own(slice_along(whole, plan.axis, positions[0], positions[-1] + 1))
    return ops.take(whole, np.asarray(positions, dtype=np.int32), axis=plan.axis)
