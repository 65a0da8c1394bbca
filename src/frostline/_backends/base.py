"""What a backend may do in its own way; the defaults suit one that needs nothing special."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable
from contextlib import AbstractContextManager
from typing import Any


class Backend:
    """Defaults, and the list of all that differs."""

    view_mixin: type = object
    """A class that a full-shape view inherits from, before the variable class of Keras."""

    def creating(self, variable: Any) -> AbstractContextManager[Any]:
        """The context in which variables that take the place of `variable` are made."""
        del variable
        return contextlib.nullcontext()

    def refresh_parameters(self, layers: Iterable[Any]) -> None:
        """Bring the framework's own list of parameters in line with the variables of `layers`."""

    def remember(self, frozen: Any, value: Any) -> None:
        """Note the `value` that a forward pass read from a frozen part, see `recall`."""

    def recall(self, frozen: Any, part: Any) -> Any:
        """The value of a frozen part while its trainable part is updated to the tensor `part`."""
        del part
        return frozen.value
