"""What is frozen in a single variable: `is_frozen` and `frozen_mask`."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np

from frostline._errors import TargetError
from frostline._weights.view import plan_of


def is_frozen(variable: Any) -> bool:
    """Whether any entry of a variable is frozen: also True if only a part of it is.

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
    """Return a boolean array of the variable's shape, True where frozen.

    It shows what frostline froze. A layer with `trainable = False` does not train either, but that
    does not count as frozen here.

    Args:
        variable: A variable of a layer, `layer.kernel`.

    Returns:
        A new boolean array of `variable.shape`.

    Raises:
        TargetError: `variable` is not a variable of a layer.

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
            f"Pass a variable of a layer, `fl.{question}(layer.kernel)`; "
            "`fl.weights(model)` lists them."
        )
    if hasattr(variable, "_frostline_view"):
        raise TargetError(
            f"{variable.path}: this is only one part of a partly frozen weight; got variable=its "
            f"part. Pass the variable of the layer: `fl.{question}(layer.kernel)`."
        )
    return variable
