"""What a backend finds among the living objects: compiled functions, and modules around a model."""

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


@dataclass(frozen=True)
class Wrapper:
    """A living module that was made with the storage of a model's variables.

    Attributes:
        module: The module itself.
        name: What users call it.
        holds: Whether it was made with a variable, by the storage that this has now.
        reduces: Whether it averages the gradient of a variable that it holds over the processes.
        waits_for: Whether its next step needs the gradient of a variable that it holds.
        shards: Whether it replaces the storage, so that no layer of Keras computes with what it
            trains.
    """

    module: Any
    name: str
    holds: Callable[[Any], bool]
    reduces: Callable[[Any], bool]
    waits_for: Callable[[Any], bool]
    shards: bool = False
