"""Wanda scores: the size of an entry times the norm of the values that it multiplies."""

import keras
import numpy as np
import pytest

import frostline as fl
from helpers import array, value

LAYERS = keras.layers
PRODUCTS = {
    "dense": (LAYERS.Dense(3), (4,)),
    "dense_sequence": (LAYERS.Dense(2, activation="relu"), (3, 4)),
    "einsum": (LAYERS.EinsumDense("abc,cde->abde", (None, 2, 2)), (3, 4)),
    "conv1d_causal": (LAYERS.Conv1D(2, 2, padding="causal", dilation_rate=2), (5, 2)),
    "conv2d_strided": (LAYERS.Conv2D(2, (2, 3), strides=2, padding="same"), (5, 5, 2)),
    "conv1d_transposed": (LAYERS.Conv1DTranspose(2, 3, strides=2), (4, 2)),
    "conv2d_transposed": (LAYERS.Conv2DTranspose(2, 2), (3, 3, 2)),
    "depthwise_conv1d": (LAYERS.DepthwiseConv1D(2, depth_multiplier=2), (4, 2)),
    "depthwise_conv2d": (LAYERS.DepthwiseConv2D(2, padding="same"), (3, 3, 2)),
}


def norms(layer, x):
    """The norm of the values that each entry of a kernel multiplies, for its own output alone.

    With a kernel of zeros and a one at the entry, the layer outputs those values.
    """
    config = {**layer.get_config(), "activation": None}
    config.update({"bias_axes": None} if "bias_axes" in config else {"use_bias": False})
    bare = type(layer).from_config(config)
    bare.build(x.shape)
    found = np.zeros(bare.kernel.shape)
    for at in np.ndindex(found.shape):
        one = np.zeros(found.shape, "float32")
        one[at] = 1
        bare.kernel.assign(one)
        found[at] = np.linalg.norm(array(bare(x)))
    return found


@pytest.mark.parametrize("name", PRODUCTS)
def test_scores_are_those_of_the_definition(name):
    known, shape = PRODUCTS[name]
    layer = type(known).from_config({**known.get_config(), "name": "layer"})
    model = keras.Sequential([keras.Input(shape), layer])
    x = np.random.default_rng(0).normal(size=(3, *shape)).astype("float32")
    wanted = np.abs(value(layer.kernel)) * norms(layer, x)
    found = fl.scores(model, x, by="wanda", batch_size=2)
    assert list(found) == ["layer/kernel"]
    np.testing.assert_allclose(found["layer/kernel"], wanted, rtol=1e-4, atol=1e-5)
    assert "call" not in vars(layer)


def test_a_layer_called_twice_adds_up():
    layer = LAYERS.Dense(2, use_bias=False, name="twice")
    inputs = keras.Input((2,))
    model = keras.Model(inputs, layer(layer(inputs)))
    x = np.array([[1, 2], [3, -1]], "float32")
    kernel = value(layer.kernel)
    squares = np.square(x).sum(0) + np.square(x @ kernel).sum(0)
    found = fl.scores(model, x, by="wanda")["twice/kernel"]
    np.testing.assert_allclose(found, np.abs(kernel) * np.sqrt(squares)[:, None], rtol=1e-5)


@pytest.mark.parametrize("tied", [True, False], ids=["tied", "untied"])
def test_an_embedding_counts_its_tokens(tied):
    table = LAYERS.ReversibleEmbedding(4, 2, tie_weights=tied, name="table")
    tokens = keras.Input((3,), dtype="int32")
    mixed = LAYERS.GlobalAveragePooling1D()(table(tokens))
    model = keras.Model(tokens, table(mixed, reverse=True))
    x = np.array([[0, 0, 2], [2, 2, 3]])
    weight = value(table.embeddings)
    counts = np.array([2, 0, 3, 1])[:, None]
    below = np.square(weight[x].mean(1)).sum(0)
    found = fl.scores(model, x, by="wanda", batch_size=1)
    total = counts + below if tied else counts
    np.testing.assert_allclose(
        found["table/embeddings"], np.abs(weight) * np.sqrt(total), rtol=1e-5, atol=1e-6
    )
    if not tied:
        reverse = value(table.reverse_embeddings)
        np.testing.assert_allclose(
            found["table/reverse_embeddings"],
            np.abs(reverse) * np.sqrt(below)[:, None],
            rtol=1e-5,
            atol=1e-6,
        )


class Doubling(LAYERS.Dense):
    def call(self, x):
        return super().call(2 * x)


def test_weights_without_such_inputs_are_left_out():
    model = keras.Sequential(
        [
            keras.Input((3, 2)),
            LAYERS.TimeDistributed(LAYERS.Dense(2, name="inner"), name="steps"),
            LAYERS.LayerNormalization(name="norm"),
            Doubling(2, name="own"),
            LAYERS.LSTM(2, name="lstm"),
        ]
    )
    x = np.ones((2, 3, 2), "float32")
    found = fl.scores(model, x, by="wanda")
    assert list(found) == ["steps/inner/kernel"]
    np.testing.assert_allclose(
        found["steps/inner/kernel"],
        np.abs(value(model.get_layer("steps").layer.kernel)) * np.sqrt(6),
        rtol=1e-5,
    )
    with pytest.raises(fl.UnsupportedError, match="steps/inner/bias: 'wanda' cannot score"):
        fl.scores(model, x, by="wanda", weights=["steps/inner/kernel", "steps/inner/bias"])
    with pytest.raises(fl.UnsupportedError, match="own/kernel: 'wanda' cannot score"):
        fl.scores(model, x, by="wanda", weights="own/*")


def test_a_failing_call_leaves_no_layer_changed():
    model = keras.Sequential([keras.Input((2,)), LAYERS.Dense(2), LAYERS.Dense(1)])
    with pytest.raises(ValueError, match="shape"):
        fl.scores(model, np.ones((2, 3), "float32"), by="wanda")
    assert all("call" not in vars(layer) for layer in model.layers)
