"""Reading and writing whole weights through NumPy, bit for bit.

XLA and a cast through float32 make all NaNs of a bfloat16 one. So the parts of a divided weight are
read and written one by one, and put together here, in NumPy.
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
    """What a variable holds now, not copied if the backend can do without."""
    parts = parts_of(variable)
    if parts is None:
        return backend.to_numpy(variable.value, variable.path)
    trainable = backend.to_numpy(parts.trainable.value, parts.trainable.path)
    frozen = backend.to_numpy(parts.frozen.value, parts.trainable.path)
    return _merged(parts.plan, trainable, frozen)


def read_frozen_part(
    variable: Any,
) -> tuple[np.ndarray, tuple[tuple[slice, ...], ...] | None]:
    """The frozen part of a divided variable, or all of any other; nothing is put together.

    Of what spans processes only the shards of this process are read, and the regions tell which
    these are, see `Backend.local`.
    """
    parts = parts_of(variable)
    return backend.local((variable if parts is None else parts.frozen).value)


def read_copies(variable: Any) -> Iterator[np.ndarray]:
    """What each copy of a variable holds, where each device has one of its own; nothing elsewhere.

    One by one: never more than one copy is put together at a time.
    """
    parts = parts_of(variable)
    stored = (variable,) if parts is None else (parts.trainable, parts.frozen)
    for copies in zip(*map(backend.copies, stored), strict=True):
        arrays = [backend.to_numpy(copy) for copy in copies]
        yield arrays[0] if parts is None else _merged(parts.plan, *arrays)


def write(variable: Any, value: np.ndarray) -> None:
    """Assign a whole weight, what is frozen of it too.

    Args:
        variable: The variable that its layer holds.
        value: An array of its shape and dtype.
    """
    value = np.array(value, order="C")  # JAX may keep the memory that it is given
    parts = parts_of(variable)
    if parts is None:
        variable.assign(backend.from_numpy(value, variable))
        return
    trainable, frozen = _divided(parts.plan, value)
    parts.trainable.assign(backend.from_numpy(trainable, parts.trainable))
    parts.frozen.assign(backend.from_numpy(frozen, parts.frozen))


def write_all(given: Iterable[tuple[Any, np.ndarray]]) -> list[int]:
    """Write whole weights one after another; after an error or an interrupt all are as they were.

    Args:
        given: Variables and their values, which may be made while the ones before are written. A
            weight whose bits are those of its value is not written.

    Returns:
        How many entries of each had other bits.
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
    """What is given as the value of a weight of a dtype, as an array; not copied if it is one.

    Args:
        given: An array, a tensor, a variable, or anything that NumPy makes an array of.
        dtype: The dtype of the weight. A file of NumPy knows no bfloat16: it gives bytes.
    """
    if isinstance(given, keras.Variable):
        return read(given)
    array = backend.to_numpy(given) if keras.ops.is_tensor(given) else np.asarray(given)
    if array.dtype.kind == "V" and array.dtype.itemsize == dtype.itemsize:
        array = array.view(dtype)
    return array


def _put_back(variable: Any, old: np.ndarray) -> None:
    # Not written if nothing of it was: the weight that can not be written is the last to be begun,
    # and must not keep the others from coming back.
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
        # what a product may meet and is not meant
        np.moveaxis(frozen, plan.stored_axis, 0)[plan.trainable] = 0
    return trainable, frozen
