"""A weight as a selection sees it, independent of the framework."""

from __future__ import annotations

from collections.abc import Callable, Container
from dataclasses import dataclass
from typing import Any

import numpy as np

from frostline._arrays.naming import key_in
from frostline._errors import SelectionError
from frostline._selections.index import shorten


@dataclass(frozen=True)
class Weight:
    """A weight that a selection is used on.

    Args:
        path: Path below the target, for messages, such as `"hidden/kernel"`.
        name: Name of the variable, such as `"kernel"`.
        shape: Static shape.
        dtype: Name of the dtype, such as `"float32"`.
        read: Returns the current value as a NumPy array. Called only if a selection needs it.
        layers: Keras layers from the target down to the owner of the weight, the owner last.
        children: Returns the sublayers of a layer, one level down.
        names: All names that a mapping may use for it, in order of precedence. Only `path` by
            default.
        variable: The variable itself, for comparison with others.
        array: Makes a NumPy array of a tensor or array that users pass.
    """

    path: str
    name: str
    shape: tuple[int, ...]
    dtype: str
    read: Callable[[], np.ndarray]
    layers: tuple[Any, ...] = ()
    children: Callable[[Any], list[Any]] = lambda layer: []
    names: tuple[str, ...] = ()
    variable: Any = None
    array: Callable[[Any], np.ndarray] = np.asarray

    @property
    def owner(self) -> Any:
        """The layer that made it, None if unknown."""
        return self.layers[-1] if self.layers else None

    def key_in(self, mapping: Container[str]) -> str | None:
        """The key that names it in a mapping from paths; None if there is none."""
        return key_in(mapping, self.names or (self.path,))

    def ask(self, function: Callable[[np.ndarray], Any], doing: str) -> Any:
        """Call a user's function with a read-only copy of the value."""
        value = np.array(self.read())
        value.setflags(write=False)
        try:
            return function(value)
        except Exception as error:
            error.add_note(f"while {doing} entries of {self.path}")
            raise

    def error(self, rule: str, got: str, do: str) -> SelectionError:
        """A `SelectionError` about this weight, in the format of `frostline._errors`."""
        return SelectionError(
            f"{self.path}: {rule}; got {shorten(got)} (shape {self.shape}, dtype {self.dtype}). "
            f"{do}"
        )
