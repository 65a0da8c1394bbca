"""The row of a weight in a model, from its variable, its plan and its layer."""

from __future__ import annotations

import math
from typing import Any

import keras

from frostline._freezing.optimizer import slots_per_weight
from frostline._summaries.numbers import Row, index_bytes
from frostline._weights.tree import Found
from frostline._weights.view import plan_of


def row_of(weight: Found, slots: int | None = None) -> Row:
    """The row of one weight; `slots` is how many values the optimizer keeps for each entry."""
    variable = weight.variable
    plan = plan_of(variable)
    frozen = 0 if plan is None else plan.frozen_count
    shape = tuple(int(n) for n in variable.shape)
    kind = "" if plan is None else plan.kind
    on = weight.layer_trainable
    size = math.prod(shape)
    return Row(
        path=weight.path,
        shape=shape,
        dtype=str(variable.dtype),
        size=size,
        frozen=frozen,
        kind=kind,
        slots_saved=None if slots is None else slots * frozen * on,
        trains=on and kind != "whole",
        slots_kept=None if slots is None else slots * (size - frozen) * on,
        index_bytes=index_bytes(plan) * on,
    )


def slots_of(target: Any) -> int | None:
    """How many values the optimizer of a compiled model keeps for each entry, None if unknown."""
    optimizer = getattr(target, "optimizer", None)
    if not isinstance(optimizer, keras.optimizers.Optimizer):
        return None
    try:
        return slots_per_weight(optimizer)
    except Exception:  # this builds a copy, and any class may fail; the table must not
        return None
