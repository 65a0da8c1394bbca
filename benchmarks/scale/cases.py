"""The cases of the page: two small models, and what is left to train of each."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np

import frostline as fl

ROWS, WIDTH = 32_768, 64
INPUTS, UNITS = 1_024, 2_048
BATCH, IDS = 16, 8


@dataclass(frozen=True)
class Case:
    """A model and the entries of it that train; `None` trains everything (plain Keras)."""

    name: str
    model: str
    where: Any = None
    weight: str = ""

    def freeze(self, model: keras.Model) -> None:
        if self.weight:
            fl.train_only(model, self.weight, self.where)


ENTRIES = 2_096
"""0.1 % of the kernel, and a multiple of 8, so that 8 devices could divide them."""


def _entries() -> np.ndarray:
    chosen = np.random.default_rng(0).permutation(INPUTS * UNITS)[:ENTRIES]
    mask = np.zeros(INPUTS * UNITS, bool)
    mask[chosen] = True
    return mask.reshape(INPUTS, UNITS)


CASES = (
    Case("table, plain", "table"),
    Case("table, last 8 rows", "table", fl.at[-8:], "table/embeddings"),
    Case("kernel, plain", "kernel"),
    Case("kernel, half of the columns", "kernel", fl.at[:, UNITS // 2 :], "wide/kernel"),
    Case("kernel, every other column", "kernel", fl.at[:, ::2], "wide/kernel"),
    Case("kernel, 0.1 % of the entries", "kernel", fl.mask(_entries()), "wide/kernel"),
    Case("kernel, bias only", "kernel", None, "wide/bias"),
)


def built(case: Case, **options: Any) -> keras.Model:
    """The model of a case, compiled with Adam and frozen."""
    keras.utils.set_random_seed(0)
    layers = keras.layers
    stacks: dict[str, list[Any]] = {
        "table": [
            keras.Input((IDS,), dtype="int32"),
            layers.Embedding(ROWS, WIDTH, name="table"),
            layers.GlobalAveragePooling1D(name="mean"),
            layers.Dense(1, name="out"),
        ],
        "kernel": [
            keras.Input((INPUTS,)),
            layers.Dense(UNITS, name="wide"),
            layers.Dense(1, name="down"),
        ],
    }
    model = keras.Sequential(stacks[case.model], name="model")
    model.compile(keras.optimizers.Adam(), "mse", **options)
    case.freeze(model)
    return model


def batch(case: Case, size: int = BATCH) -> tuple[np.ndarray, np.ndarray]:
    """One batch. The ids of the table are half of them among its last 8 rows, which train."""
    draw = np.random.default_rng(0)
    if case.model == "table":
        x = draw.integers(0, ROWS, (size, IDS)).astype("int32")
        x[:, ::2] = ROWS - 1 - x[:, ::2] % 8
    else:
        x = draw.standard_normal((size, INPUTS)).astype("float32")
    return x, draw.standard_normal((size, 1)).astype("float32")


def shares(model: keras.Model) -> dict[str, Any]:
    """Bytes of the entries that are frozen, of those that train, and of places kept for them.

    The frozen part of a block has its own entries alone; that of scattered positions or single
    entries has the shape of the weight, and keeps the places of what trains.
    """
    summary = fl.summary(model)
    parts = sum(4 * math.prod(variable.shape) for variable in model.non_trainable_variables)
    frozen, trained = 4 * summary.frozen, 4 * summary.trainable
    return {"frozen": frozen, "trained": trained, "kept": parts - frozen}


def chosen(only: str) -> list[Case]:
    """The cases whose name holds a text."""
    return [case for case in CASES if only in case.name]


def activations(case: Case, size: int, copies: int = 1) -> int:
    """Bytes of activations that the devices of one copy exchange where they divide the weights.

    In the forward pass each has looked up its own rows of the table, or has a part of the sum of
    the last product. Of positions that train the results are gathered for their places, and their
    gradients are brought back; of single entries the gradients are added up.
    """
    rows = size // copies
    if case.model == "table":
        return 4 * rows * IDS * WIDTH
    moved = {
        "kernel, half of the columns": 2 * rows * UNITS // 2,
        "kernel, every other column": 2 * rows * UNITS // 2,
        "kernel, 0.1 % of the entries": ENTRIES,
    }
    return 4 * (rows + moved.get(case.name, 0))
