"""A whole layer, merged from its parts."""

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
    """A whole layer: its class, config, values and masks."""

    kind: type
    config: dict[str, Any]
    values: dict[str, np.ndarray]
    frozen: dict[str, np.ndarray]
    state: dict[str, np.ndarray] = field(default_factory=dict)
    """State that no gradient changes, such as moving means."""

    def layer(self, name: str) -> Any:
        """The layer, not built: its weights get their paths from the model that contains it."""
        return self.kind.from_config(self.config | {"name": name, "trainable": True})

    def fill(self, layer: Any, optimizers: Sequence[Any] = (), *, freezing: bool = True) -> None:
        """Set the values of the built layer, and with `freezing` freeze it.

        Optimizers that were built for it are updated. The model that contains the layer then needs
        `update_parents`.
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
    """Merge the parts of a `Core` into a layer; `frozen(layer)` says which of them are frozen.

    Its options are those of a trainable part. It has a bias if the parts have one.
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
