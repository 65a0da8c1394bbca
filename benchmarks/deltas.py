"""The cost of a switch between two tasks: two deltas of 1 % of 100 million entries."""

from __future__ import annotations

import json
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

import frostline as fl

SHAPES = ((10_000, 4_000), (10_000, 3_000), (6_000, 3_000), (4_000, 3_000))
SHARE = 0.01
KINDS = ("rows", "single entries")
ROUNDS = 7
LOAD = "load_weights"
SWITCH, FROM_FILE, CHECKED = "switch", "switch from a file", "switch, check=True"
TURN = "remove and apply"


def main() -> int:
    with tempfile.TemporaryDirectory() as folder:
        print(json.dumps(measured(sys.argv[1], Path(folder))))
    return 0


def model_of(shapes: tuple[tuple[int, int], ...]) -> keras.Model:
    """A model of unconnected kernels, since nothing here runs it."""
    joined = keras.Sequential([keras.layers.Dense(n, use_bias=False) for _, n in shapes])
    for layer, (rows, columns) in zip(joined.layers, shapes, strict=True):
        layer.build((None, rows))
        draw = np.random.default_rng(rows + columns)
        layer.kernel.assign(draw.standard_normal((rows, columns), "float32"))
    joined.built = True
    return joined


def tuned(model: keras.Model, kind: str, seed: int, path: Path) -> fl.Delta:
    """Make a delta of `SHARE` of each kernel, and save it and all weights to files."""
    base, draw = fl.snapshot(model), np.random.default_rng(seed)
    for layer in model.layers:
        value = np.array(keras.ops.convert_to_numpy(layer.kernel))
        rows = value if kind == "rows" else value.reshape(-1)
        chosen = draw.permutation(len(rows))[: round(SHARE * len(rows))]
        rows[chosen] += 1
        layer.kernel.assign(value)
    delta = fl.extract_delta(model, base=base)
    delta.save(path.with_suffix(".safetensors"))
    model.save_weights(path.with_suffix(".weights.h5"))
    fl.restore(model, base)
    return delta


def measured(kind: str, folder: Path, shapes: Any = SHAPES) -> dict[str, float]:
    """Median seconds of each way to switch from one task to the other, in random order."""
    model, loaded = model_of(shapes), model_of(shapes)
    paths = [folder / name for name in ("one", "other")]
    deltas = [tuned(model, kind, seed, path) for seed, path in enumerate(paths)]
    files = [path.with_suffix(".safetensors") for path in paths]
    weights = [path.with_suffix(".weights.h5") for path in paths]
    fl.apply_delta(model, deltas[0])
    on = 0

    def turn() -> None:
        fl.remove_delta(model, deltas[on])
        fl.apply_delta(model, deltas[1 - on], check=False)

    calls: dict[str, Callable[[], object]] = {
        LOAD: lambda: loaded.load_weights(weights[1 - on]),
        SWITCH: lambda: fl.switch_delta(model, deltas[1 - on], check=False),
        FROM_FILE: lambda: fl.switch_delta(model, files[1 - on], check=False),
        CHECKED: lambda: fl.switch_delta(model, deltas[1 - on]),
        TURN: turn,
    }
    seconds: dict[str, list[float]] = {name: [] for name in calls}
    order = random.Random(0)
    for round_ in range(ROUNDS + 1):
        for name in order.sample(sorted(calls), len(calls)):
            start = time.perf_counter()
            calls[name]()
            for layer in model.layers:
                # JAX returns before the work is done.
                getattr(layer.kernel.value, "block_until_ready", lambda: None)()
            if round_:
                seconds[name].append(time.perf_counter() - start)
            on = on if name == LOAD else 1 - on
    loaded.load_weights(weights[on])
    for one, other in zip(model.layers, loaded.layers, strict=True):
        assert bool(keras.ops.all(one.kernel == other.kernel))
    return {name: statistics.median(values) for name, values in seconds.items()}


def table(results: dict[str, dict[str, dict[str, float]]]) -> list[str]:
    """A Markdown table of what `main` printed for each kind on each backend."""
    names = (TURN, SWITCH, FROM_FILE, CHECKED)
    lines = [
        f"| | `{LOAD}` | " + " | ".join(names) + " |",
        "|---|" + "---:|" * (1 + len(names)),
    ]
    for backend, kinds in results.items():
        for kind, found in kinds.items():
            cells = [f"{found[LOAD]:.3f} s"]
            cells += [f"{found[name]:.4f} s, {found[LOAD] / found[name]:.1f}" for name in names]
            lines.append(f"| {backend}, {kind} | " + " | ".join(cells) + " |")
    return lines


if __name__ == "__main__":
    sys.exit(main())
