"""The numbered parts of a weight: units, heads or tokens, as positions along some axes."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from frostline._selections.weight import Weight


@dataclass(frozen=True)
class Parts:
    """The positions of parts `0 .. count - 1` in a weight.

    Attributes:
        axes: The axes that they run along, in C order. The parts may repeat: the units of a
            recurrent cell come once for each gate.
        count: The number of parts.
        readers: How many consecutive parts share a position, such as query heads that read the same
            key/value head. The position is selected if all of them are.
        width: How many consecutive positions a part has: heads and their features in one axis.
        beside: How many positions at the end belong to no part.
    """

    axes: tuple[int, ...]
    count: int
    readers: int = 1
    width: int = 1
    beside: int = 0

    def mask(self, weight: Weight, picked: np.ndarray) -> np.ndarray:
        """The entries of the picked parts, in the weight's shape; `picked` is `bool[count]`."""
        if self.readers > 1:
            picked = np.all(picked.reshape(-1, self.readers), axis=1)
        sizes = [weight.shape[axis] for axis in self.axes]
        once = np.repeat(picked, self.width)
        along = np.tile(once, (math.prod(sizes) - self.beside) // max(once.size, 1))
        along = np.pad(along, (0, self.beside)).reshape(sizes)
        rank = len(weight.shape)
        here = {axis % rank for axis in self.axes}
        shape = [size if axis in here else 1 for axis, size in enumerate(weight.shape)]
        return np.array(np.broadcast_to(along.reshape(shape), weight.shape))

    def matrix(self, scores: np.ndarray) -> np.ndarray:
        """The scores of each part, `(count, entries of a part)`."""
        rank = scores.ndim
        here = sorted(axis % rank for axis in self.axes)
        front = np.moveaxis(scores, here, range(len(here)))
        places = math.prod(front.shape[: len(here)])
        front = front.reshape(places, -1 if scores.size else 0)[: places - self.beside]
        positions = self.count // self.readers
        repeats = len(front) // max(positions * self.width, 1)
        each = front.shape[1] * self.width
        rows = front.reshape(repeats, positions, each).swapaxes(0, 1)
        return np.repeat(rows.reshape(positions, repeats * each), self.readers, axis=0)


@dataclass(frozen=True)
class Blocks:
    """Equal blocks along the last axes of a weight, numbered in C order.

    Attributes:
        shape: The shape of the weight.
        block: The shape of a block, along its last axes.
    """

    shape: tuple[int, ...]
    block: tuple[int, ...]

    @property
    def count(self) -> int:
        """The number of blocks."""
        return math.prod(self._numbers)

    @property
    def _numbers(self) -> tuple[int, ...]:
        """The number of blocks along each axis."""
        block = (1,) * (len(self.shape) - len(self.block)) + self.block
        return tuple(n // size for n, size in zip(self.shape, block, strict=True))

    def mask(self, weight: Weight, picked: np.ndarray) -> np.ndarray:
        """The entries of the picked blocks, in the weight's shape; `picked` is `bool[count]`."""
        mask = picked.reshape(self._numbers)
        for axis, size in enumerate(self.block, len(self.shape) - len(self.block)):
            mask = np.repeat(mask, size, axis=axis)
        return mask

    def matrix(self, scores: np.ndarray) -> np.ndarray:
        """The scores of each block, `(count, entries of a block)`."""
        rank = len(self.shape)
        block = (1,) * (rank - len(self.block)) + self.block
        split = [n for pair in zip(self._numbers, block, strict=True) for n in pair]
        order = (*range(0, 2 * rank, 2), *range(1, 2 * rank, 2))
        return scores.reshape(split).transpose(order).reshape(self.count, math.prod(block))
