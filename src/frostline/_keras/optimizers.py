"""The private parts of Keras's optimizers that are used here."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras
from keras.src.utils.tracking import DotNotTrackScope


def optimized(optimizer: keras.optimizers.Optimizer) -> list[Any]:
    """The variables that an optimizer has made slots for, in its order."""
    return list(optimizer._trainable_variables)


def slots(optimizer: keras.optimizers.Optimizer) -> list[Any]:
    """All variables of an optimizer, without those of the optimizers inside it."""
    return list(optimizer._variables)


def slot_name(variable: Any, name: str | None) -> str:
    """The name that `add_variable_from_reference` gives the slot `name` of a variable."""
    return f"{getattr(variable, 'path', variable.name).replace('/', '_')}_{name or 'var'}".replace(
        ":", "_"
    )


def track_slot(optimizer: keras.optimizers.Optimizer, slot: Any) -> None:
    """Add a variable to the list of an optimizer, as `add_variable` does."""
    optimizer._track_variable(slot)


def set_slots(optimizer: keras.optimizers.Optimizer, variables: Sequence[Any]) -> None:
    """Replace the list of all variables of an optimizer.

    By a new list: TensorFlow refuses to save a list that was modified.
    """
    with DotNotTrackScope():
        optimizer._variables = list(variables)
    tracker = optimizer._tracker
    tracker.config["variables"] = (tracker.config["variables"][0], optimizer._variables)
    tracker.stored_ids["variables"] = {id(variable) for variable in variables}


SLOTS = "_variables"

# Prefix of the attributes in which TensorFlow records what to save of an object.
TRACKABLE = "_self_"

# Attributes of the base class for the variables that an optimizer was built for.
BUILT = ("built", "_variables", "_tracker", "_trainable_variables", "_trainable_variables_indices")

# `MultiOptimizer`; Keras 3.12 does not have it.
SEVERAL: Any = getattr(keras.optimizers, "MultiOptimizer", ())

# The optimizers inside a `MultiOptimizer`; the public `optimizers` cannot be set.
INNER = "_inner_optimizers"


def chosen(optimizer: Any, variable: Any) -> Any:
    """The inner optimizer that the user's mapping or function chooses for a variable."""
    return optimizer._optimizer_map(variable)


def config_without_rate(optimizer: keras.optimizers.Optimizer) -> dict[str, Any]:
    """The config of an optimizer with a dummy learning rate: a function may have no config.

    An inner optimizer is replaced by a dummy too. The config is read from a copy of the object, so
    that the optimizer itself never changes.
    """
    twin = object.__new__(type(optimizer))
    twin.__dict__.update(optimizer.__dict__, _learning_rate=0.5)
    if "inner_optimizer" in twin.__dict__:
        twin.__dict__["inner_optimizer"] = keras.optimizers.SGD()
    return twin.get_config()


def defining_class(name: str) -> type:
    """The class that defines the method `name` of optimizers: TensorFlow has two base classes."""
    return next(kind for kind in keras.optimizers.Optimizer.__mro__ if name in vars(kind))


def averages(optimizer: keras.optimizers.Optimizer) -> list[tuple[Any, Any]]:
    """Variables and their running averages (`use_ema=True`), which no public list separates."""
    found = getattr(optimizer, "_model_variables_moving_average", ())
    pairs = zip(optimized(optimizer), found, strict=False)
    return [(variable, average) for variable, average in pairs if average is not None]


# Attributes set by `exclude_from_weight_decay`, which are not in the config. The first is a set of
# `variable_key`s, the second a cache of results for them.
EXCLUSIONS = "_exclude_from_weight_decay"
EXCLUSIONS_CACHE = "_exclude_from_weight_decay_cache"


def variable_key(variable: Any) -> Any:
    """The key that optimizers use for a variable; only an optimizer method can make it."""
    return keras.optimizers.Optimizer._var_key(None, variable)  # type: ignore[arg-type]
