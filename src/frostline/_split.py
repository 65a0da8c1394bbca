"""Plan + tensors -> parts, and parts -> whole. Knows a plan; knows no variable and no layer.

Every function moves values and computes none, so that bits (signed zeros, NaN payloads) survive.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from keras import ops

from frostline._plan import AxisPlan, EntriesPlan, SplitPlan

# Up to this many blocks a weight is put together by concatenating slices, which is cheap on every
# backend in both directions; more blocks cost one gather instead of many slices.
MAX_CONCATENATED_RUNS = 16


def take_trainable(plan: SplitPlan, whole: Any) -> Any:
    """The entries of `whole` (`plan.shape`) that train, as a new tensor of the compact shape."""
    if isinstance(plan, AxisPlan):
        return _take(whole, plan, trainable=True)
    return ops.take(ops.reshape(whole, (-1,)), plan.trainable, axis=0)


def take_frozen(plan: SplitPlan, whole: Any) -> Any:
    """What the frozen part holds of `whole`: compact along an axis, the full shape for entries."""
    if isinstance(plan, AxisPlan):
        return _take(whole, plan, trainable=False)
    return ops.copy(whole)


def merge(plan: SplitPlan, trainable: Any, frozen: Any) -> Any:
    """Put the two parts together: a tensor of `plan.shape`, differentiable in both parts."""
    if isinstance(plan, EntriesPlan):
        flat = ops.reshape(frozen, (-1,))
        whole = ops.scatter_update(flat, plan.trainable[:, None], trainable)
    elif len(plan.runs) > MAX_CONCATENATED_RUNS:
        whole = _gather(ops.concatenate([trainable, frozen], axis=plan.axis), plan)
    else:
        pieces = [
            _slice(trainable if run.trainable else frozen, plan.axis, run.start, run.stop)
            for run in plan.runs
        ]
        whole = ops.concatenate(pieces, axis=plan.axis)
    # On TensorFlow the gradient of a lookup holds the rows of the batch alone, and an optimizer
    # that sees it so leaves the slots of other rows out. Through a reshape it becomes whole, on
    # every backend and for every plan alike; see `test_embedding_gradient_is_whole`.
    return ops.reshape(whole, plan.shape)


def spread(plan: SplitPlan, trainable: Any) -> Any:
    """A tensor of `plan.shape` with `trainable` in its places and zeros where frozen."""
    if isinstance(plan, AxisPlan):
        shape = list(plan.shape)
        shape[plan.axis] = len(plan.frozen)
        return merge(plan, trainable, ops.zeros(shape, dtype=trainable.dtype))
    return merge(plan, trainable, ops.zeros(plan.shape, dtype=trainable.dtype))


def _take(whole: Any, plan: AxisPlan, *, trainable: bool) -> Any:
    positions = plan.trainable if trainable else plan.frozen
    if positions[-1] - positions[0] + 1 == len(positions):
        # A copy: on PyTorch a slice would keep the whole weight's storage alive.
        return ops.copy(_slice(whole, plan.axis, positions[0], positions[-1] + 1))
    return ops.take(whole, np.asarray(positions, dtype=np.int32), axis=plan.axis)


def _slice(tensor: Any, axis: int, start: int, stop: int) -> Any:
    if start == 0 and stop == tensor.shape[axis]:
        return tensor
    return tensor[(slice(None),) * axis + (slice(start, stop),)]


def _gather(parts: Any, plan: AxisPlan) -> Any:
    if plan.axis == 0:
        return ops.take(parts, plan.order, axis=0)
    # XLA on CPUs gathers along the first axis several times faster than along another one.
    rows = ops.take(ops.moveaxis(parts, plan.axis, 0), plan.order, axis=0)
    return ops.moveaxis(rows, 0, plan.axis)
