"""JAX: a training step sees the state of a model only while the forward pass runs."""

from __future__ import annotations

import weakref
import zlib
from collections.abc import Callable, Iterable, Sequence
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
from frostline._backends.arithmetic import Merge
from frostline._backends.base import Backend
from frostline._backends.jax_processes import Region, agreed, gathered, local, scattered, spans


class JaxBackend(Backend):
    """`optimizer.stateless_apply` is handed the trainable variables and the optimizer's, no others.

    A constraint that looks at the whole weight needs the frozen part as well, and `fit` takes the
    arrays away from the variables meanwhile. The forward pass of the same step has read the frozen
    part, so it is taken from there, as long as it belongs to the same trace.
    """

    divides_convolutions = True

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

    def drop_traces(self, divided: Iterable[tuple[Any, Any, Sequence[Any]]]) -> None:
        # A function that somebody gave to `jax.jit` is run again for arrays of the same shapes, and
        # holds the positions of the plan that it was traced with. What a weight was divided into
        # before, under which plan, is kept on it: an earlier freeze counts as the last one does.
        stale = False
        for variable, plan, parts in divided:
            shapes = tuple(tuple(part.shape) for part in parts)
            told = hash((plan.kind, getattr(plan, "axis", None), _bytes(plan.trainable)))
            known = variable.__dict__.setdefault("_frostline_divided", {})
            stale |= known.setdefault(shapes, told) != told
            known[shapes] = told
        if stale:
            jax.clear_caches()

    def agree(self, plans: Sequence[tuple[Any, Plan | None]]) -> None:
        shared = [v.path for v, _ in plans if _is_shared(v)]
        if shared:
            agreed(shared[0], zlib.crc32(b"".join(_told(plan) for _, plan in plans)))

    def is_alive(self, variable: Any) -> bool:
        # A compiled step takes the memory of what it is handed.
        value = _keras.storage(variable)
        return isinstance(value, jax.Array) and not value.is_deleted()

    def is_dense(self, value: Any) -> bool:
        return isinstance(value, jax.Array)

    def to_numpy(self, tensor: Any, of: str = "tensor") -> np.ndarray:
        if getattr(tensor, "is_fully_addressable", True):
            return super().to_numpy(tensor, of)
        if spans(tensor):
            return gathered(_bits(tensor), of).view(tensor.dtype)
        return local(tensor)[0]

    def local(self, tensor: Any) -> tuple[np.ndarray, tuple[Region, ...] | None]:
        return local(tensor) if spans(tensor) else super().local(tensor)

    def from_numpy(self, array: np.ndarray, variable: Any) -> Any:
        value = _keras.storage(variable)
        # JAX would gather the array of every process on each device, to find out whether they are
        # equal, which those with a NaN never are.
        return scattered(array, value.sharding) if spans(value) else array

    # On a CPU a copy by NumPy costs as much as one by XLA, and has nothing to compile.
    def read_at(self, variable: Any, positions: np.ndarray, axis: int | None) -> np.ndarray:
        value = _keras.storage(variable)
        if _on_cpu(value) and value.is_fully_addressable:
            return super().read_at(variable, positions, axis)
        read = _bits(value)[index_of(value.shape, positions, axis)]
        return self.to_numpy(read, variable.path).view(value.dtype)

    def write_at(
        self, variable: Any, positions: np.ndarray, axis: int | None, values: np.ndarray
    ) -> None:
        # Always a copy: handing the old memory on, `donate_argnums`, would take it from whoever
        # else holds the array, and from the variable if an interrupt comes before it has the new.
        value = _keras.storage(variable)
        if _on_cpu(value) and value.is_fully_addressable:
            return super().write_at(variable, positions, axis, values)
        bits = _bits(value)
        given = np.ascontiguousarray(values).view(bits.dtype)
        at = bits.at[index_of(value.shape, positions, axis)]
        new = at.set(given, unique_indices=True, mode="promise_in_bounds")
        variable.assign(new.view(value.dtype))

    def join(self, pieces: Sequence[Any], axis: int) -> Any:
        if any(isinstance(piece, Tracer) for piece in pieces):
            return super().join(pieces, axis)
        return jnp.concatenate(list(map(_bits, pieces)), axis).view(pieces[0].dtype)

    def put(self, base: Any, plan: SplitPlan, rows: Any) -> Any:
        index = _stored_index(plan)
        if _on_host(base) and _on_host(rows):
            whole = np.array(base)
            whole[index] = rows
            return _as_array(whole, base)
        if isinstance(base, Tracer) or isinstance(rows, Tracer):
            return _set(base, index, rows)
        # Left to itself, XLA may share the result among the devices in a way that JAX has no name
        # for, and that is an error.
        put = jax.jit(_set, out_shardings=_sharding_for(base, rows))
        return put(_bits(base), index, _bits(rows)).view(base.dtype)

    def take(self, tensor: Any, plan: SplitPlan, axis: int) -> Any:
        index = _stored_index(plan)
        if _on_host(tensor):
            array = np.asarray(tensor)
            several = len(index) > 1
            taken = array[index] if several else np.take(array, plan.positions, axis)
            return _as_array(taken, tensor)
        if isinstance(tensor, Tracer):
            return _get(tensor, index, axis)
        sharding = tensor.sharding
        if isinstance(sharding, NamedSharding):
            axes = [*sharding.spec, *[None] * (tensor.ndim - len(sharding.spec))]
            axes[axis : axis + len(index)] = [None]
            sharding = NamedSharding(sharding.mesh, PartitionSpec(*axes))
        get = jax.jit(_get, static_argnums=2, out_shardings=sharding)
        return get(_bits(tensor), index, axis).view(tensor.dtype)

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
        """How the product `y` moves with what trains; the gradient is derived from this."""
        if isinstance(parts.plan, EntriesPlan):
            return self._moved_by_entries(product, parts, x, trainable)
        part = product.apply(product.take_x(x), trainable)
        (part,) = jax.linear_transpose(product.take_y, y)(part)
        return part

    def _moved_by_entries(self, product: Any, parts: Any, x: Any, trainable: Any) -> Any:
        # A weight for each share of the batch, on the devices that have it: the gradient of each
        # is there, and what is added up over the devices is that of the entries that train.
        plan, like = parts.plan, parts.frozen._layout
        shares, batch = self._shares(x)
        axes = self.layout_axes(like, len(plan.shape)) or []
        each = keras.distribution.distribute_tensor(
            jnp.zeros((shares, *plan.shape), trainable.dtype),
            self.layout_with_axes(like, [batch, *axes]),
        )
        at = each.at[(slice(None), *plan.coordinates)]
        whole = at.set(trainable, unique_indices=True, mode="promise_in_bounds")
        rows = jnp.reshape(x, (shares, -1, *x.shape[1:]))
        rows = keras.distribution.distribute_tensor(
            rows, self.layout_with_axes(like, [batch, *[None] * (rows.ndim - 1)])
        )
        y = jax.vmap(product.apply)(rows, whole)
        return jnp.reshape(y, (x.shape[0], *y.shape[2:]))

    def adds_gradients(self, parts: Any, x: Any) -> bool:
        shares, batch = self._shares(x)
        layout = getattr(parts.frozen, "_layout", None)
        axes = self.layout_axes(layout, len(parts.plan.shape))
        # A weight that the same devices share has its gradient scattered among them.
        if shares == 1 or axes is None:
            return False
        return not any(batch in (axis if isinstance(axis, tuple) else (axis,)) for axis in axes)

    def _shares(self, x: Any) -> tuple[int, Any]:
        """Among how many devices a batch is divided evenly, and the name of their mesh axis."""
        distribution = keras.distribution.distribution()
        if distribution is None or not isinstance(x.shape[0], int):
            return 1, None
        layout = distribution.get_data_layout(x.shape)
        batch = (self.layout_axes(layout, len(x.shape)) or [None])[0]
        shares = self.mesh_sizes(layout)[batch] if isinstance(batch, str) else 1
        return (shares, batch) if x.shape[0] % shares == 0 else (1, None)

    def _put_together(self, parts: Any, merge: Merge, trainable: Any, frozen: Any) -> Any:
        if parts.plan.sharded:
            # XLA would share the positions among the devices as well, and gather them again.
            layout = parts.trainable._layout
            everywhere = self.layout_with_axes(layout, [None] * len(trainable.shape))
            trainable = keras.distribution.distribute_tensor(trainable, everywhere)
        return merge(parts.plan, trainable, frozen)

    def _laid_out(self, value: Any, like: Any) -> Any:
        """A value shared among the devices as a variable is, and so is its gradient."""
        layout = getattr(like, "_layout", None)
        return value if layout is None else keras.distribution.distribute_tensor(value, layout)

    def product(self, product: Any, x: Any, parts: Any, merge: Merge) -> Any:
        # A rule for tangents and not for cotangents: it is linear, so that JAX derives the other
        # direction from it, and forward mode, second derivatives and `vmap` go on to work.
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


