"""Sung, Nair and Raffel: train the entries of the largest Fisher information."""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Sequence
from functools import cache
from typing import Any

import keras
import numpy as np
from keras import layers

import frostline as fl
from benchmarks.papers.paper import TUNING, Arrays, Measured, Paper, above, falling, split
from benchmarks.papers.run import main
from benchmarks.papers.tasks import (
    BYTES,
    Run,
    beside,
    code,
    compiled,
    excerpts,
    few,
    manual,
    scored,
    tuned,
)

SHARES = (0.005, 0.02, 0.1)
RATES = (0.0003, 0.001, 0.004, 0.015)
CONTEXT = 16
TRAINED, CHOSEN_BY, TESTED = 8000, 3000, 6000
PRETRAINED = 2**18
SCORED = 1000
"""Examples that the Fisher information is computed from."""
EPOCHS, PRETRAINING = 6, 3
NOTHING, ALL = "nothing", "all"


def network() -> keras.Model:
    """Reads 16 bytes and guesses the next one: two hidden layers on a table of vectors."""
    return keras.Sequential(
        [
            keras.Input((CONTEXT,), dtype="int32"),
            layers.Embedding(BYTES, 16, name="bytes"),
            layers.Flatten(),
            layers.Dense(256, activation="relu", name="hidden1"),
            layers.Dense(256, activation="relu", name="hidden2"),
            layers.Dense(BYTES, name="out"),
        ]
    )


def pairs(text: np.ndarray) -> Arrays:
    """16 bytes, and the one after them."""
    pieces = excerpts(text, CONTEXT + 1)
    return pieces[:, :-1], pieces[:, -1]


@cache
def pretrained() -> tuple[keras.Model, dict[str, np.ndarray]]:
    """The network, and its weights after Python's standard library: the same for all seeds."""
    keras.utils.set_random_seed(0)
    model = network()
    compiled(model)
    data = few(split(*pairs(code()), 0, validation=0, test=0), PRETRAINED)
    options: Any = {"batch_size": 256, "epochs": PRETRAINING, "verbose": 0}
    model.fit(*data.train, **options, callbacks=[falling(0.002, PRETRAINING)])
    return model, fl.snapshot(model)


def by_fisher(share: float) -> str:
    return f"{100 * share:g} % by Fisher"


def at_random(share: float) -> str:
    return f"{100 * share:g} % at random"


def selections(model: keras.Model, train: Arrays, seed: int) -> dict[str, fl.Selection]:
    """For each condition what trains."""
    x, y = train
    fisher = fl.scores(model, x[:SCORED], y[:SCORED], by="fisher")
    found: dict[str, fl.Selection] = {}
    for share in SHARES:
        found[by_fisher(share)] = fl.largest(share, by=fisher, scope="model")
        found[at_random(share)] = fl.smallest(share, by="random", scope="model", seed=seed)
    return found | {ALL: fl.everything}


def runs(seed: int, rates: Callable[[str], Sequence[float]]) -> dict[str, Run]:
    """For each condition the best run of its rates."""
    model, start = pretrained()
    data = few(split(*pairs(manual()), seed, validation=CHOSEN_BY, test=TESTED), TRAINED)
    fl.unfreeze(model)
    fl.restore(model, start)
    compiled(model)
    loss, accuracy = scored(model, data.test)
    found = {NOTHING: Run(0, 0, loss, accuracy)}
    for name, where in selections(model, data.train, seed).items():
        fl.train_only(model, "*", where)
        compiled(model)
        options: Any = {"epochs": EPOCHS, "batch_size": 100, "seed": seed}
        found[name] = tuned(model, start, data, rates(name), **options)
    return found


@cache
def chosen() -> dict[str, Run]:
    """With a seed of its own: the rate for each condition."""
    return runs(TUNING, lambda name: RATES)


def measure(seed: int) -> Measured:
    rates = chosen()
    found = runs(seed, lambda name: [rates[name].rate])
    return {name: (run.accuracy, run.loss / math.log(2)) for name, run in found.items()}


def verdict(found: dict[str, np.ndarray]) -> str:
    accuracy = {name: rows[:, 0] for name, rows in found.items()}
    pairs = [(share, accuracy[by_fisher(share)], accuracy[at_random(share)]) for share in SHARES]
    over_random = [above(fisher, random) for _, fisher, random in pairs]
    as_all = [share for share, fisher, _ in pairs if not above(accuracy[ALL], fisher)]
    order = (
        "shows" if all(over_random) else "shows in part" if any(over_random) else "does not show"
    )
    lines = [
        f"{100 * share:g} % by Fisher information is {beside(fisher, 'as many at random', random)}"
        for share, fisher, random in pairs
    ]
    before = accuracy[NOTHING]
    gained = [
        f"{100 * np.mean(fisher - before) / np.mean(accuracy[ALL] - before):.0f}"
        for _, fisher, _ in pairs
    ]
    reached = (
        f"From {100 * min(as_all):g} % on it is not below full fine-tuning"
        if as_all
        else "None of these shares reaches full fine-tuning"
    )
    return (
        f"Fisher against random: the order {order} here. {'; '.join(lines)}. {reached}: the three "
        f"shares gain {', '.join(gained)} % of the accuracy that full fine-tuning gains."
    )


PAPER = Paper(
    name="fish",
    title="FISH mask",
    cite=(
        "Yi-Lin Sung, Varun Nair and Colin Raffel, *Training Neural Networks with Fixed Sparse "
        "Masks*, NeurIPS 2021, arXiv:2111.09839."
    ),
    claim=(
        "The small share of the parameters with the largest Fisher information is enough to "
        "fine-tune a model, and does better than the same number of random parameters."
    ),
    theirs=(
        "With 0.5 % of BERT-large's parameters it matches full fine-tuning on GLUE (introduction)."
    ),
    setup=(
        "A network that guesses the next byte from sixteen (two hidden layers of 256) learns "
        "Python's standard library, and is then tuned on "
        f"{TRAINED:,} bytes of Python's manual, each with the sixteen before it. "
        '`fl.train_only(model, "*", fl.largest(0.005, by=fisher, scope="model"))` with '
        f'`fisher = fl.scores(model, x, y, by="fisher")` of {SCORED:,} examples is compared with '
        f"the same number of random entries. Adam, {EPOCHS} epochs; the learning rate of each "
        "condition is the best of four on validation data. A seed draws the training data and the "
        "random entries."
    ),
    measures=("next byte right, %", "bits per byte"),
    measure=measure,
    verdict=verdict,
)

if __name__ == "__main__":
    sys.exit(main(["--only", PAPER.name, *sys.argv[1:]]))
