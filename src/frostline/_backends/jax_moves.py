"""Move entries of JAX arrays, bit for bit outside of a trace, on any devices."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer
from jax.sharding import NamedSharding, PartitionSpec

from frostline._arrays.plan import EntriesPlan, SplitPlan


def join(pieces: Sequence[Any], axis: int) -> Any:
    """Concatenate arrays along an axis."""
    return jnp.concatenate(list(map(bits, pieces)), axis).view(pieces[0].dtype)


def put(base: Any, plan: SplitPlan, rows: Any) -> Any:
    """As `Backend.put`."""
    base, rows = _array(base), _array(rows)
    index = _stored_index(plan)
    if _on_host(base) and _on_host(rows):
        whole = np.array(base)
        whole[index] = rows
        return _as_array(whole, base)
    if isinstance(base, Tracer) or isinstance(rows, Tracer):
        return _set(base, index, rows)
    # By default XLA may shard the result in a way that JAX cannot express, which is an error.
    moved = jax.jit(_set, out_shardings=_sharding_for(base, rows))
    return moved(bits(base), index, bits(rows)).view(base.dtype)


def take(tensor: Any, plan: SplitPlan, axis: int) -> Any:
    """As `Backend.take`."""
    tensor = _array(tensor)
    index = _stored_index(plan)
    if _on_host(tensor):
        array = np.asarray(tensor)
        several = len(index) > 1
        taken = array[index] if several else np.take(array, plan.trainable, axis)
        return _as_array(taken, tensor)
    if isinstance(tensor, Tracer):
        return _get(tensor, index, axis)
    sharding = tensor.sharding
    if isinstance(sharding, NamedSharding):
        axes = [*sharding.spec, *[None] * (tensor.ndim - len(sharding.spec))]
        axes[axis : axis + len(index)] = [None]
        sharding = NamedSharding(sharding.mesh, PartitionSpec(*axes))
    get = jax.jit(_get, static_argnums=2, out_shardings=sharding)
    return get(bits(tensor), index, axis).view(tensor.dtype)


def on_cpu(value: Any) -> bool:
    """Whether all devices of an array are CPUs."""
    return all(device.platform == "cpu" for device in value.devices())


def _on_host(value: Any) -> bool:
    """Whether NumPy can move the entries; XLA would compile for each new number of them."""
    concrete = isinstance(value, jax.Array) and not isinstance(value, Tracer)
    return concrete and len(value.devices()) == 1 and on_cpu(value)


_EACH_ONCE: dict[str, Any] = {
    # Without these promises the gradient must find the last of several updates of an entry, with
    # as much memory as the whole weight.
    "unique_indices": True,
    "indices_are_sorted": True,
    "mode": "promise_in_bounds",
}


def _set(base: Any, index: Any, rows: Any) -> Any:
    return base.at[index].set(rows, **_EACH_ONCE)


def _sharding_for(base: Any, rows: Any) -> Any:
    """The sharding of `base`; if it is new, on one device, one like that of `rows`."""
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
    """The index of the trainable entries in a weight, from the divided axis on."""
    # Flattening a sharded array would gather it on each device.
    if isinstance(plan, EntriesPlan) and plan.sharded:
        return plan.coordinates
    return (plan.trainable,)


def _array(value: Any) -> Any:
    # In a derivative this may be a NumPy array.
    return value if isinstance(value, jax.Array) else jnp.asarray(value)


def _as_array(moved: np.ndarray, source: jax.Array) -> jax.Array:
    return jax.device_put(moved, source.sharding if source.committed else None, may_alias=False)


def bits(value: Any) -> Any:
    """The array as integers, which XLA moves bit for bit.

    XLA may convert 16-bit floats to 32 bits and back, which changes NaNs.
    """
    return value.view(f"uint{8 * value.dtype.itemsize}") if value.dtype.itemsize < 4 else value
