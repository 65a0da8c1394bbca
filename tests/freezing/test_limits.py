"""Statements about training loops on the limits page that no other test checks."""

import warnings

import keras
import numpy as np
import pytest

import frostline as fl
from helpers import array


def dense():
    keras.utils.set_random_seed(0)
    layer = keras.layers.Dense(3, bias_initializer="ones", name="dense")
    return keras.Sequential([keras.Input((4,)), layer], name="model"), layer


if keras.backend.backend() == "jax":
    import jax

    def test_what_was_compiled_ahead_of_time_keeps_the_old_positions():
        model, layer = dense()
        fl.freeze(layer, "kernel", fl.at[0])
        x = np.arange(8, dtype="float32").reshape(2, 4)

        def state():
            lists = model.trainable_variables, model.non_trainable_variables
            return [[variable.value for variable in variables] for variables in lists]

        jitted = jax.jit(lambda trainable, fixed: model.stateless_call(trainable, fixed, x)[0])
        ahead = jitted.lower(*state()).compile()
        np.testing.assert_allclose(ahead(*state()), model(x), rtol=1e-6)
        fl.unfreeze(model)
        fl.freeze(layer, "kernel", fl.at[1])
        np.testing.assert_allclose(jitted(*state()), model(x), rtol=1e-6)
        assert not np.allclose(ahead(*state()), model(x))


if keras.backend.backend() == "torch":
    import torch
    import torch.autograd.forward_ad as forward

    def test_dual_numbers_need_a_thawed_model_where_rows_are_scattered():
        model, layer = dense()
        fl.freeze(layer, "kernel", fl.at[[0, 2]])
        x = torch.ones(2, 4)
        expected = torch.autograd.functional.jvp(layer, (x,), (x,))[1]  # by two backward passes
        with warnings.catch_warnings(), forward.dual_level():
            warnings.simplefilter("ignore")  # PyTorch warns about its first dual number
            inputs = forward.make_dual(x, x)
            with pytest.raises(NotImplementedError, match="You must implement the jvp function"):
                layer(inputs)
            with fl.thawed(model):
                tangent = forward.unpack_dual(layer(inputs)).tangent
        np.testing.assert_allclose(array(tangent), array(expected), rtol=1e-6)


if keras.backend.backend() == "tensorflow":
    import tensorflow as tf

    def test_a_tape_gives_the_gradient_of_the_parts_alone():
        model, layer = dense()
        fl.freeze(layer, "kernel", fl.at[0])
        with tf.GradientTape(persistent=True) as tape:
            loss = tf.reduce_sum(model(tf.ones((2, 4))))
        with pytest.raises(fl.UnsupportedError, match=r"Take the gradient with respect to"):
            tape.gradient(loss, layer.kernel)
        assert tape.gradient(loss, model.trainable_variables)[0].shape == (3, 3)

    def test_the_gradient_of_a_partly_frozen_table_is_dense():
        table = keras.layers.Embedding(5, 2)
        table.build(None)
        sparse = []
        for _ in range(2):
            with tf.GradientTape() as tape:
                loss = tf.reduce_sum(table(np.array([1, 1, 2])))
            gradient = tape.gradient(loss, table.trainable_variables)[0]
            sparse.append(isinstance(gradient, tf.IndexedSlices))
            fl.freeze(table, "embeddings", fl.tokens([0]))
        assert sparse == [True, False]
