"""The variants that are compared: one training step of a model, frozen in one of several ways.

A function without arguments makes a variant, which is itself a function without arguments that runs
one step. On PyTorch every variant uses the same hand-written loop with `torch.optim.Adam`, so that
layers from other libraries can take part; on other backends a step is `train_on_batch`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras
import numpy as np
from keras import layers, ops

Step = Callable[[], Any]


def step_of(model: Any, x: np.ndarray, y: np.ndarray, *, jit: bool) -> Step:
    """One step of Adam on the mean squared error."""
    if keras.backend.backend() == "torch":
        return torch_step(model, x, y)
    model.compile("adam", "mse", jit_compile=jit)
    return lambda: model.train_on_batch(x, y)


def torch_step(model: Any, x: np.ndarray, y: np.ndarray, after: Callable[[], None] | None = None):
    """The hand-written loop that every variant on PyTorch runs."""
    import torch

    inputs, target = torch.as_tensor(x), torch.as_tensor(y)
    trained = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.Adam(trained)

    def step() -> None:
        optimizer.zero_grad()
        torch.nn.functional.mse_loss(model(inputs), target).backward()
        optimizer.step()
        if after is not None:
            after()

    return step


def call_of(model: Any, x: np.ndarray, *, jit: bool) -> Step:
    """One batch of `predict`."""
    model.compile(loss="mse", jit_compile=jit)
    return lambda: model.predict_on_batch(x)


class TwoDense(layers.Layer):
    """Two layers and a concatenation: columns frozen by hand.

    With `rows`, two layers that each get part of the inputs, and their sum.
    """

    def __init__(self, units: int, trained: int, *, rows: bool) -> None:
        super().__init__()
        self.trained, self.rows = trained, rows
        width = units if rows else units - trained
        self.fixed = layers.Dense(width, trainable=False)
        self.free = layers.Dense(units if rows else trained, use_bias=not rows)

    def build(self, shape: Any) -> None:
        parts = (shape[-1] - self.trained, self.trained) if self.rows else (shape[-1],) * 2
        for layer, width in zip((self.fixed, self.free), parts, strict=True):
            layer.build((*shape[:-1], width))

    def call(self, x: Any) -> Any:
        if not self.rows:
            return ops.relu(ops.concatenate([self.fixed(x), self.free(x)], axis=-1))
        edge = self.fixed.kernel.shape[0]
        return ops.relu(self.fixed(x[..., :edge]) + self.free(x[..., edge:]))


class TwoTables(layers.Layer):
    """One table of frozen rows and one of trained rows: looks up both, and chooses by id."""

    def __init__(self, rows: int, width: int, trained: np.ndarray, *, patch: bool = False) -> None:
        super().__init__()
        self.rows, self.width, self.patch = rows, width, patch
        places = np.full(rows, -1, np.int32)
        places[trained] = np.arange(len(trained))
        self.places, self.count = ops.convert_to_tensor(places), len(trained)

    def build(self, shape: Any) -> None:
        del shape
        fixed = {"shape": (self.rows, self.width), "trainable": False, "initializer": "ones"}
        self.fixed = self.add_weight(**fixed)
        self.free = self.add_weight(shape=(self.count, self.width), initializer="ones")

    def call(self, ids: Any) -> Any:
        places = ops.take(self.places, ids, axis=0)
        rows = ops.take(self.fixed, ids, axis=0)
        if self.patch:
            return self._patched(rows, places)
        chosen = ops.take(self.free, ops.maximum(places, 0), axis=0)
        return ops.where(ops.expand_dims(places >= 0, -1), chosen, rows)

    def _patched(self, rows: Any, places: Any) -> Any:
        """Write only the rows that are hit. Only PyTorch has shapes that depend on values."""
        import torch

        shape, (hits,) = rows.shape, torch.nonzero(places.reshape(-1) >= 0, as_tuple=True)
        rows = rows.reshape(-1, self.width)
        rows = rows.index_copy(0, hits, self.free.value[places.reshape(-1)[hits]])
        return rows.reshape(shape)


class KeptConstraint(keras.constraints.Constraint):
    """Writes frozen entries back after each step."""

    def __init__(self, mask: np.ndarray) -> None:
        self.mask, self.kept = ops.convert_to_tensor(mask), None

    def hold(self, kernel: Any) -> None:
        self.kept = ops.copy(kernel.value)

    def __call__(self, w: Any) -> Any:
        w = ops.convert_to_tensor(w)
        return w if self.kept is None else ops.where(self.mask, self.kept, w)


def masked_optimizer(name: str, mask: np.ndarray, **settings: Any) -> Any:
    """A Keras optimizer that, while `masks` is set, masks gradients of the shape of `mask`."""
    kind: Any = getattr(keras.optimizers, name)
    free = ops.convert_to_tensor(~mask, dtype="float32")

    class Masked(kind):
        masks = True

        def apply(self, grads: Any, trainable_variables: Any = None) -> Any:
            if self.masks:
                grads = [g * free if tuple(g.shape) == mask.shape else g for g in grads]
            return super().apply(grads, trainable_variables)

    return Masked(**settings)


def parametrized(width: int, depth: int, mask: np.ndarray) -> Any:
    """Dense layers of PyTorch whose weights `torch.nn.utils.parametrize` puts together."""
    import torch
    from torch.nn.utils import parametrize

    free = torch.as_tensor(~mask.T.copy())

    class Merge(torch.nn.Module):
        def __init__(self, weight: Any) -> None:
            super().__init__()
            self.register_buffer("kept", weight.detach().clone())

        def forward(self, part: Any) -> Any:
            kept: Any = self.kept
            return torch.masked_scatter(kept, free, part)

        def right_inverse(self, weight: Any) -> Any:
            return weight[free]

    blocks: list[Any] = []
    for _ in range(depth):
        linear = torch.nn.Linear(width, width)
        parametrize.register_parametrization(linear, "weight", Merge(linear.weight), unsafe=True)
        blocks += [linear, torch.nn.ReLU()]
    return torch.nn.Sequential(*blocks, torch.nn.Linear(width, 10))


def masked_by_optax(model: Any, mask: np.ndarray, x: np.ndarray, y: np.ndarray) -> Step:
    """A hand-written JAX loop in which optax zeroes the updates of frozen entries."""
    import jax
    import jax.numpy as jnp
    import optax  # pyright: ignore[reportMissingImports] the extra `bench` brings it

    free = jnp.asarray(~mask, "float32")
    kept = optax.stateless(
        lambda updates, _: [u * free if u.shape == mask.shape else u for u in updates]
    )
    optimizer = optax.chain(optax.adam(1e-3), kept)
    trained = [v.value for v in model.trainable_variables]
    fixed = [v.value for v in model.non_trainable_variables]

    def loss(trained: Any, x: Any, y: Any) -> Any:
        return jnp.mean((model.stateless_call(trained, fixed, x)[0] - y) ** 2)

    @jax.jit
    def run(trained: Any, state: Any, x: Any, y: Any) -> Any:
        value, gradients = jax.value_and_grad(loss)(trained, x, y)
        updates, state = optimizer.update(gradients, state)
        return optax.apply_updates(trained, updates), state, value

    state: list[Any] = [trained, optimizer.init(trained)]

    def step() -> None:
        state[0], state[1], value = run(state[0], state[1], x, y)
        value.block_until_ready()

    return step
