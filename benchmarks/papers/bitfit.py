"""Ben Zaken, Goldberg and Ravfogel: the biases alone, in a transformer that was trained before."""

from __future__ import annotations

import sys
import sysconfig
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path

import keras
import numpy as np
from keras import layers, ops

import frostline as fl
from benchmarks.papers.paper import Measured, Paper, Run, Split, above, compared, trained
from benchmarks.papers.run import main

LENGTH = 64  # bytes of a snippet
WIDTH, HEADS, BLOCKS = 48, 4, 2
STEPS = 400  # of training before, 64 snippets each
EPOCHS = 15
EACH = (20, 30, 100)
"""Snippets of each package to train on, to choose by and to report."""
RATES = (0.001, 0.003, 0.01, 0.03)
TUNING = 1000  # a seed that is not reported: the rates are chosen with it
MASKED = 256  # the byte that stands for a hidden one
PACKAGES = ("asyncio", "email", "importlib", "multiprocessing", "unittest", "xml")
BIASES = ["*/bias", "*/beta"]
HEAD = "head/*"
ALL, BIAS, ONLY_HEAD, RANDOM = WAYS = (
    "everything",
    "biases and head",
    "head only",
    "as many random entries and head",
)


def encoder() -> tuple[keras.KerasTensor, keras.KerasTensor]:
    """Bytes, and the states of a small transformer that reads them in both directions."""
    tokens = keras.Input((LENGTH,), dtype="int32")
    places = ops.cumsum(ops.ones_like(tokens), axis=1) - 1
    x = layers.Embedding(257, WIDTH)(tokens) + layers.Embedding(LENGTH, WIDTH)(places)
    for _ in range(BLOCKS):
        inner = layers.LayerNormalization()(x)
        x = x + layers.MultiHeadAttention(HEADS, WIDTH // HEADS)(inner, inner)
        inner = layers.Dense(2 * WIDTH, activation="gelu")(layers.LayerNormalization()(x))
        x = x + layers.Dense(WIDTH)(inner)
    return tokens, layers.LayerNormalization()(x)


def snippets(text: np.ndarray, count: int, random: np.random.Generator) -> np.ndarray:
    starts = random.integers(0, len(text) - LENGTH, count)
    return text[starts[:, None] + np.arange(LENGTH)].astype("int32")


def source(files: Sequence[Path]) -> np.ndarray:
    return np.frombuffer(b"\n".join(file.read_bytes() for file in files), "uint8")


@cache
def base() -> tuple[keras.KerasTensor, keras.KerasTensor, list[np.ndarray]]:
    """The encoder, and its weights after it learned to guess hidden bytes of other modules."""
    random = np.random.default_rng(0)
    keras.utils.set_random_seed(0)
    tokens, states = encoder()
    model = keras.Model(tokens, layers.Dense(256)(states))
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    falling = keras.optimizers.schedules.CosineDecay(0.003, STEPS)
    model.compile(keras.optimizers.Adam(falling), loss)
    text = source(sorted(Path(sysconfig.get_paths()["stdlib"]).glob("*.py")))
    y = snippets(text, 64 * STEPS, random)
    hidden = random.random(y.shape) < 0.15
    x = np.where(hidden, MASKED, y)
    model.fit(x, y, sample_weight=hidden.astype("float32"), batch_size=64, verbose=0)
    return tokens, states, [np.array(value) for value in keras.Model(tokens, states).get_weights()]


def classified(seed: int) -> Split:
    """Snippets and the number of their package; no file is in two of the three parts."""
    folder = Path(sysconfig.get_paths()["stdlib"])
    parts: list[list[np.ndarray]] = [[], [], []]
    for package in PACKAGES:
        files = np.array(sorted((folder / package).rglob("*.py")), dtype=object)
        files = np.random.default_rng(0).permutation(files)
        third = len(files) // 3
        rest = np.random.default_rng(seed).permutation(files[third:])
        chosen = (rest[third // 2 :], rest[: third // 2], files[:third])
        for part, count, number in zip(parts, EACH, chosen, strict=True):
            random = np.random.default_rng(0 if part is parts[2] else seed)
            part.append(snippets(source(list(number)), count, random))
    return Split(*((np.concatenate(x), np.repeat(np.arange(len(x)), len(x[0]))) for x in parts))


def freeze(model: keras.Model, way: str, seed: int) -> None:
    """Leaves to train what a condition trains."""
    fl.unfreeze(model)
    if way == BIAS:
        fl.train_only(model, [*BIASES, HEAD])
    elif way == ONLY_HEAD:
        fl.train_only(model, HEAD)
    elif way == RANDOM:
        weights = {path: w for path, w in fl.weights(model).items() if not path.startswith("head/")}
        count = sum(int(np.prod(w.shape)) for w in fl.weights(model, BIASES).values())
        count -= len(PACKAGES)  # the bias of the head, which trains in any case
        fl.train_only(
            model, list(weights), fl.smallest(count, by="random", scope="model", seed=seed)
        )
        fl.unfreeze(model, HEAD)


def runs(seed: int, rates: Mapping[str, Sequence[float]]) -> dict[str, tuple[Run, int]]:
    """For each condition the best run of its rates, and how many entries it trains."""
    tokens, states, weights = base()
    keras.utils.set_random_seed(seed)
    pooled = layers.GlobalAveragePooling1D()(states)
    model = keras.Model(tokens, layers.Dense(len(PACKAGES), name="head")(pooled))
    start = [*weights, *model.get_layer("head").get_weights()]
    data = classified(seed)
    found = {}
    for way in WAYS:
        freeze(model, way, seed)
        model.set_weights(start)
        summary = fl.summary(model)
        run = trained(model, data, rates[way], epochs=EPOCHS, batch=20, seed=seed)
        found[way] = run, summary.size - summary.frozen
    fl.unfreeze(model)
    return found


@cache
def chosen() -> dict[str, Sequence[float]]:
    """For each condition the rate that is best on validation, with a seed of its own."""
    found = runs(TUNING, dict.fromkeys(WAYS, RATES))
    return {way: [run.rate] for way, (run, _) in found.items()}


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
        "pre-trained BERT is competitive with fine-tuning all of it, and sometimes better. As "
        "many parameters drawn at random do worse."
    ),
    theirs="That is the order in its tables on GLUE.",
    setup=(
        "A transformer of two blocks, 48 wide, first learns to guess hidden bytes in the "
        "top-level modules of Python's standard library (400 steps). Then it learns from 20 "
        "snippets of 64 bytes each which of six packages a snippet is from (asyncio, email, "
        "importlib, multiprocessing, unittest, xml); no file is in two parts of the data. "
        '`fl.train_only(model, ["*/bias", "*/beta", "head/*"])` trains the biases. As many '
        "random entries are drawn from all weights but the head, which trains in every "
        "condition. Adam, 15 epochs; the learning rate of each condition is the best of four on "
        "validation data. The training before is done once, and all seeds start from it."
    ),
    measures=("test accuracy, %", "parameters that train"),
    measure=measure,
    verdict=verdict,
)

if __name__ == "__main__":
    sys.exit(main(["--only", PAPER.name, *sys.argv[1:]]))
