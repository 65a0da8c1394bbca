"""N:M patterns: `n` of every `m` consecutive entries."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from frostline._selections.algebra import Selection
from frostline._selections.scored import ByScore, InCall, arguments
from frostline._selections.weight import Weight

_ROWS = 1 << 16  # groups that are sorted at once


@dataclass(frozen=True, repr=False)
class Patterned(ByScore):
    """The `n` of every `m` consecutive entries with the smallest scores."""

    n: int
    m: int
    axis: int
    _reads_data: ClassVar[bool] = True

    def among(self, weights: Sequence[Weight]) -> Selection:
        return _Among(self, tuple(weights))

    def __repr__(self) -> str:
        return f"n_of_m({arguments(self.n, self.m, by=self.by, axis=self.axis, seed=self.seed)})"


class _Among(InCall[Patterned]):
    """A pattern for the weights of one call."""

    def mask(self, weight: Weight) -> np.ndarray:
        pattern, rank = self.said, len(weight.shape)
        n, m, axis = pattern.n, pattern.m, pattern.axis
        if not -rank <= axis < rank:
            do = "Leave this weight out, or use another axis." if rank else "Leave this weight out."
            raise weight.error(f"this weight has no axis {axis}", repr(pattern), do)
        if weight.shape[axis] % m:
            raise weight.error(
                f"{m} does not divide the length of axis {axis}, {weight.shape[axis]}",
                repr(pattern),
                "Leave this weight out, or use another m or axis.",
            )
        scored = self.scored(self.place(weight))
        flat = np.concatenate([np.empty(0, np.uint32), *scored.keys(scored.bits, largest=False)(1)])
        keys = np.moveaxis(flat.reshape(weight.shape), axis, -1)
        picked = np.zeros(keys.shape, bool)
        groups, rows = picked.reshape(-1, m), keys.reshape(-1, m)
        for start in range(0, len(rows), _ROWS):
            order = rows[start : start + _ROWS].argsort(axis=1, kind="stable")[:, :n]
            np.put_along_axis(groups[start : start + _ROWS], order, True, axis=1)
        return np.ascontiguousarray(np.moveaxis(picked, -1, axis))
