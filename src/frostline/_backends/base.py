"""What a backend may do in its own way; the defaults suit one that needs nothing special."""

from __future__ import annotations

import contextlib
import random
from collections.abc import Iterable
from contextlib import AbstractContextManager
from typing import Any

import keras
import numpy as np


class Backend:
    """Defaults, and the list of all that differs."""

    view_mixin: type = object
    """A class that a full-shape view inherits from, before the variable class of Keras."""

    def seed(self, number: int) -> None:
        """Seed what Keras draws from: initializers, shuffling.

        `keras.utils.set_random_seed` does that too, and imports TensorFlow where it is installed,
        which takes seconds and prints lines of its own.
        """
        random.seed(number)
        np.random.seed(number)

    def creating(self, variable: Any) -> AbstractContextManager[Any]:
        """The context in which variables that take the place of `variable` are made."""
        del variable
        return contextlib.nullcontext()

    def layout_axes(self, layout: Any, ndim: int) -> list[Any] | None:
        """The mesh axis along each of the `ndim` axes of a variable, None without a layout."""
        del ndim
        is_layout = isinstance(layout, keras.distribution.TensorLayout)
        return list(layout.axes) if is_layout else None

    def layout_with_axes(self, layout: Any, axes: list[Any]) -> Any:
        """A layout on the same mesh, along other axes."""
        return keras.distribution.TensorLayout(axes, layout.device_mesh)

    def refresh_parameters(self, layers: Iterable[Any]) -> None:
        """Bring the framework's own list of parameters in line with the variables of `layers`."""

    def remember(self, frozen: Any, value: Any) -> None:
        """Note the `value` that a forward pass read from a frozen part, see `recall`."""

    def recall(self, frozen: Any, part: Any) -> Any:
        """The value of a frozen part while its trainable part is updated to the tensor `part`."""
        del part
        return frozen.value
