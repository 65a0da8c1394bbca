"""What a backend finds among the living objects: compiled functions, and wrappers of a model."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Traced:
    """A compiled function that holds the storage of a variable.

    Attributes:
        function: The function itself.
        name: The name in the user's code.
        variable: The variable whose storage it was traced with.
        writes: Whether it writes that storage. A function, because it searches the whole graph.
        trains: Whether it writes the storage of any trainable variable of a living layer.
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
        name: Its name for users.
        holds: Whether it was made with the current storage of a variable.
        reduces: Whether it averages the gradient of a variable that it holds over processes.
        waits_for: Whether its next step needs the gradient of a variable that it holds.
        shards: Whether it replaces the storage, so that Keras layers do not compute with the
            values that it trains.
    """

    module: Any
    name: str
    holds: Callable[[Any], bool]
    reduces: Callable[[Any], bool]
    waits_for: Callable[[Any], bool]
    shards: bool = False
