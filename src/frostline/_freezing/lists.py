"""Adapt Keras methods that get or set lists of weights to partly frozen weights.

A list of arrays has no names. So the lists of a partly frozen model contain whole weights: they fit
every freeze, and the plain model. A state tree has the paths of its variables, and the path of a
frozen part identifies the plan.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import keras

from frostline import _keras
from frostline._errors import RestoreError
from frostline._weights.changing import CHANGING
from frostline._weights.tree import Layer, sublayers
from frostline._weights.view import made_of, originals, tracked


def watch_lists() -> None:
    """Wrap these methods."""
    _keras.wrap(Layer, "get_weights", _whole)
    _keras.wrap(Layer, "set_weights", _whole)
    _keras.wrap(keras.Model, "set_state_tree", _checked)
    excluding = "exclude_from_weight_decay"
    _keras.wrap(_keras.defining_class(excluding), excluding, _excluding)


@contextmanager
def whole_variables(*layers: Layer) -> Iterator[None]:
    """Inside the block, layers list whole variables instead of parts."""
    with CHANGING:
        lists = [(own, list(own)) for layer in layers for own in _keras.own_lists(layer)]
        try:
            for own, listed in lists:
                own[:] = originals(listed)
            yield
        finally:
            for own, listed in lists:
                own[:] = listed


def _whole(method: Any, layer: Layer, *args: Any) -> Any:
    with whole_variables(*sublayers(layer)):
        return method(layer, *args)


def _excluding(method: Any, optimizer: Any, var_list: Any = None, var_names: Any = None) -> None:
    # Optimizers know a divided weight by its trainable part.
    trained = None if var_list is None else [tracked(variable)[0] for variable in var_list]
    method(optimizer, trained, var_names)


def _checked(method: Any, model: Any, state_tree: Mapping[str, Any]) -> None:
    kinds = ("trainable_variables", "non_trainable_variables")
    for kind in kinds:
        given = _paths(state_tree.get(kind, {}))
        for variable in getattr(model, kind):
            # The frozen part identifies the plan, so both parts must be there.
            part = hasattr(variable, "_frostline_view") and any(one in state_tree for one in kinds)
            asked = part or (kind in state_tree and made_of(variable))
            if asked and variable.path not in given:
                raise RestoreError(
                    f"{variable.path}: the state tree was saved with another freeze, or with none; "
                    f"got a state tree without this variable among its {kind}. Freeze the model as "
                    "it was then, or use a weight file (`.weights.h5`), which fits every freeze."
                )
    method(model, state_tree)


def _paths(tree: Mapping[str, Any], prefix: str = "") -> set[str]:
    found = set()
    for name, value in tree.items():
        nested = isinstance(value, Mapping)
        found |= _paths(value, f"{prefix}{name}/") if nested else {prefix + name}
    return found
