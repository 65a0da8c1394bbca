"""Optimizers that Keras does not bring back from a file of a model with a freeze in it.

Keras compiles a loaded model by its own `compile` alone. A model whose class has another one, as
the tasks of KerasHub do, comes back with the optimizer of its constructor. Keras then skips the
state in the file with a warning, or reads it into an optimizer of another class where the number of
variables fits. Here it is not read, and one warning has the lines that restore it.
"""

from __future__ import annotations

from typing import Any

import keras

from frostline import _keras
from frostline._arrays.stored import StoredOptimizer
from frostline._backends.current import backend
from frostline._errors import RestoreWarning, warn

TOLD = "_frostline_told"
"""The attribute of an optimizer that does not read its state in a file, and whose user knows."""

_EXPECTED = "_frostline_optimizers"
_COMPILED = "_frostline_compiled"


def compiles_itself(layer: Any) -> bool:
    """Whether a layer is a model whose class has a `compile` of its own."""
    return isinstance(layer, keras.Model) and type(layer).compile is not keras.Model.compile


def trained_optimizers(layer: Any) -> dict[str, StoredOptimizer]:
    """What a file says of the optimizers of a model: those with a step behind them, by attribute.

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
    """Note what a file says of the optimizers of a model that was just made from it."""
    if stored:
        layer.__dict__[_EXPECTED] = stored


def compiled_from_file(layer: Any) -> None:
    """Note that Keras was to compile a model as its file says: it was not loaded without."""
    if _EXPECTED in layer.__dict__:
        layer.__dict__[_COMPILED] = True


def warn_of_lost_optimizers(layer: Any) -> None:
    """Warn of the optimizers whose state Keras is not going to read from the file.

    Called when a model reads its own variables, which is before its optimizer does.
    """
    stored = layer.__dict__.pop(_EXPECTED, {})
    wanted = layer.__dict__.pop(_COMPILED, False)
    for name, saved in stored.items():
        one = getattr(layer, name, None)
        if _comes_back(one, saved):
            continue
        if one is not None:
            one.__dict__[TOLD] = True
        # Loaded with `compile=False`, nobody asked for the optimizer of the file.
        if wanted == saved["compiled"]:
            warn(_told(layer, name, one, saved), RestoreWarning)


def _comes_back(optimizer: Any, saved: StoredOptimizer) -> bool:
    # Keras compares the number of variables, and nothing else.
    return (
        type(optimizer).__name__ == saved["class_name"]
        and len(optimizer.variables) == saved["variables"]
    )


def _told(layer: Any, name: str, optimizer: Any, saved: StoredOptimizer) -> str:
    if not saved["compiled"]:
        reason = "the file does not say how the model was compiled"
    elif compiles_itself(layer):
        reason = f"{type(layer).__name__} has a `compile` of its own, which Keras does not call"
    else:
        reason = f"it trains other variables than the {saved['variables']} of the file are for"
    now = "none" if optimizer is None else type(optimizer).__name__
    kind = saved["class_name"]
    kind = f"keras.optimizers.{kind}" if hasattr(keras.optimizers, kind) else kind
    trained = "model.trainable_variables" if name == "optimizer" else "..."
    return (
        f"{layer.name}: the state of its optimizer is in the file and was not restored, since "
        f"{reason}; got {name}={now}, in the file {saved['class_name']} at step {saved['step']}. "
        "To train on from there, set `trainable` of its layers and compile it as before, then load "
        "the file once more: "
        f"`model.compile({kind}(...), ...)`, `model.{name}.build({trained})`, "
        "`model.load_weights(file)`."
    )
