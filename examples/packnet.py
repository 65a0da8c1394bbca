"""Three tasks in one network (PackNet, arXiv 1711.05769): later tasks do not spoil earlier ones.

Each task trains the entries that are still free, keeps the largest of them (a quarter of each
kernel), sets the others to zero and trains once more. The next task uses the kept entries and
cannot change them. The head and the biases are small, so each task has its own. To compare, the
same network is fine-tuned on one task after another, and forgets the earlier tasks.
Run it: `python examples/packnet.py` (KERAS_BACKEND picks the backend). With a file name,
`python examples/packnet.py packnet.png`, it also draws the result (with matplotlib).
"""

import sys

import keras
import numpy as np
from sklearn.datasets import load_digits

import frostline as fl

KERNELS = "hidden_*/kernel"  # shared by the tasks
OWN = ["*/bias", "head/*"]  # each task has its own
SHARE, EPOCHS = 0.25, 10  # the share of each kernel that a task keeps; epochs, trained twice


def make_tasks():
    """The same digits with their pixels in three orders."""
    x, y = load_digits(return_X_y=True)
    x = (x / 16).astype("float32")
    shuffled = np.random.default_rng(0).permutation(64)
    return {"upright": (x, y), "upside down": (x[:, ::-1], y), "shuffled": (x[:, shuffled], y)}


def make_model():
    keras.utils.set_random_seed(0)
    hidden = [keras.layers.Dense(128, activation="relu", name=f"hidden_{n}") for n in (1, 2)]
    head = keras.layers.Dense(10, name="head")
    model = keras.Sequential([keras.Input((64,)), *hidden, head])
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.Adam(0.005), loss)
    return model


def train(model, x, y, times=1):
    model.fit(x[:1200], y[:1200], batch_size=100, epochs=times * EPOCHS, verbose=0)


def logits_of(model, x):
    return keras.ops.convert_to_numpy(model(x[1200:]))  # images that it was not trained on


def accuracy(model, x, y):
    return float((logits_of(model, x).argmax(axis=1) == y[1200:]).mean())


def packnet(model, tasks):
    """Learn the tasks. The result of each is a delta for the same network filled with zeros."""
    empty = {path: np.zeros_like(value) for path, value in fl.snapshot(model).items()}
    packed, deltas, logits, kept, scores = empty, [], [], [], []
    for x, y in tasks:
        free = fl.zeros if deltas else fl.everything  # a new network starts with random values
        fl.train_only(model, {KERNELS: free} | dict.fromkeys(OWN))
        train(model, x, y)
        now = fl.snapshot(model, KERNELS)
        old = {path: fl.frozen_mask(v) for path, v in fl.weights(model, KERNELS).items()}
        sizes = {path: np.where(old[path], -1, abs(now[path])) for path in now}
        fl.train_only(model, {KERNELS: fl.largest(SHARE, by=sizes)} | dict.fromkeys(OWN))
        for path, kernel in fl.weights(model, KERNELS).items():
            kernel.assign(np.where(fl.frozen_mask(kernel), packed[path], kernel))  # pruned: zero
        train(model, x, y)
        kept.append({path: ~fl.frozen_mask(v) for path, v in fl.weights(model, KERNELS).items()})
        fl.unfreeze(model)
        packed = fl.snapshot(model)
        deltas.append(fl.extract_delta(model, base=empty))
        logits.append(logits_of(model, x))
        fl.restore(model, empty)
        scores.append([])
        for delta, known in zip(deltas, tasks, strict=False):
            with fl.applied(model, delta):
                scores[-1].append(accuracy(model, *known))
        fl.restore(model, packed)
    fl.restore(model, empty)
    return deltas, logits, kept, scores


def fine_tuning(model, tasks):
    """Train everything on one task after another. Each gets its own head and biases back."""
    own, scores = [], []
    for x, y in tasks:
        train(model, x, y, times=2)
        own.append(fl.snapshot(model, OWN))
        scores.append([])
        for values, known in zip(own, tasks, strict=False):
            fl.restore(model, values)
            scores[-1].append(accuracy(model, *known))
    return scores


def draw(path, names, kept, scores):
    from matplotlib.colors import ListedColormap
    from matplotlib.figure import Figure

    colors = ["#0072b2", "#e69f00", "#009e73"]
    figure = Figure(figsize=(9, 3.4), layout="constrained")
    left, right = figure.subplots(1, 2, width_ratios=[1, 1.5])
    for way, (style, rows) in scores.items():
        for task, color in enumerate(colors):
            over_time = [100 * row[task] for row in rows[task:]]
            label = f"{names[task]}, {way}"
            left.plot(range(task + 1, 4), over_time, style, color=color, label=label)
    left.set(xticks=[1, 2, 3], xlabel="tasks learned", ylabel="accuracy (%)", ylim=(0, 100))
    left.legend(fontsize="x-small", loc="lower left")
    owner = sum(number * mask for number, mask in enumerate(kept, start=1))
    right.imshow(owner, ListedColormap(["#eeeeee", *colors]), interpolation="nearest")
    right.set(title="who owns the entries of hidden_1/kernel (grey: free)", xticks=[], yticks=[])
    figure.savefig(path, dpi=100)


def main(picture=None):
    names, tasks = zip(*make_tasks().items(), strict=True)
    model = make_model()
    deltas, finished, kept, packed = packnet(model, tasks)
    tuned = fine_tuning(make_model(), tasks)
    at_the_end = []
    for delta, (x, _) in zip(deltas, tasks, strict=True):
        fl.switch_delta(model, delta)  # one call, from any task to any other
        at_the_end.append(logits_of(model, x))
    same = [a.tobytes() == b.tobytes() for a, b in zip(finished, at_the_end, strict=True)]

    print(f"{'':26}{'PackNet':<25}fine-tuning")
    print("task           entries    learned  at the end      learned  at the end")
    for n, name in enumerate(names):
        entries = sum(int(mask.sum()) for mask in kept[n].values())
        values = [100 * row[n] for row in (packed[n], packed[-1], tuned[n], tuned[-1])]
        numbers = "{:>9.1f} %{:>10.1f} %{:>11.1f} %{:>10.1f} %".format(*values)
        print(f"{name:<13}{entries:>9,}{numbers}")
    print("the logits at the end are those right after learning, bit for bit:", all(same))
    assert all(same)
    if picture:
        one = [masks["hidden_1/kernel"] for masks in kept]
        draw(picture, names, one, {"PackNet": ("o-", packed), "fine-tuning": ("o:", tuned)})
    answers = {"finished": finished, "at_the_end": at_the_end}
    return answers | {"deltas": deltas, "kept": kept, "packnet": packed, "fine_tuning": tuned}


if __name__ == "__main__":
    main(*sys.argv[1:])
