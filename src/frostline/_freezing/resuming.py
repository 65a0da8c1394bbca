"""Warn of optimizers that Keras does not restore from the file of a partly frozen model.

Keras compiles a loaded model only if its class does not override `compile`. Other models, such as
the tasks of KerasHub, have the optimizer of their constructor after loading. Then Keras skips the
state in the file with a warning, or reads it into an optimizer of another class if the number of
variables fits. Here it is not read, and a warning has the lines that restore it.
"""

from __future__ import annotations

from typing import Any

import keras

from frostline import _keras
from frostline._arrays.stored import StoredOptimizer
from frostline._backends.current import backend
from frostline._errors import RestoreWarning, warn

WARNED = "_frostline_warned"
"""The attribute of an optimizer that must not read its state from a file; the user was warned."""

_EXPECTED = "_frostline_optimizers"
_COMPILED = "_frostline_compiled"


def compiles_itself(layer: Any) -> bool:
    """Whether a layer is a model whose class overrides `compile`."""
    return isinstance(layer, keras.Model) and type(layer).compile is not keras.Model.compile


def trained_optimizers(layer: Any) -> dict[str, StoredOptimizer]:
    """The optimizers of a model that have trained, by attribute, to be stored in a file.

    Empty outside of `model.save`: a clone has no optimizer.
    """
    if not (isinstance(layer, keras.Model) and _keras.saving_whole_model()):
        return {}
    found = {
        name: (one, step)
        for name, one in vars(layer).items()
        if isinstance(one, keras.optimizers.Optimizer)
        if (step := int(backend.read(one.iterations)))
    }
    compiled = bool(found and layer.get_compile_config())
    return {
        name: StoredOptimizer(
            class_name=type(one).__name__,
            step=step,
            variables=len(one.variables),
            compiled=compiled,
        )
        for name, (one, step) in found.items()
    }


def expect_optimizers(layer: Any, stored: dict[str, StoredOptimizer] | None) -> None:
    """Record the optimizers in a file for a model that was just made from it."""
    if stored:
        layer.__dict__[_EXPECTED] = stored


def compiled_from_file(layer: Any) -> None:
    """Record that a model was not loaded with `compile=False`."""
    if _EXPECTED in layer.__dict__:
        layer.__dict__[_COMPILED] = True


def warn_of_lost_optimizers(layer: Any) -> None:
    """Warn of optimizers whose state Keras will not read from the file.

    Called when a model reads its own variables, before its optimizer does.
    """
    stored = layer.__dict__.pop(_EXPECTED, {})
    wanted = layer.__dict__.pop(_COMPILED, False)
    for name, saved in stored.items():
        one = getattr(layer, name, None)
        if _comes_back(one, saved):
            continue
        if one is not None:
            one.__dict__[WARNED] = True
        # With `compile=False` the user does not want the optimizer of the file.
        if wanted == saved["compiled"]:
            warn(_message(layer, name, one, saved), RestoreWarning)


def _comes_back(optimizer: Any, saved: StoredOptimizer) -> bool:
    # Keras compares only the number of variables.
    return (
        type(optimizer).__name__ == saved["class_name"]
        and len(optimizer.variables) == saved["variables"]
    )


def _message(layer: Any, name: str, optimizer: Any, saved: StoredOptimizer) -> str:
    if not saved["compiled"]:
        reason = "the file does not say how the model was compiled"
    elif compiles_itself(layer):
        reason = f"{type(layer).__name__} overrides `compile`, which Keras does not call"
    else:
        reason = f"it trains other variables than the {saved['variables']} in the file"
    now = "none" if optimizer is None else type(optimizer).__name__
    kind = saved["class_name"]
    kind = f"keras.optimizers.{kind}" if hasattr(keras.optimizers, kind) else kind
    trained = "model.trainable_variables" if name == "optimizer" else "..."
    return (
        f"{layer.name}: the state of its optimizer is in the file and was not restored, because "
        f"{reason}; got {name}={now}, in the file {saved['class_name']} at step {saved['step']}. "
        "To continue training, set `trainable` of its layers and compile it as before, then load "
        "the file again: "
        f"`model.compile({kind}(...), ...)`, `model.{name}.build({trained})`, "
        "`model.load_weights(file)`."
    )