def _on_cpu(value: Any) -> bool:
    return all(device.platform == "cpu" for device in value.devices())


def _on_host(value: Any) -> bool:
    """Whether NumPy can move the entries of a value: XLA compiles for each new number of them."""
    concrete = isinstance(value, jax.Array) and not isinstance(value, Tracer)
    return concrete and len(value.devices()) == 1 and _on_cpu(value)


_EACH_ONCE: dict[str, Any] = {
    # Without these promises the gradient finds out by itself which of several updates of an entry
    # was the last, in memory of the size of the whole weight.
    "unique_indices": True,
    "indices_are_sorted": True,
    "mode": "promise_in_bounds",
}


def _set(base: Any, index: Any, rows: Any) -> Any:
    return base.at[index].set(rows, **_EACH_ONCE)


def _sharding_for(base: Any, rows: Any) -> Any:
    """The sharding of `base`; of one that was just made, on one device, one like that of `rows`."""
    if base.committed or not isinstance(rows.sharding, NamedSharding):
        return base.sharding
    everywhere = NamedSharding(rows.sharding.mesh, PartitionSpec())
    if rows.ndim != base.ndim:
        return everywhere
    try:
        rows.sharding.shard_shape(base.shape)
    except ValueError:  # its axes do not divide evenly
        return everywhere
    return rows.sharding


