"""Run the suite once per backend in separate processes: Keras fixes its backend at import.

All backends run, even after a failure; the exit status is non-zero if any of them failed. Tests
marked `once` run only with the last backend.
"""

import argparse
import os
import subprocess
import sys
import tempfile
import time

NOTHING_COLLECTED = 5


def run(backend: str, workers: str, shards: int, pytest_args: list[str]) -> tuple[int, float]:
    """Return pytest's first non-zero exit status, or 0, and the seconds."""
    print(f"\n== {backend}", flush=True)
    start = time.monotonic()
    with tempfile.TemporaryDirectory() as compiled:
        # Half of what JAX compiles for the suite it has compiled before, in a different test or
        # process: a new cache for each run takes a third off its time.
        cache = {
            "JAX_COMPILATION_CACHE_DIR": compiled,
            "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
            "JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES": "-1",
        }
        command = [sys.executable, "-m", "pytest", "-n", workers]
        statuses = [
            subprocess.run(
                [*command, f"--shard={i}/{shards}", *pytest_args],
                env={**cache, **os.environ, "KERAS_BACKEND": backend},
            ).returncode
            for i in range(shards)
        ]
    if "--without-once" in pytest_args:  # all the selected tests may be marked `once`
        statuses = [0 if status == NOTHING_COLLECTED else status for status in statuses]
    return next(filter(None, statuses), 0), time.monotonic() - start


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--backends", default="tensorflow jax torch", type=str.split)
    parser.add_argument("--workers", default="2", help="processes for one backend; 0 for none")
    parser.add_argument(
        "--shards",
        default=1,
        type=int,
        help="one run after another: TensorFlow keeps what it has compiled, some MB a test",
    )
    parser.add_argument("pytest_args", nargs="*", metavar="-- pytest arguments")
    options = parser.parse_args()
    if not options.backends:
        parser.error("no backend to run: --backends is empty")

    results = {}
    for backend in options.backends:
        without = [] if backend == options.backends[-1] else ["--without-once"]
        arguments = [*without, *options.pytest_args]
        results[backend] = run(backend, options.workers, options.shards, arguments)

    print("\n== summary")
    for backend, (status, seconds) in results.items():
        verdict = "passed" if status == 0 else f"FAILED (pytest exit status {status})"
        print(f"{backend:<12}{seconds:>7.1f} s  {verdict}")
    return int(any(status for status, _ in results.values()))


if __name__ == "__main__":
    sys.exit(main())
