"""What a backend computes in its own way; the defaults suit one that needs nothing special."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from typing import Any

import keras
from keras import ops

from frostline._arrays.plan import AxisPlan, EntriesPlan, SplitPlan
from frostline._errors import UnsupportedError

Merge = Callable[[Any, Any, Any], Any]
"""Plan, trainable part, frozen part -> the whole weight."""


class Arithmetic:
    """Entries that are moved, products, and gradients."""

    divides_convolutions: bool = False
    """Whether the gradient of some filters alone costs less than that of all of them."""

    merges_in_place: bool = False
    """Whether putting the parts of an index list together makes no copy of the weight."""

    def read(self, variable: Any) -> Any:
        """The value of a variable as a tensor."""
        return variable.value

    def dense_gradient(self, tensor: Any) -> Any:
        """The tensor, such that its gradient is one array whatever is done with it."""
        return tensor

    def join(self, pieces: Sequence[Any], axis: int) -> Any:
        """Tensors one after the other along an axis, with the same bits."""
        return ops.concatenate(pieces, axis=axis)

    def put(self, base: Any, plan: SplitPlan, rows: Any) -> Any:
        """A copy of `base` with `rows` along its first axis at the positions that train.

        The positions of a plan are sorted, unique and in bounds, here and in `take`.
        """
        return ops.scatter_update(base, plan.trainable[:, None], rows)

    def take(self, tensor: Any, plan: SplitPlan, axis: int) -> Any:
        """What of `tensor` lies at the positions that train along an axis."""
        return ops.take(tensor, plan.trainable, axis=axis)

    def columns(self, table: Any, indices: Any) -> Any:
        """The columns of `table` (`k, n`) at integers of any shape, which the result has last."""
        return ops.take(table, indices, axis=1)

    def split(self, tensor: Any, edges: list[int], axis: int) -> Sequence[Any]:
        """The blocks of `tensor` along an axis, each but the last up to one of `edges`."""
        return ops.split(tensor, edges, axis=axis)

    def places(self, plan: AxisPlan, indices: Any, *, trainable: bool) -> Any:
        """Where the positions `indices` of the whole axis lie in a part.

        Args:
            plan: A plan along the axis.
            indices: Integers of any shape.
            trainable: Which part: of the trainable one one more, and 0 for a frozen position; of
                the frozen one 0 for a position that trains.
        """
        return ops.take(plan.places if trainable else plan.frozen_places, indices, axis=0)

    def choose(self, places: Any, trainable: Any, indices: Any, frozen: Any) -> Any:
        """The rows of `trainable` at `places`, or those of `frozen` at `indices`.

        Args:
            places: Integers of any shape: one more than a row of `trainable`, 0 for none of them.
            trainable: `(k, d)`
            indices: Integers of the shape of `places`.
            frozen: `(n, d)`
        """
        trained = ops.take(self.dense_gradient(trainable), ops.maximum(places - 1, 0), axis=0)
        rows = ops.take(frozen, indices, axis=0)
        return ops.where(ops.expand_dims(places > 0, -1), trained, rows)

    def whole(self, parts: Any, merge: Merge) -> Any:
        """A weight put together from its parts, with a gradient for the trainable one."""
        return self._merged(parts, merge)

    def computing(self, near: Any) -> AbstractContextManager[Any]:
        """The context for gradients outside training, on the device of the tensor `near`."""
        del near
        return contextlib.nullcontext()

    def compiled(self, function: Callable[..., Any]) -> Callable[..., Any]:
        """A function of nested tensors, compiled; its first argument may be given up by a call."""
        return function

    def gradients(self, function: Callable[[list[Any]], Any], values: Sequence[Any]) -> list[Any]:
        """The gradient of `function`, a number, by each of `values`, of the same shape.

        None or zeros for one that it does not depend on.
        """
        del function, values
        raise UnsupportedError(
            "backend: it computes no gradients; got "
            f"keras.backend.backend()={keras.backend.backend()!r}. "
            "Set KERAS_BACKEND to tensorflow, jax or torch before Python starts."
        )

    def for_each(
        self,
        function: Callable[[list[Any], list[Any]], list[Any]],
        carry: list[Any],
        arrays: Sequence[Any],
    ) -> list[Any]:
        """Carry tensors through `function`, once for each position of the first axis of `arrays`.

        Args:
            function: Of what is carried, and of the arrays at one position, with an axis of length
                one in the place of the first. What it returns has the same shapes and dtypes.
            carry: What the first call gets.
            arrays: At least one, with first axes of one length.
        """
        for at in range(arrays[0].shape[0]):
            carry = function(carry, [array[at : at + 1] for array in arrays])
        return carry

    def multiplies_at_entries(self, plan: SplitPlan, x: Any) -> bool:
        """Whether a product at the entries of a plan alone costs less than the whole product.

        What `docs/speed.md` measured: it grows with the entries, and the whole one does not.
        """
        del plan, x
        return False

    def adds_gradients(self, parts: Any, x: Any) -> bool:
        """Whether each device has some rows of `x`, and a gradient is the sum of what each finds.

        Then `product` adds only those of the entries that train.
        """
        del parts, x
        return False

    def product_at_entries(self, plan: EntriesPlan, x: Any, y: Any) -> Any:
        """The entries of a plan in the transpose of `x` (`b, n`) times `y` (`b, m`)."""
        raise NotImplementedError("only asked for where `multiplies_at_entries` says so")

    def pull_back(self, function: Callable[[Any], Any], x: Any, upstream: Any) -> Any:
        """The gradient of `function` at `x`, given that of its output."""
        raise NotImplementedError("only asked for where there are gradients")

    def matmul(self, x: Any, weight: Any) -> Any:
        """`x` (`..., n`) times `weight` (`n, m`), both of one floating-point dtype."""
        return ops.matmul(x, weight)

    def matmul_transposed(self, x: Any, weight: Any) -> Any:
        """`x` (`..., n`) times the transpose of `weight` (`m, n`)."""
        return ops.matmul(x, ops.transpose(weight))

    def product(self, product: Any, x: Any, parts: Any, merge: Merge) -> Any:
        """The product of `x` and a weight whose gradient is computed for what trains alone.

        Args:
            product: A `frostline._fast.product.Product`.
            x: The input, a tensor.
            parts: The parts of the weight.
            merge: What puts them together, in the order of axes that they have.
        """
        return product.apply(x, self._merged(parts, merge))

    def patched(self, product: Any, x: Any, trainable: Any, frozen: Any) -> Any:
        """The same without a copy of the weight, for inputs of few rows."""
        return product.patched(x, trainable, frozen)

    def _merged(self, parts: Any, merge: Merge) -> Any:
        return merge(parts.plan, self.read(parts.trainable), self.read(parts.frozen))
