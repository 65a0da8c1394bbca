"""Movement scores: half the growth of the square of each entry."""

import keras
import numpy as np
import pytest

import frostline as fl
from helpers import value


def built():
    layer = keras.layers.Dense(2, name="layer")
    layer.build((None, 3))
    return layer


def test_scores_are_half_the_growth_of_squares():
    layer = built()
    fl.freeze(layer, "kernel", fl.at[0])
    before = fl.snapshot(layer)
    layer.kernel.assign(value(layer.kernel) * 3)
    found = fl.scores(layer, before, by="movement")
    assert list(found) == ["kernel", "bias"]
    np.testing.assert_allclose(found["kernel"], 4 * before["kernel"] ** 2, rtol=1e-6)
    assert not found["bias"].any()
    after = fl.snapshot(layer)
    layer.kernel.assign(value(layer.kernel) * 0)
    again = fl.scores(layer, before, after, by="movement", weights="kernel")
    np.testing.assert_array_equal(again["kernel"], found["kernel"])


def test_scores_are_the_sums_of_gradient_and_weight_in_small_steps():
    weight, rate, summed = np.array([0.5, -1.0]), 1e-4, 0
    layer = keras.layers.Dense(1, use_bias=False)
    layer.build((None, 2))
    before = {"kernel": np.float32(weight[:, None])}
    for _ in range(2000):
        gradient = 2 * (weight - np.array([1.0, 0.0]))
        summed = summed - rate * gradient * weight
        weight = weight - rate * gradient
    layer.kernel.assign(weight[:, None])
    found = fl.scores(layer, before, by="movement")["kernel"][:, 0]
    np.testing.assert_allclose(found, summed, rtol=1e-3)
    assert found[0] > 0 > found[1]


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"bias": None}, fl.PathError, "bias: not in `x`"),
        ({"bias": np.zeros(3, "float32")}, fl.ScoreError, "bias: .* the shape must be the same"),
        ({"bias": np.zeros(2, "float64")}, fl.ScoreError, "bias: .* the dtype must be the same"),
        ({"kernel": np.full((3, 2), np.nan, "float32")}, fl.ScoreError, "kernel: 6 of 6 scores"),
    ],
    ids=["missing", "shape", "dtype", "nan"],
)
def test_a_snapshot_that_does_not_fit_is_refused(change, error, message):
    layer = built()
    before = {
        path: one for path, one in {**fl.snapshot(layer), **change}.items() if one is not None
    }
    with pytest.raises(error, match=message):
        fl.scores(layer, before, by="movement")


def test_the_model_itself_is_no_snapshot():
    layer = built()
    with pytest.raises(fl.ScoreError, match="`x` contains the weight itself"):
        fl.scores(layer, layer, by="movement")
    with pytest.raises(fl.ScoreError, match="batches: by='movement' compares two snapshots"):
        fl.scores(layer, fl.snapshot(layer), by="movement", batches=3)
