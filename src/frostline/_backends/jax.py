"""JAX: in a training step, variables have their values only during the forward pass."""

from __future__ import annotations

import contextlib
import weakref
import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager
from typing import Any

import jax
import jax.numpy as jnp
import keras
import numpy as np
from jax.core import Tracer
from jax.custom_derivatives import SymbolicZero
from jax.sharding import NamedSharding, PartitionSpec

from frostline import _keras
from frostline._arrays.places import index_of
from frostline._arrays.plan import EntriesPlan, Plan, SplitPlan
from frostline._backends import jax_moves as moves
from frostline._backends.arithmetic import Merge
from frostline._backends.base import Backend
from frostline._backends.jax_processes import Region, agreed, gathered, local, scattered, spans


class JaxBackend(Backend):
    """`optimizer.stateless_apply` gets only the trainable variables and those of the optimizer.

    A constraint on the whole weight also needs the frozen part, but during `fit` variables have no
    arrays. The forward pass of the same step has read the frozen part, so its value is used, if it
    belongs to the same trace.
    """

    divides_convolutions = True
    repeats_operations = True

    # Keras 3.12 keeps the sharding of JAX itself as the layout of a variable.
    def layout_axes(self, layout: Any, ndim: int) -> list[Any] | None:
        if isinstance(layout, NamedSharding):
            return [*layout.spec, *[None] * (ndim - len(layout.spec))]
        return super().layout_axes(layout, ndim)

    def mesh_sizes(self, layout: Any) -> dict[Any, int]:
        if isinstance(layout, NamedSharding):
            return dict(layout.mesh.shape)
        return super().mesh_sizes(layout)

    def layout_with_axes(self, layout: Any, axes: list[Any]) -> Any:
        # A Keras layout can have only one name for each axis.
        several = any(isinstance(names, tuple) for names in axes)
        if several or isinstance(layout, NamedSharding):
            return NamedSharding(_mesh(layout), PartitionSpec(*axes))
        return super().layout_with_axes(layout, axes)

    def creating(self, variable: Any) -> AbstractContextManager[Any]:
        # A weight made before the distribution was set is not distributed. Keras would give its
        # replacement a layout by path, for another shape.
        if getattr(variable, "_layout", None) is None and keras.distribution.distribution():
            return _undistributed()
        return contextlib.nullcontext()

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

    def drop_traces(self, divided: Iterable[tuple[Any, Any, Sequence[Any]]]) -> None:
        # A function compiled with `jax.jit` is reused for arrays of the same shapes, with the
        # positions of the plan that it was traced with. So each weight keeps a record of its
        # earlier plans by the shapes of its parts.
        stale = False
        for variable, plan, parts in divided:
            shapes = tuple(tuple(part.shape) for part in parts)
            identity = hash(_identity(plan))
            known = variable.__dict__.setdefault("_frostline_divided", {})
            stale |= known.setdefault(shapes, identity) != identity
            known[shapes] = identity
        if stale:
            jax.clear_caches()

    def agree(self, plans: Sequence[tuple[Any, Plan | None]]) -> None:
        shared = [v.path for v, _ in plans if _is_shared(v)]
        if shared:
            agreed(shared[0], zlib.crc32(b"".join(_identity(plan) for _, plan in plans)))

    def is_alive(self, variable: Any) -> bool:
        # A compiled step may take over the memory of its arguments.
        value = _keras.storage(variable)
        return isinstance(value, jax.Array) and not value.is_deleted()

    def is_dense(self, value: Any) -> bool:
        return isinstance(value, jax.Array)

    def to_numpy(self, tensor: Any, of: str = "tensor") -> np.ndarray:
        if getattr(tensor, "is_fully_addressable", True):
            return super().to_numpy(tensor, of)
        if spans(tensor):
            return gathered(moves.bits(tensor), of).view(tensor.dtype)
        return local(tensor)[0]

    def local(self, tensor: Any) -> tuple[np.ndarray, tuple[Region, ...] | None]:
        return local(tensor) if spans(tensor) else super().local(tensor)

    def from_numpy(self, array: np.ndarray, variable: Any) -> Any:
        value = _keras.storage(variable)
        # JAX would gather the arrays of all processes to check that they are equal, which arrays
        # with NaN never are.
        return scattered(array, value.sharding) if spans(value) else array

    # On a CPU, a copy by NumPy costs as much as one by XLA and needs no compilation.
    def read_at(self, variable: Any, positions: np.ndarray, axis: int | None) -> np.ndarray:
        value = _keras.storage(variable)
        if moves.on_cpu(value) and value.is_fully_addressable:
            return super().read_at(variable, positions, axis)
        read = moves.bits(value)[index_of(value.shape, positions, axis)]
        return self.to_numpy(read, variable.path).view(value.dtype)

    def write_at(
        self, variable: Any, positions: np.ndarray, axis: int | None, values: np.ndarray
    ) -> None:
        # Always a copy: `donate_argnums` would free the old memory for everything else that holds
        # the array, and for the variable if an interrupt comes before it has the new array.
        value = _keras.storage(variable)
        if moves.on_cpu(value) and value.is_fully_addressable:
            return super().write_at(variable, positions, axis, values)
        bits = moves.bits(value)
        given = np.ascontiguousarray(values).view(bits.dtype)
        at = bits.at[index_of(value.shape, positions, axis)]
        new = at.set(given, unique_indices=True, mode="promise_in_bounds")
        variable.assign(new.view(value.dtype))

    def join(self, pieces: Sequence[Any], axis: int) -> Any:
        if any(isinstance(piece, Tracer) for piece in pieces):
            return super().join(pieces, axis)
        return moves.join(pieces, axis)

    def put(self, base: Any, plan: SplitPlan, rows: Any) -> Any:
        return moves.put(base, plan, rows)

    def take(self, tensor: Any, plan: SplitPlan, axis: int) -> Any:
        return moves.take(tensor, plan, axis)

    def compiled(self, function: Callable[..., Any]) -> Callable[..., Any]:
        return jax.jit(function, donate_argnums=0)

    def gradients(self, function: Callable[[list[Any]], Any], values: Sequence[Any]) -> list[Any]:
        return jax.grad(function)(list(values))

    def for_each(
        self,
        function: Callable[[list[Any], list[Any]], list[Any]],
        carry: list[Any],
        arrays: Sequence[Any],
    ) -> list[Any]:
        def body(carry: list[Any], one: list[Any]) -> tuple[list[Any], None]:
            return function(carry, [array[None] for array in one]), None

        return jax.lax.scan(body, carry, list(arrays))[0]

    def pull_back(self, function: Callable[[Any], Any], x: Any, upstream: Any) -> Any:
        _, back = jax.vjp(function, x)
        return back(upstream)[0]

    def whole(self, parts: Any, merge: Merge) -> Any:
        trainable, frozen = self.read(parts.trainable), self.read(parts.frozen)
        merged = self._put_together(parts, merge, trainable, frozen)
        return self._laid_out(merged, parts.frozen._frostline_view)

    def _moved(self, product: Any, parts: Any, x: Any, trainable: Any, y: Any) -> Any:
        """The derivative of the product `y` along the trainable part; JAX transposes it."""
        if isinstance(parts.plan, EntriesPlan):
            return self._moved_by_entries(product, parts, x, trainable)
        part = product.apply(product.take_x(x), trainable)
        (part,) = jax.linear_transpose(product.take_y, y)(part)
        return part

    def _moved_by_entries(self, product: Any, parts: Any, x: Any, trainable: Any) -> Any:
        # One weight for each share of the batch, on the devices that have the share. Their
        # gradients stay there; only those of the trainable entries are summed over the devices.
        plan, like = parts.plan, parts.frozen._layout
        shares, batch = self._shares(x, like)
        axes = self.layout_axes(like, len(plan.shape)) or []
        each = keras.distribution.distribute_tensor(
            jnp.zeros((shares, *plan.shape), trainable.dtype),
            self.layout_with_axes(like, [batch, *axes]),
        )
        at = each.at[(slice(None), *plan.coordinates)]
        whole = at.set(trainable, unique_indices=True, mode="promise_in_bounds")
        rows = jnp.reshape(x, (shares, x.shape[0] // shares, *x.shape[1:]))
        rows = keras.distribution.distribute_tensor(
            rows, self.layout_with_axes(like, [batch, *[None] * (rows.ndim - 1)])
        )
        y = jax.vmap(product.apply)(rows, whole)
        return jnp.reshape(y, (x.shape[0], *y.shape[2:]))

    def adds_gradients(self, parts: Any, x: Any) -> bool:
        layout = getattr(parts.frozen, "_layout", None)
        axes = self.layout_axes(layout, len(parts.plan.shape))
        shares, batch = self._shares(x, layout)
        # If the weight is sharded over the same devices, its gradient is scattered among them.
        if shares == 1 or axes is None:
            return False
        return not any(batch in (axis if isinstance(axis, tuple) else (axis,)) for axis in axes)

    def _shares(self, x: Any, like: Any) -> tuple[int, Any]:
        """The number of devices that a batch is divided among evenly, and their mesh axis."""
        distribution = keras.distribution.distribution()
        if distribution is None or like is None or not isinstance(x.shape[0], int):
            return 1, None
        layout = distribution.get_data_layout(x.shape)
        batch = (self.layout_axes(layout, len(x.shape)) or [None])[0]
        if not isinstance(batch, str) or _mesh(layout) != _mesh(like):
            return 1, None
        shares = self.mesh_sizes(layout)[batch]
        return (shares, batch) if x.shape[0] % shares == 0 else (1, None)

    def _put_together(self, parts: Any, merge: Merge, trainable: Any, frozen: Any) -> Any:
        if parts.plan.sharded:
            # Otherwise XLA would shard the positions too, and gather them again.
            layout = parts.trainable._layout
            everywhere = self.layout_with_axes(layout, [None] * len(trainable.shape))
            trainable = keras.distribution.distribute_tensor(trainable, everywhere)
        return merge(parts.plan, trainable, frozen)

    def _laid_out(self, value: Any, like: Any) -> Any:
        """The value, sharded like a variable; its gradient is sharded the same way."""
        layout = getattr(like, "_layout", None)
        return value if layout is None else keras.distribution.distribute_tensor(value, layout)

    def product(self, product: Any, x: Any, parts: Any, merge: Merge) -> Any:
        # A rule for tangents, not cotangents: it is linear, so JAX can transpose it, and forward
        # mode, second derivatives and `vmap` keep working.
        def merged(trainable: Any, frozen: Any) -> Any:
            return self._laid_out(self._put_together(parts, merge, trainable, frozen), parts.frozen)

        @jax.custom_jvp
        def run(x: Any, trainable: Any, frozen: Any) -> Any:
            return product.apply(x, merged(trainable, frozen))

        def tangent(primals: Any, tangents: Any) -> Any:
            x, trainable, frozen = primals
            weight = merged(trainable, frozen)
            y = product.apply(x, weight)
            d_x, d_trainable, d_frozen = tangents
            moved = jnp.zeros_like(y)
            if not isinstance(d_x, SymbolicZero):
                moved = moved + product.apply(d_x, weight)
            if not isinstance(d_trainable, SymbolicZero):
                moved = moved + self._moved(product, parts, x, d_trainable, y)
            if not isinstance(d_frozen, SymbolicZero):
                still = merged(jnp.zeros_like(trainable), d_frozen)
                moved = moved + product.apply(x, still)
            return y, moved

        run.defjvp(tangent, symbolic_zeros=True)
        return run(x, self.read(parts.trainable), self.read(parts.frozen))


@contextlib.contextmanager
def _undistributed() -> Iterator[None]:
    distribution = keras.distribution.distribution()
    keras.distribution.set_distribution(None)
    try:
        yield
    finally:
        keras.distribution.set_distribution(distribution)


def _mesh(layout: Any) -> Any:
    return layout.mesh if isinstance(layout, NamedSharding) else layout.device_mesh.backend_mesh


def _is_shared(variable: Any) -> bool:
    return not getattr(_keras.storage(variable), "is_fully_addressable", True)


def _identity(plan: Plan | None) -> bytes:
    kind, axis = getattr(plan, "kind", None), getattr(plan, "axis", None)
    return f"{kind} {axis} ".encode() + np.asarray(getattr(plan, "trainable", ())).tobytes()
