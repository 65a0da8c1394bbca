"""Bhardwaj et al. and Yang et al.: single entries, or whole heads and channels, against LoRA."""

from __future__ import annotations

import math
import random
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from functools import cache, partial
from typing import Any

import keras
import numpy as np
from keras import layers

import frostline as fl
from benchmarks.measure import peak_beyond
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
    order,
    scored,
    tuned,
)

NARROW, WIDE = 96, 384
"""The width of the model whose accuracy is measured, and of the one whose steps are timed."""
BLOCKS, HEAD, CONTEXT = 2, 16, 32
RANK = 4
ROWS = 7 * RANK
"""LoRA's matrices in both layers of a block together are as large as so many rows of them."""
OUTPUTS, DOWN = "attention*/attention_output/kernel", "down*/kernel"
RATES = (0.0005, 0.002, 0.008, 0.03)
TRAINED, CHOSEN_BY, TESTED, PRETRAINED = 1200, 500, 1500, 2**14
EPOCHS, PRETRAINING, BATCH = 2, 2, 16
WARM, ROUNDS = 2, 7


class Positions(layers.Layer):
    """Adds a vector for each place."""

    def build(self, shape: Any) -> None:
        self.vectors = self.add_weight(shape=shape[1:], initializer="uniform", name="vectors")

    def call(self, x: Any) -> Any:
        return x + self.vectors


def network(width: int) -> keras.Model:
    """A transformer that guesses each next byte, without biases where LoRA goes in."""
    read = keras.Input((CONTEXT,), dtype="int32")
    x = Positions(name="places")(layers.Embedding(BYTES, width, name="bytes")(read))
    for block in range(BLOCKS):
        attention = layers.MultiHeadAttention(
            width // HEAD, HEAD, use_bias=False, name=f"attention{block}"
        )
        y = layers.LayerNormalization()(x)
        x = x + attention(y, y, use_causal_mask=True)
        y = layers.LayerNormalization()(x)
        y = layers.Dense(4 * width, activation="gelu", use_bias=False, name=f"up{block}")(y)
        x = x + layers.Dense(width, use_bias=False, name=f"down{block}")(y)
    x = layers.LayerNormalization()(x)
    return keras.Model(read, layers.Dense(BYTES, use_bias=False, name="out")(x))


def everything(model: keras.Model, seed: int) -> None:
    del model, seed


def lora(model: keras.Model, seed: int) -> None:
    """LoRA in the last layer of each attention and of each feed-forward part."""
    keras.utils.set_random_seed(seed)
    for block in range(BLOCKS):
        model.get_layer(f"attention{block}").output_dense.enable_lora(RANK)
        model.get_layer(f"down{block}").enable_lora(RANK)
    fl.train_only(model, "*/lora_kernel_*")


def entries(model: keras.Model, seed: int) -> None:
    """As many single entries of the same layers."""
    count = BLOCKS * ROWS * model.get_layer("down0").kernel.shape[1]
    where = fl.smallest(count, by="random", scope="model", seed=seed)
    fl.train_only(model, [OUTPUTS, DOWN], where)


