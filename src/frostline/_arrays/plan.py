"""Selection mask -> plan: static indices that say how a weight is divided. Pure NumPy.

A plan is computed once, when a weight is frozen, and never looks at a tensor. There are three
kinds, from the cheapest to the most general:

* `WholePlan`: nothing of the weight trains.
* `AxisPlan`: what trains is a set of positions along one axis (rows, columns, filters, heads).
  With one block of trainable or of frozen positions it is a *block*, and both parts are compact.
  Otherwise it is *positions*, and both parts have that axis first, so that what is written
  and read are whole rows of memory: the trainable part is compact, and the frozen part is as long
  as the weight. The places of the trainable positions in it hold zeros, or what trains where a
  backend puts the weight together in them, and do not count.
* `EntriesPlan`: what trains is any set of entries. The trainable part is a flat vector; the
  frozen part keeps the full shape, and the places of the trainable entries in it are never read.

Where several devices share a weight along the divided axis, the plan is `sharded`: the frozen part
of a block is then as long as the weight too, with its axes in their order, so that the devices go
on to share it evenly, and entries are found by their coordinates in place of their flat positions.
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
"""A config lists the edges of at most so many blocks of positions: a packed mask is shorter."""


@dataclass(frozen=True)
class _Plan:
    shape: Shape

    @property
    def size(self) -> int:
        return math.prod(self.shape)


class WholePlan(_Plan):
    """Every entry of a weight of `shape` is frozen."""

    kind: ClassVar[str] = "whole"

    @property
    def frozen_count(self) -> int:
        return self.size

    def mask(self) -> np.ndarray:
        """The boolean array of `shape`, True where frozen."""
        return np.ones(self.shape, dtype=bool)

    def flat_mask(self, start: int, stop: int) -> np.ndarray:
        """That of the entries `start:stop` in C order, a new `bool[stop - start]`."""
        return np.ones(stop - start, dtype=bool)

    def to_config(self) -> dict[str, Any]:
        return {"kind": "whole", "shape": list(self.shape)}


@dataclass(frozen=True)
class Run:
    """A block `start:stop` of positions of one part, in the order of the whole weight."""

    trainable: bool
    start: int
    stop: int


class _SplitPlan(_Plan):
    """Some of the weight trains: `trainable` is a sorted `int[k]`, neither none nor all of it."""

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
        # Without an array of the axis, whose length may be a claim of a file.
        positions = self.trainable
        trainable = 1 + int(np.count_nonzero(positions[1:] - positions[:-1] > 1))
        ends = [positions[0] == 0, positions[-1] == self.shape[self.axis] - 1].count(True)
        return "block" if min(trainable, trainable + 1 - ends) == 1 else "positions"

    @property
    def stored_axis(self) -> int:
        """Where the axis lies in both parts: that of positions comes first."""
        return 0 if self.kind == "positions" else self.axis

    @property
    def keeps_length(self) -> bool:
        """Whether the frozen part is as long as the weight along the axis."""
        return self.sharded or self.kind == "positions"

    @cached_property
    def frozen(self) -> np.ndarray:
        """`int[n - k]`: the positions along `axis` that are frozen, sorted."""
        return where_false(~self._along)

    @cached_property
    def runs(self) -> tuple[Run, ...]:
        """The whole axis as alternating blocks of the two parts, each in its part's positions."""
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
        """`int32[n]`: one more than where each position lies in the trainable part, 0 if frozen.

        TensorFlow reads 0 out of bounds on a GPU, and what is out of bounds does not train.
        """
        places = np.zeros(self.shape[self.axis], dtype=np.int32)
        places[self.trainable] = 1 + np.arange(len(self.trainable))
        return places

    @cached_property
    def frozen_places(self) -> np.ndarray:
        """`int32[n]`: where each position of the axis lies among `frozen`, 0 if it trains."""
        places = np.zeros(self.shape[self.axis], dtype=np.int32)
        places[self.frozen] = np.arange(len(self.frozen))
        return places

    def mask(self) -> np.ndarray:
        """The boolean array of `shape`, True where frozen."""
        ones = [-1 if a == self.axis else 1 for a in range(len(self.shape))]
        return np.broadcast_to(self._along.reshape(ones), self.shape).copy()

    def flat_mask(self, start: int, stop: int) -> np.ndarray:
        """That of the entries `start:stop` in C order, a new `bool[stop - start]`."""
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
        """That of the entries `start:stop` in C order, a new `bool[stop - start]`."""
        mask = np.ones(stop - start, dtype=bool)
        edges = np.asarray((start, stop), self.trainable.dtype)  # of another all are converted
        first, last = np.searchsorted(self.trainable, edges)
        mask[self.trainable[first:last] - start] = False
        return mask

    @cached_property
    def coordinates(self) -> tuple[np.ndarray, ...]:
        """For each axis an `int32[k]`: where the entries of `trainable` lie along it."""
        along = np.unravel_index(self.trainable, self.shape)
        return tuple(one.astype(np.int32) for one in along)

    @cached_property
    def row_starts(self) -> np.ndarray:
        """`int[n + 1]`: for a matrix of `n` rows, where each begins in `trainable`."""
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

        Filled up with zeros at the end. What a block gathers should lie in a cache.
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
    """Eight hexadecimal digits that tell a plan from another of the same shapes."""
    told = f"{plan.shape} {getattr(plan, 'axis', None)} ".encode()
    return (
        f"{zlib.crc32(np.asarray(plan.trainable, dtype=np.int64).tobytes(), zlib.crc32(told)):08x}"
    )


def plan_from_mask(mask: np.ndarray) -> Plan | None:
    """The cheapest plan that freezes the True entries of `mask`; None where there are none.

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
        along = mask.all(axis=others)
        if np.array_equal(along, mask.any(axis=others)):
            return AxisPlan(shape, axis, where_false(along))
    return EntriesPlan(shape, where_false(mask.reshape(-1)))


def plan_from_config(config: Mapping[str, Any]) -> Plan:
    """The plan that `to_config` wrote; a malformed one raises `ValueError`.

    It takes memory as its shape says, which is to be compared with that of the weight before.
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
        raise ValueError(f"no axis of a shape {shape}: {str(axis)[:100]}")
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
        raise ValueError(f"no blocks of positions: {str(edges)[:100]}")
    along = np.ones(length, dtype=bool)
    for start, stop in zip(edges[::2], edges[1::2], strict=True):
        if not 0 <= start < stop <= length:
            raise ValueError(f"a block {start}:{stop} lies outside an axis of {length}")
        along[start:stop] = False
    return along


def _set_trainable(plan: _SplitPlan, dtype: type) -> None:
    object.__setattr__(plan, "trainable", np.asarray(plan.trainable, dtype=dtype))


def _edges(along: np.ndarray) -> np.ndarray:
    """Where a mask is not what it is one place before."""
    return 1 + np.flatnonzero(along[1:] != along[:-1])
