"""Warn of a user's compiled functions that keep using old variables after a change.

Functions that Keras compiles for a model are made again (`_freezing/optimizer.py`). A user's
`tf.function` is not: it runs without an error, and trains variables that the model no longer has,
or that are frozen now.
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

# Objects in which a function may hold another one.
_PLAIN = (types.FunctionType, types.MethodType, types.CellType, tuple, functools.partial)


@dataclass(frozen=True)
class Stale:
    """A function, or a wrapper of a model, that is outdated after a change.

    Attributes:
        thing: A weak reference to it; before the warning it is checked again.
        name: Its name in the user's code.
        path: The first weight that it is wrong for.
        effect: What it does wrong.
        count: The number of weights that it is wrong for.
    """

    thing: weakref.ref[Any]
    name: str
    path: str
    effect: str
    count: int


def stale_functions(changes: Sequence[PlanChange], living: Sequence[Any]) -> list[Stale]:
    """The `living` functions that were traced with a variable and are wrong after a change.

    Functions that Keras compiled for a model are left out, because they are made again. Called
    before the change, while the variables still have the storage that a trace holds.
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
    """Warn of each function that still exists."""
    for one in stale:
        if one.thing() is not None:
            more = f" and {one.count - 1} more" if one.count > 1 else ""
            warn(
                f"{one.path}: a tf.function was traced before this change and {one.effect}; got "
                f"{one.name} with this weight{more}. Trace it again from its Python function: "
                f"`tf.function({one.name}.python_function)`."
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
