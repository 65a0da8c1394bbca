"""Lee et al.: which block of a network to tune depends on how the data changed."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from functools import cache
from typing import Any

import keras
import numpy as np
from keras import layers

import frostline as fl
from benchmarks.papers.paper import (
    TUNING,
    Arrays,
    Measured,
    Paper,
    Split,
    above,
    digits,
    falling,
    split,
)
from benchmarks.papers.run import main
from benchmarks.papers.tasks import Run, beside, compiled, order, restart, scored, tuned

TUNED, CHOSEN_BY, TESTED = 200, 100, 600
"""Examples of the changed kind: to tune on, to choose the learning rate by, to report."""
RATES = (0.0003, 0.001, 0.004, 0.015)
EPOCHS, PRETRAINING = 20, 20
NOTHING, FIRST, LAST, ALL = "nothing", "first block", "last layer", "all"
BLOCKS = {
    FIRST: "block1/*",
    "second block": "block2/*",
    "third block": "block3/*",
    LAST: "out/*",
    ALL: "*",
}


def network() -> keras.Model:
    """Three blocks of two convolutions, 8 x 8, 4 x 4 and 2 x 2 pixels, and a last layer."""
    image = x = keras.Input((8, 8, 1))
    for block, filters in enumerate((16, 32, 64), 1):
        steps = [
            layers.Conv2D(filters, 3, padding="same", activation="relu", name=f"conv{place}")
            for place in (1, 2)
        ]
        x = keras.Sequential([*steps, layers.MaxPooling2D(padding="same")], name=f"block{block}")(x)
    return keras.Model(image, layers.Dense(10, name="out")(layers.Flatten()(x)))


def noise(x: np.ndarray, random: np.random.Generator) -> np.ndarray:
    return np.clip(x + random.normal(0, 0.4, x.shape), 0, 1)


def blur(x: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """The mean of 3 x 3 pixels, twice."""
    del random
    for _ in range(2):
        padded = np.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)))
        x = np.mean([padded[:, i : i + 8, j : j + 8] for i in range(3) for j in range(3)], axis=0)
    return x


def contrast(x: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """A fifth of the contrast, around the grey of one half."""
    del random
    return 0.5 + 0.2 * (x - 0.5)


SHIFTS: dict[str, Callable[[np.ndarray, np.random.Generator], np.ndarray] | None] = {
    "noise": noise,
    "blur": blur,
    "contrast": contrast,
    "labels": None,
}


def shifted(data: Arrays, shift: str, seed: int) -> Arrays:
    x, y = data
    change = SHIFTS[shift]
    if change is None:
        return x, 9 - y
    return change(x, np.random.default_rng([seed, len(x)])).astype("float32"), y


@cache
def prepared(where: str) -> keras.Model:
    """The network with only `where` to train, one for all seeds: it is compiled once."""
    model = network()
    fl.train_only(model, where)
    compiled(model)
    return model


def pretrained(data: Split, seed: int) -> dict[str, np.ndarray]:
    """New initial weights, trained on digits as they are."""
    model = prepared("*")
    keras.utils.set_random_seed(seed)
    restart(model, fl.snapshot(network()))
    options: Any = {"batch_size": 23, "epochs": PRETRAINING, "verbose": 0}
    model.fit(*data.train, **options, callbacks=[falling(0.003, PRETRAINING)])
    return fl.snapshot(model)


def runs(seed: int, rates: Callable[[str, str], Sequence[float]]) -> dict[str, dict[str, Run]]:
    """For each condition and each shift the best run of its rates."""
    clean = split(*digits(), seed, validation=TUNED + CHOSEN_BY, test=TESTED)
    start = pretrained(clean, seed)
    found: dict[str, dict[str, Run]] = {name: {} for name in BLOCKS}
    for shift in SHIFTS:
        x, y = shifted(clean.validation, shift, seed)
        test = shifted(clean.test, shift, seed)
        data = Split((x[:TUNED], y[:TUNED]), (x[TUNED:], y[TUNED:]), test)
        fl.restore(prepared("*"), start)
        loss, accuracy = scored(prepared("*"), test)
        found.setdefault(NOTHING, {})[shift] = Run(0, 0, loss, accuracy)
        for name, where in BLOCKS.items():
            options: Any = {"epochs": EPOCHS, "batch_size": 25, "seed": seed}
            found[name][shift] = tuned(prepared(where), start, data, rates(name, shift), **options)
    return {name: found[name] for name in (NOTHING, *BLOCKS)}


@cache
def chosen() -> dict[str, dict[str, Run]]:
    """With a seed of its own: the rates for each condition and each shift."""
    return runs(TUNING, lambda name, shift: RATES)


def measure(seed: int) -> Measured:
    rates = chosen()
    found = runs(seed, lambda name, shift: [rates[name][shift].rate])
    return {name: tuple(run.accuracy for run in row.values()) for name, row in found.items()}


def verdict(found: dict[str, np.ndarray]) -> str:
    first, last, everything = (found[name] for name in (FIRST, LAST, ALL))
    first_in, last_in, all_in = (rows[:, :-1].mean(axis=1) for rows in (first, last, everything))
    first_out, last_out, all_out = (rows[:, -1] for rows in (first, last, everything))
    best = {
        shift: max(BLOCKS, key=lambda name: found[name][:, place].mean())
        for place, shift in enumerate(SHIFTS)
    }
    return (
        "Changed images (the mean of noise, blur and contrast): the first block is "
        f"{beside(first_in, 'the last layer', last_in)}, {order(above(first_in, last_in))}, and "
        f"{beside(first_in, 'all', all_in)}, {order(not above(all_in, first_in))}. Changed "
        f"labels: the last layer is {beside(last_out, 'the first block', first_out)}, "
        f"{order(above(last_out, first_out))}, and {beside(last_out, 'all', all_out)}, "
        f"{order(not above(all_out, last_out))}. "
        f"The highest means: {', '.join(f'{shift}: {name}' for shift, name in best.items())}."
    )


PAPER = Paper(
    name="surgical",
    title="Surgical fine-tuning",
    cite=(
        "Yoonho Lee, Annie S. Chen, Fahim Tajwar, Ananya Kumar, Huaxiu Yao, Percy Liang and "
        "Chelsea Finn, *Surgical Fine-Tuning Improves Adaptation to Distribution Shifts*, "
        "ICLR 2023, arXiv:2210.11466."
    ),
    claim=(
        "With a little data of a changed kind, which layers to tune depends on the change: the "
        "first ones if the images changed, the last one if the labels changed. Either matches or "
        "outperforms tuning all layers."
    ),
    theirs=(
        "In Figure 2 the first block is best for corrupted images (CIFAR-C), and the last layer "
        "for changed outputs."
    ),
    setup=(
        "A network of three blocks of convolutions and an output layer learns 897 of "
        f"scikit-learn's digits, and is then tuned on {TUNED} others that are changed: noise, "
        "blur, a fifth of the contrast, or labels `9 - y`. "
        '`fl.train_only(model, "block1/*")` tunes the first block. '
        f"Adam, {EPOCHS} epochs; the learning rate of each condition and change is the best of "
        "four on validation data."
    ),
    measures=tuple(f"{shift}, accuracy in %" for shift in SHIFTS),
    measure=measure,
    verdict=verdict,
)

if __name__ == "__main__":
    sys.exit(main(["--only", PAPER.name, *sys.argv[1:]]))
