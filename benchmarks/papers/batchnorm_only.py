"""Frankle, Schwab and Morcos: BatchNorm alone, in a network of random weights."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from functools import cache, partial

import keras
import numpy as np

import frostline as fl
from benchmarks.papers.paper import (
    Measured,
    Paper,
    Run,
    above,
    best_rates,
    compared,
    digits,
    split,
    trained_each_way,
)
from benchmarks.papers.run import main

EPOCHS = 25
BATCH = 40
BLOCKS = 4
FILTERS = 16
RATES = (0.003, 0.01, 0.03, 0.1, 0.3)
ALL, NORMS, RANDOM = WAYS = ("everything", "BatchNorm only", "as many random entries")


def network() -> keras.Model:
    """A ResNet: a convolution, `BLOCKS` blocks of two, half of them twice as wide, and a Dense."""

    def convolved(x, filters, strides=1):
        layer = keras.layers.Conv2D(filters, 3, strides, padding="same", use_bias=False)
        return keras.layers.BatchNormalization(momentum=0.9)(layer(x))

    image = keras.Input((8, 8, 1))
    x = keras.layers.ReLU()(convolved(image, FILTERS))
    for block in range(BLOCKS):
        first = block == BLOCKS // 2
        filters = FILTERS if block < BLOCKS // 2 else 2 * FILTERS
        short = convolved(x, filters, 2) if first else x
        inner = keras.layers.ReLU()(convolved(x, filters, 2 if first else 1))
        x = keras.layers.ReLU()(keras.layers.Add()([short, convolved(inner, filters)]))
    x = keras.layers.GlobalAveragePooling2D()(x)
    return keras.Model(image, keras.layers.Dense(10, name="out")(x))


def freeze(model: keras.Model, way: str) -> None:
    """Leaves to train what a condition trains. Only `ALL` trains the output layer."""
    fl.unfreeze(model)
    if way == NORMS:
        fl.train_only(model, ["*/gamma", "*/beta"])
    if way == RANDOM:  # two entries for each filter, as its normalization has
        kernels = fl.weights(model, "conv2d*/kernel")
        fl.train_only(
            model,
            {
                path: fl.smallest(2 * kernel.shape[-1], by="random", seed=place)
                for place, (path, kernel) in enumerate(kernels.items())
            },
        )


def runs(seed: int, rates: Mapping[str, Sequence[float]]) -> dict[str, tuple[Run, int]]:
    data = split(*digits(), seed, validation=297, test=500)
    keras.utils.set_random_seed(seed)
    model = network()
    start = [np.array(value) for value in model.get_weights()]
    options = {"epochs": EPOCHS, "batch": BATCH, "seed": seed}
    return trained_each_way(model, data, start, rates, partial(freeze, model), **options)


@cache
def chosen() -> dict[str, Sequence[float]]:
    return best_rates(runs, WAYS, RATES)


def measure(seed: int) -> Measured:
    return {way: (run.test, count) for way, (run, count) in runs(seed, chosen()).items()}


def verdict(found: dict[str, np.ndarray]) -> str:
    everything, norms, random = (found[way][:, 0] for way in WAYS)
    shows = above(everything, norms) and above(norms, random)
    count, size = found[NORMS][0, 1], found[ALL][0, 1]
    return (
        f"The order {'shows' if shows else 'does not show'} here: "
        f"{compared('everything', everything, 'BatchNorm only', norms)}; "
        f"{compared('BatchNorm only', norms, 'as many random entries', random)}. "
        f"BatchNorm only trains {count:,.0f} of {size:,.0f} parameters."
    )


PAPER = Paper(
    name="batchnorm_only",
    title="BatchNorm and only BatchNorm",
    cite=(
        "Jonathan Frankle, David J. Schwab and Ari S. Morcos, *Training BatchNorm and Only "
        "BatchNorm: On the Expressive Power of Random Features in CNNs*, ICLR 2021, "
        "arXiv:2003.00152."
    ),
    claim=(
        "A ResNet of random weights learns a lot if only the scale and the shift of its "
        "BatchNorm layers train: less than if everything trains, but far more than if the same "
        "number of random weights trains."
    ),
    theirs=(
        "According to the abstract, sufficiently deep ResNets reach 82 % on CIFAR-10 and 32 % "
        "(top-5) on ImageNet."
    ),
    setup=(
        "A ResNet of nine convolutions and a shortcut (16 and 32 filters) on scikit-learn's "
        'digits. `fl.train_only(model, ["*/gamma", "*/beta"])` is compared with two random '
        "entries of each kernel for each of its filters, the same number in each layer. In both, "
        "the output layer stays at its random initial values. Adam, 25 epochs; the learning "
        "rate of each condition is the best of five on validation data."
    ),
    measures=("test accuracy, %", "parameters that train"),
    measure=measure,
    verdict=verdict,
)

if __name__ == "__main__":
    sys.exit(main(["--only", PAPER.name, *sys.argv[1:]]))
