"""Bytes on the wire and in memory of each engine, and a model on paper of large ones.

`make scale`, or `python -m benchmarks.scale.run`, measures and prints; `--only` narrows it to some
cases. With `--write` the numbers are kept in `benchmarks/scale/results/`, a file for each backend,
and `docs/scale/numbers.md` is made anew from these files.
"""

from __future__ import annotations

import argparse
import json
import platform
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from typing import Any

from benchmarks.run import on_backend
from benchmarks.scale.page import measured, on_paper
from benchmarks.scale.rows import Row

HERE = Path(__file__).parent
RESULTS = HERE / "results"
PAGE = HERE.parents[1] / "docs" / "scale" / "numbers.md"
BACKENDS = {
    "jax": ("JAX", "jax"),
    "torch": ("PyTorch", "torch"),
    "tensorflow": ("TensorFlow", "tensorflow-cpu"),
}


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--backends", nargs="+", choices=BACKENDS, default=list(BACKENDS))
    parser.add_argument("--only", default="", help="cases whose name holds this")
    parser.add_argument("--collectives", action="store_true", help="list each of them too")
    parser.add_argument("--write", action="store_true", help="keep the numbers, write the page")
    parser.add_argument("--page", action="store_true", help="write it from the numbers kept")
    options = parser.parse_args(arguments)
    if options.write and options.only:
        parser.error("--write keeps all cases of a backend: leave out --only")
    for backend in [] if options.page else options.backends:
        start = time.perf_counter()
        found = on_backend(backend, f"benchmarks.scale.on_{backend}", options.only)
        rows = [Row(**row) for row in found]
        print("\n".join(measured(rows)))
        if options.collectives:
            print("\n".join(_listed(row) for row in rows))
        print(f"{BACKENDS[backend][0]}: {time.perf_counter() - start:.0f} s\n", file=sys.stderr)
        if options.write:
            kept = {"where": _where(backend), "rows": [asdict(row) for row in rows]}
            (RESULTS / f"{backend}.json").write_text(json.dumps(kept, indent=1) + "\n")
    if options.write or options.page:
        PAGE.parent.mkdir(exist_ok=True)
        PAGE.write_text(page())
    return 0


def stored() -> dict[str, dict[str, Any]]:
    """What is kept of each backend: `where` it was measured, and `rows`."""
    files = {backend: RESULTS / f"{backend}.json" for backend in BACKENDS}
    return {name: json.loads(file.read_text()) for name, file in files.items() if file.exists()}


def page() -> str:
    """The page, from what is kept of each backend."""
    kept = stored()
    rows = [Row(**row) for found in kept.values() for row in found["rows"]]
    return (
        (HERE / "head.md")
        .read_text()
        .format(
            where=", ".join(found["where"] for found in kept.values()),
            measured="\n".join(measured(rows)).rstrip(),
            on_paper="\n".join(on_paper()).rstrip(),
        )
    )


def _listed(row: Row) -> str:
    return "\n".join([f"{row.engine}: {row.case}", *(f"  {one}" for one in row.collectives)])


def _where(backend: str) -> str:
    name, package = BACKENDS[backend]
    return (
        f"{name} {version(package)} (Keras {version('keras')}, Python {platform.python_version()})"
    )


if __name__ == "__main__":
    sys.exit(main())
