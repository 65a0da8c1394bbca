"""Variables shared by several layers, and layers used in several places."""

import keras
import numpy as np
import pytest

import frostline as fl
from helpers import array, assert_same_bits, assert_same_outputs, compile_for_test, value

X = np.random.default_rng(0).normal(size=(8, 4)).astype("float32")


class Tied(keras.layers.Layer):
    """Uses the kernel of another layer, transposed."""

    def __init__(self, source, **kwargs):
        super().__init__(**kwargs)
        self.kernel = source.kernel

    def call(self, inputs):
        return keras.ops.matmul(inputs, keras.ops.transpose(self.kernel))


def autoencoder():
    keras.utils.set_random_seed(0)
    encoder = keras.layers.Dense(3, use_bias=False, name="encoder")
    inputs = keras.Input((4,))
    hidden = encoder(inputs)
    decoder = Tied(encoder, name="decoder")
    return keras.Model(inputs, decoder(hidden)), encoder, decoder


@pytest.mark.parametrize("through", ["encoder", "decoder", "model"])
def test_both_uses_see_the_freeze(through):
    model, encoder, decoder = autoencoder()
    kernel, before = encoder.kernel, value(encoder.kernel)
    outputs = array(model(X))
    target = {"encoder": encoder, "decoder": decoder, "model": model}[through]
    (change,) = fl.freeze(target, kernel, fl.at[:2])
    assert change.entries == 6
    assert encoder.kernel is kernel
    assert decoder.kernel is kernel
    assert_same_outputs(lambda: array(model(X)), outputs)
    assert [tuple(v.shape) for v in model.trainable_variables] == [(2, 3)]
    compile_for_test(model)
    model.fit(X, X, verbose=0, epochs=2)
    assert_same_bits(value(kernel)[:2], before[:2])
    assert (value(kernel)[2:] != before[2:]).all()
    fl.unfreeze(model)
    assert [v is kernel for v in model.trainable_variables] == [True]
    assert type(decoder) is Tied


def test_both_uses_give_gradient_once():
    model, _, _ = autoencoder()
    plain, _, _ = autoencoder()
    fl.freeze(model, "encoder/kernel", fl.at[0])
    for one in (model, plain):
        compile_for_test(one, keras.optimizers.SGD(0.1))
        one.train_on_batch(X, X)
    np.testing.assert_allclose(
        value(model.get_layer("encoder").kernel)[1:],
        value(plain.get_layer("encoder").kernel)[1:],
        rtol=1e-5,
    )


def test_selections_through_two_layers_add_up():
    _, encoder, decoder = autoencoder()
    fl.freeze(encoder, "kernel", fl.at[0])
    fl.freeze(decoder, "kernel", fl.at[:, 0])
    expected = np.zeros((4, 3), bool)
    expected[0] = expected[:, 0] = True
    assert_same_bits(fl.frozen_mask(encoder.kernel), expected)


def test_a_layer_called_twice():
    keras.utils.set_random_seed(0)
    layer = keras.layers.Dense(4, name="again")
    inputs = keras.Input((4,))
    model = keras.Model(inputs, layer(layer(inputs)))
    fl.freeze(model, "again/kernel", fl.at[:, 0])
    before = value(layer.kernel)
    compile_for_test(model)
    model.fit(X, X, verbose=0)
    assert_same_bits(value(layer.kernel)[:, 0], before[:, 0])
    assert (value(layer.kernel)[:, 1:] != before[:, 1:]).all()


def test_a_layer_shared_by_two_models():
    keras.utils.set_random_seed(0)
    shared = keras.layers.Dense(4, name="shared")
    inputs = keras.Input((4,))
    features = keras.Model(inputs, shared(inputs))
    whole = keras.Model(inputs, keras.layers.Dense(4)(shared(inputs)))
    compile_for_test(whole)
    whole.fit(X, X, verbose=0)
    fl.freeze(features, "shared/kernel", fl.at[0])
    before = value(shared.kernel)
    whole.fit(X, X, verbose=0)
    assert_same_bits(value(shared.kernel)[0], before[0])
    assert (value(shared.kernel)[1:] != before[1:]).all()


def test_a_reversible_embedding_is_one_weight():
    layer = keras.layers.ReversibleEmbedding(5, 3)
    layer.build((None, 2))
    (change,) = fl.freeze(layer, where=~fl.tokens([3, 4]))
    assert (change.path, change.frozen) == ("embeddings", 9)


def test_an_untied_reversible_embedding_has_a_row_and_a_column_a_token():
    layer = keras.layers.ReversibleEmbedding(5, 3, tie_weights=False)
    layer.build((None, 2))
    fl.freeze(layer, where=fl.tokens([0, 1]))
    assert fl.frozen_mask(layer.embeddings)[:2].all()
    assert fl.frozen_mask(layer.reverse_embeddings)[:, :2].all()
    assert fl.frozen_mask(layer.reverse_embeddings).sum() == 6
