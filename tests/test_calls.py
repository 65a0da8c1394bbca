"""How Keras may call a layer: checkpointed, twice, in a loop, several steps at once."""

import keras
import numpy as np
import pytest

import frostline as fl
from helpers import (
    assert_frozen_stayed,
    compile_for_test,
    freeze_at_random,
    train_restoring,
    value,
    values,
    weights,
)

RANDOM = np.random.default_rng(0)
X = RANDOM.normal(size=(16, 4, 6)).astype("float32")
Y = RANDOM.normal(size=(16, 3)).astype("float32")
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


def stacked_cells():
    cells = [keras.layers.LSTMCell(5), keras.layers.GRUCell(4)]
    return keras.Sequential([keras.Input((4, 6)), keras.layers.RNN(cells), keras.layers.Dense(3)])


def both_ways():
    return keras.Sequential(
        [
            keras.Input((4, 6)),
            keras.layers.Bidirectional(keras.layers.GRU(4)),
            keras.layers.Dense(3),
        ]
    )


def for_each_step():
    return keras.Sequential(
        [
            keras.Input((4, 6)),
            keras.layers.TimeDistributed(keras.layers.Dense(5, activation="tanh")),
            keras.layers.GlobalAveragePooling1D(),
            keras.layers.Dense(3),
        ]
    )


MODELS = [recomputed, called_twice, stacked_cells, both_ways, for_each_step]


@pytest.mark.parametrize("kind", ["entries", "positions"])
@pytest.mark.parametrize("make", MODELS, ids=lambda make: make.__name__)
def test_what_is_frozen_stays_and_the_rest_moves_as_it_should(make, kind):
    keras.utils.set_random_seed(0)
    model = make()
    keras.utils.set_random_seed(0)
    plain = make()
    masks = freeze_at_random(model, kind)
    before = values(model)
    # Keras can not recompute a layer in a graph of TensorFlow, frozen or not.
    eager = {"run_eagerly": True} if make is recomputed and BACKEND == "tensorflow" else {}
    compile_for_test(model, **eager)
    for _ in range(3):
        model.train_on_batch(X, Y)
    train_restoring(plain, masks, X, Y, **eager)
    assert_frozen_stayed(model, before)
    for weight, expected in zip(weights(model), values(plain), strict=True):
        np.testing.assert_allclose(value(weight.variable), expected, rtol=2e-4, atol=2e-5)


if BACKEND != "torch":  # which takes one step at a time in Keras

    def test_several_steps_at_once():
        model, one_by_one = called_twice(), called_twice()
        one_by_one.set_weights(model.get_weights())
        for target in (model, one_by_one):
            fl.freeze(target, "*/kernel", fl.at[::2])
        before = values(model)
        # XLA in both: the kinds of compilation round in other ways.
        compile_for_test(model, steps_per_execution=2, jit_compile=True)
        compile_for_test(one_by_one, jit_compile=True)
        for target in (model, one_by_one):
            target.fit(X, Y, batch_size=4, epochs=2, shuffle=False, verbose=0)
        assert_frozen_stayed(model, before)
        for weight, expected in zip(weights(model), values(one_by_one), strict=True):
            np.testing.assert_allclose(value(weight.variable), expected, rtol=1e-5, atol=1e-6)
