"""Reading and writing some entries of a weight gives the same bits as with the whole weight."""

from typing import Any

import keras
import ml_dtypes
import numpy as np
import pytest

import frostline as fl
from frostline._arrays.plan import plan_from_mask
from frostline._backends.current import backend
from frostline._deltas.held import put, take
from frostline._weights import entries, values
from helpers import assert_same_bits
from models import holder

MASKS = {
    "rows": lambda shape: np.indices(shape)[0] % 3 != 1,
    "a block of rows": lambda shape: np.indices(shape)[0] >= 2,
    "columns": lambda shape: np.indices(shape)[-1] % 2 == 0,
    "a block of columns": lambda shape: np.indices(shape)[-1] < 2,
    "entries": lambda shape: np.random.default_rng(0).random(shape) < 0.5,
}
FREEZES = {"nothing": None, "everything": lambda shape: np.ones(shape, bool), **MASKS}
ASKED = {"everything": lambda shape: np.zeros(shape, bool), **MASKS}


def plan_of(mask) -> Any:
    """The plan in which the entries outside the mask train."""
    return plan_from_mask(mask)


def random_bits(shape, dtype):
    """Random bit patterns, including NaNs with any payload."""
    random = np.random.default_rng(1)
    dtype = np.dtype(getattr(ml_dtypes, dtype, dtype))
    size = int(np.prod(shape)) * dtype.itemsize
    return random.integers(0, 256, size, dtype=np.uint8).view(dtype).reshape(shape)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float16"])
@pytest.mark.parametrize("frozen", FREEZES.values(), ids=FREEZES)
@pytest.mark.parametrize("asked", ASKED.values(), ids=ASKED)
def test_entries_are_those_of_the_whole_weight(asked, frozen, dtype):
    for shape in ((7, 5), (4, 3, 5)):
        layer = holder(shape, dtype)
        values.write(layer.w, random_bits(shape, dtype))
        if frozen is not None:
            fl.freeze(layer, "w", fl.mask(frozen(shape)))
        plan = plan_of(asked(shape))
        before = np.array(values.read(layer.w), order="C")
        assert_same_bits(entries.read(layer.w, plan), take(plan, before))
        new = take(plan, random_bits(shape, dtype)[::-1])
        new.setflags(write=False)
        entries.write(layer.w, plan, new)
        put(plan, before, new)
        assert_same_bits(np.array(values.read(layer.w)), before)


def test_a_tensor_that_was_read_before_keeps_its_values():
    layer = holder((6, 4))
    held = keras.ops.convert_to_tensor(layer.w) + 0
    array = values.read(layer.w)
    entries.write(layer.w, plan_of(MASKS["rows"]((6, 4))), np.ones((2, 4), "float32"))
    assert not keras.ops.convert_to_numpy(held).any()
    if keras.backend.backend() != "torch":  # on PyTorch the array shares the weight's memory
        assert not array.any()


@pytest.mark.parametrize("flat", [False, True], ids=["rows", "entries"])
def test_a_weight_whose_columns_lie_together_in_memory(flat):
    layer = holder((40, 8), initializer="orthogonal")
    before = np.array(values.read(layer.w))
    mask = MASKS["entries" if flat else "rows"]((40, 8))
    plan = plan_of(mask)
    assert_same_bits(entries.read(layer.w, plan), take(plan, before))
    entries.write(layer.w, plan, np.zeros_like(take(plan, before)))
    assert_same_bits(np.array(values.read(layer.w)), np.where(mask, before, np.float32(0)))


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_on_an_accelerator_jax_moves_bits_too(dtype, monkeypatch):
    if keras.backend.backend() == "jax":
        monkeypatch.setattr("frostline._backends.jax_moves.on_cpu", lambda value: False)
    layer = holder((6, 4), dtype)
    plan, new = plan_of(MASKS["entries"]((6, 4))), random_bits((6, 4), dtype)
    backend.write_at(layer.w, plan.trainable, None, take(plan, new))
    assert_same_bits(backend.read_at(layer.w, plan.trainable, None), take(plan, new))
