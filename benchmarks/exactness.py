"""How far frozen entries move with the usual ways to freeze: writes `docs/exactness.md`.

Each way freezes the same half of a kernel's entries, in the same model with the same training. The
results are how many entries have different bits afterwards, and the largest change of any of them.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import keras
import numpy as np
from keras import ops

import frostline as fl
from benchmarks.loops import loop_kind
from benchmarks.run import on_backend
from benchmarks.variants import KeptConstraint, masked_optimizer

HERE = Path(__file__).parent
PAGE = HERE.parent / "docs" / "exactness.md"
BACKENDS = {"PyTorch": "torch", "JAX": "jax", "TensorFlow": "tensorflow"}

RANDOM = np.random.default_rng(0)
X = RANDOM.normal(size=(64, 16)).astype("float32")
Y = RANDOM.normal(size=(64, 4)).astype("float32")
MASK = RANDOM.random((16, 32)) < 0.5


@dataclass(frozen=True)
class Training:
    """An optimizer, and the conditions of the training."""

    name: str
    kind: str
    settings: dict[str, Any] = field(default_factory=dict)
    epochs_before: int = 0
    """How many epochs train before anything is frozen."""
    target: np.ndarray = field(default_factory=lambda: Y)
    by_hand: bool = False
    """Whether a hand-written loop trains, which calls no callback and no constraint of Keras."""


AVERAGE = {"use_ema": True, "ema_overwrite_frequency": 3}
TRAININGS = [
    Training("SGD", "SGD"),
    Training("Adam", "Adam"),
    Training("AdamW, weight decay", "AdamW", {"weight_decay": 0.1}),
    Training("SGD, momentum, frozen half-way", "SGD", {"momentum": 0.9}, 2),
    Training("Adam, frozen half-way", "Adam", {}, 2),
    Training("Ftrl", "Ftrl", {"l1_regularization_strength": 0.01}),
    Training("Adam, average over the weights, frozen half-way", "Adam", AVERAGE, 2),
    Training("Adam, a loss that is not a number", "Adam", {}, 0, np.full_like(Y, np.nan)),
    Training("{loop}, weight decay", "", by_hand=True),
    Training("{loop}, weight decay, frozen half-way", "", epochs_before=2, by_hand=True),
    Training(
        "{loop}, a loss that is not a number", "", target=np.full_like(Y, np.nan), by_hand=True
    ),
]


def main() -> int:
    if sys.argv[1:] == ["--here"]:
        loop = loop_kind().name
        print(json.dumps({t.name.format(loop=loop): measured(t) for t in TRAININGS}))
        return 0
    sections = [(HERE / "exactness_head.md").read_text().rstrip(), ""]
    for title, backend in BACKENDS.items():
        results = on_backend(backend, "benchmarks.exactness", "--here")
        sections += [f"## {title}", "", *table(results), ""]
    PAGE.write_text("\n".join(sections))
    print(PAGE.read_text())
    return 0


def table(results: dict[str, dict[str, tuple[int, float]]]) -> list[str]:
    """A Markdown table with a row for each training and a column for each way to freeze."""
    lines = ["| | " + " | ".join(WAYS) + " |", "|---|" + "---:|" * len(WAYS)]
    for name, row in results.items():
        lines.append(f"| {name} | " + " | ".join(_cell(*row[way]) for way in WAYS) + " |")
    return lines


def _cell(moved: int, furthest: float) -> str:
    if not moved:
        return "0"
    return f"{moved}, all NaN" if np.isnan(furthest) else f"{moved}, by {furthest:.2g}"


def measured(training: Training) -> dict[str, tuple[int, float]]:
    """For each way to freeze, how many frozen entries moved, and how far."""
    if training.by_hand:
        return {way: _drift_by_hand(training, way) for way in WAYS}
    return {way: _drift(training, freeze) for way, freeze in WAYS.items()}


def _model() -> Any:
    keras.utils.set_random_seed(0)
    return keras.Sequential(
        [
            keras.Input((16,)),
            keras.layers.Dense(32, activation="tanh", name="hidden"),
            keras.layers.Dense(4),
        ]
    )


def _moved(kernel: Any, before: np.ndarray) -> tuple[int, float]:
    after = np.array(ops.convert_to_numpy(kernel.value))
    moved = (after.view("int32") != before.view("int32")) & MASK
    return int(moved.sum()), float(np.abs(after - before)[MASK].max())


def _drift_by_hand(training: Training, way: str) -> tuple[int, float]:
    model = _model()
    kernel, loop = model.get_layer("hidden").kernel, loop_kind()(model)
    for _ in range(training.epochs_before):
        for x, y in _batches(Y):
            loop.step(x, y)
    before = np.array(ops.convert_to_numpy(kernel.value))
    if way == "frostline":
        fl.freeze(model, kernel, fl.mask(MASK))
        loop = loop_kind()(model)
    if way == "constraint":
        kernel.constraint = KeptConstraint(MASK)
        kernel.constraint.hold(kernel)
    for _ in range(3):
        for x, y in _batches(training.target):
            loop.step(x, y, kernel, MASK if way == "gradient mask" else None)
            if way == "written back after each batch":
                kernel.assign(np.where(MASK, before, ops.convert_to_numpy(kernel.value)))
    return _moved(kernel, before)


def _batches(target: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    for start in range(0, len(X), 16):
        yield X[start : start + 16], target[start : start + 16]


def _drift(training: Training, freeze: Callable[..., Any]) -> tuple[int, float]:
    model = _model()
    optimizer = masked_optimizer(training.kind, MASK, learning_rate=0.01, **training.settings)
    optimizer.masks = False
    model.compile(optimizer, "mse", jit_compile=False)
    kernel = model.get_layer("hidden").kernel
    if training.epochs_before:
        model.fit(X, Y, batch_size=16, epochs=training.epochs_before, verbose=0)
    before = np.array(ops.convert_to_numpy(kernel.value))
    callbacks = freeze(model, kernel, optimizer, before)
    model.fit(X, training.target, batch_size=16, epochs=3, verbose=0, callbacks=callbacks)
    return _moved(kernel, before)


def _by_gradient(model: Any, kernel: Any, optimizer: Any, before: np.ndarray) -> list[Any]:
    del kernel, before
    optimizer.masks = True
    model.make_train_function(force=True)
    return []


def _by_constraint(model: Any, kernel: Any, optimizer: Any, before: np.ndarray) -> list[Any]:
    del optimizer, before
    kernel.constraint = KeptConstraint(MASK)
    kernel.constraint.hold(kernel)
    model.make_train_function(force=True)
    return []


def _by_writing_back(model: Any, kernel: Any, optimizer: Any, before: np.ndarray) -> list[Any]:
    del model, optimizer

    class WriteBack(keras.callbacks.Callback):
        def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
            del batch, logs
            assert self.model is not None  # on JAX, reading it updates the weights
            kernel.assign(np.where(MASK, before, ops.convert_to_numpy(kernel.value)))

    return [WriteBack()]


def _by_frostline(model: Any, kernel: Any, optimizer: Any, before: np.ndarray) -> list[Any]:
    del optimizer, before
    fl.freeze(model, kernel, fl.mask(MASK))
    return []


WAYS: dict[str, Callable[..., list[Any]]] = {
    "gradient mask": _by_gradient,
    "constraint": _by_constraint,
    "written back after each batch": _by_writing_back,
    "frostline": _by_frostline,
}

if __name__ == "__main__":
    sys.exit(main())
