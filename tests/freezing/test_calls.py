"""Ways Keras calls a layer: rematerialized, twice, nested, several steps at once."""

import keras
import numpy as np
import pytest

import frostline as fl
from helpers import (
    array,
    assert_frozen_stayed,
    assert_same_bits,
    compile_for_test,
    freeze_at_random,
    train_restoring,
    value,
    values,
    weights,
)
from models import data

X, Y = data(16, 4, 6)
BACKEND = keras.backend.backend()


def recomputed():
    with keras.RematScope(mode="full"):
        return keras.Sequential(
            [
                keras.Input((4, 6)),
                keras.layers.Dense(5, activation="tanh"),
                keras.layers.Flatten(),
                keras.layers.Dense(3),
            ]
        )


def called_twice():
    shared = keras.layers.Dense(6, activation="tanh")
    inputs = keras.Input((4, 6))
    outputs = keras.layers.Flatten()(shared(shared(inputs)))
    return keras.Model(inputs, keras.layers.Dense(3)(outputs))


MODELS = [recomputed, called_twice]


@pytest.mark.parametrize("kind", ["entries", "positions"])
@pytest.mark.parametrize("make", MODELS, ids=lambda make: make.__name__)
def test_what_is_frozen_stays_and_the_rest_moves_as_it_should(make, kind):
    keras.utils.set_random_seed(0)
    model = make()
    keras.utils.set_random_seed(0)
    plain = make()
    masks = freeze_at_random(model, kind)
    before = values(model)
    # Keras cannot rematerialize a layer in a TensorFlow graph, frozen or not.
    eager = {"run_eagerly": True} if make is recomputed and BACKEND == "tensorflow" else {}
    compile_for_test(model, **eager)
    for _ in range(3):
        model.train_on_batch(X, Y)
    train_restoring(plain, masks, X, Y, **eager)
    assert_frozen_stayed(model, before)
    for weight, expected in zip(weights(model), values(plain), strict=True):
        np.testing.assert_allclose(value(weight.variable), expected, rtol=2e-4, atol=2e-5)


class Inner(keras.layers.Layer):
    """Uses its weight in a way that no fast path supports."""

    def build(self, shape):
        self.w = self.add_weight((shape[-1], 5), "random_normal", name="w")

    def call(self, x):
        return keras.ops.matmul(x, keras.ops.convert_to_tensor(self.w))


class Outer(keras.layers.Layer):
    """Wraps a layer that may have another precision."""

    def __init__(self, inner="float32"):
        super().__init__(dtype="float32")
        self.inner = Inner(dtype=inner, name="inner")

    def build(self, shape):
        self.inner.build(shape)

    def call(self, x):
        return self.inner(x)


entries = fl.mask(np.arange(30).reshape(6, 5) % 3 == 1)


def test_a_layer_of_another_precision_inside_a_layer_computes_the_same():
    layer = Outer("mixed_bfloat16")
    before = array(layer(X[:, 0]))
    fl.freeze(layer, "inner/w", entries)
    assert_same_bits(array(layer(X[:, 0])), before)


def test_values_handed_in_while_a_layer_is_called_are_used():
    class WithOtherValues(Outer):
        def call(self, x):
            (part,) = self.inner.trainable_variables
            with keras.StatelessScope([(part, 2 * keras.ops.convert_to_tensor(part))]):
                return self.inner(x)

    layer = WithOtherValues()
    layer.build((None, 6))
    fl.freeze(layer, "inner/w", entries)
    other = np.where(fl.frozen_mask(layer.inner.w), 1, 2) * value(layer.inner.w)
    np.testing.assert_allclose(array(layer(X[:, 0])), X[:, 0] @ other, rtol=1e-5, atol=1e-6)


def test_what_a_layer_writes_in_its_call_is_read_in_it():
    inner = keras.layers.Conv1DTranspose(5, 2)
    layer = keras.layers.SpectralNormalization(inner)
    layer.build((None, 4, 6))
    fl.freeze(inner, "kernel", fl.at[0])
    before = value(inner.kernel)
    outputs = array(layer(X, training=True))
    assert (value(inner.kernel)[1] != before[1]).any()
    np.testing.assert_allclose(outputs, array(layer(X, training=False)), rtol=1e-5, atol=1e-6)


if BACKEND != "torch":  # on PyTorch, Keras takes one step at a time

    def test_several_steps_at_once_equal_one_by_one():
        model, one_by_one = called_twice(), called_twice()
        one_by_one.set_weights(model.get_weights())
        for target in (model, one_by_one):
            fl.freeze(target, "*/kernel", fl.at[::2])
        before = values(model)
        # XLA for both models: other kinds of compilation round differently.
        compile_for_test(model, steps_per_execution=2, jit_compile=True)
        compile_for_test(one_by_one, jit_compile=True)
        for target in (model, one_by_one):
            target.fit(X, Y, batch_size=4, epochs=2, shuffle=False, verbose=0)
        assert_frozen_stayed(model, before)
        for weight, expected in zip(weights(model), values(one_by_one), strict=True):
            np.testing.assert_allclose(value(weight.variable), expected, rtol=1e-5, atol=1e-6)
