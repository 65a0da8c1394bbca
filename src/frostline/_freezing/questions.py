"""The questions about one variable: is_frozen and frozen_mask."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np

from frostline._errors import TargetError
from frostline._weights.view import plan_of


def is_frozen(variable: Any) -> bool:
    """Whether any entry of a variable is frozen.

    Args:
        variable: A variable of a layer, `layer.kernel`.

    Examples:
        >>> import keras, frostline as fl
        >>> layer = keras.layers.Dense(3)
        >>> layer.build((None, 4))
        >>> _ = fl.freeze(layer, "bias")
        >>> fl.is_frozen(layer.bias), fl.is_frozen(layer.kernel)
        (True, False)
    """
    return plan_of(_variable(variable, "is_frozen")) is not None


def frozen_mask(variable: Any) -> np.ndarray:
    """A boolean array of the variable's shape, True where frozen.

    It says what this library froze. A layer with `trainable = False` trains nothing either, and
    none of it is frozen in this sense.

    Args:
        variable: A variable of a layer, `layer.kernel`.

    Returns:
        A new boolean array of `variable.shape`.

    Raises:
        TargetError: Not a variable.

    Examples:
        >>> import keras, frostline as fl
        >>> layer = keras.layers.Dense(2)
        >>> layer.build((None, 2))
        >>> _ = fl.freeze(layer, "kernel", fl.at[:, 0])
        >>> fl.frozen_mask(layer.kernel)
        array([[ True, False],
               [ True, False]])
    """
    plan = plan_of(_variable(variable, "frozen_mask"))
    return np.zeros(tuple(variable.shape), dtype=bool) if plan is None else plan.mask()


def _variable(variable: Any, question: str) -> Any:
    if not isinstance(variable, keras.Variable):
        raise TargetError(
            f"variable: not a Keras variable; got variable={type(variable).__name__}. "
            f"Pass one that a layer holds, `fl.{question}(layer.kernel)`; "
            "`fl.summary(model)` lists them."
        )
    if hasattr(variable, "_frostline_view"):
        raise TargetError(
            f"{variable.path}: this is one part of a divided weight; got variable=its part. "
            f"Pass the variable that the layer holds: `fl.{question}(layer.kernel)`."
        )
    return variable
