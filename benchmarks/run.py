"""What a training step costs, against training everything: variants interleaved, medians printed.

Runs each backend in a process of its own (Keras fixes its backend at import). Four Dense layers of
512 units, Adam; a tenth of each kernel trains, in four arrangements.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from typing import Any

BACKENDS = ("tensorflow", "jax", "torch")
# What trains: a tenth of each hidden kernel, or none of it.
VARIANTS = (
    "a tenth: columns",
    "a tenth: random columns",
    "a tenth: rows",
    "a tenth: entries",
    "head, biases",
)
WIDTH, DEPTH, SHARE = 512, 4, 0.1


def build(variant: str | None) -> Any:
    """A compiled stack of Dense layers, with a tenth of each hidden kernel left to train."""
    import keras
    import numpy as np

    import frostline as fl

    keras.utils.set_random_seed(0)
    hidden = [
        keras.layers.Dense(WIDTH, activation="relu", name=f"hidden_{i}") for i in range(DEPTH)
    ]
    model = keras.Sequential([keras.Input((WIDTH,)), *hidden, keras.layers.Dense(10, name="head")])
    random = np.random.default_rng(0)
    trained = round(SHARE * WIDTH)
    chosen = np.sort(random.choice(WIDTH, trained, replace=False))
    where = {
        "a tenth: columns": ~fl.at[:, :trained],
        "a tenth: random columns": ~fl.at[:, chosen],
        "a tenth: rows": ~fl.at[:trained],
        "a tenth: entries": fl.mask(random.random((WIDTH, WIDTH)) >= SHARE),
        "head, biases": fl.everything,
    }
    if variant is not None:
        fl.freeze(model, "hidden_*/kernel", where[variant])
    model.compile("adam", "mse")
    return model


def measure(batch: int, rounds: int) -> dict[str, dict[str, float]]:
    """Seconds a step and bytes of optimizer state for each variant, on this process's backend."""
    import numpy as np

    models = {name or "everything": build(name) for name in (None, *VARIANTS)}
    random = np.random.default_rng(0)
    x = random.normal(size=(batch, WIDTH)).astype("float32")
    y = random.normal(size=(batch, 10)).astype("float32")
    seconds: dict[str, list[float]] = {name: [] for name in models}
    for turn in range(rounds + 3):
        for name, model in models.items():
            start = time.perf_counter()
            model.train_on_batch(x, y)
            if turn >= 3:  # the first steps compile
                seconds[name].append(time.perf_counter() - start)
    return {
        name: {
            "seconds": statistics.median(seconds[name]),
            "optimizer": sum(float(np.prod(v.shape)) * 4 for v in model.optimizer.variables),
        }
        for name, model in models.items()
    }


def show(backend: str, batch: int, measured: dict[str, dict[str, float]]) -> None:
    """One table for one backend."""
    from rich.console import Console
    from rich.table import Table

    table = Table(title=f"{backend}, batch {batch}: a step against training everything")
    for column in ("what trains", "ms a step", "time", "optimizer state"):
        table.add_column(column, justify="left" if column == "what trains" else "right")
    full = measured["everything"]
    for name, numbers in measured.items():
        table.add_row(
            name,
            f"{1e3 * numbers['seconds']:.2f}",
            f"{numbers['seconds'] / full['seconds']:.2f}",
            f"{numbers['optimizer'] / full['optimizer']:.2f}",
        )
    Console().print(table)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--backends", nargs="+", choices=BACKENDS, default=list(BACKENDS))
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--rounds", type=int, default=40)
    parser.add_argument("--here", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.here:
        print(json.dumps(measure(options.batch, options.rounds)))
        return 0
    for backend in options.backends:
        command = [sys.executable, "-m", "benchmarks.run", "--here"]
        command += ["--batch", str(options.batch), "--rounds", str(options.rounds)]
        environment = {**os.environ, "KERAS_BACKEND": backend, "TF_CPP_MIN_LOG_LEVEL": "2"}
        done = subprocess.run(command, env=environment, stdout=subprocess.PIPE, text=True)
        if done.returncode:
            return done.returncode
        show(backend, options.batch, json.loads(done.stdout.splitlines()[-1]))
    return 0


if __name__ == "__main__":
    sys.exit(main())
