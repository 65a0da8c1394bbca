"""The only module that touches what Keras keeps private.

`tests/ground/test_keras_private.py` watches it.

Each function says which part of Keras it needs and why no public way exists.
"""

from __future__ import annotations

import functools
import gc
import itertools
import json
import os
import types
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import keras
from keras.src import backend as _backend
from keras.src.backend.common import global_state as _global_state
from keras.src.models.functional import Functional, functional_like_constructor
from keras.src.saving import serialization_lib as _serialization
from keras.src.utils.tracking import DotNotTrackScope
from keras.src.utils.tracking import Tracker as _Tracker


def current_scope() -> Any:
    """The active `keras.StatelessScope`, or None. Keras exports the class and not the getter."""
    return _backend.common.stateless_scope.get_stateless_scope()


def current_autocast() -> str | None:
    """The dtype that variables are cast to when read, None outside a mixed-precision call."""
    scope = _backend.common.variables.get_autocast_scope()
    return None if scope is None else scope.dtype


def own_variables(layer: keras.layers.Layer) -> list[Any]:
    """The live list of variables a layer made as trainable, in the order of its weight files.

    `layer.weights` mixes in the sublayers, and is computed from these lists.
    """
    return layer._trainable_variables


def own_state(layer: keras.layers.Layer) -> list[Any]:
    """The variables of a layer that no optimizer trains, in the order of its weight files.

    Those of the sublayers are not among them, and neither are seeds and metrics.
    """
    return list(layer._non_trainable_variables)


def own_lists(layer: keras.layers.Layer) -> tuple[list[Any], list[Any]]:
    """The live lists of a layer's own variables: made as trainable, and not.

    A layer that takes a variable over while that is off lists it in the second.
    """
    return layer._trainable_variables, layer._non_trainable_variables


def set_own_lists(layer: keras.layers.Layer, lists: Iterable[Sequence[Any]]) -> None:
    """Replace the content of those lists in place, locked or not.

    The tracker is told of the new ones, so that assigning one of them to an attribute again is not
    taken for new state. The old ones stay known to it for the same reason.
    """
    stores = ("trainable_variables", "non_trainable_variables")
    for store, own, variables in zip(stores, own_lists(layer), lists, strict=True):
        own[:] = variables
        layer._tracker.stored_ids[store].update(id(variable) for variable in variables)


def wrap(owner: type, name: str, around: Callable[..., Any]) -> None:
    """Put a function around a method of a class of Keras, once: more calls do nothing.

    Args:
        owner: The class.
        name: The method's name.
        around: Called with the method, and with the arguments of each of its calls.
    """
    method = vars(owner)[name]
    if not hasattr(method, "_frostline_method"):

        @functools.wraps(method)
        def wrapped(self: Any, *args: Any, **kwargs: Any) -> Any:
            return around(method, self, *args, **kwargs)

        vars(wrapped)["_frostline_method"] = method
        setattr(owner, name, wrapped)


def watch_takers(
    made_of: Callable[[Any], Sequence[Any] | None], taken: Callable[..., None]
) -> None:
    """Have a layer that takes a variable over, `self.w = other.kernel`, list what it is made of.

    A layer notes variables in its tracker when an attribute is set, without a hook.

    Args:
        made_of: What to list for a variable, None for the variable itself.
        taken: Called with a layer that has taken one over, in a list.
    """

    def add_to_store(add: Any, tracker: Any, store: str, value: Any) -> None:
        parts = made_of(value) if "trainable_variables" in tracker.config else None
        if parts is None:
            add(tracker, store, value)
            return
        for part in parts:
            add(tracker, "trainable_variables", part)
        tracker.stored_ids["trainable_variables"].add(id(value))
        taken([one for one in live(keras.layers.Layer) if vars(one).get("_tracker") is tracker])

    wrap(_Tracker, "add_to_store", add_to_store)


def children(layer: keras.layers.Layer) -> list[keras.layers.Layer]:
    """The sublayers of a layer, one level down: those that Keras takes its weights from.

    Only models have a public list, and a functional one leaves out what is not in its graph.
    """
    return list(layer._layers)


