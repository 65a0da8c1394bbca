"""The cost of `freeze` and `unfreeze` themselves, on kernels of a quarter, a half and one GiB."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from typing import Any

import keras
import numpy as np

import frostline as fl
from benchmarks.measure import peak_beyond

WIDTH = 16_384
ROWS = (4_096, 8_192, 16_384)
KINDS = ("a block of columns", "random rows", "single entries")
FREEZE, UNFREEZE, COPY = "freeze", "unfreeze", "a copy by NumPy"


def main() -> int:
    # A small kernel first, since the first call also compiles and imports.
    print(json.dumps([measured(sys.argv[1], rows) for rows in (64, *ROWS)][1:]))
    return 0


def trained(kind: str, rows: int) -> Any:
    """A selection of a tenth of the columns, of the rows or of the entries."""
    random = np.random.default_rng(0)
    if kind == "a block of columns":
        return fl.at[:, : WIDTH // 10]
    if kind == "random rows":
        return fl.at[random.permutation(rows)[: rows // 10]]
    return fl.mask(random.random((rows, WIDTH), "float32") < 0.1)


def measured(kind: str, rows: int) -> dict[str, Any]:
    """The seconds and the peak of additional memory of each verb, in sizes of the weight."""
    layer = keras.layers.Dense(WIDTH, use_bias=False, kernel_initializer="ones")
    layer.build((None, rows))
    where = ~trained(kind, rows)
    size = rows * WIDTH * 4 / 2**20
    start = time.perf_counter()
    np.array(keras.ops.convert_to_numpy(layer.kernel))
    copy = time.perf_counter() - start
    calls = {
        FREEZE: lambda: fl.freeze(layer, "kernel", where),
        UNFREEZE: lambda: fl.unfreeze(layer),
    }
    return {COPY: copy} | {verb: _measured(layer, call, size) for verb, call in calls.items()}


def _measured(layer: Any, call: Callable[[], object], size: float) -> tuple[float, float | None]:
    seconds = 0.0

    def timed() -> None:
        nonlocal seconds
        start = time.perf_counter()
        call()
        for variable in layer.variables:
            # JAX returns before the work is done.
            getattr(variable.value, "block_until_ready", lambda: None)()
        seconds = time.perf_counter() - start

    peak = peak_beyond(timed)
    return seconds, None if peak is None else peak / size


def table(results: dict[str, dict[str, list[dict[str, Any]]]]) -> list[str]:
    """A Markdown table of what `main` printed for each kind on each backend."""
    sizes = [f"{rows * WIDTH / 2**18:.0f} MiB" for rows in ROWS]
    columns = [f"{verb}, {size}" for verb in (FREEZE, UNFREEZE) for size in sizes]
    columns.append(f"{COPY}, {sizes[-1]}")
    lines = ["| | " + " | ".join(columns) + " |", "|---|" + "---:|" * len(columns)]
    for backend, kinds in results.items():
        for kind, measurements in kinds.items():
            cells = [_cell(*found[verb]) for verb in (FREEZE, UNFREEZE) for found in measurements]
            cells.append(f"{measurements[-1][COPY]:.2f} s")
            lines.append(f"| {backend}, {kind} | " + " | ".join(cells) + " |")
    return lines


def _cell(seconds: float, peak: float | None) -> str:
    text = f"{seconds:.2f} s"
    return text if peak is None else f"{text}, {peak:.2f}"


if __name__ == "__main__":
    sys.exit(main())
