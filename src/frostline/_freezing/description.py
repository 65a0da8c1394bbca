"""Describe what is frozen in a layer as plain data, and find the weights of a description."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import Any

from frostline import _keras
from frostline._arrays.naming import kind_of
from frostline._arrays.pieces import shape_from
from frostline._arrays.plan import Plan, plan_from_config
from frostline._arrays.stored import StoredWeight
from frostline._errors import RestoreError
from frostline._weights.routes import Routes, chains
from frostline._weights.tree import Layer, sublayers, unique, walk
from frostline._weights.view import originals, plan_of

AWAITED = "_frostline_awaited"
"""The attribute of a layer whose freeze waits for weights: an `Awaited` with their `weights`."""


DESCRIBED = "_frostline_described"
"""The attribute of a layer that the config of a whole model has mentioned, until it is saved."""


def describe(layer: Layer) -> list[StoredWeight]:
    """An entry for each weight below `layer` that is frozen, or will be when it exists."""
    if _keras.saving_whole_model():
        for weight in walk(layer):
            weight.owner.__dict__[DESCRIBED] = True
    routes = Routes()
    weights = []
    for weight in unique(walk(layer)):
        plan = plan_of(weight.variable)
        if plan is not None:
            own = originals(_keras.own_variables(weight.owner))
            weights.append(
                StoredWeight(
                    route=routes.along(weight.layers),
                    name=weight.variable.name,
                    path=weight.path,
                    # Stored, because it cannot be found without the layer.
                    position=next(i for i, v in enumerate(own) if v is weight.variable),
                    plan=plan.to_config(),
                )
            )
    # If several layers wait for the same weight, the outer one comes first.
    known = set(map(_place, weights))
    for weight in _awaited(layer, routes):
        if _place(weight) not in known:
            known.add(_place(weight))
            weights.append(weight)
    return weights


def paths_below(layer: Layer) -> list[str] | None:
    """The path of every weight below `layer`, in order; None if some do not exist yet."""
    if not all(one.built for one in sublayers(layer)):
        return None
    return [weight.path for weight in unique(walk(layer))]


def find_described(
    layer: Layer, described: Sequence[StoredWeight], paths: Sequence[str] | None
) -> tuple[list[tuple[Any, Plan]], list[StoredWeight]]:
    """The variables of `layer` that a description lists, with their plans, and what is missing.

    Args:
        layer: The layer that was made.
        described: What was frozen in the saved layer.
        paths: The result of `paths_below` for the saved layer.

    Raises:
        RestoreError: The architecture differs: a weight differs, or will never exist.
    """
    routes = Routes()
    plans, missing = [], []
    fault = ""
    for weight in described:
        variable, exists = _variable(layer, weight, routes)
        if variable is None and not exists:
            missing.append(weight)
            continue
        if variable is None or kind_of(variable.name) != kind_of(weight["name"]):
            fault = fault or f"no {weight['path']} where it was"
            continue
        try:
            shape = shape_from(weight["plan"].get("shape"))
            # A plan is unpacked only after its shape was found to be that of the weight.
            if tuple(variable.shape) == shape:
                plans.append((variable, plan_from_config(weight["plan"])))
            else:
                shapes = f"shape {tuple(variable.shape)} instead of {shape}"
                fault = fault or f"{weight['path']} has {shapes}"
        except ValueError as error:
            raise RestoreError(
                f"{weight['path']}: the freeze of this weight is malformed in the file; got "
                f"{error}. Take the file from its source again."
            ) from None
    made = [weight.path for weight in unique(walk(layer))]
    if fault or (paths is not None and len(made) > len(paths)):
        known = _difference(made, paths) if paths_below(layer) or not fault else ""
        raise RestoreError(
            f"{layer.name}: the architecture of the model that was made differs from the saved "
            f"one; got {known or fault}. Its config may lack an argument of its class. Make the "
            "model in code with the same arguments, then call `model.load_weights(file)`, which "
            "also reads .keras files, and freeze it again."
        )
    return plans, missing


def plans_described(layer: Layer, described: Sequence[StoredWeight]) -> list[tuple[Any, Plan]]:
    """The variables of a built `layer` that a description lists, with their plans.

    Raises:
        RestoreError: The architecture differs.
    """
    plans, missing = find_described(layer, described, None)
    if missing:
        raise RestoreError(
            f"{layer.name}: some layers do not have their weights yet; got no "
            f"{missing[0]['path']}. Call it once on data, then restore."
        )
    return plans


def _variable(layer: Layer, weight: StoredWeight, routes: Routes) -> tuple[Any, bool]:
    """The variable at the place of a described weight, and whether it should exist by now."""
    if "route" not in weight:  # version 1: the place among all weights, if all of them exist
        found = unique(walk(layer))
        place = weight.get("index", len(found))
        if place < len(found):
            return found[place].variable, True
        return None, all(one.built for one in sublayers(layer))
    on_the_way = routes.follow(layer, weight["route"])
    arrived = len(on_the_way) > len(weight["route"])
    own = originals(_keras.own_variables(on_the_way[-1])) if arrived else []
    place = weight.get("position", len(own))
    if place >= len(own):
        return None, all(one.built for one in on_the_way)
    found = own[place]
    elsewhere = found.name != weight["name"] and any(v.name == weight["name"] for v in own)
    return None if elsewhere or _renamed(on_the_way, weight["path"]) else found, True


def _renamed(on_the_way: Sequence[Layer], path: str) -> bool:
    """Whether a layer on the route has another name than before, and a sibling has that name.

    Then the order of attributes in the class may have changed since; Keras finds values by
    attribute. Automatic names differ in each process, so they are not compared.
    """
    names = path.split("/")[:-1]
    if len(names) != len(on_the_way) - 1:
        return False
    return any(
        below.name != name
        and not _automatic(name, below)
        and any(child.name == name for child in _keras.children(above))
        for (above, below), name in zip(pairwise(on_the_way), names, strict=True)
    )


def _automatic(name: str, layer: Layer) -> bool:
    return kind_of(name).replace("_", "") == type(layer).__name__.replace("_", "").lower()


def _difference(made: Sequence[str], saved: Sequence[str] | None) -> str:
    """Describe how two lists of paths differ."""
    if saved is None or Counter(made) == Counter(saved):
        return ""
    sides = {
        "only made": Counter(made) - Counter(saved),
        "only saved": Counter(saved) - Counter(made),
    }
    parts = [f"{side}: {_some(list(paths.elements()))}" for side, paths in sides.items() if paths]
    return f"{len(made)} weights instead of {len(saved)}, {', '.join(parts)}"


def _some(paths: Sequence[str]) -> str:
    more = f" and {len(paths) - 3} more" if len(paths) > 3 else ""
    return f"{', '.join(paths[:3])}{more}"


def _awaited(layer: Layer, routes: Routes) -> Iterator[StoredWeight]:
    for chain in chains(layer):
        if AWAITED in chain[-1].__dict__:
            above = "".join(f"{one.name}/" for one in chain[1:])
            for weight in chain[-1].__dict__[AWAITED].weights:
                if "route" not in weight:
                    raise RestoreError(
                        f"{chain[-1].name}: the freeze, from a file of an earlier version, waits "
                        f"for weights that do not exist yet; got no {weight['path']}. Call the "
                        "model once on data, then save or clone it."
                    )
                yield StoredWeight(
                    route=[*routes.along(chain), *weight["route"]],
                    name=weight["name"],
                    path=above + weight["path"],
                    position=weight["position"],
                    plan=weight["plan"],
                )


def _place(weight: StoredWeight) -> tuple[object, ...]:
    return (*weight.get("route", ()), weight["position"])
