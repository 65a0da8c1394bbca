"""Copy an optimizer from its config, and list the variables it was built for."""

from __future__ import annotations

import weakref
from collections.abc import Sequence
from typing import Any

import keras

from frostline import _keras
from frostline._backends.current import backend
from frostline._errors import UnsupportedError

KNOWN = "_frostline_known"
"""The attribute of an optimizer that stores the result of `known`."""

_copies: weakref.WeakSet[Any] = weakref.WeakSet()


def outermost(optimizers: Sequence[Any]) -> list[Any]:
    """The optimizers that users may hold and that are not inside another optimizer."""
    theirs = [optimizer for optimizer in optimizers if optimizer not in _copies]
    inside = {id(one) for optimizer in theirs for one in inner_optimizers(optimizer)}
    return [optimizer for optimizer in theirs if id(optimizer) not in inside]


def inner_optimizers(optimizer: Any) -> list[Any]:
    """The optimizers directly inside one, such as in a `LossScaleOptimizer` or `MultiOptimizer`."""
    single = getattr(optimizer, "inner_optimizer", None)
    return [single] if single is not None else list(getattr(optimizer, "optimizers", ()))


def all_inside(optimizer: Any) -> list[Any]:
    """An optimizer and all optimizers inside it; a copy has the same order."""
    return [optimizer, *(one for i in inner_optimizers(optimizer) for one in all_inside(i))]


def original(variable: Any) -> Any:
    """The original variable of a layer, for a variable that it lists now."""
    return getattr(variable, "_frostline_view", variable)


def known(optimizer: Any) -> list[Any]:
    """The variables that an optimizer was built for, in order, with those that are now frozen."""
    listed = [original(variable) for variable in _keras.optimized(optimizer)]
    remembered = vars(optimizer).get(KNOWN, listed)
    now = {id(variable) for variable in listed}
    if [id(v) for v in remembered if id(v) in now] == [id(v) for v in listed]:
        return list(remembered)
    return [*listed, *(v for v in remembered if id(v) not in now)]


def copy_of(optimizer: Any) -> Any:
    """A copy of an optimizer made from its config, not built.

    Its learning rate is a dummy: it is not used, and a function would not be in the config.
    """
    copy = _copied(optimizer)
    _copies.add(copy)
    return copy


def _copied(optimizer: Any) -> Any:
    if isinstance(optimizer, _keras.SEVERAL):
        return _copy_of_several(optimizer)
    try:
        config = _keras.config_without_rate(optimizer)
        if isinstance(optimizer, keras.optimizers.LossScaleOptimizer):
            del config["inner_optimizer"]
            return type(optimizer)(copy_of(optimizer.inner_optimizer), **config)
        return type(optimizer).from_config(config)
    except (UnsupportedError, *backend.engine_errors):
        raise
    except Exception as error:
        raise UnsupportedError(
            f"{optimizer.name}: this optimizer cannot be copied from its config, so its slots "
            f"cannot be updated; got optimizer={type(optimizer).__name__}. "
            "Freeze before it is built, or call `model.compile(...)` with a new one first."
        ) from error


def _copy_of_several(optimizer: Any) -> Any:
    """A copy with the inner optimizers in the same order.

    The function that chooses between them may not be in the config.
    """
    inner = inner_optimizers(optimizer)
    copies = [copy_of(one) for one in inner]
    copy_for = {id(v): c for one, c in zip(inner, copies, strict=True) for v in known(one)}

    def choose(variable: Any) -> Any:
        if id(original(variable)) in copy_for:
            return copy_for[id(original(variable))]
        chosen = _keras.chosen(optimizer, variable)
        return next((c for one, c in zip(inner, copies, strict=True) if one is chosen), chosen)

    fresh = keras.optimizers.MultiOptimizer(
        choose, loss_scale_factor=optimizer.loss_scale_factor, name=optimizer.name
    )
    fresh.optimizers.extend(copies)
    return fresh
