"""Layers with another framework's code: parts freeze where possible, else there is an error."""

import keras
import numpy as np
import pytest

import frostline as fl
from helpers import assert_same_bits, compile_for_test, value, weights

X = np.random.default_rng(0).normal(size=(8, 4)).astype("float32")


def whole_only(layer, path, frozen):
    model = keras.Sequential([keras.Input((4,)), layer])
    with pytest.raises(fl.UnsupportedError, match="tensors of another framework's module"):
        fl.freeze(model, path, fl.at[0])
    fl.freeze(model, path)
    before = value(frozen)
    compile_for_test(model, keras.optimizers.SGD(0.1))
    model.fit(X, X, verbose=0, epochs=2)
    assert_same_bits(value(frozen), before)
    return model


def torch_module():
    import torch

    layer = keras.layers.TorchModuleWrapper(torch.nn.Linear(4, 4), name="linear")
    layer.build((None, 4))
    found = weights(layer)
    bias = next(weight for weight in found if weight.variable.ndim == 1)
    whole_only(layer, f"linear/{bias.path}", bias.variable)


def jax_function():
    def apply(params, inputs):
        return inputs @ params["kernel"] + params["bias"]

    def init(rng, inputs):
        return {"kernel": np.ones((4, 4), "float32"), "bias": np.zeros(4, "float32")}

    layer = keras.layers.JaxLayer(apply, init_fn=init, name="function")
    model = keras.Sequential([keras.Input((4,)), layer])
    kernel = next(w.variable for w in weights(model) if w.variable.ndim == 2)
    before = value(kernel)
    fl.freeze(model, kernel, fl.at[0])
    compile_for_test(model)
    model.fit(X, X, verbose=0)
    assert_same_bits(value(kernel)[0], before[0])
    assert (value(kernel)[1:] != before[1:]).all()


def saved_model():
    import tensorflow as tf

    class Module(tf.Module):
        def __init__(self):
            super().__init__()
            self.kernel = tf.Variable(tf.ones((4, 4)), name="kernel")
            self.bias = tf.Variable(tf.zeros(4), name="bias")

        @tf.function(input_signature=[tf.TensorSpec((None, 4), tf.float32)])
        def serve(self, inputs):
            return inputs @ self.kernel + self.bias

    import tempfile

    folder = tempfile.mkdtemp()
    module = Module()
    archive = keras.export.ExportArchive()
    archive.track(module)
    archive.add_endpoint("serve", module.serve)
    archive.add_variable_collection("trainable_variables", [module.kernel, module.bias])
    archive.write_out(folder, verbose=False)
    layer = keras.layers.TFSMLayer(
        folder, call_endpoint="serve", call_training_endpoint="serve", name="saved"
    )
    kernel = next(w for w in weights(layer) if w.variable.ndim == 2)
    whole_only(layer, kernel.variable, kernel.variable)


def test_modules_of_another_framework():
    {"torch": torch_module, "jax": jax_function, "tensorflow": saved_model}[
        keras.backend.backend()
    ]()


def test_a_layer_of_raw_operations():
    layer = RAW[keras.backend.backend()](name="raw")
    keras.utils.set_random_seed(0)
    model = keras.Sequential([keras.Input((4,)), layer])
    fl.freeze(model, "raw/w", fl.at[:, 1])
    before = value(layer.w)
    compile_for_test(model)
    model.fit(X, X, verbose=0)
    assert_same_bits(value(layer.w)[:, 1], before[:, 1])
    assert (value(layer.w)[:, [0, 2, 3]] != before[:, [0, 2, 3]]).all()


class Raw(keras.layers.Layer):
    def build(self, input_shape):
        self.w = self.add_weight(shape=(input_shape[-1], 4), initializer="normal", name="w")
        self.built = True

    def compute_output_shape(self, input_shape):
        return (*input_shape[:-1], 4)


class RawTensorFlow(Raw):
    def call(self, x):
        import tensorflow as tf

        return tf.matmul(x, self.w) + tf.gather(self.w, [0])


class RawTorch(Raw):
    def call(self, x):
        import torch

        return torch.matmul(x, self.w) + torch.mul(self.w[0], 1.0)


class RawJax(Raw):
    def call(self, x):
        import jax.numpy as jnp

        return jnp.matmul(x, jnp.asarray(self.w)) + self.w[0] + x @ self.w


RAW = {"tensorflow": RawTensorFlow, "torch": RawTorch, "jax": RawJax}
