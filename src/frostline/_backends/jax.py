"""JAX: a training step sees the state of a model only while the forward pass runs."""

from __future__ import annotations

import weakref
from typing import Any

from jax.core import Tracer
from jax.sharding import NamedSharding, PartitionSpec

from frostline._backends.base import Backend


class JaxBackend(Backend):
    """`optimizer.stateless_apply` is handed the trainable variables and the optimizer's, no others.

    A constraint that looks at the whole weight needs the frozen part as well, and `fit` takes the
    arrays away from the variables meanwhile. The forward pass of the same step has read the frozen
    part, so it is taken from there, as long as it belongs to the same trace.
    """

    # Keras 3.12 keeps the sharding of JAX itself as the layout of a variable.
    def layout_axes(self, layout: Any, ndim: int) -> list[Any] | None:
        if isinstance(layout, NamedSharding):
            return [*layout.spec, *[None] * (ndim - len(layout.spec))]
        return super().layout_axes(layout, ndim)

    def layout_with_axes(self, layout: Any, axes: list[Any]) -> Any:
        if isinstance(layout, NamedSharding):
            return NamedSharding(layout.mesh, PartitionSpec(*axes))
        return super().layout_with_axes(layout, axes)

    def remember(self, frozen: Any, value: Any) -> None:
        frozen._frostline_seen = weakref.ref(value)

    def recall(self, frozen: Any, part: Any) -> Any:
        seen = getattr(frozen, "_frostline_seen", lambda: None)()
        traced = isinstance(part, Tracer)
        if seen is not None and isinstance(seen, Tracer) is traced:
            if not traced:
                return frozen.value if frozen._value is not None else seen
            if seen._trace is part._trace:
                return seen
        return frozen.value
