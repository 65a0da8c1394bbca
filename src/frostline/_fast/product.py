"""Products of an input and a partly frozen weight whose cost depends on the trainable part.

There are three forms. The kind of the plan decides which one is used:

* *split*, for blocks: a product with each part, and the results concatenated or added. Nothing is
  merged, and the gradient of the frozen part is never computed.
* *whole*, for positions: one product with the merged weight, and a gradient that takes the
  trainable positions from the input or from the upstream gradient before it multiplies.
* *patched*, for positions and inputs of few rows, where merging the weight would cost more than the
  product: a product with the frozen part, and one with the trainable part whose result is put at
  its positions.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import keras
from keras import ops

from frostline._arrays.plan import AxisPlan, Run, SplitPlan
from frostline._backends.current import backend
from frostline._weights.parts import Parts
from frostline._weights.split import is_block, merge_stored, put_along, slice_along
from frostline._weights.view import View, readable_parts

_force = threading.local()


@dataclass(frozen=True)
class Product:
    """A function of an input and a weight that is linear in both, and the weight's divided axis.

    Its functions take weights with their axes in the order of the parts of the plan. `x_axis` is
    the axis of the input with the same positions as the divided axis, if there is one; `y_axis` is
    the same for the output.
    """

    plan: SplitPlan
    apply: Callable[[Any, Any], Any]
    """Input, weight -> output; the weight may have any number of positions along its axis."""
    gradient_x: Callable[[Any, Any, Any], Any]
    """Input, whole weight, upstream gradient -> the gradient of the input."""
    gradient_weight: Callable[[Any, Any, Any], Any]
    """Input, weight (for its shape), upstream gradient -> the gradient of the weight."""
    x_axis: int | None = None
    y_axis: int | None = None
    alone: bool = True
    """Whether the divided axis is the only axis of the weight that is summed over, or produced."""
    splits: bool = True
    """Whether a product with each part costs about as much as one with the whole weight."""
    rows: int | None = None
    """The number of input rows that each entry of the weight is multiplied by, if known."""

    def take_x(self, x: Any) -> Any:
        """The part of the input that is multiplied by the trainable part."""
        return x if self.x_axis is None else self._take(x, self.x_axis)

    def take_y(self, y: Any) -> Any:
        """The part of the output, or of its gradient, that comes from the trainable part."""
        return y if self.y_axis is None else self._take(y, self.y_axis)

    def gradient_part(self, x: Any, trainable: Any, upstream: Any) -> Any:
        """The gradient of the trainable part."""
        return self.gradient_weight(self.take_x(x), trainable, self.take_y(upstream))

    def patched(self, x: Any, trainable: Any, frozen: Any) -> Any:
        """The patched form, for positions along one axis of input or output."""
        if self.x_axis is not None:
            kept = self._blank(x, self.x_axis)
            return self.apply(kept, frozen) + self.apply(self.take_x(x), trainable)
        return self._put(self.apply(x, frozen), self.apply(x, trainable), self.y_axis)

    def patched_gradients(
        self, x: Any, trainable: Any, frozen: Any, upstream: Any
    ) -> tuple[Any, Any]:
        """The gradients of the input and of the trainable part, in the patched form."""
        part = self.take_y(upstream)
        by_part = self.gradient_weight(self.take_x(x), trainable, part)
        if self.x_axis is not None:
            by_frozen = self.gradient_x(x, frozen, upstream)
            by_trainable = self.gradient_x(x, trainable, upstream)
            return self._put(by_frozen, by_trainable, self.x_axis), by_part
        kept = self._blank(upstream, self.y_axis)
        return self.gradient_x(x, frozen, kept) + self.gradient_x(x, trainable, part), by_part

    def _blank(self, tensor: Any, axis: int | None) -> Any:
        """Set the trainable positions to zero: the frozen part has no valid values there."""
        assert isinstance(self.plan, AxisPlan)
        assert axis is not None
        shape = [1] * len(tensor.shape)
        shape[axis] = -1
        trains = (self.plan.places > 0).reshape(shape)
        return ops.where(trains, ops.zeros((), tensor.dtype), tensor)

    def _put(self, tensor: Any, rows: Any, axis: int | None) -> Any:
        """Write `rows` at the trainable positions along an axis of the tensor."""
        assert axis is not None
        assert isinstance(self.plan, AxisPlan)
        return put_along(tensor, self.plan, rows, axis)

    def _take(self, tensor: Any, axis: int) -> Any:
        positions = self.plan.trainable
        if is_block(positions):
            return slice_along(tensor, axis, int(positions[0]), int(positions[-1]) + 1)
        return backend.take(tensor, self.plan, axis)


def usable_parts(x: Any, weight: Any) -> Parts[SplitPlan] | None:
    """The parts of a partly frozen weight, if a fast path may use them.

    None for inputs that are sparse, ragged or symbolic, or whose dtype differs from the weight's:
    Keras handles these.
    """
    if not isinstance(weight, View) or not backend.is_dense(x) or forced_generic():
        return None
    parts = readable_parts(weight)
    if parts is None or keras.backend.standardize_dtype(x.dtype) != parts.trainable.dtype:
        return None
    return parts


def axis_parts(x: Any, weight: Any) -> Parts[AxisPlan] | None:
    """The same, only for a weight that is divided along an axis."""
    return along_axis(usable_parts(x, weight))


def table_parts(indices: Any, table: Any) -> Parts[AxisPlan] | None:
    """The same for a table to look up `indices` in; with None, only the table is checked."""
    if not isinstance(table, View) or forced_generic():
        return None
    if indices is not None and not backend.is_dense(indices):
        return None
    return along_axis(readable_parts(table))


def along_axis(parts: Any) -> Parts[AxisPlan] | None:
    """The parts, if the weight is divided along an axis; else None."""
    return parts if parts is not None and isinstance(parts.plan, AxisPlan) else None


def size_of(axes: Sequence[Any]) -> int | None:
    """The number of entries in these axes, None if one is unknown or, in an export, symbolic."""
    known = [n for n in axes if isinstance(n, int)]
    return math.prod(known) if len(known) == len(axes) else None


def of_dtype(tensor: Any, other: Any) -> Any:
    """The tensor in the dtype of another one."""
    # Even a cast that does nothing takes as long as a small product in Keras.
    return tensor if tensor.dtype == other.dtype else ops.cast(tensor, other.dtype)


@contextmanager
def generic() -> Iterator[None]:
    """Turn off fast paths, so that every weight is merged: the reference that they must equal."""
    before = forced_generic()
    _force.generic = True
    try:
        yield
    finally:
        _force.generic = before


def forced_generic() -> bool:
    """Whether fast paths are off in this thread."""
    return getattr(_force, "generic", False)


def multiply(product: Product, x: Any, parts: Parts[Any]) -> Any:
    """The product with a partly frozen weight, in the form that suits its plan."""
    if product.splits and isinstance(parts.plan, AxisPlan) and not parts.plan.keeps_length:
        return _split_product(
            product, parts.plan.runs, x, backend.read(parts.trainable), backend.read(parts.frozen)
        )
    if not backend.merges_in_place and _is_small(product):
        return backend.patched(
            product, x, backend.read(parts.trainable), backend.read(parts.frozen)
        )
    return backend.product(product, x, parts, merge_stored)


def _is_small(product: Product) -> bool:
    """Whether a second product, with the trainable part, costs less than a copy of the weight.

    The cost of the product grows with the rows of the input and the trainable share, that of the
    copy with neither. The limit was measured, see `docs/speed.md`.
    """
    plan = product.plan
    if product.rows is None or not isinstance(plan, AxisPlan) or not plan.keeps_length:
        return False
    if product.x_axis is not None and product.y_axis is not None:
        return False
    if plan.sharded and product.rows <= plan.size // plan.shape[plan.axis]:
        return True  # devices then exchange a part of the output instead of the weight
    return product.rows * len(plan.trainable) <= 4 * plan.shape[plan.axis]


def _split_product(
    product: Product, runs: Sequence[Run], x: Any, trainable: Any, frozen: Any
) -> Any:
    x_trainable = x_frozen = x
    if product.x_axis is not None:
        pieces = _split(x, runs, product.x_axis)
        x_trainable, x_frozen = (
            _join(
                [piece for piece, run in zip(pieces, runs, strict=True) if run.trainable is part],
                product.x_axis,
            )
            for part in (True, False)
        )
    y_trainable = _apply(product, x_trainable, trainable)
    y_frozen = _apply(product, x_frozen, frozen)
    if product.y_axis is None:
        return ops.add(y_trainable, y_frozen)
    pieces = {
        part: iter(_split(y, [run for run in runs if run.trainable is part], product.y_axis))
        for part, y in ((True, y_trainable), (False, y_frozen))
    }
    return _join([next(pieces[run.trainable]) for run in runs], product.y_axis)


def _apply(product: Product, x: Any, weight: Any) -> Any:
    assert isinstance(product.plan, AxisPlan)
    axis = product.plan.axis
    if not product.alone or weight.shape[axis] > 1 or not backend.repeats_operations:
        return product.apply(x, weight)
    # XLA turns a product over one position into a multiplication, and repeats it inside each later
    # operation that reads it: compiling many layers then takes quadratic time. A second position,
    # with zeros, keeps it a product, and so is the gradient of the input.
    weight = _padded(weight, axis)
    if product.x_axis is not None:
        return product.apply(_padded(x, product.x_axis), weight)
    assert product.y_axis is not None
    return slice_along(product.apply(x, weight), product.y_axis, 0, 1)


def _padded(tensor: Any, axis: int) -> Any:
    return ops.concatenate([tensor, ops.zeros_like(tensor)], axis=axis)


def _split(tensor: Any, runs: Sequence[Run], axis: int) -> Sequence[Any]:
    """Blocks of a tensor; their gradient is one concatenation, not a sum of padded blocks."""
    if len(runs) == 1:
        return [tensor]
    return backend.split(tensor, [run.stop - run.start for run in runs], axis)


def _join(pieces: Sequence[Any], axis: int) -> Any:
    return pieces[0] if len(pieces) == 1 else ops.concatenate(pieces, axis=axis)
