"""The cost of one threshold over 100 million entries, compared with one `np.partition` of all."""

from __future__ import annotations

import json
import random
import statistics
import sys
import time
from collections.abc import Callable

import keras
import numpy as np

import frostline as fl
from benchmarks.measure import peak_beyond
from frostline._freezing.request import asked
from frostline._weights.tree import unique, weights_of

SHAPES = ((10_000, 4_000), (10_000, 3_000), (6_000, 3_000), (4_000, 3_000))
ENTRIES = sum(rows * columns for rows, columns in SHAPES)
LARGEST = max(rows * columns for rows, columns in SHAPES) * 4 / 2**20
ROUNDS = 5


def main() -> int:
    print(json.dumps(measured()))
    return 0


def measured() -> dict[str, float]:
    """Seconds of `np.partition` and of the selection with its masks, and the selection's memory.

    The memory is the peak beyond the weights and the masks, in MiB.
    """
    model = keras.Sequential([_layer(rows, columns) for rows, columns in SHAPES])
    weights = [asked(found) for found in unique(weights_of(model))]
    count = round(0.9 * ENTRIES)
    joined = [np.concatenate([np.abs(weight.read()).ravel() for weight in weights])]
    masks: list[np.ndarray | None] = []

    def select() -> None:
        selection = fl.smallest(0.9, scope="model").among(weights)
        masks[:] = [selection.mask(weight) for weight in weights]

    calls: dict[str, Callable[[], object]] = {
        "partition": lambda: np.partition(joined[0], count - 1),
        "smallest": select,
    }
    seconds: dict[str, list[float]] = {name: [] for name in calls}
    order = random.Random(0)
    for turn in range(ROUNDS + 1):
        for name in order.sample(sorted(calls), len(calls)):
            start = time.perf_counter()
            calls[name]()
            if turn:
                seconds[name].append(time.perf_counter() - start)
    limit = np.partition(joined[0], count - 1)[count - 1]
    assert sum(int(mask.sum()) for mask in masks if mask is not None) == count
    assert all(
        np.abs(weight.read())[mask].max() <= limit
        for weight, mask in zip(weights, masks, strict=True)
    )
    joined.clear()
    masks.clear()
    peak = peak_beyond(select)
    found = {name: statistics.median(values) for name, values in seconds.items()}
    return found if peak is None else found | {"peak": peak - ENTRIES / 2**20}


def _layer(rows: int, columns: int) -> keras.layers.Layer:
    layer = keras.layers.Dense(columns, use_bias=False, kernel_initializer="zeros")
    layer.build((None, rows))
    random = np.random.default_rng(rows + columns)
    layer.kernel.assign(random.standard_normal((rows, columns), "float32"))
    return layer


def table(results: dict[str, dict[str, float]]) -> list[str]:
    """A Markdown table of what `main` printed on each backend."""
    lines = [
        "| | `np.partition` | `fl.smallest` | ratio | memory |",
        "|---|---:|---:|---:|---:|",
    ]
    for backend, found in results.items():
        memory = f"{found['peak'] / LARGEST:.2f}" if "peak" in found else ""
        ratio = found["smallest"] / found["partition"]
        lines.append(
            f"| {backend} | {found['partition']:.2f} s | {found['smallest']:.2f} s | {ratio:.2f} "
            f"| {memory} |"
        )
    return lines


if __name__ == "__main__":
    sys.exit(main())
