"""Make a delta from the weights of a model or file, with one weight in memory at a time."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from frostline._arrays.bits import differ
from frostline._arrays.plan import Plan, WholePlan, plan_from_mask
from frostline._deltas.delta import Delta
from frostline._deltas.held import DeltaWeight, fingerprint_of, take
from frostline._errors import AuditError, PathError


@dataclass(frozen=True)
class Origin:
    """A weight that a delta may hold.

    Attributes:
        path: Its path below the model.
        shape: Its shape.
        dtype: Its dtype, as text.
        read: Returns its value, which the caller must not change.
        plan: What is frozen of it, None if nothing is.
        layer_trainable: False if its layer has `trainable=False`: nothing of it trains.
        state: Whether its layer updates it itself.
    """

    path: str
    shape: tuple[int, ...]
    dtype: str
    read: Callable[[], np.ndarray]
    plan: Plan | None = None
    layer_trainable: bool = True
    state: bool = False

    @property
    def size(self) -> int:
        """Number of entries."""
        return math.prod(self.shape)


Before = Callable[[Any, np.ndarray], np.ndarray | None]
"""A function from a weight and its value to its value in the base, None if that is unknown."""


def check_paths(name: str, origins: Iterable[Origin]) -> None:
    """Raise an error if two weights have the same path: a delta could not tell them apart."""
    for path, count in Counter(origin.path for origin in origins).items():
        if count > 1:
            raise PathError(
                f"{path}: {count} different weights have this path, and a delta identifies "
                f"weights by path; got weights of {name}. Give its layers different names."
            )


def extract(
    origins: Sequence[Origin],
    before: Before | None,
    version: str,
    advance: Callable[[int], None] = lambda done: None,
) -> Delta:
    """Take the entries that train, or those of them that changed.

    Args:
        origins: The weights.
        before: Returns the value of each before training. Without it, all that trains is taken.
        version: The version of frostline.
        advance: Called with the number of entries processed since the last call.
    """
    weights = []
    for origin in origins:
        weights.append(_held(origin, before))
        advance(origin.size)
    return Delta(tuple(weights), version)


def _held(origin: Origin, before: Before | None) -> DeltaWeight:
    plan = origin.plan if origin.layer_trainable else WholePlan(origin.shape)
    value = origin.read()
    earlier = None if before is None else before(origin, value)
    if earlier is not None:
        plan = _changed(origin, plan, value, earlier)
    return DeltaWeight(
        path=origin.path,
        shape=origin.shape,
        dtype=origin.dtype,
        fingerprint=fingerprint_of(plan, value),
        state=origin.state,
        layer_trainable=origin.layer_trainable,
        plan=plan,
        values=None if isinstance(plan, WholePlan) else take(plan, value),
    )


def _changed(
    origin: Origin, plan: Plan | None, value: np.ndarray, earlier: np.ndarray
) -> Plan | None:
    """The plan that also freezes what equals the base; an error if a frozen entry has changed."""
    changed = differ(value, earlier)
    if plan is not None and changed.any():
        leaked = changed if isinstance(plan, WholePlan) else changed & plan.mask()
        if leaked.any():
            place = tuple(int(n) for n in np.unravel_index(int(leaked.argmax()), leaked.shape))
            count = int(leaked.sum())
            raise AuditError(
                f"{origin.path}: a frozen entry differs from the base; got weight{list(place)}="
                f"{value[place]}, the base has {earlier[place]} ({count:,} such "
                f"{'entry' if count == 1 else 'entries'}). "
                "Pass the base that this model was trained from."
            )
    return plan_from_mask(~changed) if changed.size else WholePlan(origin.shape)
