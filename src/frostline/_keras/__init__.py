"""The only package that uses private parts of Keras.

`tests/ground/test_keras_private.py` tests them. Each function says which part of Keras it
needs and why the public API is not enough.
"""

from __future__ import annotations

import functools
import json
import os
import types
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import keras
from keras.src import backend as _backend
from keras.src.backend.common import global_state as _global_state
from keras.src.backend.common import variables as _variables
from keras.src.models.functional import Functional, functional_like_constructor
from keras.src.saving import serialization_lib as _serialization
from keras.src.utils.tracking import DotNotTrackScope

from frostline._keras.data import Data
from frostline._keras.living import built_optimizers, constructed_layers, live
from frostline._keras.optimizers import (
    BUILT,
    EXCLUSIONS,
    EXCLUSIONS_CACHE,
    INNER,
    SEVERAL,
    SLOTS,
    TRACKABLE,
    averages,
    chosen,
    config_without_rate,
    defining_class,
    optimized,
    set_slots,
    slot_name,
    slots,
    track_slot,
    variable_key,
)
from frostline._keras.stateless import cast_as_read, compute_loss, has_loss, without_traces
from frostline._keras.watched import watch_takers, wrap

__all__ = [  # and what is defined here
    "BUILT",
    "EXCLUSIONS",
    "EXCLUSIONS_CACHE",
    "INNER",
    "SEVERAL",
    "SLOTS",
    "TRACKABLE",
    "Data",
    "averages",
    "built_optimizers",
    "cast_as_read",
    "chosen",
    "compute_loss",
    "config_without_rate",
    "constructed_layers",
    "defining_class",
    "has_loss",
    "live",
    "optimized",
    "set_slots",
    "slot_name",
    "slots",
    "track_slot",
    "variable_key",
    "watch_takers",
    "without_traces",
    "wrap",
]


def current_scope() -> Any:
    """The active `keras.StatelessScope`, or None. Keras exports the class, but not the getter."""
    return _backend.common.stateless_scope.get_stateless_scope()


def current_autocast() -> str | None:
    """The dtype that variables are cast to when read, None outside a mixed-precision call."""
    scope = _backend.common.variables.get_autocast_scope()
    return None if scope is None else scope.dtype


@contextmanager
def no_autocast() -> Iterator[None]:
    """Inside the block, variables are read in their own dtype, also in a mixed-precision call.

    `AutocastScope(None)` would make all of them report the default dtype.
    """
    scope = _global_state.get_global_attribute("autocast_scope")
    _global_state.set_global_attribute("autocast_scope", None)
    try:
        yield
    finally:
        _global_state.set_global_attribute("autocast_scope", scope)


def initialized(variables: Iterable[Any]) -> bool:
    """Whether variables have values that other variables can be made from.

    In a stateless scope, as in the symbolic call that builds a model, Keras only registers them.
    """
    return current_scope() is None and all(storage(one) is not None for one in variables)


def when_initialized(action: Callable[[], None]) -> None:
    """Run an action as soon as all variables that exist now have their values.

    Keras sets them when it leaves a stateless scope, before user code sees them. It has no event
    for that, but goes through a list of variables; the action is put into that list.
    """
    _variables.register_uninitialized_variable(_Uninitialized(action))


class _Uninitialized:
    """An action in Keras's list of variables to initialize."""

    def __init__(self, action: Callable[[], None]) -> None:
        self.action = action

    def _deferred_initialize(self) -> None:
        try:
            self.action()
        except BaseException:
            # Otherwise Keras would initialize the variables before this one again.
            pending = _global_state.get_global_attribute("uninitialized_variables")
            place = next(i for i, one in enumerate(pending) if one is self)
            del pending[: place + 1]
            raise


def own_variables(layer: keras.layers.Layer) -> list[Any]:
    """The layer's own list (not a copy) of trainable variables, in the order of weight files.

    `layer.weights` is computed from such lists and includes the sublayers.
    """
    return layer._trainable_variables


def own_state(layer: keras.layers.Layer) -> list[Any]:
    """The variables of a layer that no optimizer trains, in the order of weight files.

    Variables of sublayers, seeds and metrics are not included.
    """
    return list(layer._non_trainable_variables)


def own_lists(layer: keras.layers.Layer) -> tuple[list[Any], list[Any]]:
    """The layer's own lists (not copies) of trainable and non-trainable variables.

    If a layer takes over a variable with `trainable=False`, the variable is in the second list.
    """
    return layer._trainable_variables, layer._non_trainable_variables


