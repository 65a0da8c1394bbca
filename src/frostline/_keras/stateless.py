"""Running a model for its loss, with nothing left behind.

`keras.StatelessScope` keeps what a run writes to variables apart. Layers also keep things that are
no variables, of which nobody outside Keras is told.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import keras
from keras.src.trainers.trainer import Trainer


def cast_as_read(variable: Any, value: Any) -> Any:
    """A value of a variable, cast as the variable's own is when a layer's call reads it.

    Only a variable knows whether it takes part in mixed precision.
    """
    return variable._maybe_autocast(value)


def compute_loss(model: keras.Model, x: Any, y: Any, y_pred: Any, sample_weight: Any) -> Any:
    """The loss that a model was compiled with, as a step of `evaluate` computes it.

    `compute_loss` is public. Only Keras's way to it copes with those of users, which may have no
    `training`.
    """
    return model._compute_loss(x, y, y_pred, sample_weight, training=False)


def has_loss(model: keras.Model) -> bool:
    """Whether a model has more to compute a loss from than penalties and `add_loss`."""
    overridden = type(model).compute_loss is not Trainer.compute_loss
    return overridden or model._compile_loss is not None


@contextmanager
def without_traces(model: keras.layers.Layer, layers: Iterable[Any]) -> Iterator[None]:
    """Layers keep inside what they keep of their last call, and a compiled loss stays unbuilt.

    A call from outside all others first forgets the losses that layers have added. A compiled loss
    makes a metric for each output at its first use, and holds the model to the structure of that.
    """
    kept = [(layer, layer._losses[:], layer._loss_ids.copy()) for layer in layers]
    loss = getattr(model, "_compile_loss", None)
    if loss is not None and not loss.built:
        # Not by assignment, which the model's tracker would note.
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
