"""Measure the time of interleaved variants in one process, and memory in a fresh one for each."""

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
"""Steps that are not counted: the first ones compile and create the optimizer's slots."""


def times(case: Case, *, jit: bool) -> dict[str, float]:
    """Median seconds of a step of each variant, with all variants run in turn.

    The order changes each time: after a variant that touches gigabytes, the next one finds nothing
    in the caches.
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
    """The peak MiB of a step beyond the memory in use between steps; Linux only."""
    step = case.builders(jit)[variant]()
    for _ in range(WARM):
        step()

    def two_steps() -> None:
        for _ in range(2):
            step()

    return peak_beyond(two_steps)


def peak_beyond(call: Callable[[], object]) -> float | None:
    """The peak MiB of a call beyond the memory in use before it; Linux only."""
    status, reset = Path("/proc/self/status"), Path("/proc/self/clear_refs")
    if not reset.exists():
        return None
    gc.collect()
    ctypes.CDLL(None).malloc_trim(0)
    reset.write_text("5")  # resets the peak to the memory in use now
    before = _kibibytes(status, "VmRSS")
    call()
    return (_kibibytes(status, "VmHWM") - before) / 1024


def _kibibytes(status: Path, field: str) -> int:
    line = next(line for line in status.read_text().splitlines() if line.startswith(field))
    return int(line.split()[1])
