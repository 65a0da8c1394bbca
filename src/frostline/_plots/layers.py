"""What the layer of a weight says of itself, for the weight's map."""

from __future__ import annotations

import contextlib

import keras
import numpy as np

from frostline._arrays.equation import Equation
from frostline._errors import SelectionError
from frostline._plots.arrange import KINDS, Arrangement, Known, arrangement
from frostline._selections.heads import head_axis
from frostline._selections.weight import Weight
from frostline._weights.tree import Found


def arrangement_of(weight: Found) -> Arrangement:
    """How to show a weight of a model."""
    shape = tuple(int(n) for n in weight.variable.shape)
    return arrangement(weight.variable.name, shape, _known(weight, shape))


def _known(weight: Found, shape: tuple[int, ...]) -> Known:
    owner = weight.owner
    kind = _kind(owner)
    if not isinstance(owner, keras.layers.EinsumDense) or len(shape) < 2:
        return Known(kind)
    asked = Weight(weight.path, weight.variable.name, shape, "", lambda: np.empty(0), weight.layers)
    found = None
    # An axis that may or may not be the heads is an axis like another.
    with contextlib.suppress(SelectionError):
        found = head_axis(asked, "plot")
    heads = None if found is None else found.axis
    return Known(kind, Equation.parse(owner.equation), heads)


def _kind(owner: keras.layers.Layer) -> str:
    """The name of the class of Keras that a layer is of, a subclass or partly frozen too."""
    for cls in type(owner).__mro__:
        if cls.__name__ in KINDS and getattr(keras.layers, cls.__name__, None) is cls:
            return cls.__name__
    return ""
