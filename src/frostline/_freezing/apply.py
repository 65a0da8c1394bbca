"""Bring a set of variables to a set of plans, all or none, and tell all that depend on them."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Any

import keras

from frostline import _keras
from frostline._arrays.plan import Plan, WholePlan
from frostline._backends import backend
from frostline._console import each
from frostline._errors import UnsupportedError
from frostline._freezing.layer import refresh_classes
from frostline._freezing.optimizer import Before, follow
from frostline._weights.tree import Layer
from frostline._weights.view import apply_plan, plan_of, restore, snapshot, tracked

Plans = Sequence[tuple[Any, Plan | None]]


def apply_plans(plans: Plans, *, within: Layer | None = None, doing: str = "freezing") -> None:
    """Give each variable its plan; after a failure everything is as it was.

    Args:
        plans: Pairs of a variable and its new plan, None for a plain variable. Those that it has
            already are left alone.
        within: The layer that alone can hold the variables, just made and in no optimizer yet.
            Otherwise every living layer is asked, since a layer does not know who shares its
            weights.
        doing: What a bar says is done, where this takes long.
    """
    plans = [(variable, plan) for variable, plan in plans if plan_of(variable) != plan]
    if not plans:
        return
    living = _living() if within is None else _subtree(within)
    layers = _keras.made(living)
    holders, above = _affected(layers, [variable for variable, _ in plans])
    _check_all_held(holders, [variable for variable, _ in plans])
    native = backend.native_optimizers(_given_up(plans) if within is None else [], living)
    before = [Before(variable, plan_of(variable)) for variable, _ in plans]
    states = [(variable, snapshot(variable)) for variable, _ in plans]
    lists = [(layer, list(_keras.own_variables(layer))) for layer in holders]
    try:
        for variable, plan in each(doing, plans):
            _apply(variable, plan, holders)
            backend.let_go(holders + above, variable)
        _refresh(holders + above)
        if within is None:
            models = [layer for layer in holders + above if isinstance(layer, keras.Model)]
            follow(models, before, _keras.with_slots(living))
    except BaseException:
        for variable, state in states:
            restore(variable, state)
        for layer, listed in lists:
            _keras.set_own_variables(layer, listed)
        _refresh(holders + above)
        raise
    for variable, plan in plans:
        if isinstance(plan, WholePlan):
            backend.forget_gradient(variable)
    backend.drop_traces(
        (variable, plan, tracked(variable))
        for variable, plan in plans
        if plan is not None and not isinstance(plan, WholePlan)
    )
    if native:
        kind, path = native[0]
        warnings.warn(
            f"{path}: a native optimizer was made before this change and would train nothing of "
            f"this weight; got {kind} with {len(native)} such parameters. Make it again now: "
            f"`{kind}(model.parameters(), ...)`.",
            stacklevel=4,
        )


def adopt(target: Layer) -> None:
    """Let every layer around a frozen weight of `target` know of it."""
    refresh_classes(_subtree(target))


def _living() -> list[Any]:
    """Every object that may hold a variable."""
    return _keras.live(
        keras.layers.Layer, keras.optimizers.Optimizer, *backend.native_optimizer_kinds
    )


def _check_all_held(holders: Sequence[Layer], variables: Sequence[Any]) -> None:
    held = {id(listed) for layer in holders for listed in _keras.own_variables(layer)}
    for variable in variables:
        if id(tracked(variable)[0]) not in held:
            raise UnsupportedError(
                f"{variable.path}: its layer is not among the objects that Python's garbage "
                "collector tells of, where layers and optimizers that use a weight are looked for; "
                "got an object hidden by `gc.freeze()`. Call `gc.unfreeze()` first."
            )


def _given_up(plans: Plans) -> list[Any]:
    """The trainable variables that are about to give way to others.

    Between plain and wholly frozen a variable keeps its storage, and a frozen one is not trained.
    """
    return [
        tracked(variable)[0]
        for variable, plan in plans
        if not isinstance(plan_of(variable), WholePlan)
        and not (plan_of(variable) is None and isinstance(plan, WholePlan))
    ]


def _apply(variable: Any, plan: Plan | None, holders: Sequence[Layer]) -> None:
    before = tracked(variable)
    apply_plan(variable, plan)
    after = tracked(variable)
    for layer in holders:
        own = list(_keras.own_variables(layer))
        places = [i for i, listed in enumerate(own) if listed is before[0]]
        if places:
            own[places[0] : places[0] + len(before)] = after
            _keras.set_own_variables(layer, own)


def _refresh(layers: Sequence[Layer]) -> None:
    refresh_classes(layers)
    backend.refresh_parameters(layers)


def _affected(layers: Sequence[Layer], variables: Sequence[Any]) -> tuple[list[Layer], list[Layer]]:
    """The layers that list one of the variables, and all layers around those."""
    entries = {id(entry) for variable in variables for entry in tracked(variable)}
    holders = [
        layer
        for layer in layers
        if any(id(listed) in entries for listed in _keras.own_variables(layer))
    ]
    parents: dict[int, list[Layer]] = {}
    for layer in layers:
        for child in _keras.children(layer):
            parents.setdefault(id(child), []).append(layer)
    above: dict[int, Layer] = {}
    pending = list(holders)
    while pending:
        for parent in parents.get(id(pending.pop()), ()):
            if id(parent) not in above:
                above[id(parent)] = parent
                pending.append(parent)
    seen = {id(layer) for layer in holders}
    return holders, [layer for layer in above.values() if id(layer) not in seen]


def _subtree(layer: Layer) -> list[Layer]:
    found = {id(layer): layer}
    pending = [layer]
    while pending:
        for child in _keras.children(pending.pop()):
            if id(child) not in found:
                found[id(child)] = child
                pending.append(child)
    return list(found.values())
