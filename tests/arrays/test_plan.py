"""Plans made from masks, and masks from plans, in pure NumPy."""

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from frostline._arrays.packed import pack
from frostline._arrays.plan import (
    EDGES,
    AxisPlan,
    EntriesPlan,
    WholePlan,
    plan_from_config,
    plan_from_mask,
)

pytestmark = pytest.mark.once

shapes = hnp.array_shapes(min_dims=0, max_dims=4, min_side=0, max_side=5)
masks = shapes.flatmap(lambda shape: hnp.arrays(bool, shape))


@st.composite
def axis_masks(draw):
    """Masks that freeze whole positions along one axis."""
    shape = draw(hnp.array_shapes(min_dims=1, max_dims=4, min_side=1, max_side=6))
    axis = draw(st.integers(0, len(shape) - 1))
    along = draw(hnp.arrays(bool, shape[axis]))
    return np.broadcast_to(np.expand_dims(along, _others(axis, len(shape))), shape).copy()


def _others(axis, ndim):
    return tuple(a for a in range(ndim) if a != axis)


@given(masks | axis_masks())
def test_a_plan_freezes_just_the_mask(mask):
    plan = plan_from_mask(mask)
    if plan is None:
        assert not mask.any()
    else:
        np.testing.assert_array_equal(plan.mask(), mask)
        assert plan.frozen_count == mask.sum()
        assert plan.size == mask.size


@given(axis_masks())
def test_positions_along_an_axis_are_never_planned_as_entries(mask):
    assert not isinstance(plan_from_mask(mask), EntriesPlan)


@given(masks | axis_masks())
def test_a_plan_is_read_back_from_its_config(mask):
    plan = plan_from_mask(mask)
    if plan is not None:
        again = plan_from_config(json.loads(json.dumps(plan.to_config())))
        assert again == plan
        assert hash(again) == hash(plan)


@pytest.mark.parametrize(
    ("frozen", "kind"),
    [
        (slice(0, 2), "block"),
        (slice(1, 3), "block"),
        ([0, 3], "block"),
        ([0, 2], "positions"),
        (slice(None), "whole"),
        (np.s_[0, 0], "entries"),
    ],
    ids=["first-rows", "middle-rows", "one-trainable-block", "two-and-two", "all", "one-entry"],
)
def test_each_way_that_entries_lie_has_its_kind(frozen, kind):
    mask = np.zeros((4, 3), bool)
    mask[frozen] = True
    plan = plan_from_mask(mask)
    assert plan is not None
    assert plan.kind == kind


def test_cheapest_plan_is_chosen():
    assert plan_from_mask(np.ones((2, 2), bool)) == WholePlan((2, 2))
    assert plan_from_mask(np.array([[True, False]] * 2)) == AxisPlan((2, 2), 1, np.array([1]))
    entries = plan_from_mask(np.array([[True, False], [False, True]]))
    assert entries == EntriesPlan((2, 2), np.array([1, 2]))


@pytest.mark.parametrize("shape", [(512, 512), (1 << 18,), (1 << 18, 1)])
def test_a_config_takes_a_bit_and_a_half_an_entry_at_most(shape):
    mask = np.random.default_rng(0).random(shape) < 0.5
    plan = plan_from_mask(mask)
    assert plan is not None
    assert len(json.dumps(plan.to_config())) < 1.5 * mask.size / 8


def test_positions_are_read_as_blocks_and_as_a_mask():
    """A few blocks are saved as their edges, as frostline 0.1 saved all of them."""
    config = {"kind": "axis", "shape": [2, 4096], "axis": 1}
    blocks = {**config, "trainable": [n for k in range(0, 4096, 4) for n in (k + 1, k + 3)]}
    along = np.tile([True, False, False, True], 1024)
    plan = plan_from_mask(np.stack([along, along]))
    assert plan is not None
    assert plan == plan_from_config(blocks)
    assert plan.to_config() == {**config, "frozen": pack(along)}
    few = plan_from_mask(np.stack([along, along])[:, : 2 * EDGES])
    assert few is not None
    assert few.to_config()["trainable"] == blocks["trainable"][:EDGES]


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"kind": "rows", "shape": [2]}, "unknown kind of plan 'rows'"),
        ({"kind": "axis", "shape": [2], "axis": 0, "trainable": [1, 3]}, "block 1:3 is outside"),
        ({"kind": "axis", "shape": [2], "axis": 0, "trainable": [0, 2]}, "leave some positions"),
        ({"kind": "axis", "shape": [2], "axis": 0, "trainable": []}, "leave some positions"),
        ({"kind": "axis", "shape": [2], "axis": 0, "trainable": [0]}, "a block without an end"),
        ({"kind": "entries", "shape": [99], "frozen": "eJxjAAAAAQAB"}, "1 bytes of mask do not"),
        ({"kind": "axis", "shape": [99], "axis": 0, "frozen": "eJxjAAAAAQAB"}, "1 bytes of mask"),
        ({"kind": "axis", "shape": [9], "axis": 0, "frozen": pack(np.ones(9, bool))}, "leave some"),
        ({"kind": "axis", "shape": [9], "axis": 0, "frozen": None}, "not a mask of 9 entries"),
    ],
    ids=[
        *("unknown", "outside", "all-train", "none-train", "no-end", "short"),
        *("short-positions", "packed-all-frozen", "packed-none"),
    ],
)
def test_a_malformed_config_is_refused(config, message):
    with pytest.raises(ValueError, match=message):
        plan_from_config(config)
