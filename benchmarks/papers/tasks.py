"""What `fish`, `surgical` and `channels` share: bytes to read, and a learning rate for each run."""

from __future__ import annotations

import os
import pydoc_data.topics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

import keras
import numpy as np

import frostline as fl
from benchmarks.papers.paper import (
    Arrays,
    Split,
    above,
    assert_same_bits,
    falling,
    frozen_values,
    gap,
    restart_optimizer,
)

BYTES = 128
"""Bytes beyond ASCII are read as question marks."""

EVALUATED = 100
"""Examples in a batch that is evaluated."""


@cache
def code() -> np.ndarray:
    """Python's standard library, the modules at its root one after the other, as bytes."""
    files = sorted(Path(os.__file__).parent.glob("*.py"))
    return _ascii("".join(file.read_text(encoding="utf-8") for file in files))


@cache
def manual() -> np.ndarray:
    """The pages of Python's manual that `help()` shows, as bytes: English, with some code."""
    return _ascii("\n\n".join(pydoc_data.topics.topics.values()))


def _ascii(text: str) -> np.ndarray:
    return np.frombuffer(text.encode("ascii", "replace"), np.uint8)


def excerpts(text: np.ndarray, length: int) -> np.ndarray:
    """Pieces of `length` bytes that do not overlap, a row each."""
    return text[: len(text) // length * length].reshape(-1, length).astype("int32")


def few(data: Split, count: int) -> Split:
    """The same with only so many examples to train on."""
    x, y = data.train
    return replace(data, train=(x[:count], y[:count]))


def compiled(model: Any) -> None:
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    metrics = [keras.metrics.SparseCategoricalAccuracy(name="accuracy")]
    model.compile(keras.optimizers.Adam(), loss, metrics=metrics)


def restart(model: Any, start: Mapping[str, np.ndarray]) -> None:
    """The weights of `start`, and the optimizer as a new one is."""
    fl.restore(model, start)
    restart_optimizer(model)


@dataclass(frozen=True)
class Run:
    """One training: its learning rate, losses in nats, accuracy in percent."""

    rate: float
    validation: float
    loss: float
    accuracy: float


def tuned(
    model: Any,
    start: Mapping[str, np.ndarray],
    data: Split,
    rates: Sequence[float],
    *,
    epochs: int,
    batch_size: int,
    seed: int,
) -> Run:
    """Trains what is not frozen, from `start` with each of the rates; the run of the lowest loss.

    That is the loss on validation data. The model has to be compiled by `compiled`; between the
    rates it is not compiled anew.
    """
    runs = []
    # Also what does not train without a freeze: the kernel that LoRA is added to.
    whole = [path for path, variable in fl.weights(model).items() if not variable.trainable]
    for rate in rates:
        restart(model, start)
        held = frozen_values(model)
        keras.utils.set_random_seed(seed)
        options: Any = {"epochs": epochs, "batch_size": batch_size, "verbose": 0}
        model.fit(*data.train, **options, callbacks=[falling(rate, epochs)])
        assert_same_bits(model, held)
        after = fl.snapshot(model)
        for path in whole:
            assert after[path].tobytes() == start[path].tobytes(), f"{path}: changed"
        validation, _ = scored(model, data.validation)
        runs.append(Run(rate, validation, *scored(model, data.test)))
    return min(runs, key=lambda run: run.validation)


def scored(model: Any, part: Arrays) -> tuple[float, float]:
    """The loss, and accuracy in percent. Batches of one size: JAX compiles for each size anew."""
    x, y = part
    assert len(x) % EVALUATED == 0
    loss, accuracy = model.evaluate(x, y, batch_size=EVALUATED, verbose=0)
    return loss, 100 * accuracy


def beside(one: np.ndarray, than: str, other: np.ndarray) -> str:
    """Where one condition lies beside another: `above LoRA (+1.2 ± 0.3, positive in 5 of 5)`."""
    word = "above" if above(one, other) else "below" if above(other, one) else "level with"
    return f"{word} {than} ({gap(one, other)})"


def order(shows: bool) -> str:
    return "as in the paper" if shows else "which is not the order of the paper"
