"""Penalties and constraints of a divided weight: evaluated on the whole weight."""

from __future__ import annotations

from typing import Any

import keras

from frostline._backends.current import backend
from frostline._weights import split
from frostline._weights.given import given_value


class WholeRegularizer(keras.regularizers.Regularizer):
    """The penalty of the whole weight; its gradient reaches the trainable part."""

    def __init__(self, view: Any) -> None:
        self.view = view

    def __call__(self, part: Any) -> Any:
        if (value := given_value(self.view)) is not None:
            return self.view.regularizer(value)
        parts = self.view._frostline
        return self.view.regularizer(split.merge(parts.plan, _tensor(part), parts.frozen.value))


class WholeConstraint(keras.constraints.Constraint):
    """A constraint on the whole weight; only the trainable part of the result is used."""

    def __init__(self, view: Any) -> None:
        self.view = view

    def __call__(self, part: Any) -> Any:
        parts, part = self.view._frostline, _tensor(part)
        whole = split.merge(parts.plan, part, backend.recall(parts.frozen, part))
        return split.take_trainable(parts.plan, self.view.constraint(whole))


def _tensor(part: Any) -> Any:
    # On TensorFlow `ops.convert_to_tensor` returns a Keras variable unchanged.
    return part.value if isinstance(part, keras.Variable) else part
