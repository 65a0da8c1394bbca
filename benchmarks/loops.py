"""Hand-written training loops with the usual optimizer, AdamW with weight decay."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
from keras import ops


class TorchLoop:
    """`torch.optim.AdamW` on the parameters of the model."""

    name = "`torch.optim.AdamW` by hand"

    def __init__(self, model: Any) -> None:
        import torch

        self.model = model
        self.optimizer = torch.optim.AdamW(model.parameters(), 0.01, weight_decay=0.1)

    def step(self, x: np.ndarray, y: np.ndarray, weight: Any = None, mask: Any = None) -> None:
        self.optimizer.zero_grad()
        keras.losses.mean_squared_error(y, self.model(x)).mean().backward()
        if mask is not None:
            weight.value.grad *= ops.convert_to_tensor(1.0 - mask, "float32")
        self.optimizer.step()


class OptaxLoop:
    """`optax.adamw` through `stateless_call`."""

    name = "`optax.adamw` by hand"

    def __init__(self, model: Any) -> None:
        import optax

        self.model = model
        self.optimizer = optax.adamw(0.01, weight_decay=0.1)
        self.state = self.optimizer.init([v.value for v in model.trainable_variables])

    def step(self, x: np.ndarray, y: np.ndarray, weight: Any = None, mask: Any = None) -> None:
        import jax
        import optax

        variables = self.model.trainable_variables
        fixed = [v.value for v in self.model.non_trainable_variables]

        def loss(values: Any) -> Any:
            return ((self.model.stateless_call(values, fixed, x)[0] - y) ** 2).mean()

        values = [v.value for v in variables]
        gradients = jax.grad(loss)(values)
        if mask is not None:
            (place,) = (i for i, variable in enumerate(variables) if variable is weight)
            gradients[place] = gradients[place] * (1.0 - mask)
        updates, self.state = self.optimizer.update(gradients, self.state, values)
        for variable, new in zip(variables, optax.apply_updates(values, updates), strict=True):
            variable.assign(new)


class TapeLoop:
    """Keras's AdamW, with the gradients of a `tf.GradientTape`."""

    name = "AdamW and a tape by hand"

    def __init__(self, model: Any) -> None:
        self.model = model
        self.optimizer = keras.optimizers.AdamW(0.01, weight_decay=0.1)

    def step(self, x: np.ndarray, y: np.ndarray, weight: Any = None, mask: Any = None) -> None:
        import tensorflow

        tf: Any = tensorflow
        variables = self.model.trainable_variables
        with tf.GradientTape() as tape:
            loss = tf.reduce_mean((self.model(x) - y) ** 2)
        gradients = tape.gradient(loss, [v.value for v in variables])
        if mask is not None:
            (place,) = (i for i, variable in enumerate(variables) if variable is weight)
            gradients[place] *= 1.0 - mask
        self.optimizer.apply(gradients, variables)


def loop_kind() -> Any:
    """The loop class of this backend.

    A loop trains the weights that train when it is made. Its `step` can mask a weight's gradient.
    """
    kinds = {"torch": TorchLoop, "jax": OptaxLoop, "tensorflow": TapeLoop}
    return kinds[keras.backend.backend()]
