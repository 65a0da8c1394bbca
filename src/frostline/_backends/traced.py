"""A compiled function that a backend finds among the living objects."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Traced:
    """A compiled function with the storage of a variable in it.

    Attributes:
        function: The function itself.
        name: What its author calls it.
        variable: The variable whose storage it was traced with.
        writes: Whether it writes that storage. A call, since the whole graph is looked at.
        trains: Whether it writes the storage of anything that trains in a living layer.
    """

    function: Any
    name: str
    variable: Any
    writes: Callable[[], bool]
    trains: Callable[[], bool]
