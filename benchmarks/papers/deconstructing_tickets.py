"""Zhou, Lan, Liu and Yosinski: what a pruned weight is set to, in a lottery ticket."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from functools import cache

import keras
import numpy as np

import frostline as fl
from benchmarks.papers.paper import (
    Measured,
    Paper,
    Run,
    above,
    accuracy,
    best_rates,
    compared,
    digits,
    split,
    trained,
)
from benchmarks.papers.run import main

EPOCHS = 30
BATCH = 40
ROUNDS = (10, 16)
"""As if pruned so often by 20 %, the output layer by 10 %."""
RATES = (0.001, 0.003, 0.01)

WHOLE = "not pruned"
WAYS = ("zero", "initial value", "zero if it moved towards zero", "zero, random mask")

Values = dict[str, np.ndarray]


def network() -> keras.Model:
    """The paper's fully connected network, on 64 pixels."""
    layers = [
        keras.layers.Flatten(),
        keras.layers.Dense(300, activation="relu"),
        keras.layers.Dense(100, activation="relu"),
        keras.layers.Dense(10, name="out"),
    ]
    return keras.Sequential([keras.Input((8, 8, 1)), *layers])


def prune(model: keras.Model, start: Values, end: Values, rounds: int, way: str) -> None:
    """Rewinds all weights; freezes those that end smallest, at zero or where they began."""
    fl.unfreeze(model)
    fl.restore(model, start)
    by: Values | str = {path: abs(value) for path, value in end.items()}
    if way == "zero, random mask":
        by = "random"
    fl.freeze(model, "dense*/kernel", fl.smallest(1 - 0.8**rounds, by=by, seed=0))
    fl.freeze(model, "out/kernel", fl.smallest(1 - 0.9**rounds, by=by, seed=0))
    for path, kernel in fl.weights(model, "*/kernel").items():
        zero = fl.frozen_mask(kernel)
        if way == "initial value":
            zero = np.zeros_like(zero)
        elif way == "zero if it moved towards zero":
            zero = zero & (abs(end[path]) < abs(start[path]))
        kernel.assign(np.where(zero, 0, start[path]))


def runs(seed: int, rates: Mapping[str, Sequence[float]]) -> dict[str, tuple[Run, float]]:
    """For each condition the best run of its rates, and the test accuracy before it."""
    data = split(*digits(), seed, validation=297, test=500)
    keras.utils.set_random_seed(seed)
    model = network()

    def run(name: str) -> tuple[Run, float]:
        before = accuracy(model, data.test)
        best = trained(model, data, rates[name], epochs=EPOCHS, batch=BATCH, seed=seed)
        return best, before

    start = fl.snapshot(model)
    found = {WHOLE: run(WHOLE)}
    end = found[WHOLE][0].weights
    for rounds in ROUNDS:
        for way in WAYS:
            prune(model, start, end, rounds, way)
            name = condition(rounds, way)
            found[name] = run(name)
    return found


def condition(rounds: int, way: str) -> str:
    return f"{0.8**rounds:.1%} left: {way}"


@cache
def chosen() -> dict[str, Sequence[float]]:
    names = [WHOLE, *(condition(rounds, way) for rounds in ROUNDS for way in WAYS)]
    return best_rates(runs, names, RATES)


def measure(seed: int) -> Measured:
    return {name: (run.test, before) for name, (run, before) in runs(seed, chosen()).items()}


def verdict(found: dict[str, np.ndarray]) -> str:
    said, shows = [], []
    for rounds in ROUNDS:
        after, before = zip(*(found[condition(rounds, way)].T for way in WAYS), strict=True)
        zero, initial, moved, random = after
        shows.append(above(zero, initial))
        said.append(
            f"With {0.8**rounds:.1%} of the hidden weights left, "
            f"{compared('zero', zero, 'the initial value', initial)}; "
            f"{compared('zero for what moved towards zero', moved, 'zero for all', zero)} and "
            f"{compared('it', moved, 'the initial value', initial)}; "
            f"{compared('the mask of large weights', zero, 'a random mask', random)}. "
            f"Before training, the network reads {before[0].mean():.1f} % of the digits with "
            f"zeros, {before[2].mean():.1f} % with zeros for what moved towards zero, and "
            f"{before[1].mean():.1f} % with its initial values, where nothing is pruned."
        )
    holds = "holds" if all(shows) else "holds in part" if any(shows) else "does not hold"
    first = (
        f"The main claim, that zeros do better than initial values, {holds} here: "
        f"in {sum(shows)} of {len(shows)} cases."
    )
    return " ".join([first, *said])


PAPER = Paper(
    name="deconstructing_tickets",
    title="Deconstructing lottery tickets",
    cite=(
        "Hattie Zhou, Janice Lan, Rosanne Liu and Jason Yosinski, *Deconstructing Lottery "
        "Tickets: Zeros, Signs, and the Supermask*, NeurIPS 2019, arXiv:1905.01067."
    ),
    claim=(
        "A lottery ticket keeps the weights that are largest after training, rewinds them and "
        "trains them again. The other weights have to be frozen at zero: frozen at their initial "
        "values, the network does worse. It does better if only weights that moved towards zero "
        "are set to zero and the rest stay at their initial values. Masking is itself training: a "
        "masked network is far better than chance before any of its weights is trained."
    ),
    theirs="For the last point the abstract gives 86 % on MNIST and 41 % on CIFAR-10.",
    setup=(
        "The fully connected network of the paper (300 and 100 units) on scikit-learn's digits. "
        "Each kernel keeps the share that the paper's 10 or 16 rounds of pruning by 20 % would "
        "leave (the output layer: by 10 %), but is pruned in one step. `fl.freeze(model, ..., "
        "fl.smallest(share, by=final))` freezes the others, and `fl.restore` rewinds. Adam, 30 "
        "epochs; the learning rate of each condition is the best of three on validation data."
    ),
    measures=("test accuracy, %", "before training, %"),
    measure=measure,
    verdict=verdict,
)

if __name__ == "__main__":
    sys.exit(main(["--only", PAPER.name, *sys.argv[1:]]))
