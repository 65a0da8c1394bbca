"""What a backend may do in its own way; the defaults suit one that needs nothing special."""

from __future__ import annotations

import contextlib
import random
import weakref
from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager
from typing import Any

import keras
import numpy as np
from keras import ops

from frostline._arrays.places import index_of
from frostline._arrays.plan import AxisPlan, EntriesPlan, SplitPlan
from frostline._backends.traced import Traced
from frostline._backends.wrapper import Wrapper
from frostline._errors import UnsupportedError

Merge = Callable[[Any, Any, Any], Any]
"""Plan, trainable part, frozen part -> the whole weight."""


class Backend:
    """Defaults, and the list of all that differs."""

    divides_convolutions: bool = False
    """Whether the gradient of some filters alone costs less than that of all of them."""

    merges_in_place: bool = False
    """Whether putting the parts of an index list together makes no copy of the weight."""

    native_optimizer_kinds: tuple[type, ...] = ()
    """The classes of the framework's own optimizers, where these hold variables."""

    wrapper_kinds: tuple[type, ...] = ()
    """The classes of modules around a model that reduce its gradients over processes."""

    function_kinds: tuple[type, ...] = ()
    """The classes of compiled functions that keep the variables they were traced with."""

    view_mixin: type = object
    """A class that a full-shape view inherits from, before the variable class of Keras."""

    def seed(self, number: int) -> None:
        """Seed what Keras draws from: initializers, shuffling.

        `keras.utils.set_random_seed` does that too, and imports TensorFlow where it is installed,
        which takes seconds and prints lines of its own.
        """
        random.seed(number)
        np.random.seed(number)

    def check_changeable(self, variable: Any) -> None:
        """The error for a place or a moment at which the freeze of `variable` can not change."""
        del variable

    def creating(self, variable: Any) -> AbstractContextManager[Any]:
        """The context in which variables that take the place of `variable` are made."""
        del variable
        return contextlib.nullcontext()

    def naming(self, variable: Any) -> AbstractContextManager[Any]:
        """The context in which the framework gives what it makes the name that `variable` has."""
        del variable
        return contextlib.nullcontext()

    def layout_axes(self, layout: Any, ndim: int) -> list[Any] | None:
        """The mesh axis along each of the `ndim` axes of a variable, None without a layout."""
        del ndim
        is_layout = isinstance(layout, keras.distribution.TensorLayout)
        return list(layout.axes) if is_layout else None

    def mesh_sizes(self, layout: Any) -> dict[Any, int]:
        """How many devices there are along each axis of the mesh of a layout."""
        mesh = layout.device_mesh
        return dict(zip(mesh.axis_names, mesh.shape, strict=True))

    def layout_with_axes(self, layout: Any, axes: list[Any]) -> Any:
        """A layout on the same mesh, along other axes."""
        return keras.distribution.TensorLayout(axes, layout.device_mesh)

    def refresh_parameters(self, layers: Iterable[Any]) -> None:
        """Bring the framework's own list of parameters in line with the variables of `layers`."""

    def reference(self, storage: Any) -> Callable[[], Any]:
        """What gives a variable's storage back, or None if nothing else has kept it."""
        return weakref.ref(storage)

    def let_go(self, layers: Iterable[Any], variable: Any) -> None:
        """Drop what the framework's own lists in `layers` hold of a variable's storage."""

    def native_optimizers(
        self, variables: Iterable[Any], living: Iterable[Any]
    ) -> list[tuple[str, str]]:
        """Those of all `living` objects that hold the storage of a variable: class, path."""
        del variables, living
        return []

    def wrappers(self, living: Iterable[Any]) -> list[Wrapper]:
        """Those of all `living` objects that train a model in several processes."""
        del living
        return []

    def traced_functions(self, variables: Iterable[Any], living: Sequence[Any]) -> list[Traced]:
        """Those of all `living` objects that were traced with the storage of a variable."""
        del variables, living
        return []

    def forget_gradient(self, variable: Any) -> Callable[[], None]:
        """Drop a gradient that the framework keeps beside the storage of a variable.

        Returns:
            What puts it back.
        """
        del variable
        return lambda: None

    def lock(self, variable: Any, path: str) -> None:
        """Keep a frozen variable's storage from training, whatever the framework is told of it.

        Args:
            variable: A variable that does not train.
            path: The weight that it is, or is the frozen part of.
        """
        del variable, path

    def unlock(self, variable: Any) -> None:
        """Undo `lock`; nothing where it was not called."""
        del variable

    def remember(self, frozen: Any, value: Any) -> None:
        """Note the `value` that a forward pass read from a frozen part, see `recall`."""

    def recall(self, frozen: Any, part: Any) -> Any:
        """The value of a frozen part while its trainable part is updated to the tensor `part`."""
        del part
        return frozen.value

    def read(self, variable: Any) -> Any:
        """The value of a variable as a tensor."""
        return variable.value

    def to_numpy(self, tensor: Any, of: str = "tensor") -> np.ndarray:
        """A tensor as an array with the same bits, not copied if that can be avoided.

        Every process calls this for a tensor that spans processes. Errors name the weight `of`.
        """
        del of
        return np.asarray(ops.convert_to_numpy(tensor))

    def local(self, tensor: Any) -> tuple[np.ndarray, tuple[tuple[slice, ...], ...] | None]:
        """An array of the whole shape, and the regions of it that are in this process.

        None for all of it. All else is zero, and nothing is sent.
        """
        return self.to_numpy(tensor), None

    def from_numpy(self, array: np.ndarray, variable: Any) -> Any:
        """What `variable.assign` writes with the bits of an array."""
        del variable
        return array

    def copies(self, variable: Any) -> Sequence[Any]:
        """The copies of a variable that has storage, where each device has one of its own."""
        del variable
        return ()

    def read_at(self, variable: Any, positions: np.ndarray, axis: int | None) -> np.ndarray:
        """Entries of a variable that has storage, with the same bits.

        Args:
            variable: A variable that is not divided.
            positions: Sorted or not, unique and in bounds: flat ones in C order, or along `axis`.
            axis: Of the variable, None for flat positions.
        """
        whole = self.to_numpy(variable.value, variable.path)
        return whole[index_of(whole.shape, positions, axis)]

    def write_at(
        self, variable: Any, positions: np.ndarray, axis: int | None, values: np.ndarray
    ) -> None:
        """Write entries in the order in which `read_at` gives them; all others keep their bits.

        Without a copy of the variable, if nothing that has been read from it can change by that.
        """
        whole = np.array(self.to_numpy(variable.value, variable.path), order="C")
        whole[index_of(whole.shape, positions, axis)] = values
        variable.assign(self.from_numpy(whole, variable))

    def own(self, tensor: Any) -> Any:
        """The tensor in memory that no other is a view of, in the order of its axes."""
        return tensor

    def is_alive(self, variable: Any) -> bool:
        """Whether a variable still has the memory that it was given."""
        del variable
        return True

    def is_dense(self, value: Any) -> bool:
        """Whether a value is a dense tensor, not sparse, ragged or symbolic."""
        return ops.is_tensor(value)

    def memory_order(self, tensor: Any) -> Any:
        """In which order the axes of a tensor lie in memory, None for the usual one."""
        del tensor

    def in_order(self, tensor: Any, order: Any) -> Any:
        """The tensor with its memory in an order that `memory_order` gave."""
        del order
        return tensor

    def drop_traces(self, divided: Iterable[tuple[Any, Any, Sequence[Any]]]) -> None:
        """Forget compiled functions that would run on with the positions of an earlier plan.

        Args:
            divided: Variables that have a new plan, the plan, and the two parts.
        """
        del divided

    def dense_gradient(self, tensor: Any) -> Any:
        """The tensor, such that its gradient is one array whatever is done with it."""
        return tensor

    def put(self, base: Any, plan: SplitPlan, rows: Any) -> Any:
        """A copy of `base` with `rows` along its first axis at the positions that train.

        The positions of a plan are sorted, unique and in bounds, here and in `take`.
        """
        return ops.scatter_update(base, plan.positions[:, None], rows)

    def take(self, tensor: Any, plan: SplitPlan, axis: int) -> Any:
        """What of `tensor` lies at the positions that train along an axis."""
        return ops.take(tensor, plan.positions, axis=axis)

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
