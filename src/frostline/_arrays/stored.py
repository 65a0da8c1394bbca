"""How a freeze is written into the config of a layer: the one schema, for models and for files.

A partly frozen layer is saved under the registered name `REGISTERED`, and its config holds a
`StoredFreeze` under `KEY`.
"""

from __future__ import annotations

from typing import Any, TypedDict

KEY = "frostline"
CLASS = "PartlyFrozen"
REGISTERED = f"{KEY}>{CLASS}"
VERSION = 2


class StoredWeight(TypedDict):
    """A weight of which something is frozen."""

    route: list[str]
    """The way from the layer to its owner: at each step the class of a sublayer, and its number
    among the sublayers of that class."""
    name: str
    """The name of its variable."""
    path: str
    """Its path below the layer."""
    position: int
    """Its place among the variables of its owner, and so in weight files."""
    plan: dict[str, Any]
    """What `Plan.to_config` gave."""


class StoredFreeze(TypedDict):
    """What is frozen in a layer."""

    version: int
    layer: dict[str, Any]
    """How Keras names the class of the layer with nothing frozen."""
    weights: list[StoredWeight]
