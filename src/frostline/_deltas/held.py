"""What a delta holds of one weight: its trained entries and their positions. Pure NumPy."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from frostline._arrays.plan import AxisPlan, EntriesPlan, Plan, SplitPlan, WholePlan
from frostline._errors import RestoreError
from frostline._files.sources import dtype_named

Shape = tuple[int, ...]
_BLOCK = 1 << 22  # bytes that are hashed at a time
WIDE = ("float32", "float64")  # dtypes that can be rounded
HINT = {
    "float16": "Save it with dtype='bfloat16', which has the range of float32, or without `dtype`.",
    "bfloat16": "Save it without `dtype`.",
}
"""The dtypes that values can be rounded to, and what to do if a value is too large."""
_DIGITS = 32  # of a fingerprint, in hexadecimal: 128 bits


@dataclass(frozen=True, eq=False)
class DeltaWeight:
    """What a delta holds of one weight.

    Attributes:
        path: The path of the weight below the model, as in `summary`.
        shape: The shape of the whole weight, a tuple of integers.
        dtype: Its dtype, `"float32"`.
        held: The number of its entries that are in the delta.
        kind: Which entries these are: `"whole"` (all), `"block"` (a contiguous range along an
            axis), `"positions"` (other positions along an axis), `"entries"` (any other), or `""`
            (none).
        nbytes: The bytes of their values and positions.
        rounded_to: `"bfloat16"` or `"float16"` if the values were rounded to it when they were
            saved; None if they are exact.
        fingerprint: A hash of the entries that are not in the delta, 32 hexadecimal digits. The
            base must have the same bits there.
        state: Whether the layer updates it itself, such as the moving statistics of a
            `BatchNormalization`.
        layer_trainable: False if its layer had `trainable = False`.
    """

    path: str
    shape: Shape
    dtype: str
    fingerprint: str
    state: bool
    layer_trainable: bool
    # What is frozen: a plan, or None where all of the weight is held.
    plan: Plan | None = field(repr=False)
    # The held entries: of the weight's shape, shorter along the axis of an `AxisPlan`, or flat.
    values: np.ndarray | None = field(repr=False)

    def __post_init__(self) -> None:
        if self.values is not None:
            self.values.setflags(write=False)  # the hash must stay valid

    @property
    def size(self) -> int:
        """Entries of the whole weight."""
        return math.prod(self.shape)

    @property
    def held(self) -> int:
        return self.size - (0 if self.plan is None else self.plan.frozen_count)

    @property
    def kind(self) -> str:
        if self.plan is None:
            return "whole"
        return "" if isinstance(self.plan, WholePlan) else self.plan.kind

    @property
    def nbytes(self) -> int:
        return sum(part.nbytes for part in (self.values, self.positions) if part is not None)

    @property
    def positions(self) -> np.ndarray | None:
        """Positions along an axis, or flat positions; None if all or no entries are held."""
        return self.plan.trainable if isinstance(self.plan, AxisPlan | EntriesPlan) else None

    @property
    def rounded_to(self) -> str | None:
        """The 16-bit dtype that its values were rounded to, None if they are exact."""
        stored = None if self.values is None else str(self.values.dtype)
        return None if stored == self.dtype else stored

    @property
    def written(self) -> np.ndarray:
        """The values in the dtype of the weight, as they are written to it."""
        assert self.values is not None
        return self.values.astype(dtype_named(self.dtype), copy=False)

    def rounded(self, name: str) -> DeltaWeight:
        """The same entries with 16-bit values; itself if that saves nothing.

        Raises:
            RestoreError: A value is too large for the dtype.
        """
        if self.values is None or self.dtype not in WIDE:
            return self
        exact = self.written
        with np.errstate(over="ignore", invalid="ignore"):
            values = exact.astype(dtype_named(name))
        over = np.isfinite(exact) & ~np.isfinite(values)
        if over.any():
            largest = np.abs(exact[over]).max()
            raise RestoreError(
                f"{self.path}: a value is too large for {name}; got {int(over.sum()):,} such "
                f"entries, |value| up to {largest:g} (shape {self.shape}, dtype {self.dtype}). "
                + HINT[name]
            )
        return replace(self, values=values)

    def take(self, whole: np.ndarray) -> np.ndarray:
        """The entries of a whole weight that are in the delta, in the order of `values`, copied."""
        return take(self.plan, whole)

    def put(self, whole: np.ndarray, values: np.ndarray) -> None:
        """Write entries, in the order of `values`, into a whole weight."""
        put(self.plan, whole, values)

    def mask(self) -> np.ndarray:
        """`bool[shape]`: True for entries that are not in the delta."""
        return np.zeros(self.shape, bool) if self.plan is None else self.plan.mask()


def take(plan: Plan | None, whole: np.ndarray) -> np.ndarray:
    """The entries that a plan leaves to train, in its compact shape, copied."""
    if plan is None:
        return whole.copy()
    values = np.empty(compact_shape(plan, whole.shape), whole.dtype)
    if isinstance(plan, AxisPlan | EntriesPlan):
        for part, index, divided in _pieces(plan, whole):
            values[part] = divided[index]
    return values


def put(plan: Plan | None, whole: np.ndarray, values: np.ndarray) -> None:
    """Write what `take` returned; `whole` is in C order."""
    if plan is None:
        whole[...] = values
    elif isinstance(plan, AxisPlan | EntriesPlan):
        for part, index, divided in _pieces(plan, whole):
            divided[index] = values[part]


def _pieces(plan: SplitPlan, whole: np.ndarray) -> Iterator[tuple[Any, Any, np.ndarray]]:
    """Some of what trains at a time: where it is in `values`, and in a view of the whole weight.

    NumPy makes eight bytes of each position of an index.
    """
    divided, axis = (whole, plan.axis) if isinstance(plan, AxisPlan) else (whole.reshape(-1), 0)
    before, step = (slice(None),) * axis, 1 << 20
    for start in range(0, len(plan.trainable), step):
        part = slice(start, start + step)
        yield (*before, part), (*before, plan.trainable[part]), divided


def compact_shape(plan: Plan | None, shape: Shape) -> Shape:
    """The shape of what `take` returns."""
    if plan is None:
        return shape
    if isinstance(plan, AxisPlan):
        return (*shape[: plan.axis], len(plan.trainable), *shape[plan.axis + 1 :])
    return (len(plan.trainable) if isinstance(plan, EntriesPlan) else 0,)


def fingerprint_of(plan: Plan | None, whole: np.ndarray) -> str:
    """A hash of the bits of all entries that a plan freezes, in C order."""
    digest = hashlib.sha256()
    if plan is None:
        return digest.hexdigest()[:_DIGITS]
    flat = np.ascontiguousarray(whole).reshape(-1)
    mask = None if isinstance(plan, WholePlan) else plan.mask().reshape(-1)
    step = max(1, _BLOCK // flat.itemsize)
    for start in range(0, flat.size, step):
        block = flat[start : start + step]
        if mask is not None:
            block = block[mask[start : start + step]]
        digest.update(block.view(np.uint8).data)
    return digest.hexdigest()[:_DIGITS]
