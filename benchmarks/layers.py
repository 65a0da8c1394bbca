"""The cost of calls on a model of many layers: `KERAS_BACKEND=jax python -m benchmarks.layers`.

Each call on a partly frozen model is compared with Keras's time for the plain model. Save and load
come in random order, and each round builds a new model. `--step` adds the first training step. JAX
and TensorFlow compile that step, so use small `--counts` with it.
"""

from __future__ import annotations

import argparse
import gc
import random
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import numpy as np
from rich.console import Console
from rich.table import Table

import frostline as fl

BLOCK = 25  # layers in a block, since Keras visits a model recursively
Taken = dict[str, float]
BESIDE = {
    "freeze a row of each kernel": "build",
    "freeze one bias": "build",
    "unfreeze": "build",
    "train_only": "build",
    "fl.summary": "model.summary",
    "save": "plain save",
    "load": "plain load",
    "first step": "plain first step",
}
"""What each call is compared with."""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--counts", nargs="+", type=int, default=[1_250, 2_500, 5_000])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--step", action="store_true", help="also measure the first training step")
    options = parser.parse_args()
    measured(BLOCK, step=options.step)  # so that imports are done and caches filled
    table = Table("", *(f"{count:,} layers" for count in options.counts))
    found = [
        [measured(count, step=options.step) for _ in range(options.rounds)]
        for count in options.counts
    ]
    for name, beside in BESIDE.items():
        if name in found[0][0]:
            table.add_row(f"{name} / {beside}", *(_cell(rounds, name, beside) for rounds in found))
    Console().print(keras.backend.backend(), table)
    return 0


def _cell(rounds: list[Taken], name: str, beside: str) -> str:
    seconds, other = (statistics.median(one[key] for one in rounds) for key in (name, beside))
    return f"{seconds:.2f} s, {seconds / other:.2f}"


def built(count: int) -> keras.Model:
    """Dense layers one after another, in blocks, compiled with Adam."""
    inputs = x = keras.Input((4,))
    for _ in range(count // BLOCK):
        block = y = keras.Input((4,))
        for _ in range(BLOCK):
            y = keras.layers.Dense(4)(y)
        x = keras.Model(block, y)(x)
    model = keras.Model(inputs, x)
    model.compile(keras.optimizers.Adam(), "mse")
    return model


def measured(count: int, *, step: bool) -> Taken:
    """Seconds of each call on new models."""
    taken: Taken = {}

    def take(name: str, call: Callable[[], Any]) -> Any:
        gc.collect()
        start = time.perf_counter()
        result = call()
        taken[name] = time.perf_counter() - start
        return result

    plain = take("build", lambda: built(count))
    partly = built(count)
    take("freeze a row of each kernel", lambda: fl.freeze(partly, "*/kernel", fl.at[0]))
    one = partly.layers[1].layers[1].bias
    take("freeze one bias", lambda: fl.freeze(partly, one))
    take("model.summary", lambda: plain.summary(print_fn=lambda line: None))
    take("fl.summary", lambda: str(fl.summary(partly)))
    with tempfile.TemporaryDirectory() as folder:
        for name, model in random.sample([("plain ", plain), ("", partly)], 2):
            file = Path(folder) / f"{name}model.keras"
            take(f"{name}save", lambda model=model, file=file: model.save(file))
            take(f"{name}load", lambda file=file: keras.saving.load_model(file))
            if step:
                data = np.ones((8, 4), "float32")
                take(f"{name}first step", lambda m=model, d=data: m.train_on_batch(d, d))
    take("unfreeze", lambda: fl.unfreeze(partly))
    take("train_only", lambda: fl.train_only(partly, "*/bias", fl.at[1:3]))
    return taken


if __name__ == "__main__":
    sys.exit(main())
