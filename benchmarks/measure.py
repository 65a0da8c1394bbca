"""Measuring: steps of several variants interleaved in one process, memory in a fresh one each."""

from __future__ import annotations

import ctypes
import gc
import random
import statistics
import time
from collections.abc import Callable
from pathlib import Path

from benchmarks.cases import Case

WARM = 3
"""Steps that are not counted: the first ones compile and make the slots of the optimizer."""


def times(case: Case, *, jit: bool) -> dict[str, float]:
    """Median seconds a step of each variant, all run in turn.

    In another order each time: after a variant that goes through gigabytes the next one finds
    nothing in the caches.
    """
    order = random.Random(0)
    steps = {name: build() for name, build in case.builders(jit).items()}
    seconds: dict[str, list[float]] = {name: [] for name in steps}
    for turn in range(WARM + case.rounds):
        for name, step in order.sample(sorted(steps.items()), len(steps)):
            start = time.perf_counter()
            step()
            if turn >= WARM:
                seconds[name].append(time.perf_counter() - start)
    return {name: statistics.median(values) for name, values in seconds.items()}


def temporaries(case: Case, variant: str, *, jit: bool) -> float | None:
    """MiB that a step takes at its peak beyond what is there between steps; Linux only."""
    step = case.builders(jit)[variant]()
    for _ in range(WARM):
        step()

    def two_steps() -> None:
        for _ in range(2):
            step()

    return peak_beyond(two_steps)


def peak_beyond(call: Callable[[], object]) -> float | None:
    """MiB at the peak of a call beyond what is there before it; Linux only."""
    status, reset = Path("/proc/self/status"), Path("/proc/self/clear_refs")
    if not reset.exists():
        return None
    gc.collect()
    ctypes.CDLL(None).malloc_trim(0)
    reset.write_text("5")  # the peak starts again from what is there now
    before = _kibibytes(status, "VmRSS")
    call()
    return (_kibibytes(status, "VmHWM") - before) / 1024


def _kibibytes(status: Path, field: str) -> int:
    line = next(line for line in status.read_text().splitlines() if line.startswith(field))
    return int(line.split()[1])
