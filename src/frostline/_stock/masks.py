"""The masks of a layer's weights, and errors for what a split cannot express."""

from __future__ import annotations

from typing import Any, Literal

import keras
import numpy as np

from frostline._arrays.plan import AxisPlan, EntriesPlan, plan_from_mask
from frostline._errors import UnsupportedError
from frostline._freezing.questions import frozen_mask
from frostline._stock.pieces import value

Coarsen = bool | Literal["more", "less"]
_BY_ENTRY = (keras.regularizers.L1, keras.regularizers.L2, keras.regularizers.L1L2)

_DEPTHWISE = "depthwise"  # prefix of the options for the `kernel` of a depthwise convolution


class Masks:
    """The values of a layer's weights and their masks, True where frozen."""

    def __init__(self, layer: Any, path: str, coarsen: Coarsen) -> None:
        self.layer = layer
        self.path = path
        self.coarsen: Coarsen = coarsen
        self.kind: Any = getattr(type(layer), "_frostline_base", type(layer))

    def config(self) -> dict[str, Any]:
        """The config that the layer would have with nothing frozen."""
        return dict(self.kind.get_config(self.layer))

    def value(self, name: str) -> np.ndarray:
        return value(self._variable(name))

    def frozen(self, name: str) -> np.ndarray:
        """The mask of a weight: whole positions along one axis."""
        variable = self._variable(name)
        mask = frozen_mask(variable)
        if self.layer.trainable and not variable.trainable:
            mask = np.ones_like(mask)  # `variable.trainable` was set to False
        if isinstance(plan_from_mask(mask), EntriesPlan):
            if not self.coarsen:
                raise self.error(
                    name,
                    "a split can't express these entries, which are not whole positions along one "
                    "axis",
                    "Pass `coarsen='more'` to freeze every row or column that has a frozen entry, "
                    "or `coarsen='less'` to freeze only those that are completely frozen.",
                )
            mask = coarsened(mask, more=self.coarsen != "less")
        return mask

    def error(self, name: str, rule: str, do: str = "") -> UnsupportedError:
        mask = frozen_mask(self._variable(name))
        return UnsupportedError(
            f"{self.path}/{name}: {rule}; got {type(self.layer).__name__} with "
            f"{int(mask.sum())} of {mask.size} entries frozen (shape {mask.shape}). "
            + (do or "Freeze other entries, or keep the model partly frozen as it is.")
        )

    def check_divisible(self, name: str, axis: int) -> None:
        """Raise an error for a penalty or constraint across `axis`, which needs both parts."""
        prefix = _DEPTHWISE if not hasattr(self.layer, f"{name}_regularizer") else name
        regularizer = getattr(self.layer, f"{prefix}_regularizer", None)
        if regularizer is not None and type(regularizer) not in _BY_ENTRY:
            raise self.error(
                name, f"{type(regularizer).__name__} is a penalty on the weight as a whole"
            )
        constraint = getattr(self.layer, f"{prefix}_constraint", None)
        if constraint is None or isinstance(constraint, keras.constraints.NonNeg):
            return
        rank = len(self._variable(name).shape)
        axes = getattr(constraint, "axis", None)
        axes = range(rank) if axes is None else np.atleast_1d(axes)
        if axis in {int(one) % rank for one in axes}:
            raise self.error(name, f"{type(constraint).__name__} needs both parts together")

    def check_by_entry(self, name: str) -> None:
        """Raise an error for a constraint over several entries, if the weight changes shape."""
        self.check_divisible(name, 0)
        constraint = getattr(self.layer, f"{name}_constraint", None)
        if constraint is not None and not isinstance(constraint, keras.constraints.NonNeg):
            raise self.error(name, f"{type(constraint).__name__} needs more than one entry")

    def _variable(self, name: str) -> Any:
        return getattr(self.layer, name)


def along_axis(mask: np.ndarray) -> int | None:
    """The axis whose positions a mask freezes; None if it freezes all or nothing."""
    plan = plan_from_mask(mask)
    return plan.axis if isinstance(plan, AxisPlan) else None


def coarsened(mask: np.ndarray, *, more: bool) -> np.ndarray:
    """The mask of whole positions along the axis where the fewest entries change."""
    candidates = []
    for axis in range(mask.ndim):
        others = tuple(a for a in range(mask.ndim) if a != axis)
        along = mask.any(others, keepdims=True) if more else mask.all(others, keepdims=True)
        candidates.append(np.broadcast_to(along, mask.shape))
    return min(candidates, key=lambda one: int((one != mask).sum()))
