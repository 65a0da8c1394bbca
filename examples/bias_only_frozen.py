"""Freeze a bias and train its kernel, in a training loop written by hand for each backend.

`layer.trainable = False` freezes a whole layer. There are two ways to freeze only the bias: a
custom layer, and one line of frostline on a stock layer. They give the same numbers.
Run it: `python examples/bias_only_frozen.py` (KERAS_BACKEND picks the backend).
"""

import keras
import numpy as np

import frostline as fl

RATE, EPOCHS = 0.1, 5


class FixedBiasDense(keras.layers.Layer):
    """The custom-layer way: the bias is created as a weight that does not train."""

    def build(self, input_shape):
        self.kernel = self.add_weight(shape=(input_shape[-1], 1), name="kernel")
        self.bias = self.add_weight(shape=(1,), name="bias", trainable=False)

    def call(self, inputs):
        return keras.ops.matmul(inputs, self.kernel) + self.bias


def tensorflow_steps(model, x, y):
    """A gradient tape and a Keras optimizer."""
    import tensorflow as tf

    optimizer = keras.optimizers.SGD(RATE)
    for _ in range(EPOCHS):
        with tf.GradientTape() as tape:
            loss = tf.reduce_mean((model(x) - y) ** 2)
        gradients = tape.gradient(loss, model.trainable_variables)
        optimizer.apply(gradients, model.trainable_variables)
        yield float(loss)


def torch_steps(model, x, y):
    """Autograd and a PyTorch optimizer, given all parameters."""
    import torch

    x, y = (keras.ops.convert_to_tensor(array) for array in (x, y))
    optimizer = torch.optim.SGD(model.parameters(), lr=RATE)
    for _ in range(EPOCHS):
        optimizer.zero_grad()
        loss = ((model(x) - y) ** 2).mean()
        loss.backward()
        optimizer.step()
        yield float(loss.detach())


def jax_steps(model, x, y):
    """`stateless_call`, a compiled gradient, and a hand-written gradient descent update."""
    import jax

    def loss_of(trainable, fixed):
        outputs, _ = model.stateless_call(trainable, fixed, x)
        return ((outputs - y) ** 2).mean()

    gradient = jax.jit(jax.value_and_grad(loss_of))
    for _ in range(EPOCHS):
        variables = model.trainable_variables
        fixed = [v.value for v in model.non_trainable_variables]
        loss, gradients = gradient([v.value for v in variables], fixed)
        for variable, slope in zip(variables, gradients, strict=True):
            variable.assign(variable.value - RATE * slope)
        yield float(loss)


def train(title, layer, x, y):
    """Train one layer and print its weights after each epoch; return them, a row for each epoch."""
    print(title)
    model = keras.Sequential([keras.Input((2,)), layer])
    layer.set_weights([np.array([[0.5], [-0.5]]), np.array([0.25])])
    loops = {"tensorflow": tensorflow_steps, "torch": torch_steps, "jax": jax_steps}
    rows = []
    for epoch, loss in enumerate(loops[keras.config.backend()](model, x, y), start=1):
        rows.append(np.concatenate([weight.ravel() for weight in layer.get_weights()]))
        print(f"  epoch {epoch}: loss {loss:.4f}, kernel {rows[-1][:2]}, bias {rows[-1][2:]}")
    return np.array(rows)


def main():
    x = np.random.default_rng(0).normal(size=(128, 2)).astype("float32")
    y = x @ np.array([[2.0], [-3.0]], "float32") + 1  # the best bias is 1; ours stays 0.25
    stock = keras.layers.Dense(1)
    stock.build((None, 2))
    fl.freeze(stock, "bias")  # the model and the loop do not change
    frozen = train("stock Dense layer, bias frozen:", stock, x, y)
    custom = train("custom layer, bias made with trainable=False:", FixedBiasDense(), x, y)
    difference = float(np.abs(frozen - custom).max())
    print(f"largest difference between the two: {difference:.1e}")
    return {"frozen": frozen, "custom": custom, "difference": difference}


if __name__ == "__main__":
    main()
