"""The schema of a freeze in the config of a layer, for models and files.

A partly frozen layer is saved under the registered name `REGISTERED`. Its config contains a
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
    """A frozen or partly frozen weight."""

    route: NotRequired[list[str]]
    """The route from the layer to the owner: at each step the class of a sublayer, and its number
    among the sublayers of that class. Not in version 1."""
    index: NotRequired[int]
    """Version 1: its place among all weights below the layer."""
    name: str
    """The name of its variable."""
    path: str
    """Its path below the layer."""
    position: int
    """Its place among the variables of its owner, also in weight files."""
    plan: dict[str, Any]
    """The result of `Plan.to_config`."""


class StoredOptimizer(TypedDict):
    """An optimizer that had trained when its model was saved."""

    class_name: str
    step: int
    variables: int
    """The number of its variables in the file."""
    compiled: bool
    """Whether the file contains how the model was compiled."""


class StoredFreeze(TypedDict):
    """What is frozen in a layer."""

    version: int
    layer: dict[str, Any]
    """Keras's names for the class of the layer without a freeze."""
    weights: list[StoredWeight]
    paths: NotRequired[list[str]]
    """The path of every weight below the layer: its architecture, for errors."""
    optimizers: NotRequired[dict[str, StoredOptimizer]]
    """The optimizers of a model, by attribute."""


def stored_freeze(given: Any) -> StoredFreeze:
    """Check the freeze in a config and return it; `ValueError` if it is malformed.

    Plans are not checked here, because they must be compared with their weights first.
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
        # In version 1 two weights may have the same path, and are identified by their numbers.
        place = (weight["path"], str(weight.get("route")), weight.get("index"))
        if place in seen:
            raise ValueError(f"{weight['path']} occurs twice")
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
