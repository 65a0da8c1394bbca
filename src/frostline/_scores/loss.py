"""The loss of a batch: the one that a model is compiled with, or one that the user passes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras
from keras import ops

from frostline import _keras
from frostline._errors import ScoreError


def loss_of(model: Any, loss: Any) -> Callable[[Any, Any, Any], Any]:
    """A function of x, y and sample weights, in inference mode.

    Raises:
        ScoreError: No loss is given, and the model was not compiled with one.
    """
    if loss is not None:
        return _given(model, loss)
    if not getattr(model, "compiled", False):
        raise ScoreError(
            f"{model.name}: no loss to compute gradients of; got loss=None, and a "
            f"{'model that is not compiled' if hasattr(model, 'compile') else 'layer'}. Pass one, "
            "`fl.scores(model, x, y, by=..., loss='mse')`, or compile the model first."
        )
    has_loss = _keras.has_loss(model)

    def compiled(x: Any, y: Any, sample_weight: Any) -> Any:
        if has_loss:
            _refuse_no_targets(y)
        y_pred = model(x, training=False)
        if not has_loss and not model.losses:
            raise ScoreError(
                f"{model.name}: no loss to compute gradients of; got loss=None, and a model that "
                "is compiled without one. Pass one: `fl.scores(model, x, y, by=..., loss='mse')`."
            )
        return _keras.compute_loss(model, x, y, y_pred, sample_weight)

    return compiled


def _given(model: Any, loss: Any) -> Callable[[Any, Any, Any], Any]:
    loss = keras.losses.get(loss)
    mean = loss if isinstance(loss, keras.losses.Loss) else _Mean(loss)
    # A user's function may need no targets.
    takes_none = mean is not loss and not str(getattr(loss, "__module__", "")).startswith("keras.")

    def given(x: Any, y: Any, sample_weight: Any) -> Any:
        if not takes_none:
            _refuse_no_targets(y)
        return mean(y, model(x, training=False), sample_weight)

    return given


def _refuse_no_targets(y: Any) -> None:
    if all(leaf is None for leaf in keras.tree.flatten(y)):
        raise ScoreError(
            "y: this loss needs targets; got y=None. Pass them, `fl.scores(model, x, y, by=...)`, "
            "or data with batches of (x, y)."
        )


class _Mean(keras.losses.Loss):
    """The mean over a batch of a function of each example."""

    def __init__(self, function: Callable[[Any, Any], Any]) -> None:
        super().__init__(name="loss")
        self._function = function

    def __call__(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> Any:
        if y_true is None and sample_weight is None:  # a function of the output only
            return ops.mean(self._function(None, y_pred))
        return super().__call__(y_true, y_pred, sample_weight)

    def call(self, y_true: Any, y_pred: Any) -> Any:
        return self._function(y_true, y_pred)
