"""JAX: a training step sees the state of a model only while the forward pass runs."""

from __future__ import annotations

import weakref
from typing import Any

from jax.core import Tracer

from frostline._backends.base import Backend


class JaxBackend(Backend):
    """`optimizer.stateless_apply` is handed the trainable variables and the optimizer's, no others.

    A constraint that looks at the whole weight needs the frozen part as well, and `fit` takes the
    arrays away from the variables meanwhile. The forward pass of the same step has read the frozen
    part, so it is taken from there, as long as it belongs to the same trace.
    """

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
