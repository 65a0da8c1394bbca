"""A paper, what is measured of it here, and what the papers share: data, words, a check of bits."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import keras
import numpy as np

import frostline as fl

Measured = dict[str, tuple[float, ...]]
Arrays = tuple[np.ndarray, np.ndarray]

TUNING = 1000
"""A seed that is not reported: the learning rates are chosen with it."""


@dataclass(frozen=True)
class Paper:
    """One section of `docs/reproduced.md`, and the code behind it."""

    name: str
    """The name of its module, its anchor on the page and its picture."""
    title: str
    cite: str
    claim: str
    theirs: str
    """Its number, with the table or figure; where we are not sure of one, the ordering alone."""
    setup: str
    """What is done here: the data, the model, what is compared."""
    measures: tuple[str, ...]
    measure: Callable[[int], Measured]
    """For a seed: for each condition a number for each of `measures`."""
    verdict: Callable[[dict[str, np.ndarray]], str]
    """From an array (seeds, measures) for each condition: whether the ordering shows here."""


@dataclass(frozen=True)
class Split:
    """Data in three parts: to train on, to choose a learning rate by, to report."""

    train: Arrays
    validation: Arrays
    test: Arrays


@cache
def digits() -> Arrays:
    """scikit-learn's 1,797 digits: pixels between 0 and 1, of shape (n, 8, 8, 1), and labels."""
    from sklearn.datasets import load_digits

    x, y = load_digits(return_X_y=True)
    return (x / 16).astype("float32").reshape(-1, 8, 8, 1), y.astype("int32")


def split(x: np.ndarray, y: np.ndarray, seed: int, *, validation: int, test: int) -> Split:
    """The same examples for the test whatever the seed; of the others it draws the validation.

    So nothing that is chosen with one seed has seen what another seed is tested on.
    """
    order = np.random.default_rng(0).permutation(len(x))
    rest = np.random.default_rng(seed).permutation(order[test:])
    parts = (rest[validation:], rest[:validation], order[:test])
    return Split(*((x[part], y[part]) for part in parts))


def frozen_values(model: Any) -> dict[str, np.ndarray]:
    """The frozen entries of each weight, to compare by `assert_same_bits` after training."""
    now = fl.snapshot(model)
    return {
        path: now[path][fl.frozen_mask(variable)] for path, variable in fl.weights(model).items()
    }


def assert_same_bits(model: Any, before: Mapping[str, np.ndarray]) -> None:
    """What was frozen when `before` was taken has the same bits now."""
    after = frozen_values(model)
    assert after.keys() == before.keys()
    for path, values in before.items():
        assert values.tobytes() == after[path].tobytes(), f"{path}: frozen entries changed"


@dataclass(frozen=True)
class Run:
    """One training: accuracies in percent, and the weights after it."""

    rate: float
    validation: float
    test: float
    weights: dict[str, np.ndarray]


def trained(
    model: Any, data: Split, rates: Sequence[float], *, epochs: int, batch: int, seed: int
) -> Run:
    """Trains what is not frozen, once for each rate, and returns the run that validation prefers.

    Each run starts from the values that the model has now. Adam; the rate falls as a cosine does.
    """
    begin = [np.array(value) for value in model.get_weights()]
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.Adam(), loss)
    runs = []
    for rate in rates:
        model.set_weights(begin)
        restart_optimizer(model)
        keras.utils.set_random_seed(seed)
        held = frozen_values(model)
        options: Any = {"epochs": epochs, "batch_size": batch, "verbose": 0}
        model.fit(*data.train, **options, callbacks=[falling(rate, epochs)])
        assert_same_bits(model, held)
        chosen_by, tested = (accuracy(model, part) for part in (data.validation, data.test))
        runs.append(Run(rate, chosen_by, tested, fl.snapshot(model)))
    return max(runs, key=lambda run: run.validation)


def trained_each_way(
    model: Any,
    data: Split,
    start: Sequence[np.ndarray],
    rates: Mapping[str, Sequence[float]],
    freeze: Callable[[str], None],
    **options: int,
) -> dict[str, tuple[Run, int]]:
    """For each condition the best run of its rates from `start`, and how many entries it trains."""
    found = {}
    for way in rates:
        freeze(way)
        model.set_weights(start)
        summary = fl.summary(model)
        run = trained(model, data, rates[way], **options)
        found[way] = run, summary.size - summary.frozen
    return found


def best_rates(
    runs: Callable[[int, Mapping[str, Sequence[float]]], Mapping[str, tuple[Run, Any]]],
    conditions: Sequence[str],
    rates: Sequence[float],
) -> dict[str, Sequence[float]]:
    """For each condition the rate that is best on validation, with a seed of its own."""
    found = runs(TUNING, dict.fromkeys(conditions, rates))
    return {name: [run.rate] for name, (run, _) in found.items()}


def falling(rate: float, epochs: int) -> keras.callbacks.Callback:
    """The learning rate, falling from `rate` as a cosine does."""
    return keras.callbacks.LearningRateScheduler(
        lambda epoch, _: rate * (1 + math.cos(math.pi * epoch / epochs)) / 2
    )


def restart_optimizer(model: Any) -> None:
    """The optimizer as a new one is, which would be compiled again."""
    for variable in model.optimizer.variables:
        variable.assign(np.zeros(variable.shape, variable.dtype))


def accuracy(model: Any, part: Arrays) -> float:
    """In percent."""
    x, y = part
    return float(
        100 * np.mean(keras.ops.convert_to_numpy(model(x, training=False)).argmax(-1) == y)
    )


def spread(values: np.ndarray) -> str:
    """The mean of the seeds and their standard deviation, or the number that all of them have."""
    mean = float(np.mean(values))
    if np.all(values == values[0]):
        return f"{mean:,.0f}" if mean == round(mean) else f"{mean:,.{_digits(mean)}f}"
    places = _digits(mean)
    return f"{mean:,.{places}f} ± {np.std(values, ddof=1):,.{places}f}"


def _digits(number: float) -> int:
    """Places after the point, so that three or more figures are shown."""
    return 1 if abs(number) >= 10 else 2 if abs(number) >= 1 else 3


def compared(name: str, one: np.ndarray, than: str, other: np.ndarray) -> str:
    """Which condition lies above, and by how much; `is level with` where the seeds do not tell."""
    where = "is level with"
    if above(one, other):
        where = "lies above"
    elif above(other, one):
        where = "lies below"
    return f"{name} {where} {than} ({gap(one, other)})"


def gap(one: np.ndarray, other: np.ndarray) -> str:
    """How far one condition lies above another, seed by seed: `+1.2 ± 0.3, positive in 5 of 5`."""
    apart = np.asarray(one) - np.asarray(other)
    std = np.std(apart, ddof=1) if len(apart) > 1 else 0.0
    return f"{apart.mean():+.1f} ± {std:.1f}, positive in {int((apart > 0).sum())} of {len(apart)}"


def above(one: np.ndarray, other: np.ndarray) -> bool:
    """Whether one condition lies above another: by more than two standard errors of the gaps."""
    apart = np.asarray(one) - np.asarray(other)
    if len(apart) < 2:
        return bool(apart.mean() > 0)
    return bool(apart.mean() > 2 * np.std(apart, ddof=1) / np.sqrt(len(apart)))
