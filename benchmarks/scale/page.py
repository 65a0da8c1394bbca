"""From measured rows and the model on paper to tables in Markdown."""

from __future__ import annotations

from collections.abc import Iterable

from benchmarks.scale.paper import H100, MODELS, WAYS, Accelerator, Transformer, predicted
from benchmarks.scale.rows import Row

COUNTS = (8, 64, 512)
SHARES = {0.001: "0.1 %", 0.01: "1 %", 0.1: "10 %", 1.0: "all"}
ONE_LINK = Accelerator(links=1)


def measured(rows: Iterable[Row]) -> list[str]:
    """A table for each engine, a row for each case."""
    engines: dict[str, list[Row]] = {}
    for row in rows:
        engines.setdefault(row.engine, []).append(row)
    lines = []
    for engine, cases in engines.items():
        told = any(row.temporaries is not None for row in cases)
        heads = ["", "trains", "holds", "formula", "least", "temporaries", "exchanges", "formula"]
        if not told:
            heads.remove("temporaries")
        lines += [
            f"#### {engine}",
            "",
            f"| {' | '.join(heads)} |".replace("|  |", "| |"),
            "|---|" + "---:|" * (len(heads) - 1),
            *map(_case, cases),
            "",
        ]
    return lines


def _case(row: Row) -> str:
    state, exchanged = predicted(row)
    numbers = [row.trained, row.state, state, row.best, row.temporaries, row.exchanged, exchanged]
    cells = [f"{round(number):,}" for number in numbers if number is not None]
    return f"| {row.case} | {' | '.join(cells)} |"


def on_paper() -> list[str]:
    """A table for each model, a row for each way to divide the work and share that trains."""
    lines = []
    for model in MODELS:
        heads = [f"{count} accelerators" for count in COUNTS]
        lines += [
            f"#### {model.name}, {model.entries:,} weights",
            "",
            f"| | trains | {' | '.join(heads)} | {COUNTS[-1]}, one link a node |",
            "|---|---:|" + "---:|" * (len(COUNTS) + 1),
            *(_way(model, way, share) for way in WAYS for share in SHARES),
            "",
        ]
    return lines


def _way(model: Transformer, way: str, share: float) -> str:
    cells = []
    for count in COUNTS:
        need = WAYS[way](model, share, count)
        text = f"{need.memory / 1e9:.1f} GB, {_giga(need.sent)}, {need.seconds:.2f} s"
        cells.append(text if need.memory <= H100.memory else f"*{text}*")
    slow = WAYS[way](model, share, COUNTS[-1], ONE_LINK)
    return f"| {way} | {SHARES[share]} | {' | '.join(cells)} | {slow.seconds:.2f} s |"


def _giga(size: float) -> str:
    return f"{size / 1e9:.2g} GB" if size < 1e10 else f"{size / 1e9:.0f} GB"
