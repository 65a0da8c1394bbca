"""Break the library on purpose, once for each mutation, and check that a test fails each time.

A mutation that no test notices shows a gap in the suite. The exit status is 0 only if each one is
noticed. `tests/mutations` lists the mutations and the tests that must notice them.
"""

from __future__ import annotations

import argparse
import fnmatch
import os
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from rich.console import Console
from rich.markup import escape
from rich.progress import track
from rich.table import Table

from mutations import INVARIANTS, MUTATIONS, SOURCE, Mutation

TESTS = pathlib.Path(__file__).parent
SECONDS = 300  # a longer run counts as hanging
OTHER_COPY = (
    70  # the exit status of a run whose tests imported a frostline other than the mutated one
)

# Tests of the installed package would notice nothing, so the process checks which one it imported.
RUN = f"""
import pathlib, sys
import pytest

status = int(pytest.main(sys.argv[2:]))
used = sys.modules.get("frostline")
right = used is not None and pathlib.Path(used.__file__).parent == pathlib.Path(sys.argv[1])
sys.exit(status if right or status not in (0, 1) else {OTHER_COPY})
"""


@dataclass(frozen=True)
class Result:
    """The result of a mutation: `caught`, `missed` or `error`."""

    mutation: Mutation
    verdict: str
    seconds: float
    told: str
    """The failed test with its error; for the verdict `error`, the end of the output."""


def verdict_of(status: int | None) -> str:
    """The verdict on a mutation from pytest's exit status; None means that the run timed out.

    A mutation is caught only if a test failed. If tests were not found, not collected or
    interrupted, they noticed nothing, which is an error of the run.
    """
    return {0: "missed", 1: "caught"}.get(-1 if status is None else status, "error")


def run_tests(package: pathlib.Path, tests: Sequence[str], backend: str) -> tuple[int | None, str]:
    """Run tests against the library at `package`; return the exit status and the output."""
    asked = [f"{TESTS}/{test}" for test in tests]
    path = os.pathsep.join(
        [str(package.parent), str(TESTS.parent), os.environ.get("PYTHONPATH", "")]
    )
    options = ["-x", "-q", "--tb=line", "-p", "no:cacheprovider"]
    try:
        done = subprocess.run(
            [sys.executable, "-c", RUN, str(package), *options, *asked],
            env={
                **os.environ,
                "KERAS_BACKEND": backend,
                "PYTHONPATH": path.rstrip(os.pathsep),
                "PYTHONDONTWRITEBYTECODE": "1",
                "PYTEST_ADDOPTS": "",
            },
            cwd=TESTS.parent,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            timeout=SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return None, f"not done after {SECONDS} seconds"
    return done.returncode, done.stdout


def try_out(mutation: Mutation) -> Result:
    """Apply one mutation to a copy of the library, and run its tests there."""
    start = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="frostline-") as folder:
        package = pathlib.Path(folder).resolve() / "frostline"
        shutil.copytree(SOURCE, package, ignore=shutil.ignore_patterns("__pycache__"))
        (package / mutation.file).write_text(mutation.mutated(), encoding="utf-8")
        status, printed = run_tests(package, mutation.tests, mutation.backend)
    verdict = verdict_of(status)
    told = printed[-2000:] if verdict == "error" else first_failure(printed)
    return Result(mutation, verdict, time.monotonic() - start, told)


def first_failure(printed: str) -> str:
    """The first failed test in pytest's summary, with its error."""
    found = re.search(r"^FAILED (?:\S*/)?\S+?::(.*)$", printed, re.MULTILINE)
    return found[1] if found else ""


def check_unmutated(mutations: Sequence[Mutation], workers: int) -> dict[str, str]:
    """Run the tests of all mutations on the unchanged library; return failed output by backend."""
    tests: dict[str, list[str]] = {}
    for mutation in mutations:
        asked = tests.setdefault(mutation.backend, [])
        asked.extend(test for test in mutation.tests if test not in asked)
    with ThreadPoolExecutor(workers) as pool:
        runs = pool.map(lambda backend: run_tests(SOURCE, tests[backend], backend), tests)
        return {
            backend: printed
            for backend, (status, printed) in zip(tests, runs, strict=True)
            if status != 0
        }


def report(results: Sequence[Result], console: Console) -> None:
    """Print a line for each mutation, one for each invariant, and the failures."""
    colours = {"caught": "green", "missed": "red", "error": "yellow"}
    table = Table("invariant", "mutation", "backend", "", "s", "by", title="Mutations")
    for result in results:
        mutation, colour = result.mutation, colours[result.verdict]
        table.add_row(
            str(mutation.invariant),
            escape(mutation.name),
            mutation.backend,
            f"[{colour}]{result.verdict}[/]",
            f"{result.seconds:.1f}",
            "" if result.verdict == "error" else escape(result.told[:80]),
        )
    console.print(table)
    summary = Table("", "invariant", "caught", "missed", "error", title="By invariant")
    for number, invariant in INVARIANTS.items():
        found = [r.verdict for r in results if r.mutation.invariant == number]
        if found:
            counts = (str(found.count(verdict)) for verdict in colours)
            summary.add_row(str(number), invariant, *counts)
    console.print(summary)
    for result in results:
        if result.verdict == "error":
            console.print(f"\n[yellow]{escape(result.mutation.name)}[/]\n{escape(result.told)}")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", default="*", help="a glob on the names of mutations")
    parser.add_argument("--workers", type=int, default=2, help="mutations at a time")
    options = parser.parse_args()
    workers = max(1, options.workers)
    chosen = [m for m in MUTATIONS if fnmatch.fnmatchcase(m.name, options.only)]
    if not chosen:
        parser.error(f"no mutation has this name: --only {options.only!r}")

    console = Console()
    start = time.monotonic()
    failed = check_unmutated(chosen, workers)
    for backend, printed in failed.items():
        console.print(f"[red]Without a mutation the tests fail on {backend}:[/]")
        console.print(escape(printed[-4000:]))
    if failed:
        return 2
    with ThreadPoolExecutor(workers) as pool:
        runs = pool.map(try_out, chosen)
        results = list(track(runs, "breaking", total=len(chosen), console=console))
    report(results, console)
    missed = [result for result in results if result.verdict != "caught"]
    console.print(
        f"{len(results) - len(missed)} of {len(results)} caught in {time.monotonic() - start:.0f} s"
    )
    return int(bool(missed))


if __name__ == "__main__":
    sys.exit(main())
