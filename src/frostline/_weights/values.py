"""Read and write whole weights through NumPy, bit for bit.

XLA, and a cast through float32, make all NaNs of a bfloat16 weight the same. So the parts of a
divided weight are read and written one by one, and merged here in NumPy.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from typing import Any

import keras
import numpy as np

from frostline._arrays.bits import differ
from frostline._arrays.plan import EntriesPlan, SplitPlan
from frostline._backends.current import backend
from frostline._weights.parts import parts_of


def read(variable: Any) -> np.ndarray:
    """The current value of a variable, without a copy if possible."""
    parts = parts_of(variable)
    if parts is None:
        return backend.to_numpy(variable.value, variable.path)
    trainable = backend.to_numpy(parts.trainable.value, parts.trainable.path)
    frozen = backend.to_numpy(parts.frozen.value, parts.trainable.path)
    return _merged(parts.plan, trainable, frozen)


def read_frozen_part(
    variable: Any,
) -> tuple[np.ndarray, tuple[tuple[slice, ...], ...] | None]:
    """The frozen part of a divided variable, or the whole of any other; nothing is merged.

    If it spans processes, only the shards of this process are read, and their regions are
    returned, see `Backend.local`.
    """
    parts = parts_of(variable)
    return backend.local((variable if parts is None else parts.frozen).value)


def read_copies(variable: Any) -> Iterator[np.ndarray]:
    """The value of each copy of a variable, if each device has its own copy; else nothing.

    Copies are merged one at a time.
    """
    parts = parts_of(variable)
    stored = (variable,) if parts is None else (parts.trainable, parts.frozen)
    for copies in zip(*map(backend.copies, stored), strict=True):
        arrays = [backend.to_numpy(copy) for copy in copies]
        yield arrays[0] if parts is None else _merged(parts.plan, *arrays)


def write(variable: Any, value: np.ndarray) -> None:
    """Assign a whole weight, including its frozen entries.

    Args:
        variable: The variable that its layer holds.
        value: An array of its shape and dtype.
    """
    value = np.array(value, order="C")  # JAX may keep using the memory of the array
    parts = parts_of(variable)
    if parts is None:
        variable.assign(backend.from_numpy(value, variable))
        return
    trainable, frozen = _divided(parts.plan, value)
    parts.trainable.assign(backend.from_numpy(trainable, parts.trainable))
    parts.frozen.assign(backend.from_numpy(frozen, parts.frozen))


def write_all(given: Iterable[tuple[Any, np.ndarray]]) -> list[int]:
    """Write whole weights one by one; restore all of them after an error or an interrupt.

    Args:
        given: Variables and their values; may be a generator. A weight that has these bits already
            is not written.

    Returns:
        The number of changed entries of each.
    """
    counts = []
    with ExitStack() as undo:
        for variable, value in given:
            now = read(variable)
            counts.append(int(np.count_nonzero(differ(now, value))))
            if counts[-1]:
                undo.callback(_put_back, variable, np.array(now))
                write(variable, value)
        undo.pop_all()
    return counts


def as_array(given: Any, dtype: np.dtype) -> np.ndarray:
    """Convert a value for a weight to an array, without a copy if it is one.

    Args:
        given: An array, a tensor, a variable, or anything that NumPy can convert to an array.
        dtype: The dtype of the weight. NumPy files do not support bfloat16 and return raw bytes.
    """
    if isinstance(given, keras.Variable):
        return read(given)
    array = backend.to_numpy(given) if keras.ops.is_tensor(given) else np.asarray(given)
    if array.dtype.kind == "V" and array.dtype.itemsize == dtype.itemsize:
        array = array.view(dtype)
    return array


def _put_back(variable: Any, old: np.ndarray) -> None:
    # Written only if it has changed: writing the weight that failed would fail again, and the
    # others would not be restored.
    if differ(read(variable), old).any():
        write(variable, old)


def _merged(plan: SplitPlan, trainable: np.ndarray, frozen: np.ndarray) -> np.ndarray:
    if isinstance(plan, EntriesPlan):
        whole = np.array(frozen, order="C")
        whole.reshape(-1)[plan.trainable] = trainable
        return whole
    if plan.keeps_length:
        whole = np.moveaxis(frozen, plan.stored_axis, plan.axis).copy()
        rows = np.moveaxis(whole, plan.axis, 0)
        rows[plan.trainable] = np.moveaxis(trainable, plan.stored_axis, 0)
        return whole
    whole = np.empty(plan.shape, frozen.dtype)
    rows = np.moveaxis(whole, plan.axis, 0)
    rows[plan.trainable] = np.moveaxis(trainable, plan.axis, 0)
    rows[plan.frozen] = np.moveaxis(frozen, plan.axis, 0)
    return whole


def _divided(plan: SplitPlan, whole: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The trainable and the frozen part, as `split` makes them of tensors."""
    if isinstance(plan, EntriesPlan):
        return whole.reshape(-1)[plan.trainable], whole
    trainable = np.moveaxis(whole.take(plan.trainable, plan.axis), plan.axis, plan.stored_axis)
    if not plan.keeps_length:
        return trainable, whole.take(plan.frozen, plan.axis)
    frozen = np.moveaxis(whole, plan.axis, plan.stored_axis).copy()
    if not backend.merges_in_place:
        # a product may read the trainable positions
        np.moveaxis(frozen, plan.stored_axis, 0)[plan.trainable] = 0
    return trainable, frozen
