"""Plans: how a weight is divided into two parts, as static indices made from a mask. Pure NumPy.

A plan is computed once, when a weight is frozen, and does not depend on a tensor. There are three
kinds, from the cheapest to the most general:

* `WholePlan`: nothing of the weight trains.
* `AxisPlan`: a set of positions along one axis trains (rows, columns, filters, heads). If the
  trainable or the frozen positions are contiguous it is a *block*, and both parts are compact.
  Otherwise it is *positions*, and both parts have that axis first, so that whole rows of memory are
  read and written. The trainable part is compact, and the frozen part has the length of the weight.
  Its values at the trainable positions have no meaning: they are zeros, or copies of the trainable
  part on a backend that merges the weight in place.
* `EntriesPlan`: any set of entries trains. The trainable part is a flat vector. The frozen part has
  the full shape, and its values at the trainable entries are never read.

If several devices share a weight along the divided axis, the plan is `sharded`. Then the frozen
part of a block also has the length of the weight, with the axes in the same order, so that the
devices share it evenly; and entries are found by coordinates instead of flat positions.
"""

from __future__ import annotations

import math
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from itertools import pairwise
from typing import Any, ClassVar

import numpy as np

from frostline._arrays.packed import pack, unpack
from frostline._arrays.pieces import Shape, index_dtype, shape_from, stretch, where_false

EDGES = 1024
"""A config lists at most this many edges of blocks; for more, a packed mask is shorter."""


@dataclass(frozen=True)
class _Plan:
    shape: Shape

    @property
    def size(self) -> int:
        return math.prod(self.shape)


class WholePlan(_Plan):
    """All entries of a weight are frozen."""

    kind: ClassVar[str] = "whole"

    @property
    def frozen_count(self) -> int:
        return self.size

    def mask(self) -> np.ndarray:
        """The boolean array of `shape`, True where frozen."""
        return np.ones(self.shape, dtype=bool)

    def flat_mask(self, start: int, stop: int) -> np.ndarray:
        """The mask of the entries `start:stop` in C order, a new `bool[stop - start]`."""
        return np.ones(stop - start, dtype=bool)

    def to_config(self) -> dict[str, Any]:
        return {"kind": "whole", "shape": list(self.shape)}


@dataclass(frozen=True)
class Run:
    """A block `start:stop` of positions in one part, in the order of the whole weight."""

    trainable: bool
    start: int
    stop: int


class _SplitPlan(_Plan):
    """A part of the weight trains: `trainable` is a sorted `int[k]`, neither none nor all."""

    trainable: np.ndarray

    def __eq__(self, other: object) -> bool:
        return type(other) is type(self) and other._key == self._key

    def __hash__(self) -> int:
        return hash(self._key)

    @property
    def _key(self) -> tuple[Any, ...]:
        return self.shape, self.trainable.tobytes()


