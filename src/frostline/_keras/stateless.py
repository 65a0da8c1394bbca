"""Compute the loss of a model without changing its state.

`keras.StatelessScope` catches what is written to variables. Layers also keep private state that is
not in variables.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import keras
from keras.src.trainers.trainer import Trainer


def cast_as_read(variable: Any, value: Any) -> Any:
    """A value for a variable, cast as the variable's own value is when a layer's call reads it.

    Only the variable knows whether it is cast in mixed precision.
    """
    return variable._maybe_autocast(value)


def compute_loss(model: keras.Model, x: Any, y: Any, y_pred: Any, sample_weight: Any) -> Any:
    """The loss that a model is compiled with, as a step of `evaluate` computes it.

    `compute_loss` is public, but a user's override may have no argument `training`. This private
    method handles that.
    """
    return model._compute_loss(x, y, y_pred, sample_weight, training=False)


def has_loss(model: keras.Model) -> bool:
    """Whether a model has a loss besides penalties and `add_loss`."""
    overridden = type(model).compute_loss is not Trainer.compute_loss
    return overridden or model._compile_loss is not None


@contextmanager
def without_traces(model: keras.layers.Layer, layers: Iterable[Any]) -> Iterator[None]:
    """Inside the block, layers keep the losses of their last call, and a loss stays unbuilt.

    An outermost call clears the losses that layers have added. At its first use, a compiled loss
    makes a metric for each output, and from then on requires the same output structure.
    """
    kept = [(layer, layer._losses[:], layer._loss_ids.copy()) for layer in layers]
    loss = getattr(model, "_compile_loss", None)
    if loss is not None and not loss.built:
        # Not by assignment, which the model would track.
        vars(model)["_compile_loss"] = type(loss)(
            loss._user_loss,
            loss_weights=loss._user_loss_weights,
            reduction=loss.reduction,
            output_names=loss.output_names,
        )
    try:
        yield
    finally:
        for layer, losses, ids in kept:
            layer._losses[:] = losses
            layer._loss_ids.clear()
            layer._loss_ids.update(ids)
        if loss is not None:
            vars(model)["_compile_loss"] = loss
