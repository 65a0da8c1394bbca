"""Constraints on a norm that the frozen entries of a weight break by themselves.

A constraint is evaluated on the whole weight, and the trainable part of the result is kept. Where
the frozen entries alone have a larger norm than it allows, every step multiplies the trainable
entries beside them by the same number below one, until nothing is left of them.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras
import numpy as np

from frostline._arrays.plan import SplitPlan
from frostline._errors import warn
from frostline._freezing.change import PlanChange
from frostline._weights import values

# A norm that the constraint itself has just set, rounded in half precision, is none too large.
_ROUNDING = 1e-2


def warn_of_constraints(changes: Sequence[PlanChange]) -> None:
    """Warn once if a norm of what will be frozen is above what the weight's constraint allows.

    Asked before anything is changed: with warnings as errors a change that warns is none.
    """
    found = [
        (change.variable, *crossing)
        for change in changes
        if isinstance(change.after, SplitPlan)
        and (crossing := _crossing(change.variable, change.after)) is not None
    ]
    if not found:
        return
    variable, norm, count = found[0]
    constraint = variable.constraint
    options = ", ".join(f"{name}={value}" for name, value in constraint.get_config().items())
    more = f", and of {len(found) - 1} more weights" if len(found) > 1 else ""
    larger = "" if isinstance(constraint, keras.constraints.UnitNorm) else " raise `max_value`,"
    warn(
        f"{variable.path}: the frozen entries alone have a larger norm than the constraint allows, "
        "so training would shrink the trainable entries beside them to nothing; got "
        f"{type(constraint).__name__}({options}) and a frozen norm of {norm:.4g} (of {count} "
        f"vectors along axis {constraint.axis}{more}). Freeze these vectors whole or not at all,"
        f"{larger} or remove the constraint: `layer.{variable.name}.constraint = None`.",
    )


def _crossing(variable: Any, plan: SplitPlan) -> tuple[float, int] | None:
    """The largest frozen norm above the limit beside an entry that trains, and how many there are.

    None if there is none.
    """
    limit = _limit(variable.constraint)
    if limit is None:
        return None
    axis = variable.constraint.axis
    axes = tuple(axis) if isinstance(axis, (list, tuple)) else (axis,)
    if not all(-len(plan.shape) <= one < len(plan.shape) for one in axes):
        return None  # what Keras makes an error of in the first step
    frozen = plan.mask()
    squares = np.square(np.where(frozen, values.read(variable), 0), dtype=np.float64)
    norms = np.sqrt(squares.sum(axis=axes))
    above = (norms > limit * (1 + _ROUNDING)) & ~frozen.all(axis=axes)
    return (float(norms[above].max()), int(above.sum())) if above.any() else None


def _limit(constraint: Any) -> float | None:
    """The largest norm that a constraint of Keras allows, None where it sets none."""
    if isinstance(constraint, keras.constraints.UnitNorm):
        return 1.0
    strict = isinstance(constraint, keras.constraints.MaxNorm)
    if strict or (isinstance(constraint, keras.constraints.MinMaxNorm) and constraint.rate > 0):
        return float(constraint.max_value)
    return None
