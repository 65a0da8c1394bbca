"""Ben Zaken, Goldberg and Ravfogel: the biases alone, in a transformer that was trained before."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from functools import cache, partial

import keras
import numpy as np
from keras import layers, ops

import frostline as fl
from benchmarks.papers.paper import (
    Measured,
    Paper,
    Run,
    Split,
    above,
    best_rates,
    compared,
    digits,
    split,
    trained,
    trained_each_way,
)
from benchmarks.papers.run import main

WIDTH, HEADS, BLOCKS = 48, 4, 2
BEFORE = 40  # epochs on the first five digits
EPOCHS = 30
EXAMPLES = 100  # of the other five
RATES = (0.001, 0.003, 0.01, 0.03, 0.1)
BIASES = ["*/bias", "*/beta"]
HEAD = "head/*"
ALL, BIAS, ONLY_HEAD, RANDOM = WAYS = (
    "everything",
    "biases and head",
    "head only",
    "as many random entries and head",
)


def encoder() -> tuple[keras.KerasTensor, keras.KerasTensor]:
    """An image, and what a small transformer makes of it that reads its eight rows as tokens."""
    image = keras.Input((8, 8, 1))
    rows = layers.Reshape((8, 8))(image)
    places = ops.cast(ops.cumsum(ops.ones_like(rows[:, :, 0]), axis=1) - 1, "int32")
    x = layers.Dense(WIDTH)(rows) + layers.Embedding(8, WIDTH)(places)
    for _ in range(BLOCKS):
        inner = layers.LayerNormalization()(x)
        x = x + layers.MultiHeadAttention(HEADS, WIDTH // HEADS)(inner, inner)
        inner = layers.Dense(2 * WIDTH, activation="gelu")(layers.LayerNormalization()(x))
        x = x + layers.Dense(WIDTH)(inner)
    return image, layers.GlobalAveragePooling1D()(layers.LayerNormalization()(x))


def of_classes(first: int) -> tuple[np.ndarray, np.ndarray]:
    """The digits from `first` on, five of them, numbered from 0."""
    x, y = digits()
    wanted = (y >= first) & (y < first + 5)
    return x[wanted], y[wanted] - first


@cache
def base() -> tuple[keras.KerasTensor, keras.KerasTensor, list[np.ndarray]]:
    """The encoder, and its weights after it learned 0 to 4."""
    keras.utils.set_random_seed(0)
    image, states = encoder()
    model = keras.Model(image, layers.Dense(5)(states))
    data = split(*of_classes(0), 0, validation=100, test=1)
    trained(model, data, [0.003], epochs=BEFORE, batch=40, seed=0)
    return image, states, [np.array(value) for value in keras.Model(image, states).get_weights()]


def freeze(model: keras.Model, seed: int, way: str) -> None:
    """Leaves to train what a condition trains."""
    fl.unfreeze(model)
    if way == BIAS:
        fl.train_only(model, [*BIASES, HEAD])
    elif way == ONLY_HEAD:
        fl.train_only(model, HEAD)
    elif way == RANDOM:
        weights = {path: w for path, w in fl.weights(model).items() if not path.startswith("head/")}
        count = sum(int(np.prod(w.shape)) for w in fl.weights(model, BIASES).values())
        count -= 5  # the bias of the head, which trains in any case
        fl.train_only(
            model, list(weights), fl.smallest(count, by="random", scope="model", seed=seed)
        )
        fl.unfreeze(model, HEAD)


def runs(seed: int, rates: Mapping[str, Sequence[float]]) -> dict[str, tuple[Run, int]]:
    image, states, weights = base()
    keras.utils.set_random_seed(seed)
    model = keras.Model(image, layers.Dense(5, name="head")(states))
    start = [*weights, *model.get_layer("head").get_weights()]
    parts = split(*of_classes(5), seed, validation=200, test=400)
    x, y = parts.train
    data = Split((x[:EXAMPLES], y[:EXAMPLES]), parts.validation, parts.test)
    options = {"epochs": EPOCHS, "batch": 20, "seed": seed}
    freezing = partial(freeze, model, seed)
    found = trained_each_way(model, data, start, rates, freezing, **options)
    fl.unfreeze(model)
    return found


@cache
def chosen() -> dict[str, Sequence[float]]:
    return best_rates(runs, WAYS, RATES)


def measure(seed: int) -> Measured:
    return {way: (run.test, count) for way, (run, count) in runs(seed, chosen()).items()}


def verdict(found: dict[str, np.ndarray]) -> str:
    everything, bias, head, random = (found[way][:, 0] for way in WAYS)
    competitive = "is not" if above(everything, bias) else "is"
    return (
        f"Training biases and head {competitive} competitive here: "
        f"{compared('it', bias, 'everything', everything)}. "
        f"{compared('It', bias, 'as many random entries and head', random)}, and "
        f"{compared('it', bias, 'the head only', head)}. It trains {found[BIAS][0, 1]:,.0f} of "
        f"{found[ALL][0, 1]:,.0f} parameters."
    )


PAPER = Paper(
    name="bitfit",
    title="BitFit",
    cite=(
        "Elad Ben Zaken, Yoav Goldberg and Shauli Ravfogel, *BitFit: Simple Parameter-efficient "
        "Fine-tuning for Transformer-based Masked Language-models*, ACL 2022, arXiv:2106.10199."
    ),
    claim=(
        "With small to medium training data, fine-tuning only the biases (and a new head) of a "
        "pre-trained BERT is competitive with fine-tuning all of it, and sometimes better. The "
        "same number of random parameters does worse."
    ),
    theirs="This is the order in its tables on GLUE.",
    setup=(
        "A transformer of two blocks, 48 wide, reads the eight rows of an image as tokens. It "
        "first learns scikit-learn's digits 0 to 4. Then it learns 5 to 9 from 100 images, with "
        'a new head. `fl.train_only(model, ["*/bias", "*/beta", "head/*"])` trains the biases. '
        "The random entries are drawn from all weights except the head, which trains in every "
        "condition. Adam, 30 epochs; the learning rate of each condition is the best of five on "
        "validation data. The first task is trained once, and all seeds start from it."
    ),
    measures=("test accuracy, %", "parameters that train"),
    measure=measure,
    verdict=verdict,
)

if __name__ == "__main__":
    sys.exit(main(["--only", PAPER.name, *sys.argv[1:]]))
