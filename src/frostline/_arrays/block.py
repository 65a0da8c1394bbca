"""Where the entries of an array are in a larger one, and what the others start with. Pure NumPy."""

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
        old: The shape that the old array is seen in: an axis that holds several parts side by side,
            such as the gates of a recurrent cell, is divided into two.
        new: The shape that the new array is seen in.
        index: The NumPy index of the old array there.
    """

    old: Shape
    new: Shape
    index: Any

    @classmethod
    def leading(cls, old: Shape, new: Shape) -> Block:
        """The block that begins at 0 along each axis. The new shape must be as large."""
        return cls(old, new, tuple(map(slice, old)))

    @property
    def region(self) -> Shape:
        """The shape of what the index names; it must be that of the old array."""
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
        """What the entries of the new array start with, in its shape and dtype.

        Args:
            how: One of `STARTS`: zeros; the mean of the old array along the axes that grew; or
                normal noise of its mean and standard deviation along these.
            old: The old array.
            like: The new array. It stays as it is where there are no old entries.
            seed: Of the noise.
        """
        if how == "zeros":
            return np.zeros_like(like)
        if not old.size:
            return like
        seen = old.reshape(self.old).astype(np.float64)
        # Along all axes where the old array lies in one of another rank.
        axes = None
        if len(self.old) == len(self.new):
            sizes = zip(self.old, self.new, strict=True)
            axes = tuple(axis for axis, (old_size, size) in enumerate(sizes) if old_size != size)
        with np.errstate(all="ignore"):  # of infinities and NaNs there is no mean
            values = np.mean(seen, axes, keepdims=axes is not None)
            if how == "noise":
                spread = np.std(seen, axes, keepdims=axes is not None)
                random = np.random.default_rng(seed)
                values = values + spread * random.standard_normal(self.new)
            return np.broadcast_to(values, self.new).reshape(like.shape).astype(like.dtype)
