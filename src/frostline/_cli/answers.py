"""What the commands on files answer: as a table with a line below it, or as JSON."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from frostline import _console
from frostline._console import percent
from frostline._deltas.delta import Delta
from frostline._files import ModelFile
from frostline._files.check import Report
from frostline._files.compare import Comparison

_NO_FREEZE = "no freeze: a {} file holds weights alone"


def inspected(opened: ModelFile, *, as_json: bool, quiet: bool) -> None:
    """Print the weights of a file and what is frozen of each."""
    if as_json:
        _console.show_json(_inspected(opened))
        return
    if not quiet:
        rows = [
            (
                weight.path,
                str(weight.shape),
                str(weight.dtype),
                f"{weight.size:,}",
                f"{weight.frozen_count:,}",
                percent(weight.frozen_count, weight.size),
                "" if weight.frozen is None else weight.frozen.kind,
            )
            for weight in opened.weights
        ]
        share = percent(opened.frozen_count, opened.size)
        total = ("total", "", "", f"{opened.size:,}", f"{opened.frozen_count:,}", share, "")
        head = ("weight", "shape", "dtype", "entries", "frozen", "share", "kind")
        _console.show_table(head, rows, total, left=(0, 1, 2, 6))
    told = f"{opened.path}: {len(opened.weights):,} weights, {opened.size:,} entries"
    if opened.is_delta:
        print(f"{told}; a delta, of which `frostline delta info {opened.path}` tells more")
    elif opened.can_hold_a_freeze:
        print(f"{told}, {opened.frozen_count:,} frozen")
    else:
        print(f"{told}; {_NO_FREEZE.format('.' + opened.format)}")
    if opened.optimizer_values and not quiet:
        print(f"and {opened.optimizer_values:,} values of an optimizer, which are not listed")


def _inspected(opened: ModelFile) -> dict[str, Any]:
    return {
        "file": str(opened.path),
        "format": opened.format,
        "holds_a_freeze": opened.holds_a_freeze,
        "weights": [
            {
                "path": weight.path,
                "key": weight.key,
                "shape": list(weight.shape),
                "dtype": str(weight.dtype),
                "entries": weight.size,
                "frozen": weight.frozen_count,
                "share": weight.frozen_count / weight.size if weight.size else 0.0,
                "kind": "" if weight.frozen is None else weight.frozen.kind,
            }
            for weight in opened.weights
        ],
        "total": {
            "weights": len(opened.weights),
            "entries": opened.size,
            "frozen": opened.frozen_count,
            "share": opened.frozen_count / opened.size if opened.size else 0.0,
        },
        "optimizer_values": opened.optimizer_values,
    }


def compared(
    comparison: Comparison,
    before: Path,
    after: Path,
    written: Sequence[Path] = (),
    *,
    as_json: bool,
    quiet: bool,
) -> None:
    """Print which weights changed, whether anything frozen did, and what was written of it."""
    if as_json:
        _console.show_json(_compared(comparison, before, after))
        return
    changed = [weight for weight in comparison.weights if weight.changed]
    if changed and not quiet:
        head = (
            "weight",
            "entries",
            "changed",
            "largest |difference|",
            "frozen",
            "changed of it",
        )
        rows = [
            (
                weight.path,
                f"{weight.size:,}",
                f"{weight.changed:,}",
                _number(weight.largest),
                f"{weight.frozen:,}",
                f"{weight.frozen_changed:,}",
            )
            for weight in changed
        ]
        total = (
            "total of these",
            f"{sum(weight.size for weight in changed):,}",
            f"{comparison.total('changed'):,}",
            _number(_largest(comparison)),
            f"{sum(weight.frozen for weight in changed):,}",
            f"{comparison.total('frozen_changed'):,}",
        )
        _console.show_table(head, rows, total)
    print(
        f"{len(changed):,} of {len(comparison.weights):,} weights changed, "
        f"{comparison.total('changed'):,} of {comparison.total('size'):,} entries"
        + _odd(comparison.total("not_finite"))
    )
    print(_frozen(comparison))
    for path in written if not quiet else ():
        print(f"written to {path}")


def _frozen(comparison: Comparison) -> str:
    if not comparison.freeze_from:
        return (
            "frozen: nothing is known to be, since no file holds a freeze; "
            "name one that does with --frozen MODEL.keras"
        )
    told = (
        f"frozen: {comparison.total('frozen_changed'):,} of {comparison.total('frozen'):,} "
        "entries differ"
    )
    return told if comparison.first is None else f"{told}, the first is {comparison.first}"


def _odd(count: int) -> str:
    return f", {count:,} of them infinite or not a number" if count else ""


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.6g}"


def _largest(comparison: Comparison) -> float | None:
    known = [weight.largest for weight in comparison.weights if weight.largest is not None]
    return max(known, default=None)


def _compared(comparison: Comparison, before: Path, after: Path) -> dict[str, Any]:
    first = comparison.first
    return {
        "before": str(before),
        "after": str(after),
        "freeze_from": [str(path) for path in comparison.freeze_from],
        "weights": [
            {
                "path": weight.path,
                "shape": list(weight.shape),
                "dtype": weight.dtype,
                "entries": weight.size,
                "changed": weight.changed,
                "largest_difference": weight.largest,
                "not_finite": weight.not_finite,
                "frozen": weight.frozen,
                "frozen_changed": weight.frozen_changed,
            }
            for weight in comparison.weights
        ],
        "total": {
            "weights": len(comparison.weights),
            "weights_changed": sum(weight.changed > 0 for weight in comparison.weights),
            "entries": comparison.total("size"),
            "changed": comparison.total("changed"),
            "largest_difference": _largest(comparison),
            "not_finite": comparison.total("not_finite"),
            "frozen": comparison.total("frozen"),
            "frozen_changed": comparison.total("frozen_changed"),
        },
        "first": None
        if first is None
        else {
            "path": first.path,
            "index": list(first.index),
            "before": first.before,
            "after": first.after,
        },
    }


def verified(report: Report, path: Path, *, as_json: bool, quiet: bool) -> None:
    """Print that a file is whole, or all that is wrong with it."""
    if as_json:
        value = {
            "file": str(path),
            "whole": not report.faults,
            "faults": list(report.faults),
            "weights": report.weights,
            "entries": report.size,
            "frozen": report.frozen,
        }
        _console.show_json(value)
        return
    for fault in report.faults:
        print(fault if fault.startswith(str(path)) else f"{path}: {fault}")
    if not report.faults and not quiet:
        print(
            f"{path}: whole; {report.weights:,} weights, {report.size:,} entries, "
            f"{report.frozen:,} frozen"
        )


def delta_told(delta: Delta, path: Path, *, as_json: bool, quiet: bool) -> None:
    """Print what is in a delta."""
    if as_json:
        _console.show_json(_delta(delta, path))
        return
    held = [weight for weight in delta.weights if weight.held]
    if held and not quiet:
        head = ("weight", "shape", "dtype", "entries", "in it", "share", "kind", "bytes")
        rows = [
            (
                weight.path,
                str(weight.shape),
                weight.dtype,
                f"{weight.size:,}",
                f"{weight.held:,}",
                percent(weight.held, weight.size),
                weight.kind,
                f"{weight.nbytes:,}",
            )
            for weight in held
        ]
        size = sum(weight.size for weight in held)
        share = percent(delta.size, size)
        sums = ("", "", f"{size:,}", f"{delta.size:,}", share, "", f"{delta.nbytes:,}")
        _console.show_table(head, rows, ("total of these", *sums), left=(0, 1, 2, 6))
    print(
        f"{path}: a delta of {len(held):,} of {len(delta.weights):,} weights, "
        f"{delta.size:,} entries"
    )


def _delta(delta: Delta, path: Path) -> dict[str, Any]:
    return {
        "file": str(path),
        "fingerprint": delta.fingerprint,
        "base": delta.base,
        "frostline": delta.frostline,
        "weights": [
            {
                "path": weight.path,
                "shape": list(weight.shape),
                "dtype": weight.dtype,
                "entries": weight.size,
                "held": weight.held,
                "kind": weight.kind,
                "bytes": weight.nbytes,
                "state": weight.state,
                "fingerprint": weight.fingerprint,
            }
            for weight in delta.weights
        ],
        "total": {
            "weights": sum(weight.held > 0 for weight in delta.weights),
            "entries": sum(weight.size for weight in delta.weights),
            "held": delta.size,
            "bytes": delta.nbytes,
        },
    }
