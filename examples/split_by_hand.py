"""The usual answer, two layers and a concatenation, compared with a layer frozen in place.

Two units of a hidden layer are frozen, the other four train. Splitting the layer by hand does this,
but the model gets another architecture. Freezing in place gives the same numbers, and the model
stays as it is. `fl.to_stock` makes the split model in one line, for programs without frostline.
`fl.find_splits` finds layers that were split by hand and turns each pair into one layer.
`trainable = False` on a layer's *output*, which people often try, freezes nothing.

Run it: `python examples/split_by_hand.py` (KERAS_BACKEND picks the backend).
"""

import dataclasses

import keras
import numpy as np

import frostline as fl

INPUTS, KEPT, UNITS = 3, 2, 6


def value(variable):
    return np.array(keras.ops.convert_to_numpy(variable))


def weights(model):
    hidden, output = model.get_layer("hidden"), model.get_layer("output")
    return [value(v) for v in (hidden.kernel, hidden.bias, output.kernel, output.bias)]


def largest_difference(some, others):
    return max(float(np.abs(a - b).max()) for a, b in zip(some, others, strict=True))


def stock_model(*, output_trainable=True):
    inputs = keras.Input((INPUTS,))
    hidden = keras.layers.Dense(UNITS, activation="tanh", name="hidden")(inputs)
    hidden.trainable = output_trainable  # does nothing: `hidden` is a tensor
    return keras.Model(inputs, keras.layers.Dense(1, name="output")(hidden))


def split_model():
    """Two layers in place of one: files of the stock model no longer load."""
    inputs = keras.Input((INPUTS,))
    kept = keras.layers.Dense(KEPT, activation="tanh", name="kept", trainable=False)
    trained = keras.layers.Dense(UNITS - KEPT, activation="tanh", name="trained")
    hidden = keras.layers.Concatenate()([kept(inputs), trained(inputs)])
    return keras.Model(inputs, keras.layers.Dense(1, name="output")(hidden))


def train(model):
    """Train on the same data in the same order."""
    keras.utils.set_random_seed(0)
    x = np.random.default_rng(0).normal(size=(256, INPUTS)).astype("float32")
    y = np.sin(x.sum(axis=1, keepdims=True))
    model.compile(keras.optimizers.Adam(0.01), "mse")
    model.fit(x, y, epochs=20, verbose=0)


def main():
    keras.utils.set_random_seed(1)
    stock = stock_model()
    kernel, bias, *output = start = [value(v) for v in stock.weights]

    by_hand = split_model()
    by_hand.set_weights([kernel[:, :KEPT], bias[:KEPT], kernel[:, KEPT:], bias[KEPT:], *output])
    train(by_hand)
    (found,) = fl.find_splits(by_hand)  # one layer again
    split = weights(fl.from_stock(by_hand, [dataclasses.replace(found, name="hidden")]))

    fl.freeze(stock, "hidden/*", fl.at[..., :KEPT])  # the same, in the stock model
    by_machine = fl.to_stock(stock)  # and split, in one line
    for model in (stock, by_machine):
        train(model)
    in_place, back = weights(stock), weights(fl.from_stock(by_machine))

    result = {
        "difference": largest_difference(split, in_place),
        "by_machine": largest_difference(back, in_place),
        "kept_same_bits": kernel[:, :KEPT].tobytes() == in_place[0][:, :KEPT].tobytes(),
        "moved": float(np.abs(in_place[0][:, KEPT:] - kernel[:, KEPT:]).max()),
    }
    print("hidden kernel, frozen in place:", in_place[0].round(4), sep="\n")
    print(f"largest difference over all weights: {result['difference']:.1e}")
    print(f"kept units have the same bits: {result['kept_same_bits']}", end="; ")
    print(f"the others moved by {result['moved']:.4f}")
    print(f"`fl.to_stock`, trained, and back: differs by {result['by_machine']:.1e}")
    print(f"`fl.find_splits`: {found}")

    attempt = stock_model(output_trainable=False)
    attempt.set_weights(start)
    train(attempt)
    result["drift"] = float(np.abs(value(attempt.get_layer("hidden").kernel) - kernel).max())
    print(f"`Z.trainable = False` on the output: the kernel drifted by {result['drift']:.4f}")
    return result


if __name__ == "__main__":
    main()
