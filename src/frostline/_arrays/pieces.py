"""A large array in pieces of some megabytes. Pure NumPy."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

PIECE = 1 << 22  # bytes at once, at most

Shape = tuple[int, ...]


@dataclass(frozen=True)
class Piece:
    """Entries `start:stop` in C order, which are `index` of the array."""

    start: int
    stop: int
    index: tuple[int | slice, ...]


def pieces(shape: Shape, itemsize: int, limit: int = PIECE) -> Iterator[Piece]:
    """The whole array in order, each piece at most `limit` bytes, or one entry.

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


def _unravel(place: int, shape: Shape) -> tuple[int, ...]:
    return tuple(int(i) for i in np.unravel_index(place, shape)) if shape else ()
