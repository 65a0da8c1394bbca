"""Compiled functions of the user's own that a change leaves with the variables of before.

What Keras compiles for a model is made again (`_freezing/optimizer.py`). A `tf.function` is not: it
runs on without an error, and trains what the model no longer has, or what is frozen now.
"""

from __future__ import annotations

import functools
import gc
import types
import weakref
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import keras

from frostline import _keras
from frostline._arrays.plan import SplitPlan, WholePlan
from frostline._backends.current import backend
from frostline._backends.found import Traced
from frostline._errors import warn
from frostline._freezing.change import PlanChange
from frostline._freezing.optimizer import compiled_steps

# What a function may hold another one in.
_PLAIN = (types.FunctionType, types.MethodType, types.CellType, tuple, functools.partial)


@dataclass(frozen=True)
class Stale:
    """A function, or a module around a model, that a change leaves behind.

    Attributes:
        thing: A weak reference to it: whether it is still there is asked again.
        name: What its author calls it.
        path: The first weight that it is wrong about.
        effect: What it does wrong.
        count: How many weights it is wrong about.
    """

    thing: weakref.ref[Any]
    name: str
    path: str
    effect: str
    count: int


def stale_functions(changes: Sequence[PlanChange], living: Sequence[Any]) -> list[Stale]:
    """Those of all `living` objects that were traced with a variable, and are wrong after a change.

    But for what Keras compiled for a model, which is made again. Asked before the change, while
    the variables still have the storage that a trace holds.
    """
    by_variable = {id(change.listed[0]): change for change in changes}
    wrong: dict[int, tuple[Traced, dict[str, str]]] = {}
    for traced in backend.traced_functions([change.listed[0] for change in changes], living):
        change = by_variable[id(traced.variable)]
        effect = _effect(change, traced)
        if effect is not None:
            _, effects = wrong.setdefault(id(traced.function), (traced, {}))
            effects.setdefault(change.variable.path, effect)
    remade = _within_steps(living) if wrong else set()
    found = []
    for traced, effects in wrong.values():
        if id(traced.function) not in remade:
            path, effect = next(iter(effects.items()))
            thing = weakref.ref(traced.function)
            found.append(Stale(thing, traced.name, path, effect, len(effects)))
    return found


def warn_of_stale(stale: Sequence[Stale]) -> None:
    """Warn of each function that is still there."""
    for one in stale:
        if one.thing() is not None:
            more = f" and {one.count - 1} more" if one.count > 1 else ""
            warn(
                f"{one.path}: a tf.function was traced before this change and {one.effect}; got "
                f"{one.name} with this weight{more}. Make it again now, from its own Python "
                f"function: `tf.function({one.name}.python_function)`."
            )


def _within_steps(living: Sequence[Any]) -> set[int]:
    """The ids of the functions inside the compiled steps of models."""
    pending = [
        step
        for model in _keras.constructed_layers(living)
        if isinstance(model, keras.Model)
        for step in compiled_steps(model).values()
    ]
    seen: set[int] = set()
    while pending:
        one = pending.pop()
        if id(one) in seen:
            continue
        seen.add(id(one))
        kinds = (*backend.function_kinds, *_PLAIN)
        pending += [inner for inner in gc.get_referents(one) if isinstance(inner, kinds)]
        pending += [getattr(one, "python_function", None)]
    return seen


def _effect(change: PlanChange, traced: Traced) -> str | None:
    """What a function does wrong after a change, None for nothing."""
    if isinstance(change.before, SplitPlan) or isinstance(change.after, SplitPlan):
        return "keeps using the old variables of this weight"
    if isinstance(change.after, WholePlan):
        return "would still train this weight, which is frozen now" if traced.writes() else None
    idle = traced.trains() and not traced.writes()
    return "would not train this weight, which trains now" if idle else None