def set_own_lists(layer: keras.layers.Layer, lists: Iterable[Sequence[Any]]) -> None:
    """Replace the content of those lists in place, also if the layer is locked.

    The tracker also registers the new variables, so that assigning one of them to an attribute
    again does not count as new state. Old variables that an attribute may hold stay registered for
    the same reason. Parts of a weight are removed: no attribute holds them, and a variable that
    reuses the memory of a deleted part must not count as tracked.
    """
    stores = ("trainable_variables", "non_trainable_variables")
    for store, own, variables in zip(stores, own_lists(layer), lists, strict=True):
        known = layer._tracker.stored_ids[store]
        known.difference_update(id(one) for one in own if hasattr(one, "_frostline_view"))
        own[:] = variables
        known.update(map(id, variables))


def children(layer: keras.layers.Layer) -> list[keras.layers.Layer]:
    """The sublayers of a layer, one level down: those that Keras collects weights from.

    Only models have a public list, and that of a functional model lacks layers outside its graph.
    """
    return list(layer._layers)


def serializes_children(layer: keras.layers.Layer, kind: type | None = None) -> bool:
    """Whether the config of a layer contains just the configs of its sublayers.

    True for `Sequential` and functional models. Any other layer makes its sublayers itself, so what
    is not in its own config is lost. `kind` is used instead of the layer's class.
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


# The method that `layer.quantize` calls first. A subclass cannot override `quantize` itself: Keras
# wraps it for each layer object.
BEFORE_QUANTIZING = "_check_quantize_args"


def initialize(variable: Any, value: Any) -> None:
    """Give a variable object its backend storage, as the constructor does."""
    variable._initialize(value)


def storage(variable: Any) -> Any:
    """The variable of the backend: not cast for mixed precision, not in a stateless scope."""
    return variable._value


def with_ops(method: Callable[..., Any], replaced: Mapping[str, Callable[..., Any]]) -> Any:
    """A copy of a method of a stock layer with some of the `ops` that it calls replaced.

    Layers have no hook for multiplication. Their methods look up `ops` as a global name, so a copy
    of the function with other globals runs the same code, and nothing else changes. A method
    without a global `ops` is returned unchanged; its layer then uses the generic path.
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


def fellow_backups(
    callback: keras.callbacks.Callback,
) -> list[keras.callbacks.BackupAndRestore]:
    """The backup callbacks of the `fit` that has just given `callback` its parameters.

    A callback does not know the other callbacks. All callbacks of one `fit` get the same dictionary
    object of parameters, from a `CallbackList` that is alive during `fit`.
    """
    return [
        fellow
        for found in live(keras.callbacks.CallbackList)
        if getattr(found, "params", None) is callback.params
        for fellow in found.callbacks
        if isinstance(fellow, keras.callbacks.BackupAndRestore)
    ]


def backed_up_epoch(backup: keras.callbacks.BackupAndRestore) -> int | None:
    """The last epoch that had begun when a backup was made, None if there is no backup.

    Only the callback knows the names of its files.
    """
    if os.path.exists(backup._training_metadata_path):
        with open(backup._training_metadata_path, encoding="utf-8") as file:
            epoch = int(json.load(file)["epoch"])
        # A backup made at the end of an epoch has the number of the next one.
        return epoch - 1 if backup.save_freq == "epoch" else epoch
    # The process was killed between writing the two files of the first backup.
    return 0 if os.path.exists(backup._weights_path) else None


@dataclass(frozen=True)
class Call:
    """The call that made a symbolic tensor: output `index` of `operation(*args, **kwargs)`.

    `node` is the number of the call among those of the operation.
    """

    operation: Any
    node: int
    args: tuple[Any, ...]
    kwargs: Mapping[str, Any]
    index: int

    def again(self, *first: Any) -> Any:
        """Repeat the call with other first arguments."""
        made = self.operation(*first, *self.args[len(first) :], **self.kwargs)
        return made[self.index] if isinstance(made, (list, tuple)) else made


def call_of(tensor: Any) -> Call:
    """The call that made a symbolic tensor; Keras has no public function for this."""
    operation, node, index = tensor._keras_history
    arguments = operation._inbound_nodes[node].arguments
    return Call(operation, node, tuple(arguments.args), arguments.kwargs, index)


def mask_of(tensor: Any) -> Any:
    """The mask that is attached to a symbolic tensor, None for none."""
    return _backend.get_keras_mask(tensor)


def compiled_with(model: keras.Model) -> list[Any]:
    """The objects that a model is compiled with; its public config has only names of functions."""
    config = getattr(model, "_compile_config", None)
    return keras.tree.flatten(config.config) if config is not None else []


untracked = DotNotTrackScope
"""A context in which Keras does not track attributes that are set."""
