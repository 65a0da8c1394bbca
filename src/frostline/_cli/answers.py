"""The output of the commands that read files: a table with a line below it, or JSON."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from frostline._console import percent, show, show_json, show_table
from frostline._summaries import KINDS

if TYPE_CHECKING:
    from frostline._deltas import Delta
    from frostline._files import ModelFile
    from frostline._files.check import Verification
    from frostline._files.compare import Comparison

_IN_DELTA = {
    "whole": "all of the weight is in the delta",
    "block": "one range of positions along an axis is in it",
    "positions": "other positions along an axis are in it",
    "entries": "single entries are in it",
}
_NO_FREEZE = "no freeze: a {} file holds only weights"


@dataclass(frozen=True)
class Column:
    """A value of each weight: its key in JSON and its column in the table, "" for none.

    `of` computes it for one weight, or for several if it `adds` up. `cell` formats it.
    """

    key: str
    name: str
    of: Callable[[Sequence[Any]], Any]
    adds: bool = True
    cell: Callable[[Any], str] = str


def _text(key: str, name: str, of: Callable[[Any], Any]) -> Column:
    return Column(key, name, lambda weights: of(weights[0]), adds=False)


def _sum(weights: Sequence[Any], attribute: str) -> int:
    return sum(getattr(weight, attribute) for weight in weights)


def _count(key: str, name: str, attribute: str) -> Column:
    return Column(key, name, lambda weights: _sum(weights, attribute), cell="{:,}".format)


def _share(key: str, attribute: str) -> Column:
    def share(weights: Sequence[Any]) -> float:
        size = _sum(weights, "size")
        return _sum(weights, attribute) / size if size else 0.0

    return Column(key, "share", share, cell=lambda share: percent(share, 1))


_PATH = _text("path", "weight", lambda weight: weight.path)
_SHAPE = _text("shape", "shape", lambda weight: weight.shape)
_DTYPE = _text("dtype", "dtype", lambda weight: str(weight.dtype))
_ENTRIES = _count("entries", "entries", "size")

_STORED = (
    _PATH,
    _text("key", "", lambda weight: weight.key),
    _SHAPE,
    _DTYPE,
    _ENTRIES,
    _count("frozen", "frozen", "frozen_count"),
    _share("share", "frozen_count"),
    _text("kind", "kind", lambda w: "" if w.frozen is None else w.frozen.kind),
)
_COMPARED = (
    _PATH,
    replace(_SHAPE, name=""),
    replace(_DTYPE, name=""),
    _ENTRIES,
    _count("changed", "changed", "changed"),
    Column(
        "largest_difference",
        "largest |difference|",
        lambda weights: max((w.largest for w in weights if w.largest is not None), default=None),
        cell=lambda value: "" if value is None else f"{value:.6g}",
    ),
    _count("not_finite", "", "not_finite"),
    _count("frozen", "frozen", "frozen"),
    _count("frozen_changed", "frozen changed", "frozen_changed"),
)
_HELD = (
    _PATH,
    _SHAPE,
    _DTYPE,
    _ENTRIES,
    _count("held", "in delta", "held"),
    _share("", "held"),
    _text("kind", "kind", lambda weight: weight.kind),
    _count("bytes", "bytes", "nbytes"),
    _text("state", "", lambda weight: weight.state),
    _text("fingerprint", "", lambda weight: weight.fingerprint),
)


def _as_data(columns: Sequence[Column], weights: Sequence[Any]) -> list[dict[str, Any]]:
    keyed = [column for column in columns if column.key]
    return [{column.key: column.of([weight]) for column in keyed} for weight in weights]


def _totals(columns: Sequence[Column], weights: Sequence[Any]) -> dict[str, Any]:
    return {column.key: column.of(weights) for column in columns if column.key and column.adds}


def _show(columns: Sequence[Column], weights: Sequence[Any], label: str = "total of these") -> None:
    _, *others = shown = [column for column in columns if column.name]
    show_table(
        head=[column.name for column in shown],
        rows=[[column.cell(column.of([weight])) for column in shown] for weight in weights],
        total=[label, *(c.cell(c.of(weights)) if c.adds else "" for c in others)],
        left=[place for place, column in enumerate(shown) if not column.adds],
    )


def _show_kinds(meanings: dict[str, str], kinds: set[str]) -> None:
    words = [f"{kind}: {meaning}" for kind, meaning in meanings.items() if kind in kinds]
    if words:
        show("; ".join(words))


def inspected(opened: ModelFile, *, as_json: bool, quiet: bool) -> None:
    """Print the weights of a file and what is frozen of each."""
    if as_json:
        show_json(
            {
                "file": str(opened.path),
                "format": opened.format,
                "holds_a_freeze": opened.holds_a_freeze,
                "weights": _as_data(_STORED, opened.weights),
                "total": {"weights": len(opened.weights), **_totals(_STORED, opened.weights)},
                "optimizer_values": opened.optimizer_values,
            }
        )
        return
    if not quiet:
        _show(_STORED, opened.weights, "total")
        _show_kinds(KINDS, {weight.frozen.kind for weight in opened.weights if weight.frozen})
    about = f"{opened.path}: {len(opened.weights):,} weights, {opened.size:,} entries"
    if opened.is_delta:
        show(f"{about}; a delta: `frostline delta info {opened.path}` lists its contents")
    elif opened.can_hold_a_freeze:
        show(f"{about}, {opened.frozen_count:,} frozen")
    else:
        show(f"{about}; {_NO_FREEZE.format('.' + opened.format)}")
    if opened.optimizer_values and not quiet:
        show(f"and {opened.optimizer_values:,} values of the optimizer, which are not listed")


def compared(
    comparison: Comparison,
    before: Path,
    after: Path,
    written: Sequence[Path] = (),
    *,
    as_json: bool,
    quiet: bool,
) -> None:
    """Print which weights changed, whether a frozen entry did, and which files were written."""
    weights, first = comparison.weights, comparison.first
    changed = [weight for weight in weights if weight.changed]
    if as_json:
        counts = {"weights": len(weights), "weights_changed": len(changed)}
        show_json(
            {
                "before": str(before),
                "after": str(after),
                "freeze_from": [str(path) for path in comparison.freeze_from],
                "weights": _as_data(_COMPARED, weights),
                "total": {**counts, **_totals(_COMPARED, weights)},
                "first": None if first is None else asdict(first),
            }
        )
        return
    if changed and not quiet:
        _show(_COMPARED, changed)
    odd = comparison.total("not_finite")
    show(
        f"{len(changed):,} of {len(weights):,} weights changed, "
        f"{comparison.total('changed'):,} of {comparison.total('size'):,} entries"
        + (f", {odd:,} of them infinite or not a number" if odd else "")
    )
    show(_frozen(comparison))
    for path in written if not quiet else ():
        show(f"written to {path}")


def _frozen(comparison: Comparison) -> str:
    if not comparison.freeze_from:
        return (
            "frozen: unknown, because neither file holds a freeze; "
            "name a file that does with --frozen MODEL.keras"
        )
    line = (
        f"frozen: {comparison.total('frozen_changed'):,} of {comparison.total('frozen'):,} "
        "entries differ"
    )
    return line if comparison.first is None else f"{line}, the first is {comparison.first}"


def verified(found: Verification, path: Path, *, as_json: bool, quiet: bool) -> None:
    """Print that a file is intact, or all that is wrong with it."""
    if as_json:
        show_json(
            {
                "file": str(path),
                "intact": not found.faults,
                "faults": found.faults,
                "weights": found.weights,
                "entries": found.size,
                "frozen": found.frozen,
            }
        )
        return
    for fault in found.faults:
        show(fault if fault.startswith(str(path)) else f"{path}: {fault}")
    if not found.faults and not quiet:
        counts = f"{found.weights:,} weights, {found.size:,} entries"
        if path.name.lower().endswith(".keras"):  # other files hold no freeze
            counts += f", {found.frozen:,} frozen"
        show(f"{path}: intact; {counts}")


def delta_listed(delta: Delta, path: Path, *, as_json: bool, quiet: bool) -> None:
    """Print the contents of a delta."""
    held = [weight for weight in delta.weights if weight.held]
    if as_json:
        show_json(
            {
                "file": str(path),
                "fingerprint": delta.fingerprint,
                "base": delta.base,
                "frostline": delta.frostline,
                "rounded_to": delta.rounded_to,
                "weights": _as_data(_HELD, delta.weights),
                "total": {"weights": len(held), **_totals(_HELD, delta.weights)},
            }
        )
        return
    if held and not quiet:
        _show(_HELD, held)
        _show_kinds(_IN_DELTA, {weight.kind for weight in held})
        show("bytes: the values and the indices of their entries")
    show(
        f"{path}: a delta of {len(held):,} of {len(delta.weights):,} weights, "
        f"{delta.size:,} entries"
    )
    if delta.rounded_to:
        show(f"values are rounded to {delta.rounded_to}, so not bit for bit the trained values")
