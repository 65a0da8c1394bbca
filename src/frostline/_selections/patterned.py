"""N:M patterns: some of every few consecutive entries."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from frostline._selections.algebra import Selection
from frostline._selections.scored import Given, Scored, arguments
from frostline._selections.weight import Weight

_ROWS = 1 << 16  # groups that are sorted at once


@dataclass(frozen=True, repr=False)
class Patterned(Selection):
    """The `n` first of every `m` consecutive entries, in the order of their scores."""

    n: int
    m: int
    by: str | Given | Callable[[np.ndarray], Any]
    axis: int
    seed: int
    _reads_data: ClassVar[bool] = True

    def mask(self, weight: Weight) -> np.ndarray:
        return self.among([weight]).mask(weight)  # type: ignore[return-value]

    def among(self, weights: Sequence[Weight]) -> Selection:
        return _Among(self, tuple(weights))

    def __repr__(self) -> str:
        return f"n_of_m({arguments(self.n, self.m, by=self.by, axis=self.axis, seed=self.seed)})"


@dataclass(frozen=True, eq=False, repr=False)
class _Among(Selection):
    """A pattern for the weights of one call, which draw random numbers one after another."""

    pattern: Patterned
    weights: tuple[Weight, ...]

    def mask(self, weight: Weight) -> np.ndarray:
        pattern, rank = self.pattern, len(weight.shape)
        n, m, axis = pattern.n, pattern.m, pattern.axis
        if not -rank <= axis < rank:
            do = "Leave this weight out, or use another axis." if rank else "Leave this weight out."
            raise weight.error(f"it has no axis {axis}", repr(pattern), do)
        if weight.shape[axis] % m:
            raise weight.error(
                f"{m} does not divide the length of axis {axis}, {weight.shape[axis]}",
                repr(pattern),
                "Leave this weight out, or use another m or axis.",
            )
        place = next(i for i, one in enumerate(self.weights) if one is weight)
        scored = Scored(weight, pattern.by, (pattern.seed, place), repr(pattern))
        flat = np.concatenate([np.empty(0, np.uint32), *scored.keys(scored.bits, largest=False)(1)])
        keys = np.moveaxis(flat.reshape(weight.shape), axis, -1)
        picked = np.zeros(keys.shape, bool)
        groups, rows = picked.reshape(-1, m), keys.reshape(-1, m)
        for start in range(0, len(rows), _ROWS):
            order = rows[start : start + _ROWS].argsort(axis=1, kind="stable")[:, :n]
            np.put_along_axis(groups[start : start + _ROWS], order, True, axis=1)
        return np.ascontiguousarray(np.moveaxis(picked, -1, axis))

    def __repr__(self) -> str:
        return repr(self.pattern)
