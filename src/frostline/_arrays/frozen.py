"""What is frozen of a weight in a file, for any range of its entries. Pure NumPy."""

from __future__ import annotations

import math
from collections.abc import Mapping
from functools import cached_property
from typing import Any, ClassVar, TypeAlias

import numpy as np

from frostline._arrays.packed import unpack
from frostline._arrays.pieces import Shape, shape_from, stretch
from frostline._arrays.plan import Plan, along_from_config, plan_from_config


def frozen_from_config(config: Mapping[str, Any]) -> Frozen:
    """The frozen entries of a plan in a file; a malformed plan raises `ValueError`.

    It needs at most one byte for each position. The caller must check its shape first.
    """
    kind, shape = config.get("kind"), shape_from(config.get("shape"))
    if kind == "entries":
        return _Packed(shape, unpack(config.get("frozen"), math.prod(shape)))
    return _Along(shape, *along_from_config(config)) if kind == "axis" else plan_from_config(config)


def either(one: Frozen, other: Frozen) -> Frozen:
    """The entries of a weight that are frozen in at least one of two files."""
    return one if one == other else _Either(one, other)


class _Entries:
    """Single entries, counted one range at a time."""

    kind: ClassVar[str] = "entries"
    shape: Shape

    def flat_mask(self, start: int, stop: int) -> np.ndarray:
        """As `flat_mask` of a plan."""
        raise NotImplementedError

    @cached_property
    def frozen_count(self) -> int:
        size, step = math.prod(self.shape), 1 << 22
        return sum(
            int(np.count_nonzero(self.flat_mask(start, min(start + step, size))))
            for start in range(0, size, step)
        )


class _Packed(_Entries):
    """A mask as packed bits; an `EntriesPlan` would take four or eight bytes for each position."""

    def __init__(self, shape: Shape, packed: np.ndarray) -> None:
        self.shape = shape
        self._packed = packed

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Packed) and np.array_equal(self._packed, other._packed)

    def flat_mask(self, start: int, stop: int) -> np.ndarray:
        first = start // 8
        bits = np.unpackbits(self._packed[first : -(-stop // 8)])
        return bits[start - 8 * first : stop - 8 * first].view(bool)


class _Along:
    """Positions along an axis; an `AxisPlan` would take four or eight bytes for each position."""

    def __init__(self, shape: Shape, axis: int, along: np.ndarray) -> None:
        self.shape = shape
        self._axis, self._along = axis, along
        self._inner = math.prod(shape[axis + 1 :])
        inner = len(along) and math.prod(shape) // len(along)
        self.frozen_count = inner * int(np.count_nonzero(along))
        runs = 1 + int(np.count_nonzero(along[1:] != along[:-1]))
        frozen = (runs + int(along[0])) // 2
        self.kind = "block" if min(frozen, runs - frozen) == 1 else "positions"

    def __eq__(self, other: object) -> bool:
        return (
            isinstance(other, _Along)
            and (self.shape, self._axis) == (other.shape, other._axis)
            and np.array_equal(self._along, other._along)
        )

    def flat_mask(self, start: int, stop: int) -> np.ndarray:
        """As `flat_mask` of a plan."""
        return stretch(self._along, self._inner, start, stop)


class _Either(_Entries):
    def __init__(self, one: Frozen, other: Frozen) -> None:
        self.shape = one.shape
        self._both = (one, other)

    def flat_mask(self, start: int, stop: int) -> np.ndarray:
        one, other = self._both
        return one.flat_mask(start, stop) | other.flat_mask(start, stop)


Frozen: TypeAlias = Plan | _Along | _Entries
"""The frozen entries of a weight: their `shape`, `kind`, `frozen_count` and `flat_mask`."""
