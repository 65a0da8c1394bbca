"""`take` from a partly frozen table, which is never merged: `Embedding` and similar layers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from keras import ops

from frostline._arrays.plan import AxisPlan
from frostline._backends.current import backend
from frostline._fast.dense import matmul, multiply_rows
from frostline._fast.product import table_parts, usable_parts
from frostline._weights.parts import Parts
from frostline._weights.split import put_along


def take(x: Any, indices: Any, axis: int | None = None) -> Any:
    """Replaces `keras.ops.take` in `Embedding.call`."""
    parts = table_parts(indices, x)
    if parts is None or axis != 0:
        return ops.take(x, indices, axis=axis)
    indices = ops.convert_to_tensor(indices)
    if parts.plan.axis == 0:
        return _take_rows(parts, indices)
    return _take_across(parts, indices)


def _take_rows(parts: Parts[AxisPlan], indices: Any) -> Any:
    plan, frozen = parts.plan, backend.read(parts.frozen)
    places = backend.places(plan, indices, trainable=True)
    if not plan.keeps_length:
        indices = backend.places(plan, indices, trainable=False)
    return backend.choose(places, backend.read(parts.trainable), indices, frozen)


def _take_across(parts: Parts[AxisPlan], indices: Any) -> Any:
    """Look up rows of a table with frozen columns, in both parts."""
    plan = parts.plan
    trainable = backend.dense_gradient(backend.read(parts.trainable))
    frozen = backend.read(parts.frozen)
    if plan.kind == "positions":
        rows = backend.columns(trainable, indices), backend.columns(frozen, indices)
        across = backend.put(rows[1], plan, rows[0])
        # `moveaxis` has no rule for `torch.vmap`.
        return ops.transpose(across, [*range(1, len(across.shape)), 0])
    rows = ops.take(trainable, indices, axis=0), ops.take(frozen, indices, axis=0)
    if plan.keeps_length:
        return put_along(rows[1], plan, rows[0], len(rows[1].shape) - 1)
    return ops.concatenate(
        [rows[0 if run.trainable else 1][..., run.start : run.stop] for run in plan.runs], axis=-1
    )


@dataclass(frozen=True)
class _Transposed:
    """A partly frozen table between `transpose` and `matmul`."""

    table: Any
    parts: Parts[AxisPlan]


def convert_to_tensor(x: Any) -> Any:
    """Replaces `keras.ops.convert_to_tensor`, which Keras 3.12 calls before `transpose`."""
    return ops.convert_to_tensor(x) if table_parts(None, x) is None else x


def transpose(x: Any, axes: Any = None) -> Any:
    """Replaces `keras.ops.transpose` in `ReversibleEmbedding.call`."""
    parts = None if axes is not None else table_parts(None, x)
    return ops.transpose(x, axes) if parts is None else _Transposed(x, parts)


def cast(x: Any, dtype: Any) -> Any:
    """Replaces `keras.ops.cast`, which Keras calls if the reverse projection has its own dtype."""
    return ops.cast(ops.transpose(x.table) if isinstance(x, _Transposed) else x, dtype)


def matmul_reverse(x1: Any, x2: Any) -> Any:
    """Replaces `keras.ops.matmul`, with the transposed table or a separate reverse table."""
    if not isinstance(x2, _Transposed):
        return matmul(x1, x2)
    if len(x1.shape) < 2 or x1.shape[-1] is None or usable_parts(x1, x2.table) is None:
        return ops.matmul(x1, ops.transpose(x2.table))
    return multiply_rows(x1, x2.parts, flipped=True)
