"""What is frozen in a layer as plain data, and back."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from frostline import _keras
from frostline._arrays.plan import Plan, plan_from_config
from frostline._arrays.stored import StoredWeight
from frostline._errors import RestoreError
from frostline._weights.routes import Routes, chains
from frostline._weights.tree import Layer, unique, walk
from frostline._weights.view import originals, plan_of

AWAITED = "_frostline_awaited"
"""The attribute of a layer whose freeze waits for weights: an object with their `weights`."""


def describe(layer: Layer) -> list[StoredWeight]:
    """One entry for each weight below `layer` that is frozen in part, or will be when it exists."""
    saving = _keras.saving_whole_model()
    routes = Routes()
    weights = []
    for weight in unique(walk(layer)):
        if saving:
            weight.owner.__dict__["_frostline_described"] = True
        plan = plan_of(weight.variable)
        if plan is not None:
            own = originals(_keras.own_variables(weight.owner))
            weights.append(
                StoredWeight(
                    route=routes.along(weight.layers),
                    name=weight.variable.name,
                    path=weight.path,
                    # Without the layer nobody else knows it.
                    position=next(i for i, v in enumerate(own) if v is weight.variable),
                    plan=plan.to_config(),
                )
            )
    # Of layers that wait for the same weight the outer one comes first.
    for weight in _awaited(layer, routes):
        if not any(_same_place(weight, known) for known in weights):
            weights.append(weight)
    return weights


def find_described(
    layer: Layer, described: Sequence[StoredWeight]
) -> tuple[list[tuple[Any, Plan]], list[StoredWeight]]:
    """The variables of `layer` that a description is of, each with its plan, and what is missing.

    Raises:
        RestoreError: It is of another architecture: a weight differs, or will never be there.
    """
    routes = Routes()
    plans, missing = [], []
    for weight in described:
        on_the_way = routes.follow(layer, weight["route"])
        arrived = len(on_the_way) > len(weight["route"])
        own = originals(_keras.own_variables(on_the_way[-1])) if arrived else []
        if weight["position"] < len(own):
            plans.append(_planned(layer, weight, own[weight["position"]]))
        elif all(one.built for one in on_the_way):
            raise _fault(layer, weight, "no such weight in the layer that was made")
        else:
            missing.append(weight)
    return plans, missing


def plans_described(layer: Layer, described: Sequence[StoredWeight]) -> list[tuple[Any, Plan]]:
    """The variables of a built `layer` that a description is of, each with its plan.

    Raises:
        RestoreError: It is of another architecture.
    """
    plans, missing = find_described(layer, described)
    if missing:
        raise _fault(layer, missing[0], "no such weight in the layer that was made")
    return plans


def _planned(layer: Layer, weight: StoredWeight, variable: Any) -> tuple[Any, Plan]:
    plan = plan_from_config(weight["plan"])
    if variable.name != weight["name"]:
        raise _fault(layer, weight, "no such weight in the layer that was made")
    if tuple(variable.shape) != plan.shape:
        fault = f"the weight has another shape, {tuple(variable.shape)}"
        raise _fault(layer, weight, fault)
    return variable, plan


def _fault(layer: Layer, weight: StoredWeight, fault: str) -> RestoreError:
    return RestoreError(
        f"{layer.name}/{weight['path']}: {fault}; got a freeze saved for shape "
        f"{plan_from_config(weight['plan']).shape}. "
        "Load the file into the architecture it was saved from."
    )


def _awaited(layer: Layer, routes: Routes) -> Iterator[StoredWeight]:
    for chain in chains(layer):
        if AWAITED in chain[-1].__dict__:
            above = "".join(f"{one.name}/" for one in chain[1:])
            for weight in chain[-1].__dict__[AWAITED].weights:
                yield StoredWeight(
                    route=[*routes.along(chain), *weight["route"]],
                    name=weight["name"],
                    path=above + weight["path"],
                    position=weight["position"],
                    plan=weight["plan"],
                )


def _same_place(one: StoredWeight, other: StoredWeight) -> bool:
    return (one["route"], one["position"]) == (other["route"], other["position"])
