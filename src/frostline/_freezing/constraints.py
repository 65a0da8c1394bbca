"""Warn of frozen entries that already exceed the norm that a constraint allows.

A constraint is evaluated on the whole weight, and the trainable part of the result is used. If the
frozen entries already exceed the norm, every step multiplies the trainable entries of the same
vector by a number below one, until they are zero.
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

# A norm that the constraint itself has set may be slightly too large after rounding.
_ROUNDING = 1e-2


def warn_of_constraints(changes: Sequence[PlanChange]) -> None:
    """Warn once if the frozen entries will exceed the norm that the weight's constraint allows.

    Called before anything is changed, so that nothing changes if warnings are errors.
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
    more = f", and of {len(found) - 1} more" if len(found) > 1 else ""
    larger = "" if isinstance(constraint, keras.constraints.UnitNorm) else " raise `max_value`,"
    warn(
        f"{variable.path}: the frozen entries alone have a larger norm than the constraint allows, "
        "so training would shrink the trainable entries of the same vectors to zero; got "
        f"{type(constraint).__name__}({options}) and a frozen norm of {norm:.4g} (of {count} "
        f"vectors along axis {constraint.axis}{more}). Freeze these vectors completely or not at "
        f"all,{larger} or remove the constraint: `layer.{variable.name}.constraint = None`.",
    )


def _crossing(variable: Any, plan: SplitPlan) -> tuple[float, int] | None:
    """The largest frozen norm above the limit in a vector with trainable entries, and the count.

    None if there is none.
    """
    limit = _limit(variable.constraint)
    if limit is None:
        return None
    axis = variable.constraint.axis
    axes = tuple(axis) if isinstance(axis, (list, tuple)) else (axis,)
    if not all(-len(plan.shape) <= one < len(plan.shape) for one in axes):
        return None  # Keras raises an error for this in the first step
    frozen = plan.mask()
    squares = np.square(np.where(frozen, values.read(variable), 0), dtype=np.float64)
    norms = np.sqrt(squares.sum(axis=axes))
    above = (norms > limit * (1 + _ROUNDING)) & ~frozen.all(axis=axes)
    return (float(norms[above].max()), int(above.sum())) if above.any() else None


def _limit(constraint: Any) -> float | None:
    """The largest norm that a Keras constraint allows, None if it sets no limit."""
    if isinstance(constraint, keras.constraints.UnitNorm):
        return 1.0
    strict = isinstance(constraint, keras.constraints.MaxNorm)
    if strict or (isinstance(constraint, keras.constraints.MinMaxNorm) and constraint.rate > 0):
        return float(constraint.max_value)
    return None