@dataclass(frozen=True, eq=False)
class AxisPlan(_SplitPlan):
    """The positions `trainable` along `axis` train."""

    axis: int
    trainable: np.ndarray
    sharded: bool = field(default=False, kw_only=True, repr=False)

    def __post_init__(self) -> None:
        _set_trainable(self, index_dtype(self.shape[self.axis]))

    @property
    def _key(self) -> tuple[Any, ...]:
        return self.axis, *super()._key

    @property
    def frozen_count(self) -> int:
        return self.size // self.shape[self.axis] * (self.shape[self.axis] - len(self.trainable))

    @cached_property
    def kind(self) -> str:
        # Without an array of the axis: its length may come from an untrusted file.
        positions = self.trainable
        trainable = 1 + int(np.count_nonzero(positions[1:] - positions[:-1] > 1))
        ends = [positions[0] == 0, positions[-1] == self.shape[self.axis] - 1].count(True)
        return "block" if min(trainable, trainable + 1 - ends) == 1 else "positions"

    @property
    def stored_axis(self) -> int:
        """The position of the axis in both parts: for `positions` it comes first."""
        return 0 if self.kind == "positions" else self.axis

    @property
    def keeps_length(self) -> bool:
        """Whether the frozen part has the full length of the weight along the axis."""
        return self.sharded or self.kind == "positions"

    @cached_property
    def frozen(self) -> np.ndarray:
        """`int[n - k]`: the positions along `axis` that are frozen, sorted."""
        return where_false(~self._along)

    @cached_property
    def runs(self) -> tuple[Run, ...]:
        """The whole axis as alternating blocks of the two parts, with positions in these parts."""
        along = self._along
        edges = [0, *_edges(along).tolist(), len(along)]
        taken = {True: 0, False: 0}
        runs = []
        for begin, end in pairwise(edges):
            trainable = not along[begin]
            start = taken[trainable]
            taken[trainable] = start + end - begin
            runs.append(Run(trainable, start, taken[trainable]))
        return tuple(runs)

    @cached_property
    def places(self) -> np.ndarray:
        """`int32[n]`: the place of each position in the trainable part plus one, 0 if frozen.

        On a GPU, TensorFlow reads 0 for an index out of bounds, which then does not train.
        """
        places = np.zeros(self.shape[self.axis], dtype=np.int32)
        places[self.trainable] = 1 + np.arange(len(self.trainable))
        return places

    @cached_property
    def frozen_places(self) -> np.ndarray:
        """`int32[n]`: the place of each position in `frozen`, 0 if it trains."""
        places = np.zeros(self.shape[self.axis], dtype=np.int32)
        places[self.frozen] = np.arange(len(self.frozen))
        return places

    def mask(self) -> np.ndarray:
        """The boolean array of `shape`, True where frozen."""
        ones = [-1 if a == self.axis else 1 for a in range(len(self.shape))]
        return np.broadcast_to(self._along.reshape(ones), self.shape).copy()

    def flat_mask(self, start: int, stop: int) -> np.ndarray:
        """The mask of the entries `start:stop` in C order, a new `bool[stop - start]`."""
        return stretch(self._along, math.prod(self.shape[self.axis + 1 :]), start, stop)

    def to_config(self) -> dict[str, Any]:
        edges = (_edges(np.pad(self._along, 1, constant_values=True)) - 1).tolist()
        described = {"kind": "axis", "shape": list(self.shape), "axis": self.axis}
        if len(edges) <= EDGES:
            return {**described, "trainable": edges}
        return {**described, "frozen": pack(self._along)}

    @cached_property
    def _along(self) -> np.ndarray:
        """`bool[n]`: which positions along the axis are frozen."""
        along = np.ones(self.shape[self.axis], dtype=bool)
        along[self.trainable] = False
        return along


