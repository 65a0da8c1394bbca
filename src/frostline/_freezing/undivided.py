"""Warn of trainable parts that devices cannot share evenly, so that each would hold all of it."""

from __future__ import annotations

import math
from collections.abc import Sequence

from frostline._arrays.plan import SplitPlan
from frostline._errors import warn
from frostline._freezing.change import PlanChange
from frostline._weights.layouts import trained_shape, undivided

_ENTRIES = 2**18
"""No warning for fewer entries than this: 1 MiB in single precision."""


def warn_of_undivided(changes: Sequence[PlanChange]) -> None:
    """Warn once if a large trainable part cannot be divided among the devices."""
    found = [
        (change.variable, shape, devices)
        for change in changes
        if isinstance(change.after, SplitPlan)
        and math.prod(shape := trained_shape(change.after)) >= _ENTRIES
        and (devices := undivided(change.variable, change.after))
    ]
    if not found:
        return
    variable, shape, devices = found[0]
    more = f", and {len(found) - 1} more" if len(found) > 1 else ""
    what = "rows, columns or filters" if len(shape) > 1 else "entries"
    warn(
        f"{variable.path}: its devices cannot share the trainable part evenly, so each of them "
        f"holds all of it and its optimizer slots; got {math.prod(shape):,} trainable entries and "
        f"{devices} devices{more}. Choose a number of trainable {what} that {devices} divides."
    )
