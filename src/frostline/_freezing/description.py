"""What is frozen in a layer as plain data, and back."""

from __future__ import annotations

from collections import Counter
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


def paths_below(layer: Layer) -> list[str]:
    """The path of every weight below `layer`, in their order."""
    return [weight.path for weight in unique(walk(layer))]


def plans_described(
    layer: Layer, described: Sequence[StoredWeight], paths: Sequence[str] | None = None
) -> list[tuple[Any, Plan]]:
    """The variables of `layer` that a description is of, each with its plan.

    Args:
        layer: The layer that was made.
        described: What was frozen in the layer that was saved.
        paths: What `paths_below` gave for that one, None where this is not known.

    Raises:
        RestoreError: It is of another architecture.
    """
    found = unique(walk(layer))
    plans = []
    faults = []
    for weight in described:
        plan = plan_from_config(weight["plan"])
        variable = found[weight["index"]].variable if weight["index"] < len(found) else None
        if variable is None or variable.name != weight["name"]:
            faults.append(f"no {weight['path']} where it was")
        elif tuple(variable.shape) != plan.shape:
            shapes = f"another shape, {tuple(variable.shape)} and not {plan.shape}"
            faults.append(f"{weight['path']} has {shapes}")
        else:
            plans.append((variable, plan))
    # Fewer weights may be a layer that makes the others later.
    if faults or (paths is not None and len(found) > len(paths)):
        made = [weight.path for weight in found]
        raise RestoreError(
            f"{layer.name}: the model that was made has another architecture than the saved one; "
            f"got {_difference(made, paths) or faults[0]}. Its config may lack an argument of its "
            "class. Make the model in code with the arguments it had, then call "
            "`model.load_weights(file)`, which reads .keras files too, and freeze it again."
        )
    return plans


def _difference(made: Sequence[str], saved: Sequence[str] | None) -> str:
    """How two lists of paths differ, in words."""
    if saved is None or Counter(made) == Counter(saved):
        return ""
    sides = {
        "only made": Counter(made) - Counter(saved),
        "only saved": Counter(saved) - Counter(made),
    }
    told = [f"{side}: {_some(list(paths.elements()))}" for side, paths in sides.items() if paths]
    return f"{len(made)} weights and not {len(saved)}, {', '.join(told)}"


def _some(paths: Sequence[str]) -> str:
    more = f" and {len(paths) - 3} more" if len(paths) > 3 else ""
    return f"{', '.join(paths[:3])}{more}"