@dataclass(frozen=True, eq=False)
class EntriesPlan(_SplitPlan):
    """The entries at the flat positions `trainable` train."""

    trainable: np.ndarray
    sharded: bool = field(default=False, kw_only=True, repr=False)
    kind: ClassVar[str] = "entries"

    def __post_init__(self) -> None:
        _set_trainable(self, index_dtype(self.size))

    @property
    def frozen_count(self) -> int:
        return self.size - len(self.trainable)

    def mask(self) -> np.ndarray:
        """The boolean array of `shape`, True where frozen."""
        return self.flat_mask(0, self.size).reshape(self.shape)

    def flat_mask(self, start: int, stop: int) -> np.ndarray:
        """The mask of the entries `start:stop` in C order, a new `bool[stop - start]`."""
        mask = np.ones(stop - start, dtype=bool)
        edges = np.asarray((start, stop), self.trainable.dtype)  # else NumPy converts the array
        first, last = np.searchsorted(self.trainable, edges)
        mask[self.trainable[first:last] - start] = False
        return mask

    @cached_property
    def coordinates(self) -> tuple[np.ndarray, ...]:
        """For each axis an `int32[k]`: the positions of the trainable entries along it."""
        along = np.unravel_index(self.trainable, self.shape)
        return tuple(one.astype(np.int32) for one in along)

    @cached_property
    def row_starts(self) -> np.ndarray:
        """`int[n + 1]`: for a matrix of `n` rows, the start of each row in `trainable`."""
        rows, columns = self.shape
        edges = np.searchsorted(self.trainable, np.arange(rows + 1, dtype=np.int64) * columns)
        return edges.astype(self.trainable.dtype)

    @cached_property
    def columns(self) -> np.ndarray:
        """`int[k]`: for a matrix, the column of each entry of `trainable`."""
        return (self.trainable % self.shape[1]).astype(self.trainable.dtype)

    @cached_property
    def blocks(self) -> tuple[np.ndarray, np.ndarray]:
        """Two `int[blocks, n]`: for a matrix, the rows and columns of `trainable`, n at a time.

        Padded with zeros at the end. A block is small enough for the cache.
        """
        count = len(self.trainable)
        size = min(count, 4096)
        blocks = -(-count // size)
        padded = np.pad(self.trainable, (0, blocks * size - count)).reshape(blocks, size)
        return padded // self.shape[1], padded % self.shape[1]

    def to_config(self) -> dict[str, Any]:
        return {"kind": "entries", "shape": list(self.shape), "frozen": pack(self.mask())}


Plan = WholePlan | AxisPlan | EntriesPlan
SplitPlan = AxisPlan | EntriesPlan


def fingerprint(plan: SplitPlan) -> str:
    """Eight hexadecimal digits that identify a plan among those with the same shapes."""
    header = zlib.crc32(f"{plan.shape} {getattr(plan, 'axis', None)} ".encode())
    return f"{zlib.crc32(np.asarray(plan.trainable, dtype=np.int64).tobytes(), header):08x}"


def plan_from_mask(mask: np.ndarray) -> Plan | None:
    """The cheapest plan that freezes the True entries of `mask`; None if there are none.

    >>> import numpy as np
    >>> plan_from_mask(np.array([[True, True], [False, False]]))
    AxisPlan(shape=(2, 2), axis=0, trainable=array([1], dtype=int32))
    """
    shape = tuple(int(n) for n in mask.shape)
    if not mask.any():
        return None
    if mask.all():
        return WholePlan(shape)
    for axis in range(mask.ndim):
        others = tuple(a for a in range(mask.ndim) if a != axis)
        along = np.asarray(mask.all(axis=others))
        if np.array_equal(along, mask.any(axis=others)):
            return AxisPlan(shape, axis, where_false(along))
    return EntriesPlan(shape, where_false(mask.reshape(-1)))


def plan_from_config(config: Mapping[str, Any]) -> Plan:
    """The plan from the result of `to_config`; `ValueError` if it is malformed.

    It uses memory according to its shape, which the caller must compare with the weight's first.
    """
    shape, kind = shape_from(config.get("shape")), config.get("kind")
    if kind == "whole":
        return WholePlan(shape)
    if kind == "axis":
        axis, along = along_from_config(config)
        return AxisPlan(shape, axis, where_false(along))
    if kind == "entries":
        size = math.prod(shape)
        frozen = np.unpackbits(unpack(config.get("frozen"), size), count=size).view(bool)
        return EntriesPlan(shape, where_false(frozen))
    raise ValueError(f"unknown kind of plan {str(kind)[:100]!r}")


def along_from_config(config: Mapping[str, Any]) -> tuple[int, np.ndarray]:
    """The axis of an `AxisPlan` in its config, and which positions along it are frozen."""
    shape, axis = shape_from(config.get("shape")), config.get("axis")
    if type(axis) is not int or not 0 <= axis < len(shape):
        raise ValueError(f"not an axis of shape {shape}: {str(axis)[:100]}")
    if "frozen" in config:
        packed = unpack(config["frozen"], shape[axis])
        along = np.unpackbits(packed, count=shape[axis]).view(bool)
    else:
        along = _along_blocks(config.get("trainable"), shape[axis])
    if along.all() or not along.any():
        raise ValueError("an axis plan must leave some positions frozen and some trainable")
    return axis, along


def _along_blocks(edges: Any, length: int) -> np.ndarray:
    if not isinstance(edges, list) or any(type(edge) is not int for edge in edges):
        raise ValueError(f"not a list of edges: {str(edges)[:100]}")
    if len(edges) % 2:
        raise ValueError(f"a block without an end: {str(edges)[:100]}")
    along = np.ones(length, dtype=bool)
    for start, stop in zip(edges[::2], edges[1::2], strict=True):
        if not 0 <= start < stop <= length:
            raise ValueError(f"block {start}:{stop} is outside an axis of length {length}")
        along[start:stop] = False
    return along


def _set_trainable(plan: _SplitPlan, dtype: type) -> None:
    object.__setattr__(plan, "trainable", np.asarray(plan.trainable, dtype=dtype))


def _edges(along: np.ndarray) -> np.ndarray:
    """The positions where a mask differs from the one before."""
    return 1 + np.flatnonzero(along[1:] != along[:-1])
