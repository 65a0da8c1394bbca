"""Select the entries that differ from earlier values."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from frostline._arrays.bits import differ
from frostline._arrays.ranking import PIECE
from frostline._selections.algebra import Selection
from frostline._selections.scored import Given
from frostline._selections.weight import Weight


@dataclass(frozen=True, repr=False)
class Differing(Selection):
    """Entries that differ from given values, in any bit or by more than a tolerance."""

    before: Given
    tolerance: float | None
    _reads_data: ClassVar[bool] = True

    def mask(self, weight: Weight) -> np.ndarray:
        before, now = self.before.find(weight, "before"), np.asarray(weight.read())
        given = self.before.arrays.get(weight.key_in(self.before.arrays))
        if given is weight.variable and given is not None:
            raise weight.error(
                "`before` contains the weight itself, not a copy, so it changes with the weight",
                f"before with {type(given).__name__}",
                "Take `before = fl.snapshot(model)` before training.",
            )
        if before.dtype != now.dtype:
            raise weight.error(
                "the array in `before` must have the dtype of the weight",
                f"an array of dtype {before.dtype}",
                "Take `before = fl.snapshot(model)` from the same model.",
            )
        if self.tolerance is None:
            return np.asarray(differ(np.ascontiguousarray(before), np.ascontiguousarray(now)))
        return self._moved(before, now)

    def _moved(self, before: np.ndarray, now: np.ndarray) -> np.ndarray:
        assert self.tolerance is not None
        one, other = (np.ascontiguousarray(array).reshape(-1) for array in (before, now))
        moved = np.empty(one.size, bool)
        for start in range(0, one.size, PIECE):
            piece = slice(start, start + PIECE)
            was, here = one[piece].astype(np.float64), other[piece].astype(np.float64)
            with np.errstate(invalid="ignore"):  # infinity minus infinity
                stays = np.abs(here - was) <= self.tolerance
            moved[piece] = ~(stays | (was == here) | (np.isnan(was) & np.isnan(here)))
        return moved.reshape(now.shape)

    def __repr__(self) -> str:
        text = "" if self.tolerance is None else f", tolerance={self.tolerance!r}"
        return f"changed({self.before!r}{text})"
