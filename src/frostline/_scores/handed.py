"""Run a model on given values instead of those of its variables.

Nothing is written to a variable: moving statistics, seeds and metrics do not change.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import keras

from frostline import _keras
from frostline._backends.current import backend
from frostline._weights.given import given
from frostline._weights.tree import Found, sublayers
from frostline._weights.view import View


class Handed:
    """The variables of a model, as two lists of values.

    They are arguments of a compiled function; as constants they would be copied.

    Args:
        model: A layer or model.
        scored: The weights whose whole values are in the first list. All other variables are in
            the second.
    """

    def __init__(self, model: Any, scored: Sequence[Found] = ()) -> None:
        self.model = model
        self._scored = [weight.variable for weight in scored]
        others = {id(variable): variable for variable in model.variables}
        for variable in self._scored:
            others.pop(id(variable), None)
        self._others = list(others.values())

    def values(self) -> tuple[list[Any], list[Any]]:
        """The current values of the variables."""
        read = backend.read
        return [read(one) for one in self._scored], [read(one) for one in self._others]

    @contextmanager
    def read_as(self, values: Sequence[Any], others: Sequence[Any]) -> Iterator[None]:
        """Inside the block, the variables have these values."""
        pairs = list(zip(self._scored, values, strict=True))
        plain = [(one, value) for one, value in pairs if not isinstance(one, View)]
        views = [(one, value) for one, value in pairs if isinstance(one, View)]
        # Also the parts of a view: Keras passes the trainable part to a penalty.
        plain += zip(self._others, others, strict=True)
        with keras.StatelessScope(plain, collect_losses=True), given(views):
            yield

    def undisturbed(self) -> Any:
        """A context for all runs, in which layers keep their records of the last call."""
        return _keras.without_traces(self.model, sublayers(self.model))
