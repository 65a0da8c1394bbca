"""What a file says is frozen of a weight, for any stretch of its entries. Pure NumPy."""

from __future__ import annotations

import zlib
from collections.abc import Mapping
from typing import Any, Protocol

import numpy as np

from frostline._arrays.plan import (
    AxisPlan,
    EntriesPlan,
    Plan,
    WholePlan,
    packed_mask,
    plan_from_config,
)

Shape = tuple[int, ...]


class Frozen(Protocol):
    """The frozen entries of a weight of `shape`; how they lie is its `kind`."""

    @property
    def shape(self) -> Shape: ...
    @property
    def kind(self) -> str: ...
    @property
    def count(self) -> int: ...

    def same(self, other: Frozen) -> bool:
        """Whether another freeze of the weight is known to be of the same entries."""
        ...

    def mask(self, start: int, stop: int) -> np.ndarray:
        """`bool[stop - start]` for the entries `start:stop` in C order, True where frozen.

        A new array each time.
        """
        ...


def frozen_from_config(config: Mapping[str, Any]) -> Frozen:
    """What the plan that a file holds freezes; a malformed one raises `ValueError`.

    The positions that an `EntriesPlan` keeps take up to eight bytes an entry. Here they stay the
    bits that are in the file.
    """
    try:
        if config["kind"] == "entries":
            return _Entries(tuple(int(n) for n in config["shape"]), packed_mask(config))
        plan = plan_from_config(config)
    except (KeyError, TypeError, IndexError, ValueError, zlib.error) as error:
        raise ValueError(f"{type(error).__name__}: {error}") from None
    return frozen_of(plan)


def frozen_of(plan: Plan) -> Frozen:
    """What a plan freezes; of single entries a bit for each is kept."""
    if isinstance(plan, WholePlan):
        return _Whole(plan)
    return _Axis(plan) if isinstance(plan, AxisPlan) else _entries(plan)


def _entries(plan: EntriesPlan) -> Frozen:
    return _Entries(plan.shape, np.packbits(plan.mask()))


def either(one: Frozen, other: Frozen) -> Frozen:
    """What at least one of two files says is frozen of a weight."""
    return one if one.same(other) else _Either(one, other)


class _Either:
    kind = "entries"

    def __init__(self, one: Frozen, other: Frozen) -> None:
        self.shape = one.shape
        self._both = (one, other)

    @property
    def count(self) -> int:
        size = int(np.prod(self.shape, dtype=np.int64))
        step = 1 << 22
        return sum(
            int(np.count_nonzero(self.mask(start, min(start + step, size))))
            for start in range(0, size, step)
        )

    def same(self, other: Frozen) -> bool:
        return self is other

    def mask(self, start: int, stop: int) -> np.ndarray:
        one, other = self._both
        return one.mask(start, stop) | other.mask(start, stop)


class _Whole:
    kind = "whole"

    def __init__(self, plan: WholePlan) -> None:
        self.shape = plan.shape
        self.count = plan.size

    def same(self, other: Frozen) -> bool:
        return isinstance(other, _Whole)

    def mask(self, start: int, stop: int) -> np.ndarray:
        return np.ones(stop - start, bool)


class _Axis:
    def __init__(self, plan: AxisPlan) -> None:
        self.shape = plan.shape
        self.kind = plan.kind
        self.count = plan.frozen_count
        self._along = np.ones(plan.shape[plan.axis], bool)
        self._along[list(plan.trainable)] = False
        # How many entries in a row have the same position along the axis.
        self._inner = int(np.prod(plan.shape[plan.axis + 1 :], dtype=np.int64))

    def same(self, other: Frozen) -> bool:
        return (
            isinstance(other, _Axis)
            and self._inner == other._inner
            and np.array_equal(self._along, other._along)
        )

    def mask(self, start: int, stop: int) -> np.ndarray:
        inner, length = self._inner, len(self._along)
        first, last = start // inner, -(-stop // inner)
        along = self._along
        if first % length:
            along = np.roll(along, -(first % length))
        # Repeated from its start where the stretch goes round the axis.
        positions = np.resize(along, last - first)
        skipped = start - first * inner
        if inner == 1:
            return positions
        filled = np.empty((len(positions), inner), bool)
        filled[...] = positions[:, None]  # `np.repeat` copies byte by byte
        return filled.reshape(-1)[skipped : skipped + stop - start]


class _Entries:
    kind = "entries"

    def __init__(self, shape: Shape, packed: np.ndarray) -> None:
        self.shape = shape
        self._packed = packed
        size = int(np.prod(shape, dtype=np.int64))
        step = 1 << 22
        self.count = sum(
            int(np.count_nonzero(self.mask(start, min(start + step, size))))
            for start in range(0, size, step)
        )

    def same(self, other: Frozen) -> bool:
        return isinstance(other, _Entries) and np.array_equal(self._packed, other._packed)

    def mask(self, start: int, stop: int) -> np.ndarray:
        first = start // 8
        bits = np.unpackbits(self._packed[first : -(-stop // 8)])
        return bits[start - 8 * first : stop - 8 * first].view(bool)
