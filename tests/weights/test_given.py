"""`given` changes the value that a view reads, in this thread and in the block only."""

import threading

import keras
import numpy as np
import pytest

import frostline as fl
from frostline._weights.given import given
from helpers import array, value


@pytest.fixture
def layer():
    layer = keras.layers.Dense(2, kernel_regularizer="l2")
    layer.build((None, 3))
    fl.freeze(layer, "kernel", fl.at[0])
    return layer


def test_a_view_reads_as_what_it_is_given(layer):
    before, x = value(layer.kernel), np.ones((1, 3), "float32")
    with given([(layer.kernel, keras.ops.ones((3, 2)))]):
        np.testing.assert_array_equal(value(layer.kernel), 1)
        np.testing.assert_allclose(array(layer(x)), 3 + value(layer.bias)[None])
        np.testing.assert_allclose(array(layer.losses[0]), 0.06, rtol=1e-6)
        elsewhere = []
        thread = threading.Thread(target=lambda: elsewhere.append(value(layer.kernel)))
        thread.start()
        thread.join()
    np.testing.assert_array_equal(value(layer.kernel), before)
    np.testing.assert_array_equal(elsewhere[0], before)


def test_it_is_cast_as_keras_casts_variables():
    layer = keras.layers.Dense(2, dtype="mixed_bfloat16")
    layer.build((None, 3))
    fl.freeze(layer, "kernel", fl.at[0])
    with given([(layer.kernel, keras.ops.ones((3, 2)))]):
        out = layer(np.ones((1, 3), "float32"))
    assert keras.backend.standardize_dtype(out.dtype) == "bfloat16"


def test_what_is_written_meanwhile_is_read_and_dropped(layer):
    before = value(layer.kernel)
    with given([(layer.kernel, keras.ops.ones((3, 2)))]):
        layer.kernel.assign(np.full((3, 2), 2.0))
        np.testing.assert_array_equal(value(layer.kernel), 2)
    np.testing.assert_array_equal(value(layer.kernel), before)
