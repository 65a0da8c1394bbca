"""A layer in one piece, put together from its parts."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from frostline._arrays.plan import plan_from_mask
from frostline._freezing.layer import freeze_new
from frostline._stock.graph import WEIGHT, Core
from frostline._stock.pieces import value


@dataclass
class Whole:
    """A layer in one piece: its class and config, its numbers, and True where they are frozen."""

    kind: type
    config: dict[str, Any]
    values: dict[str, np.ndarray]
    frozen: dict[str, np.ndarray]
    state: dict[str, np.ndarray] = field(default_factory=dict)
    """What no gradient moves, as running means."""

    def layer(self, name: str) -> Any:
        """The layer, not built: the model that it is put into gives its weights their paths."""
        return self.kind.from_config(self.config | {"name": name, "trainable": True})

    def fill(self, layer: Any, optimizers: Sequence[Any] = (), *, freezing: bool = True) -> None:
        """Give the built layer its numbers, and freeze what is frozen of them where `freezing`.

        Optimizers that were built for it follow. What the layer has been put into, a model just
        made, needs `update_parents` then.
        """
        for key, numbers in (self.values | self.state).items():
            variable = getattr(layer, key)
            variable.assign(numbers.reshape(variable.shape))
        if freezing:
            variables = {key: getattr(layer, key) for key in self.frozen}
            freeze_new(
                layer,
                [
                    (variable, plan_from_mask(self.frozen[key].reshape(variable.shape)))
                    for key, variable in variables.items()
                ],
                optimizers,
            )


def whole(core: Core, frozen: Callable[[Any], bool]) -> Whole:
    """The layer whose parts make a `Core`; `frozen(layer)` says which of them are frozen.

    Its options are those of a part that trains, and its bias is what the parts have of one.
    """
    layers = [part.layer for part in core.parts]
    config = dict(next((one for one in layers if not frozen(one)), layers[0]).get_config())
    for layer in [part.layer for part in core.with_bias][:1]:
        own = layer.get_config()
        config |= {key: own[key] for key in ("use_bias", "bias_axes") if key in own}
    key = WEIGHT[core.kind]
    made = Whole(core.kind, config | core.size, {}, {})
    values = [value(getattr(layer, key)) for layer in layers]
    made.values[key] = core.joined(values)
    made.frozen[key] = core.joined(_flags(values, layers, frozen))
    if core.with_bias:
        having = [part.layer for part in core.with_bias]
        values = [value(layer.bias) for layer in having]
        made.values["bias"] = core.joined_bias(values)
        made.frozen["bias"] = core.joined_bias(_flags(values, having, frozen))
    return made


def _flags(
    values: list[np.ndarray], layers: list[Any], frozen: Callable[[Any], bool]
) -> list[np.ndarray]:
    return [np.full(v.shape, frozen(layer)) for v, layer in zip(values, layers, strict=True)]
