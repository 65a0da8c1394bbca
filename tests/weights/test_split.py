"""Splitting and merging tensors keeps every bit; scattering puts zeros where frozen."""

import keras
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from keras import ops
from ml_dtypes import bfloat16

import frostline as fl
from frostline._arrays.plan import AxisPlan, EntriesPlan, WholePlan, plan_from_mask
from frostline._weights.split import merge, scatter_trainable, take_frozen, take_trainable
from helpers import array, assert_same_bits

shapes = hnp.array_shapes(min_dims=1, max_dims=3, min_side=1, max_side=5)


@st.composite
def weights_and_plans(draw):
    """A float32 array of any bit patterns, including NaN payloads, and a plan that splits it."""
    shape = draw(shapes)
    mask = draw(hnp.arrays(bool, shape))
    if draw(st.booleans()):
        axis = draw(st.integers(0, len(shape) - 1))
        mask = np.broadcast_to(mask.any(axis=axis, keepdims=True), shape).copy()
    patterns = draw(hnp.arrays(np.uint32, shape))
    return patterns.view(np.float32), plan_from_mask(mask)


@settings(max_examples=60)
@given(weights_and_plans())
def test_split_and_merge_keep_every_bit(drawn):
    weight, plan = drawn
    if plan is None or isinstance(plan, WholePlan):
        return
    tensor = ops.convert_to_tensor(weight)
    trainable, frozen = take_trainable(plan, tensor), take_frozen(plan, tensor)
    assert_same_bits(array(merge(plan, trainable, frozen)), weight)
    np.testing.assert_array_equal(
        array(trainable).view(np.uint32).ravel(), _ordered(weight, plan).view(np.uint32)
    )


def _ordered(weight, plan):
    if isinstance(plan, AxisPlan):
        part = np.take(weight, plan.trainable, axis=plan.axis)
        return (part if plan.kind == "block" else np.moveaxis(part, plan.axis, 0)).ravel()
    return weight[~plan.mask()]


PLANS = {
    "block": AxisPlan((6, 4), 0, np.array([2, 3])),
    "columns": AxisPlan((6, 4), 1, np.array([0, 3])),
    "many-runs-rows": AxisPlan((40, 3), 0, np.arange(0, 40, 2)),
    "many-runs-columns": AxisPlan((3, 40), 1, np.arange(1, 40, 2)),
    "entries": EntriesPlan((6, 4), np.array([0, 5, 23])),
}


@pytest.mark.parametrize("plan", PLANS.values(), ids=PLANS.keys())
def test_merge_is_right_for_each_way_of_doing_it(plan):
    weight = np.random.default_rng(0).normal(size=plan.shape).astype("float32")
    # Negative zero, the smallest number, a NaN with a payload.
    odd = np.array([0x80000000, 0x00000001, 0x7FC00123], "uint32").view("float32")
    weight.flat[1::2] = np.resize(odd, weight.size // 2)
    tensor = ops.convert_to_tensor(weight)
    merged = merge(plan, take_trainable(plan, tensor), take_frozen(plan, tensor))
    assert_same_bits(array(merged), weight)


@pytest.mark.parametrize("plan", PLANS.values(), ids=PLANS.keys())
def test_spread_puts_zeros_where_frozen(plan):
    weight = np.random.default_rng(0).normal(size=plan.shape).astype("float32")
    whole = scatter_trainable(plan, take_trainable(plan, ops.convert_to_tensor(weight)))
    np.testing.assert_array_equal(array(whole), np.where(plan.mask(), 0, weight))


def test_the_plans_above_cover_every_kind():
    assert {plan.kind for plan in PLANS.values()} == {"block", "positions", "entries"}


def test_a_part_does_not_share_storage_with_the_whole():
    plan = PLANS["block"]
    variable = keras.Variable(np.ones(plan.shape, "float32"))
    part = keras.Variable(take_trainable(plan, variable.value))
    variable.assign(np.zeros(plan.shape, "float32"))
    np.testing.assert_array_equal(array(part.value), 1)


KINDS = {
    "block": fl.at[0],
    "block between": fl.at[:, 2:4],
    "positions": fl.at[::2],
    "columns": fl.at[:, ::2],
    "entries": np.indices((6, 8)).sum(0) % 3 == 0,
}


@pytest.mark.parametrize("where", KINDS.values(), ids=KINDS)
def test_numbers_of_16_bits_keep_every_one(where):
    # Including signalling NaNs: XLA computes in 32 bits, which changes them.
    bits = (np.arange(48) + 0x7F81).astype("uint16").reshape(6, 8)
    layer = keras.layers.Dense(8, dtype="bfloat16")
    layer.build((None, 6))
    fl.restore(layer, {"kernel": bits.view(bfloat16)})
    for change in (lambda: fl.freeze(layer, "kernel", where), lambda: fl.unfreeze(layer)):
        change()
        np.testing.assert_array_equal(fl.snapshot(layer)["kernel"].view("uint16"), bits)
