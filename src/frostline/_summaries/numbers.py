"""The numbers of one weight, and their sums over several. No Keras."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from frostline._arrays.plan import AxisPlan, EntriesPlan, Plan


@dataclass(frozen=True)
class Row:
    """One weight: `frozen` of its `size` entries do not train.

    Attributes:
        path: The path of the weight below the target.
        shape: Its shape, a tuple of integers.
        dtype: Its dtype, `"float32"`.
        size: How many entries it has.
        frozen: How many of them are frozen.
        trained: How many of them train now: those that are not frozen, or none if the layer has
            `trainable=False`.
        share: `frozen / size`, 0 to 1.
        kind: `"whole"` (all of the weight is frozen), `"block"` (one range of positions along an
            axis trains or is frozen), `"positions"` (other positions along an axis train),
            `"entries"` (single entries train), or `""` if nothing is frozen.
        slots_kept: Values that the optimizer keeps for what trains. None if the model is not
            compiled, or if this number depends on more than the size of a weight.
        slots_saved: Values that the optimizer need not keep because of the freeze: 0 if the layer
            has `trainable=False`, None as for `slots_kept`.
        optimizer_bytes_kept: `slots_kept` in bytes; Keras keeps slots in the dtype of their weight.
        optimizer_bytes_saved: `slots_saved` in bytes.
        index_bytes: Bytes that a delta file needs to say which entries it holds: 4 for each
            position along an axis, or for each single entry (8 if a weight has 2^31 entries or
            more); 0 if all of the weight trains, or nothing.
        delta_bytes: Bytes of the weight in a delta file: the values that train, and `index_bytes`.
        trains: False if no entry trains now: all of them are frozen, or the layer has
            `trainable=False`, which the table calls "off".
    """

    path: str
    shape: tuple[int, ...]
    dtype: str
    size: int
    frozen: int
    kind: str
    slots_saved: int | None
    trains: bool
    slots_kept: int | None = None
    index_bytes: int = 0

    @property
    def share(self) -> float:
        return self.frozen / self.size if self.size else 0.0

    @property
    def trained(self) -> int:
        return self.size - self.frozen if self.trains else 0

    @property
    def optimizer_bytes_kept(self) -> int | None:
        return None if self.slots_kept is None else self.slots_kept * itemsize(self.dtype)

    @property
    def optimizer_bytes_saved(self) -> int | None:
        return None if self.slots_saved is None else self.slots_saved * itemsize(self.dtype)

    @property
    def delta_bytes(self) -> int:
        return self.trained * itemsize(self.dtype) + self.index_bytes


class Totals:
    """The sums of the numbers of some weights; `Summary` documents each."""

    def __init__(self, rows: Iterable[Row]) -> None:
        self.rows = tuple(rows)

    @property
    def size(self) -> int:
        return sum(row.size for row in self.rows)

    @property
    def frozen(self) -> int:
        return sum(row.frozen for row in self.rows)

    @property
    def trainable(self) -> int:
        return self.size - self.frozen

    @property
    def trained(self) -> int:
        return sum(row.trained for row in self.rows)

    @property
    def share(self) -> float:
        return self.frozen / self.size if self.size else 0.0

    @property
    def slots_kept(self) -> int | None:
        return _sum(row.slots_kept for row in self.rows)

    @property
    def slots_saved(self) -> int | None:
        return _sum(row.slots_saved for row in self.rows)

    @property
    def optimizer_bytes_kept(self) -> int | None:
        return _sum(row.optimizer_bytes_kept for row in self.rows)

    @property
    def optimizer_bytes_saved(self) -> int | None:
        return _sum(row.optimizer_bytes_saved for row in self.rows)

    @property
    def delta_bytes(self) -> int:
        return sum(row.delta_bytes for row in self.rows)


NUMBERS = (
    *("size", "frozen", "trained", "share", "slots_kept", "slots_saved"),
    *("optimizer_bytes_kept", "optimizer_bytes_saved", "delta_bytes"),
)
"""The numbers of a weight, a layer and a model in `to_dict` and in `to_dataframe`."""


UNKNOWN = "unknown: compile the model first (Adafactor, Muon and MultiOptimizer are not supported)"
"""What is printed where no optimizer is known."""


KINDS = {
    "whole": "all of the weight is frozen",
    "block": "one range of positions along an axis trains or is frozen",
    "positions": "other positions along an axis train, such as rows or filters",
    "entries": "single entries train",
}
"""The kinds of a freeze, each in a few words."""


def numbers(of: Row | Totals) -> dict[str, Any]:
    """The numbers by their names."""
    return {name: getattr(of, name) for name in NUMBERS}


def described(row: Row) -> dict[str, Any]:
    """A weight as plain data."""
    return {
        **{"path": row.path, "shape": row.shape, "dtype": row.dtype},
        **numbers(row),
        **{"kind": row.kind, "trains": row.trains},
    }


def index_bytes(plan: Plan | None) -> int:
    """Bytes of the index in a delta file: which entries of a partly frozen weight it holds."""
    return plan.trainable.nbytes if isinstance(plan, AxisPlan | EntriesPlan) else 0


def itemsize(dtype: str) -> int:
    """Bytes of an entry, from the name: NumPy does not know every dtype, such as `"bfloat16"`."""
    bits = re.search(r"\d+", dtype)
    return max(1, int(bits[0]) // 8) if bits else 1


def _sum(values: Iterable[int | None]) -> int | None:
    total = 0
    for value in values:
        if value is None:
            return None
        total += value
    return total
