"""Measure the cost of training with part of each weight frozen: `make bench`.

Every case runs on every backend, on TensorFlow with and without XLA. The variants of a case run
interleaved in one process, and some run again in their own process to measure memory. A full run
writes `docs/benchmarks.md` and `docs/benchmarks.png`; a narrowed one prints its tables.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import Progress

from benchmarks.report import Measured, figure, markdown

HERE = Path(__file__).parent
DOCS = HERE.parent / "docs"
BACKENDS = {
    "PyTorch": ("torch", False),
    "JAX": ("jax", True),
    "TensorFlow": ("tensorflow", False),
    "TensorFlow, XLA": ("tensorflow", True),
}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--backends", nargs="+", choices=BACKENDS, default=list(BACKENDS))
    parser.add_argument("--only", default="", help="only cases whose name or group contains this")
    parser.add_argument("--no-memory", action="store_true", help="measure only times")
    parser.add_argument("--here", nargs=3, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.here:
        print(json.dumps(_here(*options.here)))
        return 0
    results: dict[str, list[Measured]] = {}
    with Progress(console=Console(stderr=True)) as progress:
        for backend in options.backends:
            cases = [
                c for c in _run(backend, "list") if options.only in f"{c['case']} {c['group']}"
            ]
            task = progress.add_task(backend, total=len(cases))
            for case in cases:
                weighed = case.pop("memory") and not options.no_memory
                results.setdefault(backend, []).append(_measure(backend, case, memory=weighed))
                progress.advance(task)
    text = markdown(results)
    print(text)
    if not options.only and options.backends == list(BACKENDS):
        # This one takes too long to repeat each time: see benchmarks/layers.py.
        layers = (HERE / "layers.md").read_text()
        (DOCS / "benchmarks.md").write_text(_head() + text + _verbs_and_files() + layers)
        figure(results, DOCS / "benchmarks.png")
    return 0


def _measure(backend: str, case: dict[str, Any], *, memory: bool) -> Measured:
    seconds = _run(backend, "times", case["case"])
    taken = {v: _run(backend, "memory", case["case"], v) for v in seconds} if memory else {}
    return Measured(**case, seconds=seconds, memory=taken)


def _verbs_and_files() -> str:
    """The sections on costs outside a step."""
    from benchmarks import choosing, deltas, freezing

    sections = []
    for name, module in (("freezing", freezing), ("choosing", choosing), ("deltas", deltas)):
        found = {
            title: _of_module(backend, f"benchmarks.{name}", getattr(module, "KINDS", None))
            for title, (backend, jit) in BACKENDS.items()
            if not (backend == "tensorflow" and jit)
        }
        head = (HERE / f"{name}.md").read_text().rstrip()
        sections.append("\n".join(["", head, "", *module.table(found), ""]))
    return "".join(sections)


def _of_module(backend: str, module: str, kinds: Sequence[str] | None) -> Any:
    """The results that a module prints, for each of its kinds if it has any."""
    if kinds is None:
        return on_backend(backend, module)
    return {kind: on_backend(backend, module, kind) for kind in kinds}


def _here(task: str, jit: str, rest: str):
    """Run one task in this process, whose backend is already set."""
    from benchmarks import cases, measure, stock

    known = [*cases.CASES, *stock.CASES]

    if task == "list":
        return [
            {
                "case": case.name,
                "group": case.group,
                "share": case.share,
                "batch": case.batch,
                "memory": case.memory,
            }
            for case in known
        ]
    name, variant = json.loads(rest)
    case = next(case for case in known if case.name == name)
    if task == "memory":
        return measure.temporaries(case, variant, jit=jit == "jit")
    return measure.times(case, jit=jit == "jit")


def _run(backend: str, task: str, name: str = "", variant: str = "") -> Any:
    keras_backend, jit = BACKENDS[backend]
    rest = json.dumps([name, variant])
    return on_backend(keras_backend, "benchmarks.run", "--here", task, "jit" if jit else "no", rest)


def on_backend(keras_backend: str, module: str, *arguments: str) -> Any:
    """Run a module in a process with this backend, and return the JSON in its last line."""
    quiet = {"TF_CPP_MIN_LOG_LEVEL": "2", "KERAS_BACKEND": keras_backend}
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-m", module, *arguments],
        env={**os.environ, **quiet},
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise SystemExit(f"{keras_backend}, {' '.join(arguments)}:\n{done.stderr[-3000:]}")
    return json.loads(done.stdout.splitlines()[-1])


def _head() -> str:
    versions = ", ".join(
        f"{shown} {version(package)}"
        for shown, package in {
            "Keras": "keras",
            "PyTorch": "torch",
            "JAX": "jax",
            "TensorFlow": "tensorflow-cpu",
            "PEFT": "peft",
            "optax": "optax",
        }.items()
    )
    return (
        (HERE / "head.md")
        .read_text()
        .format(versions=versions, cores=os.cpu_count(), machine=platform.machine())
    )


if __name__ == "__main__":
    sys.exit(main())
