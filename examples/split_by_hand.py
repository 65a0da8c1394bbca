"""The usual answer, two layers and a concatenation, beside the layer frozen in place.

The first two units of a hidden layer shall stay, the other four shall train. Splitting the layer by
hand does that, in a model of another architecture. Freezing in place gives the same numbers in the
model that one had. And `trainable = False` on a layer's *output*, often tried, freezes nothing.

Run it: `python examples/split_by_hand.py` (KERAS_BACKEND picks the backend).
"""

import keras
import numpy as np

import frostline as fl

INPUTS, KEPT, UNITS = 3, 2, 6


def value(variable):
    return np.array(keras.ops.convert_to_numpy(variable))


def stock_model():
    inputs = keras.Input((INPUTS,))
    hidden = keras.layers.Dense(UNITS, activation="tanh", name="hidden")(inputs)
    return keras.Model(inputs, keras.layers.Dense(1, name="output")(hidden))


def split_model():
    """Two layers for one: files of the stock model no longer load, nor does code that names it."""
    inputs = keras.Input((INPUTS,))
    kept = keras.layers.Dense(KEPT, activation="tanh", name="kept", trainable=False)
    trained = keras.layers.Dense(UNITS - KEPT, activation="tanh", name="trained")
    hidden = keras.layers.Concatenate()([kept(inputs), trained(inputs)])
    return keras.Model(inputs, keras.layers.Dense(1, name="output")(hidden))


def output_model():
    """What does not work: the attribute lands on a tensor, which nobody asks."""
    inputs = keras.Input((INPUTS,))
    hidden = keras.layers.Dense(UNITS, activation="tanh", name="hidden")(inputs)
    hidden.trainable = False
    return keras.Model(inputs, keras.layers.Dense(1, name="output")(hidden))


def train(model):
    """The same data in the same order for every model."""
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
    kept, trained = by_hand.get_layer("kept"), by_hand.get_layer("trained")
    kept.set_weights([kernel[:, :KEPT], bias[:KEPT]])
    trained.set_weights([kernel[:, KEPT:], bias[KEPT:]])
    by_hand.get_layer("output").set_weights(output)
    train(by_hand)
    split = [
        np.concatenate([value(a), value(b)], axis=-1)
        for a, b in ((kept.kernel, trained.kernel), (kept.bias, trained.bias))
    ]
    split += [value(v) for v in by_hand.get_layer("output").weights]

    fl.freeze(stock, "hidden/*", fl.at[..., :KEPT])  # the same, in the model one had
    train(stock)
    hidden, head = stock.get_layer("hidden"), stock.get_layer("output")
    in_place = [value(v) for v in (hidden.kernel, hidden.bias, head.kernel, head.bias)]

    difference = max(float(np.abs(a - b).max()) for a, b in zip(split, in_place, strict=True))
    kept_same_bits = kernel[:, :KEPT].tobytes() == in_place[0][:, :KEPT].tobytes()
    moved = float(np.abs(in_place[0][:, KEPT:] - kernel[:, KEPT:]).max())
    print("hidden kernel, split by hand:", split[0].round(4), sep="\n")
    print("hidden kernel, frozen in place:", in_place[0].round(4), sep="\n")
    print(f"largest difference over all weights: {difference:.1e}")
    print(f"kept units have the same bits: {kept_same_bits}; the others moved by {moved:.4f}")

    attempt = output_model()
    attempt.set_weights(start)
    train(attempt)
    drift = float(np.abs(value(attempt.get_layer("hidden").kernel) - kernel).max())
    print(f"`Z.trainable = False` on the output: the kernel drifted by {drift:.4f}")
    return {
        "difference": difference,
        "kept_same_bits": kept_same_bits,
        "moved": moved,
        "drift": drift,
    }


if __name__ == "__main__":
    main()
