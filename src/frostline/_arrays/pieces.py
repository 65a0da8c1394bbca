"""Walk a large array in pieces of a few megabytes. Pure NumPy."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

PIECE = 1 << 22  # maximum bytes of a piece

Shape = tuple[int, ...]
_RANK = 32  # maximum axes of an array in a file; NumPy supports 64


@dataclass(frozen=True)
class Piece:
    """Entries `start:stop` in C order, at `index` in the array."""

    start: int
    stop: int
    index: tuple[int | slice, ...]


def pieces(shape: Shape, itemsize: int, limit: int = PIECE) -> Iterator[Piece]:
    """Pieces of an array in order, each with at most `limit` bytes, or a single entry.

    >>> [piece.index for piece in pieces((2, 3), itemsize=4, limit=8)][:2]
    [(0, slice(0, 2, None)), (0, slice(2, 3, None))]
    """
    if 0 in shape:
        return
    axis = 0
    while axis < len(shape) and math.prod(shape[axis + 1 :]) * itemsize > limit:
        axis += 1
    if axis >= len(shape):
        yield from (Piece(i, i + 1, _unravel(i, shape)) for i in range(math.prod(shape)))
        return
    inner = math.prod(shape[axis + 1 :])
    step = max(1, limit // (inner * itemsize))
    for place in np.ndindex(shape[:axis]):
        before = sum(i * math.prod(shape[a + 1 :]) for a, i in enumerate(int(i) for i in place))
        for row in range(0, shape[axis], step):
            end = min(row + step, shape[axis])
            index = (*(int(i) for i in place), slice(row, end))
            yield Piece(before + row * inner, before + end * inner, index)


def shape_from(given: Any) -> Shape:
    """A shape from a file; `ValueError` if it is not one."""
    numbers = isinstance(given, list) and all(type(n) is int and 0 <= n < 2**63 for n in given)
    if not numbers or len(given) > _RANK:
        raise ValueError(f"invalid shape: {str(given)[:100]}")
    return tuple(given)


def stretch(along: np.ndarray, inner: int, start: int, stop: int) -> np.ndarray:
    """Entries `start:stop` in C order of a mask that varies along only one axis.

    Args:
        along: `bool[n]`: the mask along that axis.
        inner: The number of consecutive entries with the same position along it.
        start: The first entry.
        stop: The entry after the last.
    """
    if stop <= start:
        return np.zeros(0, bool)
    first, last = start // inner, -(-stop // inner)
    if first % len(along):
        along = np.roll(along, -(first % len(along)))
    # Repeated if the range goes beyond the end of the axis.
    positions = np.resize(along, last - first)
    if inner == 1:
        return positions
    filled = np.empty((len(positions), inner), bool)
    filled[...] = positions[:, None]  # `np.repeat` copies byte by byte
    return filled.reshape(-1)[start - first * inner : stop - first * inner]


def _unravel(place: int, shape: Shape) -> tuple[int, ...]:
    return tuple(int(i) for i in np.unravel_index(place, shape)) if shape else ()


def index_dtype(below: int) -> type:
    """The dtype of positions below a number."""
    # JAX has no 64-bit integers by default; elsewhere, half the bytes are faster.
    return np.int32 if below < 2**31 else np.int64


def where_false(mask: np.ndarray) -> np.ndarray:
    """`int[k]`: where a flat mask is False, in half the memory of `np.flatnonzero`."""
    found = np.empty(len(mask) - np.count_nonzero(mask), index_dtype(len(mask)))
    filled, step = 0, 1 << 20
    for start in range(0, len(mask), step):
        some = np.flatnonzero(~mask[start : start + step])
        found[filled : filled + len(some)] = some + start
        filled += len(some)
    return found
