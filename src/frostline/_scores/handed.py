"""A model run on values that are handed in, and not on those of its variables.

Nothing that it writes reaches a variable: moving statistics, seeds and metrics stay as they are.
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

    A compiled function takes them as arguments. As constants in it they would be copied.

    Args:
        model: A layer or model.
        scored: Its weights whose values are in the first list, each whole. All others are in the
            second one.
    """

    def __init__(self, model: Any, scored: Sequence[Found] = ()) -> None:
        self.model = model
        self._scored = [weight.variable for weight in scored]
        others = {id(variable): variable for variable in model.variables}
        for variable in self._scored:
            others.pop(id(variable), None)
        self._others = list(others.values())

    def values(self) -> tuple[list[Any], list[Any]]:
        """The values that the variables have now."""
        read = backend.read
        return [read(one) for one in self._scored], [read(one) for one in self._others]

    @contextmanager
    def read_as(self, values: Sequence[Any], others: Sequence[Any]) -> Iterator[None]:
        """Inside, the variables are read as these values."""
        pairs = list(zip(self._scored, values, strict=True))
        plain = [(one, value) for one, value in pairs if not isinstance(one, View)]
        views = [(one, value) for one, value in pairs if isinstance(one, View)]
        # The parts of a view too: of a penalty Keras hands the part that trains to it.
        plain += zip(self._others, others, strict=True)
        with keras.StatelessScope(plain, collect_losses=True), given(views):
            yield

    def undisturbed(self) -> Any:
        """The context for all of these runs: layers keep what they remember of their last call."""
        return _keras.without_traces(self.model, sublayers(self.model))
