"""Computations that differ between backends, with defaults for a backend like any other."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from typing import Any

import keras
import numpy as np
from keras import ops

from frostline._arrays.plan import AxisPlan, EntriesPlan, SplitPlan
from frostline._errors import UnsupportedError

Merge = Callable[[Any, Any, Any], Any]
"""A function from plan, trainable part and frozen part to the whole weight."""


class Arithmetic:
    """Moving entries, products, and gradients."""

    divides_convolutions: bool = False
    """Whether the gradient of some filters costs less than that of all filters."""

    repeats_operations: bool = False
    """Whether a compiler may compute a cheap operation again wherever its result is read."""

    merges_in_place: bool = False
    """Whether merging the parts of a `positions` plan makes no copy of the weight."""

    def read(self, variable: Any) -> Any:
        """The value of a variable as a tensor."""
        return variable.value

    def dense_gradient(self, tensor: Any) -> Any:
        """The tensor, made so that its gradient is always one dense array."""
        return tensor

    def join(self, pieces: Sequence[Any], axis: int) -> Any:
        """Concatenate tensors along an axis, bit for bit."""
        return ops.concatenate(pieces, axis=axis)

    def put(self, base: Any, plan: SplitPlan, rows: Any) -> Any:
        """A copy of `base` with `rows` at the trainable positions of its first axis.

        The positions of a plan are sorted, unique and in bounds, here and in `take`.
        """
        return ops.scatter_update(base, plan.trainable[:, None], rows)

    def take(self, tensor: Any, plan: SplitPlan, axis: int) -> Any:
        """The trainable positions of `tensor` along an axis."""
        return ops.take(tensor, plan.trainable, axis=axis)

    def columns(self, table: Any, indices: Any) -> Any:
        """The columns of `table` (`k, n`) at `indices` of any shape, which comes last."""
        return ops.take(table, indices, axis=1)

    def split(self, tensor: Any, sizes: list[int], axis: int) -> Sequence[Any]:
        """Split `tensor` along an axis into blocks of `sizes`."""
        return ops.split(tensor, np.cumsum(sizes)[:-1].tolist(), axis=axis)

    def places(self, plan: AxisPlan, indices: Any, *, trainable: bool) -> Any:
        """The places in a part of the positions `indices` of the whole axis.

        Args:
            plan: A plan along the axis.
            indices: Integers of any shape.
            trainable: True for the trainable part: the place plus one, and 0 for a frozen position.
                False for the frozen part: the place, and 0 for a trainable position.
        """
        return ops.take(plan.places if trainable else plan.frozen_places, indices, axis=0)

    def choose(self, places: Any, trainable: Any, indices: Any, frozen: Any) -> Any:
        """The rows of `trainable` at `places`, or those of `frozen` at `indices`.

        Args:
            places: Integers of any shape: a row of `trainable` plus one, or 0 for none.
            trainable: `(k, d)`
            indices: Integers of the shape of `places`.
            frozen: `(n, d)`
        """
        trained = ops.take(self.dense_gradient(trainable), ops.maximum(places - 1, 0), axis=0)
        rows = ops.take(frozen, indices, axis=0)
        return ops.where(ops.expand_dims(places > 0, -1), trained, rows)

    def whole(self, parts: Any, merge: Merge) -> Any:
        """Merge a weight from its parts, with a gradient for the trainable part."""
        return self._merged(parts, merge)

    def computing(self, near: Any) -> AbstractContextManager[Any]:
        """The context for gradients outside training, on the device of the tensor `near`."""
        del near
        return contextlib.nullcontext()

    def compiled(self, function: Callable[..., Any]) -> Callable[..., Any]:
        """Compile a function of nested tensors; a call may consume its first argument."""
        return function

    def gradients(self, function: Callable[[list[Any]], Any], values: Sequence[Any]) -> list[Any]:
        """The gradients of a scalar `function` with respect to each of `values`.

        None or zeros for a value that it does not depend on.
        """
        del function, values
        raise UnsupportedError(
            "backend: this backend computes no gradients; got "
            f"keras.backend.backend()={keras.backend.backend()!r}. "
            "Set KERAS_BACKEND to tensorflow, jax or torch before Python starts."
        )

    def for_each(
        self,
        function: Callable[[list[Any], list[Any]], list[Any]],
        carry: list[Any],
        arrays: Sequence[Any],
    ) -> list[Any]:
        """Call `function` for each position of the first axis of `arrays`, like `jax.lax.scan`.

        Args:
            function: Takes the carried tensors and the arrays at one position, whose first axis has
                length 1. It returns the new carried tensors, of the same shapes and dtypes.
            carry: The carried tensors for the first call.
            arrays: At least one array; all first axes have the same length.
        """
        for at in range(arrays[0].shape[0]):
            carry = function(carry, [array[at : at + 1] for array in arrays])
        return carry

    def multiplies_at_entries(self, plan: SplitPlan, x: Any) -> bool:
        """Whether a product computed only at the entries of a plan costs less than a whole product.

        Its cost grows with the number of entries, see the measurements in `docs/speed.md`.
        """
        del plan, x
        return False

    def adds_gradients(self, parts: Any, x: Any) -> bool:
        """Whether each device has some rows of `x`, and gradients are summed over the devices.

        Then `product` sums only the gradients of the trainable entries.
        """
        del parts, x
        return False

    def product_at_entries(self, plan: EntriesPlan, x: Any, y: Any) -> Any:
        """The entries of a plan in the transpose of `x` (`b, n`) times `y` (`b, m`)."""
        raise NotImplementedError("called only if `multiplies_at_entries` returns True")

    def pull_back(self, function: Callable[[Any], Any], x: Any, upstream: Any) -> Any:
        """The gradient of `function` at `x`, given the gradient of its output."""
        raise NotImplementedError("called only on backends with gradients")

    def matmul(self, x: Any, weight: Any) -> Any:
        """`x` (`..., n`) times `weight` (`n, m`), both of the same floating-point dtype."""
        return ops.matmul(x, weight)

    def matmul_transposed(self, x: Any, weight: Any) -> Any:
        """`x` (`..., n`) times the transpose of `weight` (`m, n`)."""
        return ops.matmul(x, ops.transpose(weight))

    def product(self, product: Any, x: Any, parts: Any, merge: Merge) -> Any:
        """The product of `x` and a weight, with a gradient only for the trainable part.

        Args:
            product: A `frostline._fast.product.Product`.
            x: The input, a tensor.
            parts: The parts of the weight.
            merge: A function that merges them, with their axes in the order of the parts.
        """
        return product.apply(x, self._merged(parts, merge))

    def patched(self, product: Any, x: Any, trainable: Any, frozen: Any) -> Any:
        """The same without a copy of the weight, for inputs with few rows."""
        return product.patched(x, trainable, frozen)

    def _merged(self, parts: Any, merge: Merge) -> Any:
        return merge(parts.plan, self.read(parts.trainable), self.read(parts.frozen))
