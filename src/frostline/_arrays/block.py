"""The place of an array in a larger one, and initial values for the other entries. Pure NumPy."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

Shape = tuple[int, ...]

STARTS = ("zeros", "mean", "noise")


@dataclass(frozen=True, eq=False)
class Block:
    """The place of an old array in a new one.

    Attributes:
        old: The shape of the old array, where an axis with several parts side by side, such as the
            gates of a recurrent cell, is divided into two axes.
        new: The shape of the new array, divided in the same way.
        index: The NumPy index of the old array in the new one.
    """

    old: Shape
    new: Shape
    index: Any

    @classmethod
    def leading(cls, old: Shape, new: Shape) -> Block:
        """The block that begins at 0 along each axis. The new shape must be large enough."""
        return cls(old, new, tuple(map(slice, old)))

    @property
    def region(self) -> Shape:
        """The shape that the index selects; it must be that of the old array."""
        return np.broadcast_to(False, self.new)[self.index].shape

    def mask(self, shape: Shape) -> np.ndarray:
        """The entries of the new array that come from the old one, in its shape."""
        mask = np.zeros(self.new, bool)
        mask[self.index] = True
        return mask.reshape(shape)

    def put(self, old: np.ndarray, new: np.ndarray) -> np.ndarray:
        """A copy of the new array with the old one in its place."""
        whole = np.array(new, order="C")
        whole.reshape(self.new)[self.index] = old.reshape(self.old)
        return whole

    def start(self, how: str, old: np.ndarray, like: np.ndarray, seed: Any) -> np.ndarray:
        """Initial values for the new array, in its shape and dtype.

        Args:
            how: One of `STARTS`: zeros; the mean of the old array over the axes that grew; or
                normal noise with that mean and the standard deviation over the same axes.
            old: The old array.
            like: The new array; it is returned unchanged if the old array is empty.
            seed: The seed of the noise.
        """
        if how == "zeros":
            return np.zeros_like(like)
        if not old.size:
            return like
        seen = old.reshape(self.old).astype(np.float64)
        # Over all axes if the ranks differ.
        axes = None
        if len(self.old) == len(self.new):
            sizes = zip(self.old, self.new, strict=True)
            axes = tuple(axis for axis, (old_size, size) in enumerate(sizes) if old_size != size)
        with np.errstate(all="ignore"):  # infinities and NaNs have no mean
            values = np.mean(seen, axes, keepdims=axes is not None)
            if how == "noise":
                spread = np.std(seen, axes, keepdims=axes is not None)
                random = np.random.default_rng(seed)
                values = values + spread * random.standard_normal(self.new)
            return np.broadcast_to(values, self.new).reshape(like.shape).astype(like.dtype)
