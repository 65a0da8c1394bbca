"""What a file says is frozen of a weight, for any stretch of its entries. Pure NumPy."""

from __future__ import annotations

import math
import zlib
from collections.abc import Mapping
from functools import cached_property
from typing import Any, ClassVar, TypeAlias

import numpy as np

from frostline._arrays.plan import Plan, Shape, packed_mask, plan_from_config


def frozen_from_config(config: Mapping[str, Any]) -> Frozen:
    """What the plan that a file holds freezes; a malformed one raises `ValueError`."""
    try:
        if config["kind"] == "entries":
            return _Packed(tuple(int(n) for n in config["shape"]), packed_mask(config))
        return plan_from_config(config)
    except (KeyError, TypeError, IndexError, ValueError, zlib.error) as error:
        raise ValueError(f"{type(error).__name__}: {error}") from None


def either(one: Frozen, other: Frozen) -> Frozen:
    """What at least one of two files says is frozen of a weight."""
    return one if one == other else _Either(one, other)


class _Entries:
    """Single entries, in the memory that their mask takes: counted a stretch at a time."""

    kind: ClassVar[str] = "entries"
    shape: Shape

    def flat_mask(self, start: int, stop: int) -> np.ndarray:
        """As that of a plan."""
        raise NotImplementedError

    @cached_property
    def frozen_count(self) -> int:
        size, step = math.prod(self.shape), 1 << 22
        return sum(
            int(np.count_nonzero(self.flat_mask(start, min(start + step, size))))
            for start in range(0, size, step)
        )


class _Packed(_Entries):
    """The bits that a file holds; each position of an `EntriesPlan` takes four or eight bytes."""

    def __init__(self, shape: Shape, packed: np.ndarray) -> None:
        self.shape = shape
        self._packed = packed

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Packed) and np.array_equal(self._packed, other._packed)

    def flat_mask(self, start: int, stop: int) -> np.ndarray:
        first = start // 8
        bits = np.unpackbits(self._packed[first : -(-stop // 8)])
        return bits[start - 8 * first : stop - 8 * first].view(bool)


class _Either(_Entries):
    def __init__(self, one: Frozen, other: Frozen) -> None:
        self.shape = one.shape
        self._both = (one, other)

    def flat_mask(self, start: int, stop: int) -> np.ndarray:
        one, other = self._both
        return one.flat_mask(start, stop) | other.flat_mask(start, stop)


Frozen: TypeAlias = Plan | _Entries
"""The frozen entries of a weight: their `shape`, `kind`, `frozen_count` and `flat_mask`."""
