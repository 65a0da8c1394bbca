"""Runs the papers in small: `make papers`, or `python -m benchmarks.papers.run`.

With `--write` the numbers are kept in `benchmarks/papers/results/`, a file for each paper, and
`docs/reproduced.md` and its pictures are made anew from all of these files.
"""

from __future__ import annotations

import argparse
import importlib
import json
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
NAMES = ("deconstructing_tickets", "batchnorm_only", "bitfit", "fish", "surgical", "channels")


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--only", choices=NAMES, help="one paper")
    parser.add_argument("--write", action="store_true", help="keep the numbers, write the page")
    parser.add_argument("--page", action="store_true", help="write it from the numbers kept")
    options = parser.parse_args(arguments)
    names = [options.only] if options.only else [] if options.page else NAMES
    for paper in map(load, names):
        start = time.perf_counter()
        result = run(paper, options.seeds)
        seconds = time.perf_counter() - start
        print(f"\n{paper.title}: {seconds:.0f} s\n")
        print("\n".join([*table(paper, result), "", paper.verdict(arrays(result))]))
        if options.write:
            text = json.dumps(result, indent=1, ensure_ascii=False)
            (RESULTS / f"{paper.name}.json").write_text(text + "\n", encoding="utf-8")
    if options.write or options.page:
        (DOCS / "reproduced.md").write_text(page(), encoding="utf-8")
        for name, result in stored().items():
            figure(load(name), result, DOCS / f"reproduced_{name}.png")
    return 0


def load(name: str) -> Paper:
    return importlib.import_module(f"benchmarks.papers.{name}").PAPER


def run(paper: Paper, seeds: int) -> dict[str, Any]:
    """The numbers of each condition, a row for each seed, and where they were taken."""
    rows = []
    with Progress(console=Console(stderr=True)) as progress:
        for seed in progress.track(range(seeds), description=paper.name):
            rows.append(paper.measure(seed))
    conditions = {
        name: [[float(f"{number:.8g}") for number in row[name]] for row in rows] for name in rows[0]
    }
    return {"where": _where(), "conditions": conditions}


def _where() -> str:
    backend = keras.backend.backend()
    shown, package = BACKENDS.get(backend, ("TensorFlow", "tensorflow-cpu"))
    return (
        f"Keras {version('keras')}, {shown} {version(package)}, Python {platform.python_version()}"
    )


def stored() -> dict[str, dict[str, Any]]:
    """What is kept of each paper, in the order of the page."""
    files = {name: RESULTS / f"{name}.json" for name in NAMES}
    return {
        name: json.loads(file.read_text(encoding="utf-8"))
        for name, file in files.items()
        if file.exists()
    }


def page() -> str:
    """`docs/reproduced.md`, from what is kept of each paper."""
    head = (HERE / "head.md").read_text(encoding="utf-8").rstrip()
    sections = [markdown(load(name), result) for name, result in stored().items()]
    return "\n".join([head, "", *sections])


if __name__ == "__main__":
    sys.exit(main())
