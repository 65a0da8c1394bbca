"""Freeze one row of a weight: `W = [W1, W2]`, where `W1` stays and `W2` trains.

Run it: `python examples/one_row.py` (KERAS_BACKEND picks the backend).
"""

import keras
import numpy as np

import frostline as fl


def make_data():
    """Points in the plane, and a curved function of them."""
    points = np.random.default_rng(0).normal(size=(256, 2)).astype("float32")
    return points, np.sin(points[:, :1]) + points[:, 1:] ** 2


def show(title, kernel):
    print(title)
    for name, row in zip(("W1", "W2"), kernel, strict=True):
        print(f"  {name} =", np.array2string(row, precision=4, sign=" "))


def main():
    keras.utils.set_random_seed(0)
    hidden = keras.layers.Dense(4, activation="tanh", name="hidden")
    model = keras.Sequential([keras.Input((2,)), hidden, keras.layers.Dense(1, name="output")])

    # The kernel has the shape (2, 4): row 0 holds the weights of the first input, row 1 those of
    # the second. One line freezes row 0. The layer, its kernel and its outputs stay as they are.
    fl.freeze(hidden, "kernel", fl.at[0, :])

    print("frozen entries of the kernel (True = frozen):")
    print(fl.frozen_mask(hidden.kernel))
    # Four entries of the kernel train, not eight: the optimizer never sees the others.
    print("what the optimizer sees:", [tuple(v.shape) for v in model.trainable_variables])

    before = np.array(keras.ops.convert_to_numpy(hidden.kernel))
    points, targets = make_data()
    # Weight decay moves every entry of an ordinary variable, even where the gradient is masked.
    model.compile(keras.optimizers.AdamW(0.01, weight_decay=0.1), "mse")
    history = model.fit(points, targets, epochs=20, verbose=0)
    after = np.array(keras.ops.convert_to_numpy(hidden.kernel))

    losses = history.history["loss"]
    print(f"loss: {losses[0]:.4f} in the first epoch, {losses[-1]:.4f} in the last")
    show("before training:", before)
    show("after training:", after)
    w1_same_bits = before[0].tobytes() == after[0].tobytes()
    w2_moved = float(np.abs(after[1] - before[1]).max())
    print(f"W1 has the same bits: {w1_same_bits}; W2 moved by up to {w2_moved:.4f}")

    # After `unfreeze` the kernel is an ordinary variable again, and keeps its values.
    fl.unfreeze(hidden)
    print("after unfreezing:", [tuple(v.shape) for v in model.trainable_variables])
    return {
        "before": before,
        "after": after,
        "losses": losses,
        "w1_same_bits": w1_same_bits,
        "w2_moved": w2_moved,
    }


if __name__ == "__main__":
    main()
