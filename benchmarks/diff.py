"""The time of `frostline diff`, compared with reading its files: `python -m benchmarks.diff`.

Use `--gigabytes 4` for a real measurement: it takes twice that on disk and in the page cache. Every
round runs the readings and the command in turn. Linux counts the memory of a process that starts a
command as the command's own, so this process stays small and other processes import Keras.
"""

from __future__ import annotations

import argparse
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from rich.console import Console
from rich.progress import Progress

FORMATS = ("safetensors", "weights.h5", "keras")
CASES = {
    "equal": "all entries equal",
    "changed": "all entries changed",
    "rows": "all changed but 1% of the rows, frozen",
    "entries": "all changed but half of the entries, frozen one by one",
}
READ = 1 << 22  # bytes in one read
HEAD = ("", "reading", "two threads", "diff", "/ reading", "CPU / reading's", "peak")

Taken = tuple[float, float, float]
"""Seconds, CPU seconds, and peak MiB, or 0 if that is not measured."""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--gigabytes", type=float, default=0.25, help="the size of each file")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--formats", nargs="+", choices=FORMATS, default=list(FORMATS))
    parser.add_argument("--cases", nargs="+", choices=CASES, default=list(CASES))
    parser.add_argument("--dtype", default="float32")
    parser.add_argument("--disk", action="store_true", help="read the disk, not the page cache")
    parser.add_argument("--folder", help="the folder for temporary files")
    options = parser.parse_args()
    wanted = [(f, c) for f in options.formats for c in options.cases if _can_hold(f, c)]
    rows = []
    with (
        Progress(console=Console(stderr=True)) as progress,
        tempfile.TemporaryDirectory(dir=options.folder) as folder,
    ):
        task = progress.add_task("files", total=len(wanted) + 1)
        start = measured(_written(folder, "safetensors", "equal", 0, "float32"), 5, disk=False)
        progress.advance(task)
        for kind, case in wanted:
            files = _written(folder, kind, case, options.gigabytes, options.dtype)
            taken = measured(files, options.rounds, disk=options.disk)
            rows.append(row(f"`.{kind}`, {CASES[case]}", taken))
            for file in files:
                file.unlink()
            progress.advance(task)
    print("\n".join(table(rows)))
    print(f"\nOf that, the same for files of any size: {start['diff'][0]:.2f} s.")
    return 0


def measured(files: list[Path], rounds: int, *, disk: bool) -> dict[str, Taken]:
    """The medians of each way over rounds that run them in turn."""
    command = [sys.executable, "-m", "frostline", "diff", "--quiet", *map(str, files)]
    ways: dict[str, Callable[[], float]] = {
        "reading": lambda: read(files, threads=1),
        "two threads": lambda: read(files, threads=2),
        "diff": lambda: _run(command),
    }
    taken: dict[str, list[Taken]] = {name: [] for name in ways}
    read(files, threads=1)  # fills the page cache
    for _ in range(rounds):
        for name, way in ways.items():
            if disk:
                _forget(files)
            start, cpu = time.perf_counter(), _cpu()
            peak = way()
            taken[name].append((time.perf_counter() - start, _cpu() - cpu, peak))
    return {name: _median(each) for name, each in taken.items()}


def read(files: list[Path], threads: int) -> float:
    """Read the whole files into buffers, one after the other or in parallel."""

    def one(file: Path) -> None:
        buffer = bytearray(READ)
        with open(file, "rb", buffering=0) as opened:
            while opened.readinto(buffer):
                pass

    with ThreadPoolExecutor(threads) as pool:
        list(pool.map(one, files))
    return 0.0


def _run(command: list[str]) -> float:
    with subprocess.Popen(command, stdout=subprocess.DEVNULL) as process:
        _, status, used = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise SystemExit(f"{' '.join(command)}: exit status {process.returncode}")
    return used.ru_maxrss / 1024


def _cpu() -> float:
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(each.ru_utime + each.ru_stime for each in used)


def _median(taken: list[Taken]) -> Taken:
    seconds, cpu, peak = (statistics.median(column) for column in zip(*taken, strict=True))
    return seconds, cpu, peak


def _forget(files: list[Path]) -> None:
    """Remove files from the page cache."""
    for file in files:
        with open(file, "rb") as opened:
            os.posix_fadvise(opened.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def _can_hold(kind: str, case: str) -> bool:
    """Whether a format can hold a case: only `.keras` files hold a freeze."""
    return kind == "keras" or case in ("equal", "changed")


def _written(folder: str, kind: str, case: str, gigabytes: float, dtype: str) -> list[Path]:
    done = subprocess.run(
        [
            *(sys.executable, "-W", "ignore", "-m", "benchmarks.diff_files", folder, kind, case),
            *(str(gigabytes), dtype),
        ],
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise SystemExit(done.stderr[-3000:])
    return [Path(line) for line in done.stdout.splitlines()[-2:]]


def row(name: str, taken: dict[str, Taken]) -> list[str]:
    """A row of the table."""
    reading, diff = taken["reading"], taken["diff"]
    return [
        name,
        *(f"{taken[way][0]:.2f} s" for way in ("reading", "two threads", "diff")),
        f"{diff[0] / reading[0]:.2f}",
        f"{diff[1] / reading[1]:.2f}",
        f"{diff[2]:.0f} MiB",
    ]


def table(rows: list[list[str]]) -> list[str]:
    """Rows as a Markdown table."""
    lines = [HEAD, ["---", *["---:"] * (len(HEAD) - 1)], *rows]
    return ["| " + " | ".join(line) + " |" for line in lines]


if __name__ == "__main__":
    sys.exit(main())
