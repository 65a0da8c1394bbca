"""Warn of wrappers for training in several processes that are outdated after a change.

`DistributedDataParallel` averages the gradients of the parameters that were trainable when it was
made. A parameter that trains later is updated in each process with the gradient of that process,
without an error.
"""

from __future__ import annotations

import weakref
from collections.abc import Sequence
from typing import Any

from frostline._arrays.plan import WholePlan
from frostline._backends.current import backend
from frostline._backends.found import Wrapper
from frostline._errors import UnsupportedError, warn
from frostline._freezing.change import PlanChange
from frostline._freezing.stale import Stale

_NOT_AVERAGED = "the gradient of this weight would not be averaged over the processes"
_WAITED_FOR = "the next step would wait for the gradient of this weight, which does not train now"


def outdated(changes: Sequence[PlanChange], living: Sequence[Any]) -> list[Stale]:
    """The `living` wrappers that are wrong after changes; called before the changes.

    Raises:
        UnsupportedError: A wrapper trains shards of a weight, which its layer does not use.
    """
    found = []
    for wrapper in backend.wrappers(living):
        held = [change for change in changes if wrapper.holds(change.listed[0])]
        if held and wrapper.shards:
            raise UnsupportedError(
                f"{held[0].variable.path}: Keras layers do not use the shards of a weight, so "
                f"nothing would train; got {wrapper.name}. Build the model again and wrap it: "
                "`DistributedDataParallel(model)`."
            )
        effects = [(change.variable.path, _effect(change, wrapper)) for change in held]
        wrong = [(path, effect) for path, effect in effects if effect is not None]
        if wrong:
            module = weakref.ref(wrapper.module)
            found.append(Stale(module, wrapper.name, *wrong[0], len(wrong)))
    return found


def warn_of_outdated(found: Sequence[Stale]) -> None:
    """Warn of each module that still exists."""
    for one in found:
        if one.thing() is not None:
            weights = "weight" if one.count == 2 else "weights"
            more = f", and {one.count - 1} more {weights}" if one.count > 1 else ""
            warn(
                f"{one.path}: the model was wrapped before this change, and {one.effect}; got "
                f"{one.name}{more}. Wrap the model again now, in each process: "
                f"`{one.name.split()[0]}(model)`."
            )


def _effect(change: PlanChange, wrapper: Wrapper) -> str | None:
    """What a module that holds a variable does wrong after a change, None for nothing."""
    first = change.listed[0]
    if change.trains:
        # A variable keeps its storage when it changes between wholly frozen and plain.
        kept = isinstance(change.before, WholePlan) and change.after is None
        right = kept and wrapper.reduces(first)
        return None if right else _NOT_AVERAGED
    if wrapper.waits_for(first):
        return _WAITED_FOR
    return None