def heads_and_channels(model: keras.Model, seed: int) -> None:
    """As many numbers in whole rows: what the same layers read of a head and of some channels."""
    down = model.get_layer("down0").kernel
    drawn = np.random.default_rng(seed)
    head = int(drawn.integers(down.shape[1] // HEAD))
    channels = drawn.choice(down.shape[0], ROWS - HEAD, replace=False)
    fl.train_only(model, {OUTPUTS: fl.heads([head]), DOWN: fl.at[np.sort(channels), :]})


ALL, LORA, ENTRIES, HEADS = "all", "LoRA", "random entries", "heads and channels"
WAYS: dict[str, Callable[[keras.Model, int], None]] = {
    ALL: everything,
    LORA: lora,
    ENTRIES: entries,
    HEADS: heads_and_channels,
}


def pairs(text: np.ndarray) -> Arrays:
    """Some bytes, and for each the one after it."""
    pieces = excerpts(text, CONTEXT + 1)
    return pieces[:, :-1], pieces[:, 1:]


@cache
def pretrained() -> list[np.ndarray]:
    """The weights of the narrow model after Python's standard library, the same for all seeds."""
    keras.utils.set_random_seed(0)
    model = network(NARROW)
    compiled(model)
    data = few(split(*pairs(code()), 0, validation=0, test=0), PRETRAINED)
    options: Any = {"batch_size": 32, "epochs": PRETRAINING, "verbose": 0}
    model.fit(*data.train, **options, callbacks=[falling(0.003, PRETRAINING)])
    return model.get_weights()


def runs(seed: int, rates: Callable[[str], Sequence[float]]) -> dict[str, tuple[float, Run]]:
    """For each way the accuracy before any tuning, and the best run of its rates."""
    data = few(split(*pairs(manual()), seed, validation=CHOSEN_BY, test=TESTED), TRAINED)
    found = {}
    for name, prepare in WAYS.items():
        model = network(NARROW)
        model.set_weights(pretrained())
        prepare(model, seed)
        compiled(model)
        _, before = scored(model, data.test)
        options: Any = {"epochs": EPOCHS, "batch_size": BATCH, "seed": seed}
        found[name] = before, tuned(model, fl.snapshot(model), data, rates(name), **options)
    return found


@cache
def chosen() -> dict[str, tuple[float, Run]]:
    """With a seed of its own: the rate for each way."""
    return runs(TUNING, lambda name: RATES)


@cache
def steps() -> dict[str, tuple[keras.Model, Callable[[], object]]]:
    """A training step of the wide model for each way, compiled."""
    x, y = (part[:BATCH] for part in pairs(code()))
    found = {}
    for name, prepare in WAYS.items():
        keras.utils.set_random_seed(0)
        model = network(WIDE)
        prepare(model, 0)
        compiled(model)
        step = partial(model.train_on_batch, x, y)
        for _ in range(WARM):
            step()
        found[name] = model, step
    counts = [entries_that_train(found[name][0]) for name in (LORA, ENTRIES, HEADS)]
    assert len(set(counts)) == 1
    return found


def entries_that_train(model: keras.Model) -> int:
    return sum(math.prod(variable.shape) for variable in model.trainable_variables)


def costs(seed: int) -> dict[str, tuple[float, ...]]:
    """Of a step: the median ms, in turn and in random order, and the memory; of what it trains."""
    order = random.Random(seed)
    taken: dict[str, list[float]] = {name: [] for name in WAYS}
    for _ in range(ROUNDS):
        for name in order.sample(sorted(WAYS), len(WAYS)):
            start = time.perf_counter()
            steps()[name][1]()
            taken[name].append(1000 * (time.perf_counter() - start))
    found = {}
    for name, (model, step) in steps().items():
        slots = sum(variable.value.nbytes for variable in model.optimizer.variables)
        memory = peak_beyond(step) or 0.0
        found[name] = (
            statistics.median(taken[name]),
            memory,
            slots / 1000,
            entries_that_train(model),
        )
    return found


def measure(seed: int) -> Measured:
    steps()
    cost, rates = costs(seed), chosen()
    found = runs(seed, lambda name: [rates[name][1].rate])
    return {
        name: (run.accuracy, run.accuracy - before, *cost[name])
        for name, (before, run) in found.items()
    }


def verdict(found: dict[str, np.ndarray]) -> str:
    accuracy, milliseconds, memory = (
        {name: rows[:, place] for name, rows in found.items()} for place in (0, 2, 3)
    )

    def share(of: dict[str, np.ndarray], one: str, other: str) -> str:
        ratio = of[one] / of[other]  # in the same round
        return f"{ratio.mean():.2f} ± {ratio.std(ddof=min(1, len(ratio) - 1)):.2f}"

    def accurate(name: str) -> str:
        one, other = accuracy[name], accuracy[LORA]
        return f"{beside(one, 'LoRA', other)}, {order(above(one, other))}"

    def cheaper(of: dict[str, np.ndarray]) -> str:
        shows = all(above(of[other], of[HEADS]) for other in (ALL, LORA))
        return (
            f"{share(of, HEADS, LORA)} times what LoRA takes and {share(of, HEADS, ALL)} times "
            f"what all weights take, {order(shows)}; random entries take "
            f"{share(of, ENTRIES, LORA)} times what LoRA takes"
        )

    return (
        f"Accuracy: heads and channels are {accurate(HEADS)}; random entries are "
        f"{accurate(ENTRIES)}. Time of a step: heads and channels take {cheaper(milliseconds)}. "
        f"Memory at the peak of a step: heads and channels take {cheaper(memory)}. The optimizer "
        "state is the same for the three."
    )


PAPER = Paper(
    name="channels",
    title="SHiRA and S2FT against LoRA",
    cite=(
        "Kartikeya Bhardwaj and others, *Sparse High Rank Adapters*, NeurIPS 2024, "
        "arXiv:2406.13175; Xinyu Yang, Jixuan Leng, Geyang Guo, Jiawei Zhao, Ryumei Nakada, "
        "Linjun Zhang, Huaxiu Yao and Beidi Chen, *S2FT: Efficient, Scalable and Generalizable LLM "
        "Fine-tuning by Structured Sparsity*, NeurIPS 2024, arXiv:2412.06289."
    ),
    claim=(
        "Training 1 or 2 % of the weights themselves is more accurate than LoRA. SHiRA trains "
        "single entries, nearly as fast as LoRA and in less memory. S2FT trains whole heads and "
        "channels, faster and in less memory than LoRA and than full fine-tuning."
    ),
    theirs=(
        "According to the abstracts, SHiRA takes up to 16 % less memory than LoRA. S2FT is 4.6 % "
        "more accurate than LoRA on commonsense reasoning and takes about 10 % less time and "
        "memory; compared with full fine-tuning it saves up to a factor of 3 in memory and of 1.5 "
        "to 2.7 in time."
    ),
    setup=(
        f"A transformer of two blocks, {NARROW} wide, guesses each next byte. It learns Python's "
        f"standard library, and is then tuned on {TRAINED:,} excerpts of {CONTEXT} bytes of "
        f"Python's manual. LoRA of rank {RANK} is in the last layer of each attention and each "
        "feed-forward part. It is compared with the same number of entries of these layers: random "
        'ones, `fl.smallest(n, by="random", scope="model")`, or whole rows, `fl.heads([head])` and '
        f"`fl.at[channels, :]`. Adam, {EPOCHS} epochs; the learning rate of each condition is the "
        "best of four on validation data. A seed draws the training data and what trains. Steps "
        f"are timed {WIDE} wide with a batch of {BATCH}, interleaved in random order. Memory is "
        "the peak of a step beyond what is in memory between steps."
    ),
    measures=(
        f"next byte right, % ({NARROW} wide)",
        "gained by tuning, points",
        f"ms per step ({WIDE} wide)",
        "MiB at the peak of a step",
        "kB of optimizer state",
        "parameters that train",
    ),
    measure=measure,
    verdict=verdict,
)

if __name__ == "__main__":
    sys.exit(main(["--only", PAPER.name, *sys.argv[1:]]))
