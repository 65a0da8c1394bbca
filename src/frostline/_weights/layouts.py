"""How the parts of a weight that is sharded over devices (`ModelParallel`) are sharded.

The frozen part is sharded like the weight. The trainable part is sharded along the divided axis if
the devices divide the number of trainable positions evenly, else along another axis that they
divide. A trainable part that is small, or that they cannot divide, is copied to each device. A
`LayoutMap` would match its path, use the axis of the weight and fail.
"""

from __future__ import annotations

import dataclasses
import math
from typing import Any

from frostline._arrays.plan import AxisPlan, EntriesPlan, Plan, SplitPlan
from frostline._backends.current import backend

SMALL = 0.01
"""A trainable part is small if it is at most this share of what one device holds of the weight."""


def stored_plan(variable: Any, plan: Plan | None) -> Plan | None:
    """The plan to store: `sharded` if several devices share the axis that it divides."""
    axes = _axes(variable)
    if axes is None or not isinstance(plan, AxisPlan | EntriesPlan):
        return plan
    divided = [axes[plan.axis]] if isinstance(plan, AxisPlan) else axes
    sharded = any(_devices(variable, names) > 1 for names in map(_names, divided))
    return dataclasses.replace(plan, sharded=sharded)


def part_layout(variable: Any, plan: SplitPlan, role: str) -> Any:
    """The layout of a part, None if the weight has none.

    Args:
        variable: The weight.
        plan: The result of `stored_plan`.
        role: "trainable" or "frozen".
    """
    axes = _axes(variable)
    if axes is None:
        return None
    if isinstance(plan, AxisPlan):
        dropped = axes.pop(plan.axis)
        keeps = role == "frozen" and plan.keeps_length
        axes.insert(plan.stored_axis, dropped if keeps else None)
        if role == "trainable":
            first = plan.stored_axis
            order = [first, *(axis for axis in range(len(axes)) if axis != first)]
            axes = _shared(variable, axes, _names(dropped), trained_shape(plan), order)
    elif role == "trainable":
        names = tuple(name for entry in axes for name in _names(entry))
        axes = _shared(variable, [None], names, trained_shape(plan), [0])
    return backend.layout_with_axes(variable._layout, axes)


def undivided(variable: Any, plan: SplitPlan) -> int:
    """The number of devices that each hold a whole trainable part that is not small, or 0."""
    if not plan.sharded:
        return 0
    shape, axes = trained_shape(plan), _axes(variable) or []
    layout = part_layout(variable, plan, "trainable")
    found = backend.layout_axes(layout, len(shape)) or []
    devices = _devices(variable, tuple(name for entry in axes for name in _names(entry)))
    shared = any(entry is not None for entry in found)
    return 0 if shared or _is_small(variable, shape, devices) else devices


def trained_shape(plan: SplitPlan) -> tuple[int, ...]:
    """The shape of the trainable part."""
    if isinstance(plan, EntriesPlan):
        return (len(plan.trainable),)
    shape = list(plan.shape)
    shape.pop(plan.axis)
    shape.insert(plan.stored_axis, len(plan.trainable))
    return tuple(shape)


def _shared(
    variable: Any, axes: list[Any], names: tuple[Any, ...], shape: tuple[int, ...], order: list[int]
) -> list[Any]:
    """Add to the axes of a layout as many of `names` as divide the first axis they can divide."""
    if _is_small(variable, shape, _devices(variable, names)):
        return axes
    singles = sorted(names, key=lambda name: -_devices(variable, (name,)))
    wanted = [names, *((name,) for name in singles if len(names) > 1)]
    for axis in order:
        for some in wanted:
            devices = _devices(variable, some)
            if axes[axis] is None and devices > 1 and shape[axis] % devices == 0:
                axes = list(axes)
                axes[axis] = some if len(some) > 1 else some[0]
                return axes
    return axes


def _is_small(variable: Any, shape: tuple[int, ...], devices: int) -> bool:
    return math.prod(shape) * devices <= SMALL * math.prod(variable.shape)


def _axes(variable: Any) -> list[Any] | None:
    return backend.layout_axes(getattr(variable, "_layout", None), len(variable.shape))


def _names(entry: Any) -> tuple[Any, ...]:
    """The mesh axes along one axis; a layout has None, one name or a tuple of names."""
    if entry is None:
        return ()
    return tuple(entry) if isinstance(entry, list | tuple) else (entry,)


def _devices(variable: Any, names: tuple[Any, ...]) -> int:
    sizes = backend.mesh_sizes(variable._layout)
    return math.prod(sizes[name] for name in names)
