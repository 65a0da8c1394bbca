"""What is frozen in a layer as plain data, and back."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from frostline import _keras
from frostline._arrays.plan import Plan, plan_from_config
from frostline._arrays.stored import StoredWeight
from frostline._errors import RestoreError
from frostline._weights.tree import Layer, unique, walk
from frostline._weights.view import originals, plan_of


def describe(layer: Layer) -> list[StoredWeight]:
    """One entry for each weight below `layer` of which something is frozen."""
    if _keras.saving_whole_model():
        for weight in walk(layer):
            weight.owner.__dict__["_frostline_described"] = True
    weights = []
    for index, weight in enumerate(unique(walk(layer))):
        plan = plan_of(weight.variable)
        if plan is not None:
            own = originals(_keras.own_variables(weight.owner))
            weights.append(
                StoredWeight(
                    index=index,
                    name=weight.variable.name,
                    path=weight.path,
                    # Without the layer nobody else knows it.
                    position=next(i for i, v in enumerate(own) if v is weight.variable),
                    plan=plan.to_config(),
                )
            )
    return weights


def plans_described(layer: Layer, described: Sequence[StoredWeight]) -> list[tuple[Any, Plan]]:
    """The variables of `layer` that a description is of, each with its plan.

    Raises:
        RestoreError: It is of another architecture.
    """
    found = unique(walk(layer))
    plans = []
    for weight in described:
        plan = plan_from_config(weight["plan"])
        variable = found[weight["index"]].variable if weight["index"] < len(found) else None
        if variable is None or variable.name != weight["name"]:
            fault = "no such weight in the layer that was made"
        elif tuple(variable.shape) != plan.shape:
            fault = f"the weight has another shape, {tuple(variable.shape)}"
        else:
            plans.append((variable, plan))
            continue
        raise RestoreError(
            f"{layer.name}/{weight['path']}: {fault}; got a freeze saved for shape {plan.shape}. "
            "Load the file into the architecture it was saved from."
        )
    return plans
