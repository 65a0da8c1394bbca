"""How a freeze is written into the config of a layer: the one schema, for models and for files.

A partly frozen layer is saved under the registered name `REGISTERED`, and its config holds a
`StoredFreeze` under `KEY`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NotRequired, TypedDict

KEY = "frostline"
CLASS = "PartlyFrozen"
REGISTERED = f"{KEY}>{CLASS}"
VERSION = 2


class StoredWeight(TypedDict):
    """A weight of which something is frozen."""

    route: NotRequired[list[str]]
    """The way from the layer to its owner: at each step the class of a sublayer, and its number
    among the sublayers of that class. Version 1 had none."""
    index: NotRequired[int]
    """In version 1 its place among all weights below the layer."""
    name: str
    """The name of its variable."""
    path: str
    """Its path below the layer."""
    position: int
    """Its place among the variables of its owner, and so in weight files."""
    plan: dict[str, Any]
    """What `Plan.to_config` gave."""


class StoredOptimizer(TypedDict):
    """An optimizer that had trained when its model was saved."""

    class_name: str
    step: int
    variables: int
    """How many variables the file holds of it."""
    compiled: bool
    """Whether the file says how the model was compiled."""


class StoredFreeze(TypedDict):
    """What is frozen in a layer."""

    version: int
    layer: dict[str, Any]
    """How Keras names the class of the layer with nothing frozen."""
    weights: list[StoredWeight]
    paths: NotRequired[list[str]]
    """The path of every weight below the layer: its architecture, for errors."""
    optimizers: NotRequired[dict[str, StoredOptimizer]]
    """Those of a model, by the name of the attribute."""


def stored_freeze(given: Any) -> StoredFreeze:
    """What a config says is frozen, once it is known to be that; `ValueError` for what is not.

    The plans in it are not looked at: they are compared with their weights first.
    """
    if not _is(given, layer=dict, version=int, weights=list):
        raise ValueError(f"no layer, version and weights: {str(given)[:100]}")
    seen = set()
    for weight in given["weights"]:
        if not _is(weight, name=str, path=str, plan=dict):
            raise ValueError(f"no name, path and plan: {str(weight)[:100]}")
        for key in ("index", "position"):
            number = weight.get(key, 0)
            if type(number) is not int or number < 0:
                raise ValueError(f"{weight['path']}: {key}={str(number)[:100]}")
        _check_texts(weight.get("route", []), "route")
        # In version 1 two weights may have one path, and are known by their numbers.
        place = (weight["path"], str(weight.get("route")), weight.get("index"))
        if place in seen:
            raise ValueError(f"{weight['path']} is given twice")
        seen.add(place)
    if given.get("paths") is not None:
        _check_texts(given["paths"], "paths")
    optimizers = given.get("optimizers", {})
    if not isinstance(optimizers, dict):
        raise ValueError(f"optimizers={str(optimizers)[:100]}")
    for name, one in optimizers.items():
        if not _is(one, class_name=str, step=int, variables=int, compiled=bool):
            raise ValueError(f"optimizers: {name}={str(one)[:100]}")
    return given


def _is(given: Any, **fields: type) -> bool:
    return isinstance(given, Mapping) and all(
        type(given.get(name)) is kind for name, kind in fields.items()
    )


def _check_texts(texts: Any, key: str) -> None:
    if not isinstance(texts, list) or not all(isinstance(text, str) for text in texts):
        raise ValueError(f"{key}={str(texts)[:100]}")
