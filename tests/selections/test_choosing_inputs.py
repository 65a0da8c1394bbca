"""Inputs of `smallest`, `changed` and the like: equal or shared arrays, and other things."""

from __future__ import annotations

from typing import Any

import keras
import ml_dtypes
import numpy as np
import pytest

import frostline as fl
from frostline._errors import SelectionError


def dense(dtype: str = "float32") -> Any:
    layer = keras.layers.Dense(3, dtype=dtype)
    layer.build((None, 4))
    return layer


def test_a_number_is_not_a_share() -> None:
    assert fl.smallest(1) != fl.smallest(1.0)
    layer = dense()
    fl.freeze(layer, {"kernel": fl.smallest(1), "bias": fl.smallest(1.0)})
    assert fl.frozen_mask(layer.kernel).sum() == 1
    assert fl.frozen_mask(layer.bias).all()


def test_earlier_states_that_differ_in_the_sign_of_a_zero_are_two() -> None:
    layer = dense()
    one = fl.snapshot(layer)
    other = {**one, "bias": -one["bias"]}
    assert fl.changed(one) == fl.changed(dict(one))
    assert fl.changed(one) != fl.changed(other)
    fl.freeze(layer, {"kernel": fl.changed(one), "bias": fl.changed(other)})
    assert not fl.is_frozen(layer.kernel)
    assert fl.frozen_mask(layer.bias).all()


def test_the_payload_of_a_nan_has_not_changed() -> None:
    layer = dense("bfloat16")
    kernel = np.zeros((4, 3), ml_dtypes.bfloat16)
    kernel.view(np.uint16)[0] = 0x7FC5, 0xFF81, 0x7F81
    fl.restore(layer, {"kernel": kernel})
    before = fl.snapshot(layer)
    assert not fl.freeze(layer, "*", fl.changed(before))
    fl.freeze(layer, "kernel", fl.at[0, :2])
    assert not fl.unfreeze(layer, "kernel", fl.changed(before))


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "int32"])
def test_scores_may_be_tensors(dtype: str) -> None:
    layer = dense()
    scores = keras.ops.cast(keras.ops.reshape(keras.ops.arange(12), (4, 3)), dtype)
    for by in ({"kernel": scores}, lambda value: scores):
        fl.train_only(layer, "kernel", fl.largest(2, by=by))
        np.testing.assert_array_equal(~fl.frozen_mask(layer.kernel).ravel(), np.arange(12) > 9)
    fl.unfreeze(layer)
    fl.freeze(layer, "kernel", fl.smallest(3, by={"kernel": layer.kernel.value}))
    fl.freeze(layer, "kernel", fl.smallest(3, by=fl.weights(layer)))
    assert fl.frozen_mask(layer.kernel).sum() == 3


def test_scores_of_a_file_without_bfloat16(tmp_path: Any) -> None:
    layer = dense("bfloat16")
    arrays: dict[str, Any] = fl.snapshot(layer)
    np.savez(tmp_path / "scores.npz", **arrays)
    with np.load(tmp_path / "scores.npz") as scores:
        by = fl.smallest(3, by=dict(scores))
    fl.freeze(layer, "kernel", by)
    expected = np.zeros(12, bool)
    expected[np.argsort(fl.snapshot(layer)["kernel"].ravel().astype("f4"), kind="stable")[:3]] = 1
    np.testing.assert_array_equal(fl.frozen_mask(layer.kernel).ravel(), expected)


def test_a_weight_is_not_its_own_earlier_state() -> None:
    layer = dense()
    with pytest.raises(SelectionError, match=r"^kernel: `before` contains the weight itself"):
        fl.freeze(layer, "kernel", fl.changed(fl.weights(layer)))
    other = fl.weights(dense())
    assert len(fl.freeze(layer, "kernel", fl.changed(other))) == 1


@pytest.mark.parametrize(
    ("selection", "match"),
    [
        (fl.smallest(1, by={"kernel": np.ones((4, 3), complex)}, of="rows"), "real numbers.*x128"),
        (fl.smallest(1, by={"kernel": np.full((4, 3), "x")}, of=(2, 3)), "must be real numbers"),
        (
            fl.smallest(1, by={"kernel": [[1], [2, 3]]}),
            "must be an array of numbers; got list",
        ),
        (
            fl.smallest(1, of="rows", reduce=lambda a, axis: a.sum(axis) * 1j),
            "`reduce` must return a real number for each row; got dtype comp",
        ),
    ],
)
def test_what_is_no_score(selection: Any, match: str) -> None:
    layer = dense()
    with pytest.raises(SelectionError, match=f"^kernel: .*{match}"):
        fl.freeze(layer, "kernel", selection)
    assert not fl.is_frozen(layer.kernel)


def test_a_scalar_has_no_axis_to_use() -> None:
    layer = keras.layers.Layer(name="outer")
    layer.add_weight(shape=(), name="scale")
    layer.built = True
    with pytest.raises(
        SelectionError, match=r"this weight has no axis -1;.* Leave this weight out\.$"
    ):
        fl.freeze(layer, "scale", fl.n_of_m(2, 4))


def test_two_weights_of_one_path_cannot_share_an_array() -> None:
    class Two(keras.Model):
        def __init__(self) -> None:
            super().__init__()
            self.one = keras.layers.Dense(2, name="d")
            self.two = keras.layers.Dense(2, name="d")

        def call(self, x: Any) -> Any:
            return self.one(x) + self.two(x)

    model = Two()
    model(np.ones((1, 2)))
    with pytest.raises(fl.PathError, match="d/kernel: two different weights have this path"):
        fl.freeze(model, "d/*", ~fl.smallest(1, by={"d/kernel": np.ones((2, 2)), "d/bias": [1, 2]}))
    assert not any(fl.is_frozen(variable) for variable in model.trainable_variables)
    assert sum(change.entries for change in fl.freeze(model, "d/*", fl.smallest(1))) == 4