def serializes_children(layer: keras.layers.Layer, kind: type | None = None) -> bool:
    """Whether the config of a layer is just the configs of its sublayers.

    So it is for `Sequential` and for functional models; any other layer makes its sublayers
    itself, and what is not in its own config is lost. `kind` is asked in the place of its class.
    """
    kind = kind or type(layer)
    if isinstance(layer, keras.Sequential):
        return kind.get_config is keras.Sequential.get_config
    return (
        isinstance(layer, Functional)
        and kind.get_config is Functional.get_config
        and functional_like_constructor(kind)
    )


def class_config(kind: type) -> dict[str, Any]:
    """How Keras names a class in a saved config: module, class name, registered name."""
    found = _serialization.serialize_with_public_class(kind)
    if found is None:
        found = {
            "module": kind.__module__,
            "class_name": kind.__name__,
            "registered_name": keras.saving.get_registered_name(kind),
        }
    return {key: found[key] for key in ("module", "class_name", "registered_name")}


def saving_whole_model() -> bool:
    """Whether `get_config` runs as a part of `model.save` (or of pickling)."""
    return _global_state.get_global_attribute("shared_objects/id_to_config_map") is not None


def in_call() -> bool:
    """Whether the code runs inside the call of some layer."""
    return _global_state.get_global_attribute("current_call_ctx") is not None


# The method that the wrapper around `layer.quantize` asks first; `quantize` itself is wrapped for
# each layer when it is made, out of a subclass's reach.
BEFORE_QUANTIZING = "_check_quantize_args"


def initialize(variable: Any, value: Any) -> None:
    """Give a variable object its backend storage, as its constructor does."""
    variable._initialize(value)


def storage(variable: Any) -> Any:
    """The backend's own variable, as it is: not cast for mixed precision, in no stateless scope."""
    return variable._value


def with_ops(method: Callable[..., Any], replaced: Mapping[str, Callable[..., Any]]) -> Any:
    """A method of a stock layer, run as it is with some of the `ops` it calls replaced.

    A layer has no hook for how it multiplies. Its module looks `ops` up as a global name, so a
    copy of the function with another one there runs the same code; nobody else sees the change.
    A method of another make comes back as it is, and its layer goes the generic way.
    """
    own: Any = method
    if "ops" not in getattr(own, "__globals__", ()):
        return method
    shown = types.SimpleNamespace(**{**vars(own.__globals__["ops"]), **replaced})
    copy = types.FunctionType(
        own.__code__,
        {**own.__globals__, "ops": shown},
        own.__name__,
        own.__defaults__,
        own.__closure__,
    )
    return functools.update_wrapper(copy, own)


def constructed_layers(living: Iterable[Any]) -> list[keras.layers.Layer]:
    """Of living objects the layers that are past their constructor."""
    return [
        one
        for one in living
        if issubclass(type(one), keras.layers.Layer) and "_tracker" in vars(one)
    ]


def built_optimizers(living: Iterable[Any]) -> list[keras.optimizers.Optimizer]:
    """Of living objects the optimizers that have made their slots."""
    return [
        one
        for one in living
        if issubclass(type(one), keras.optimizers.Optimizer) and vars(one).get("built")
    ]


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
    with untracked():
        optimizer._variables = list(variables)
    tracker = optimizer._tracker
    tracker.config["variables"] = (tracker.config["variables"][0], optimizer._variables)
    tracker.stored_ids["variables"] = {id(variable) for variable in variables}


# What the base class notes of the variables that an optimizer was built for.
BUILT = ("built", "_variables", "_tracker", "_trainable_variables", "_trainable_variables_indices")

# The list of the optimizers inside a `MultiOptimizer`, public as `optimizers` but not to be set.
INNER = "_inner_optimizers"


def chosen(optimizer: keras.optimizers.MultiOptimizer, variable: Any) -> Any:
    """The inner optimizer that the user's map or function gives a variable."""
    return optimizer._optimizer_map(variable)


