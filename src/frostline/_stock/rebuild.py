"""Copy a model and replace some of its layers."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from typing import Any

import keras

from frostline import _keras
from frostline._console import each, meter
from frostline._errors import FrostlineError, NotBuiltError, TargetError, UnsupportedError
from frostline._freezing.classes import own_class, set_class
from frostline._weights.tree import walk


def check_rebuildable(model: Any) -> None:
    """Raise an error if `model` is not a built model, or is a subclassed one."""
    if not isinstance(model, keras.Model):
        raise TargetError(
            f"model: not a Keras model; got {type(model).__name__}. Put the layer into a model: "
            "`keras.Sequential([keras.Input(shape), layer])`."
        )
    for inner in models(model):
        if not _keras.serializes_children(inner, own_class(inner)):
            raise TargetError(
                f"{inner.name}: the layers of a subclassed model cannot be replaced, because its "
                f"`call` is Python code; got {type(inner).__name__}. Write it as a functional "
                "model, or keep it partly frozen."
            )
    if not model.built or not any(True for _ in walk(model)):
        raise NotBuiltError(
            f"{model.name}: no weights yet; got built={model.built}. Build it first."
        )


def models(model: keras.Model) -> Iterator[keras.Model]:
    """A model and all models nested in it."""
    yield model
    for layer in model.layers:
        if isinstance(layer, keras.Model):
            yield from models(layer)


def operations(model: Any) -> list[Any]:
    """The layers and other operations of a model, without those of nested models."""
    return model.layers if isinstance(model, keras.Sequential) else model.operations


def rebuilt(model: keras.Model, replacement: Callable[[Any], Any]) -> keras.Model:
    """Copy a model with its weights and random seeds, and compile the copy if `model` is compiled.

    `replacement(operation)` returns what replaces a layer, a nested model or another operation of
    the graph; None means a copy of it.
    """
    copies: list[tuple[Any, Any]] = []
    done: dict[int, Any] = {}

    def clone(operation: Any) -> Any:
        if id(operation) not in done:
            made = replacement(operation)
            done[id(operation)] = copied(operation) if made is None else made
            advance(1)
        return done[id(operation)]

    def copied(operation: Any) -> Any:
        if isinstance(operation, keras.Model):
            copy = cloned(operation)
            if not operation.trainable:
                copy.trainable = False  # setting True would also set it on frozen layers
            return copy
        # The code of this `Lambda` is from the running program, not from a file.
        trusted = {"safe_mode": False} if isinstance(operation, keras.layers.Lambda) else {}
        copy = type(operation).from_config(operation.get_config(), **trusted)
        if isinstance(operation, keras.layers.Layer):
            copies.append((operation, copy))
        return copy

    def cloned(inner: keras.Model) -> keras.Model:
        calling = {} if isinstance(inner, keras.Sequential) else {"call_function": _called}
        copy = keras.models.clone_model(inner, clone_function=clone, **calling)
        set_class(copy, None)  # nothing in it is frozen yet
        return copy

    every = {id(one) for inner in models(model) for one in operations(inner)}
    try:
        with (
            meter("making layers", len(every), unit="layers") as advance,
            keras.saving.custom_object_scope(_own_objects(model)),
        ):
            made = cloned(model)
    except FrostlineError:
        raise
    except (TypeError, ValueError, RuntimeError) as error:
        raise UnsupportedError(
            f"{model.name}: Keras can't copy this model; got {type(error).__name__}: "
            f"{str(error).partition(chr(10))[0]} Register each custom class that it has or is "
            "compiled with: `@keras.saving.register_keras_serializable()`."
        ) from error
    if not made.built:
        made.build(model.input_shape)
    for layer, copy in each("copying", copies, "layers"):
        _fill(copy, layer)
    return made


def _own_objects(model: keras.Model) -> dict[str, Any]:
    """The functions and classes that a model is compiled with; they need no registration."""
    found = {}
    for one in _keras.compiled_with(model):
        known = one if isinstance(one, type) or inspect.isfunction(one) else type(one)
        if known.__module__ != "builtins":
            found[known.__name__] = known
    return found


def _fill(copy: Any, layer: Any) -> None:
    """Copy what is not in the config of a layer: weights, seeds and `trainable` of variables."""
    copy.set_weights(layer.get_weights())
    for seed, other in zip(_seeds(layer), _seeds(copy), strict=True):
        other.assign(keras.ops.convert_to_numpy(seed.value))  # on JAX, not the same array
    for variable, other in zip(layer.weights, copy.weights, strict=True):
        if other.trainable and not variable.trainable:
            other.trainable = False


def _seeds(layer: Any) -> list[Any]:
    """The seeds of the random numbers of a layer, which are not weights."""
    weights = {id(variable) for variable in layer.weights}
    return [variable for variable in layer.variables if id(variable) not in weights]


def _called(operation: Any, *args: Any, mask: Any = None, **kwargs: Any) -> Any:
    """Call the replacement of an operation, with a mask only if there is one."""
    return operation(*args, **kwargs) if mask is None else operation(*args, mask=mask, **kwargs)
