"""The same model frozen in place and in stock layers, as `fl.to_stock` makes it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras
import numpy as np
from keras import layers

import frostline as fl
from benchmarks import variants as v
from benchmarks.cases import WIDTH, Builders, Case, data, stack, trained_part
from benchmarks.report import FLOOR, FULL, OURS

IN_STOCK = "in stock layers"


def both(
    name: str, model: Callable[[], Any], glob: str, where: Any, x: np.ndarray, y: np.ndarray
) -> Case:
    """Compare freezing `where` in the weights of `glob` in place and in stock layers."""

    def builders(jit: bool) -> Builders:
        def frozen(where: Any) -> Any:
            built = model()
            fl.freeze(built, glob, where)
            return built

        return {
            FULL: lambda: v.step_of(model(), x, y, jit=jit),
            FLOOR: lambda: v.step_of(frozen(fl.everything), x, y, jit=jit),
            OURS: lambda: v.step_of(frozen(where), x, y, jit=jit),
            IN_STOCK: lambda: v.step_of(fl.to_stock(frozen(where)), x, y, jit=jit),
        }

    return Case(name, "In stock layers", builders, rounds=11)


def dense(kind: str) -> Case:
    where = ~trained_part(kind, 0.1)
    x, y = data((256, WIDTH), (256, 10))
    return both(f"{kind}, 10% train, batch 256", stack, "hidden_*/kernel", where, x, y)


def tokens(count: int) -> Case:
    rows, width = 32_000, 256
    random = np.random.default_rng(0)
    trained = np.sort(random.choice(rows, count, replace=False))
    ids = random.integers(0, rows, size=(32, 128)).astype("int32")
    ids[:, :4] = random.choice(trained, size=(32, 4))
    _, y = data((1,), (32, 4))

    def model() -> Any:
        keras.utils.set_random_seed(0)
        pooled = [layers.GlobalAveragePooling1D(), layers.Dense(4)]
        table = layers.Embedding(rows, width, name="table")
        return keras.Sequential([keras.Input((128,), dtype="int32"), table, *pooled])

    name = f"{count:,} of {rows:,} x {width} rows of an embedding"
    return both(name, model, "table/*", ~fl.tokens(trained), ids, y)


def convolutions() -> Case:
    x, y = data((32, 32, 32, 16), (32, 4))

    def model() -> Any:
        keras.utils.set_random_seed(0)
        conv = {"padding": "same", "activation": "relu"}
        hidden = [layers.Conv2D(64, 3, name=f"conv_{i}", **conv) for i in range(3)]
        pooled = [layers.GlobalAveragePooling2D(), layers.Dense(4)]
        return keras.Sequential([keras.Input((32, 32, 16)), *hidden, *pooled])

    return both("half of the filters of three convolutions", model, "conv_*", fl.at[..., :32], x, y)


CASES = [
    *(dense(kind) for kind in ("columns", "random columns", "rows", "random rows")),
    tokens(1000),
    convolutions(),
]