def averages(optimizers: Iterable[keras.optimizers.Optimizer]) -> list[tuple[Any, Any]]:
    """Variables and their running averages (`use_ema=True`), which no public list tells apart."""
    return [
        (variable, average)
        for one in optimizers
        for variable, average in zip(
            optimized(one), getattr(one, "_model_variables_moving_average", ()), strict=False
        )
        if average is not None
    ]


# What `exclude_from_weight_decay` leaves on an optimizer; no config holds it. The first is a set of
# `variable_key`s, the second remembers answers for them.
EXCLUSIONS = "_exclude_from_weight_decay"
EXCLUSIONS_CACHE = "_exclude_from_weight_decay_cache"


def variable_key(variable: Any) -> Any:
    """The key under which optimizers know a variable; only optimizers can make it."""
    return keras.optimizers.Optimizer._var_key(None, variable)  # type: ignore[arg-type]


def fellow_backups(
    callback: keras.callbacks.Callback,
) -> list[keras.callbacks.BackupAndRestore]:
    """The backup callbacks of the `fit` that has just given `callback` its parameters.

    A callback is told of its model and not of the others. All callbacks of one `fit` get the very
    same dictionary of parameters, from a list that is alive meanwhile.
    """
    return [
        fellow
        for found in live(keras.callbacks.CallbackList)
        if getattr(found, "params", None) is callback.params
        for fellow in found.callbacks
        if isinstance(fellow, keras.callbacks.BackupAndRestore)
    ]


def backed_up_epoch(backup: keras.callbacks.BackupAndRestore) -> int | None:
    """The last epoch that had begun when a backup was made, None where there is no backup.

    Only the callback knows the names of its files.
    """
    if os.path.exists(backup._training_metadata_path):
        with open(backup._training_metadata_path, encoding="utf-8") as file:
            epoch = int(json.load(file)["epoch"])
        # One made at the end of an epoch names the next one.
        return epoch - 1 if backup.save_freq == "epoch" else epoch
    # Killed between the two files of the first backup.
    return 0 if os.path.exists(backup._weights_path) else None


@dataclass(frozen=True)
class Call:
    """How a symbolic tensor came about: output `index` of `operation(*args, **kwargs)`.

    `node` numbers the calls of the operation.
    """

    operation: Any
    node: int
    args: tuple[Any, ...]
    kwargs: Mapping[str, Any]
    index: int

    def again(self, *first: Any) -> Any:
        """The same call with other first arguments."""
        made = self.operation(*first, *self.args[len(first) :], **self.kwargs)
        return made[self.index] if isinstance(made, (list, tuple)) else made


def call_of(tensor: Any) -> Call:
    """The call that made a symbolic tensor: no public way leads from a tensor to it."""
    operation, node, index = tensor._keras_history
    arguments = operation._inbound_nodes[node].arguments
    return Call(operation, node, tuple(arguments.args), arguments.kwargs, index)


def mask_of(tensor: Any) -> Any:
    """The mask of a sequence that travels with a symbolic tensor, None for none."""
    return _backend.get_keras_mask(tensor)


def compiled_with(model: keras.Model) -> list[Any]:
    """What a model was compiled with: its public config has names in the place of functions."""
    config = getattr(model, "_compile_config", None)
    return keras.tree.flatten(config.config) if config is not None else []


untracked = DotNotTrackScope
"""A context in which attributes that are set are not taken for state of their object."""


def live(*kinds: type) -> list[Any]:
    """Every living object of some classes.

    A layer does not know the layers, models and optimizers that use it, and a change of its
    variables must reach all of them. There may be millions of objects, so this is one pass, without
    a step of Python for each. By their `type`: some objects do anything when they are asked for
    their `__class__`.
    """
    objects = gc.get_objects()
    wanted = _Wanted(kinds)
    return list(itertools.compress(objects, map(wanted.__getitem__, map(type, objects))))


class _Wanted(dict[type, bool]):
    """Whether a class is one of `kinds`, each asked once."""

    def __init__(self, kinds: tuple[type, ...]) -> None:
        super().__init__()
        self.kinds = kinds

    def __missing__(self, kind: type) -> bool:
        self[kind] = found = issubclass(kind, self.kinds)
        return found