def _get(tensor: Any, index: Any, axis: int) -> Any:
    return tensor.at[(slice(None),) * axis + index].get(**_EACH_ONCE)


def _stored_index(plan: SplitPlan) -> tuple[np.ndarray, ...]:
    """Where what trains lies in a weight, from the divided axis on."""
    # To flatten what several devices share would gather it on each.
    if isinstance(plan, EntriesPlan) and plan.sharded:
        return plan.coordinates
    return (plan.positions,)


def _as_array(moved: np.ndarray, source: jax.Array) -> jax.Array:
    return jax.device_put(moved, source.sharding if source.committed else None, may_alias=False)


def _bits(value: Any) -> Any:
    # Of numbers of 16 bits XLA may make others of 32 on the way, and one NaN of all.
    return value.view(f"uint{8 * value.dtype.itemsize}") if value.dtype.itemsize < 4 else value


def _is_shared(variable: Any) -> bool:
    return not getattr(_keras.storage(variable), "is_fully_addressable", True)


def _told(plan: Plan | None) -> bytes:
    kind, axis = getattr(plan, "kind", None), getattr(plan, "axis", None)
    return f"{kind} {axis} ".encode() + _bytes(getattr(plan, "trainable", ()))


def _bytes(positions: Any) -> bytes:
    return np.asarray(positions).tobytes()
