"""How a freeze is written into the config of a layer: the one schema, for models and for files.

A partly frozen layer is saved under the registered name `REGISTERED`, and its config holds a
`StoredFreeze` under `KEY`.
"""

from __future__ import annotations

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
