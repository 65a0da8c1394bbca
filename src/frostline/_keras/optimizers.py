"""What Keras keeps private of its optimizers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras
from keras.src.utils.tracking import DotNotTrackScope


def optimized(optimizer: keras.optimizers.Optimizer) -> list[Any]:
    """The variables an optimizer has made slots for, in its order."""
    return list(optimizer._trainable_variables)


def slots(optimizer: keras.optimizers.Optimizer) -> list[Any]:
    """All variables of an optimizer, without those of the optimizers inside it."""
    return list(optimizer._variables)


def slot_name(variable: Any, name: str | None) -> str:
    """What `add_variable_from_reference` calls the slot `name` of a variable."""
    return f"{getattr(variable, 'path', variable.name).replace('/', '_')}_{name or 'var'}".replace(
        ":", "_"
    )


def track_slot(optimizer: keras.optimizers.Optimizer, slot: Any) -> None:
    """List a variable among those of an optimizer, as `add_variable` does with a new one."""
    optimizer._track_variable(slot)


def set_slots(optimizer: keras.optimizers.Optimizer, variables: Sequence[Any]) -> None:
    """Give an optimizer another list of all its variables.

    A new list: TensorFlow takes one that was written into for one that it can not save.
    """
    with DotNotTrackScope():
        optimizer._variables = list(variables)
    tracker = optimizer._tracker
    tracker.config["variables"] = (tracker.config["variables"][0], optimizer._variables)
    tracker.stored_ids["variables"] = {id(variable) for variable in variables}


SLOTS = "_variables"

# How the attributes begin in which TensorFlow notes what to save of an object.
TRACKABLE = "_self_"

# What the base class notes of the variables that an optimizer was built for.
BUILT = ("built", "_variables", "_tracker", "_trainable_variables", "_trainable_variables_indices")

# `MultiOptimizer`, which Keras 3.12 does not have.
SEVERAL: Any = getattr(keras.optimizers, "MultiOptimizer", ())

# The list of the optimizers inside a `MultiOptimizer`, public as `optimizers` but not to be set.
INNER = "_inner_optimizers"


def chosen(optimizer: Any, variable: Any) -> Any:
    """The inner optimizer that the user's map or function gives a variable."""
    return optimizer._optimizer_map(variable)


def config_without_rate(optimizer: keras.optimizers.Optimizer) -> dict[str, Any]:
    """The config of an optimizer with any learning rate: a function or a schedule may have none.

    The optimizer inside it is any one too. The config is asked of an object beside it, so that
    nobody sees the optimizer without these.
    """
    twin = object.__new__(type(optimizer))
    twin.__dict__.update(optimizer.__dict__, _learning_rate=0.5)
    if "inner_optimizer" in twin.__dict__:
        twin.__dict__["inner_optimizer"] = keras.optimizers.SGD()
    return twin.get_config()


def told_by(name: str) -> type:
    """The class that gives optimizers the method `name`: on TensorFlow there are two of them."""
    return next(kind for kind in keras.optimizers.Optimizer.__mro__ if name in vars(kind))


def averages(optimizer: keras.optimizers.Optimizer) -> list[tuple[Any, Any]]:
    """Variables and their running averages (`use_ema=True`), which no public list tells apart."""
    found = getattr(optimizer, "_model_variables_moving_average", ())
    pairs = zip(optimized(optimizer), found, strict=False)
    return [(variable, average) for variable, average in pairs if average is not None]


# What `exclude_from_weight_decay` leaves on an optimizer; no config holds it. The first is a set of
# `variable_key`s, the second remembers answers for them.
EXCLUSIONS = "_exclude_from_weight_decay"
EXCLUSIONS_CACHE = "_exclude_from_weight_decay_cache"


def variable_key(variable: Any) -> Any:
    """The key under which optimizers know a variable; only optimizers can make it."""
    return keras.optimizers.Optimizer._var_key(None, variable)  # type: ignore[arg-type]
