"""Every Keras optimizer x its settings x precision x compiled or not x fast or generic path.

Frozen entries keep their bits. For optimizers that work entry by entry, the other entries match a
reference that trains everything and writes the frozen entries back. `make test` runs each optimizer
and each setting once, `make test-full` runs all combinations.
"""

import contextlib
import functools

import keras
import numpy as np
import pytest

import frostline as fl
from frostline._fast.paths import generic
from helpers import (
    STOCK_OPTIMIZERS,
    WHOLE_MATRIX,
    assert_only_the_rest_moved,
    frozen_masks,
    train_restoring,
    value,
    values,
    weights,
)
from models import data, dense_layers

X, Y = data(16, 6)
STEPS = 20

SETTINGS = {
    "plain": {},
    "weight_decay": {"weight_decay": 0.1},
    "clipnorm": {"clipnorm": 0.1},
    "global_clipnorm": {"global_clipnorm": 0.1},
    "ema": {"use_ema": True, "ema_momentum": 0.9},
    "ema_overwrite": {"use_ema": True, "ema_momentum": 0.9, "ema_overwrite_frequency": 3},
    "accumulation": {"gradient_accumulation_steps": 4},
    "loss_scale": {},
}
NORMS = {"clipnorm", "global_clipnorm"}
"""Clipping uses the norm of the trainable entries, by design, not of the whole weight."""

POLICIES = ["float32", "mixed_bfloat16", "mixed_float16"]
JIT = {"tensorflow": ["graph", "jit"], "jax": ["jit", "eager"], "torch": ["eager"]}
HOW = JIT[keras.backend.backend()]
PATHS = {"fast": contextlib.nullcontext, "generic": generic}


def cell(name, setting, policy, how, path):
    first = (policy, how, path) == ("float32", HOW[0], "fast")
    fast = first and (setting == "plain" or name == "AdamW")
    return pytest.param(
        *(name, setting, policy, how, path),
        id="-".join((name, setting, policy, how, path)),
        marks=[] if fast else [pytest.mark.full],
    )


CELLS = [
    cell(name, setting, policy, how, path)
    for name in STOCK_OPTIMIZERS
    for setting in SETTINGS
    for policy in POLICIES
    for how in HOW
    for path in PATHS
]


def optimizer(name, setting):
    made = STOCK_OPTIMIZERS[name](learning_rate=0.01, **SETTINGS[setting])
    if setting != "loss_scale":
        return made
    return keras.optimizers.LossScaleOptimizer(made, initial_scale=64.0, dynamic_growth_steps=3)


def small(policy):
    units = {"scattered": 6, "block": 4, "entries": 3}
    return dense_layers(**{name: {"units": n, "dtype": policy} for name, n in units.items()})


def freeze(model):
    fl.freeze(model, "scattered/kernel", fl.at[:, ::2])
    fl.freeze(model, "block/*", fl.units([0, 1]))
    fl.freeze(model, "entries/kernel", fl.mask(np.arange(12).reshape(4, 3) % 3 != 1))
    fl.freeze(model, "entries/bias")
    return frozen_masks(model)


def compiling(how):
    return {
        "jit_compile": how == "jit",
        "run_eagerly": how == "eager" and keras.backend.backend() != "torch",
        "auto_scale_loss": False,
    }


@functools.cache
def reference(name, setting, how):
    """The final weights of the plain model, which both paths are compared with."""
    model = small("float32")
    masks = freeze(model)
    plain = small("float32")
    options = compiling(how) | {"optimizer": optimizer(name, setting)}
    train_restoring(plain, masks, X, Y, steps=STEPS, **options)
    return values(plain)


@pytest.mark.parametrize(("name", "setting", "policy", "how", "path"), CELLS)
def test_frozen_entries_stay_and_the_others_move_as_they_should(name, setting, policy, how, path):
    model = small(policy)
    before = values(model)
    freeze(model)
    model.compile(optimizer(name, setting), "mse", **compiling(how))
    with PATHS[path]():
        for _ in range(STEPS):
            model.train_on_batch(X, Y)
    assert_only_the_rest_moved(model, before)
    if name in WHOLE_MATRIX or setting in NORMS or policy != "float32":
        return
    for weight, expected in zip(weights(model), reference(name, setting, how), strict=True):
        np.testing.assert_allclose(value(weight.variable), expected, rtol=1e-3, atol=1e-4)
