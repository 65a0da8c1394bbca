"""Runs the papers in small: `make papers`, or `python -m benchmarks.papers.run`.

With `--write` the numbers are kept in `benchmarks/papers/results/`, a file for each paper, and
`docs/reproduced.md` and its pictures are made anew from all of these files.
"""

from __future__ import annotations

import argparse
import importlib
import json
import os
import platform
import sys
import time
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import keras
from rich.console import Console
from rich.progress import Progress

from benchmarks.papers.page import arrays, figure, markdown, table
from benchmarks.papers.paper import Paper

HERE = Path(__file__).parent
DOCS = HERE.parents[1] / "docs"
RESULTS = HERE / "results"
BACKENDS = {"jax": ("JAX", "jax"), "torch": ("PyTorch", "torch")}
NAMES = ("batchnorm_only",)


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--only", choices=NAMES, help="one paper")
    parser.add_argument("--write", action="store_true", help="keep the numbers, write the page")
    options = parser.parse_args(arguments)
    names = [options.only] if options.only else NAMES
    for paper in map(load, names):
        result = run(paper, options.seeds)
        print("\n".join(["", paper.title, "", *table(paper, result), "", paper.verdict(arrays(result))]))
        if options.write:
            text = json.dumps(result, indent=1, ensure_ascii=False)
            (RESULTS / f"{paper.name}.json").write_text(text + "\n", encoding="utf-8")
            figure(paper, result, DOCS / f"reproduced_{paper.name}.png")
    if options.write:
        (DOCS / "reproduced.md").write_text(page(), encoding="utf-8")
    return 0


def load(name: str) -> Paper:
    return importlib.import_module(f"benchmarks.papers.{name}").PAPER


def run(paper: Paper, seeds: int) -> dict[str, Any]:
    """The numbers of each condition, a row for each seed, and where they were taken."""
    start, rows = time.perf_counter(), []
    with Progress(console=Console(stderr=True)) as progress:
        for seed in progress.track(range(seeds), description=paper.name):
            rows.append(paper.measure(seed))
    conditions = {
        name: [[float(f"{number:.6g}") for number in row[name]] for row in rows] for name in rows[0]
    }
    return {"where": _where(time.perf_counter() - start), "conditions": conditions}


def _where(seconds: float) -> str:
    backend = keras.backend.backend()
    shown, package = BACKENDS.get(backend, ("TensorFlow", "tensorflow-cpu"))
    versions = f"Keras {version('keras')}, {shown} {version(package)}"
    return f"{versions}, {os.cpu_count()} cores of {platform.machine()}, {seconds:.0f} s"


def page() -> str:
    """`docs/reproduced.md`, from what is kept of each paper."""
    sections = [(HERE / "head.md").read_text(encoding="utf-8").rstrip(), ""]
    for name in NAMES:
        path = RESULTS / f"{name}.json"
        if path.exists():
            sections.append(markdown(load(name), json.loads(path.read_text(encoding="utf-8"))))
    return "\n".join(sections)


if __name__ == "__main__":
    sys.exit(main())
