"""The demo: a network learns new digits while its old weights stay frozen.

A small convolutional network learns to read the handwritten digits 0 to 4. It is then widened for
5 to 9 and trained on only those, twice: with all old weights frozen, and by plain fine-tuning of
all weights. The old weights form a network inside the wider one, as in progressive networks: new
filters may read old ones, but no old filter reads a new one.

References:
    Rusu et al., Progressive Neural Networks, 2016, https://arxiv.org/abs/1606.04671
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import keras
import numpy as np
from matplotlib.colors import ListedColormap, LogNorm
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from rich.console import Console
from rich.progress import Progress
from rich.table import Table
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from threadpoolctl import threadpool_limits

from frostline import _public as fl
from frostline._backends.current import backend
from frostline._writing import replacing

Split = tuple[np.ndarray, np.ndarray]

SEED = 0
CLASSES, FILTERS, UNITS = 5, 8, 32  # of the small network; the wider one has twice as many
ORANGE, BLUE, GREY = "#E69F00", "#0072B2", "#DDDDDD"  # Okabe and Ito, also for colour-blind readers


@dataclass(frozen=True)
class Digits:
    """The handwritten digits, as `(images, labels)`; three quarters of them are for training."""

    train_old: Split
    train_new: Split
    test_old: Split
    test_new: Split


@dataclass(frozen=True)
class Outcome:
    """One way to learn the new digits, and its measured results."""

    name: str
    old_accuracy: float
    new_accuracy: float
    changed: int  # entries under the masks that differ in any bit
    drift: float  # largest change of an old digit's output
    trainable: int
    optimizer_bytes: int
    head_change: np.ndarray  # |after - before| of the head's kernel


@dataclass(frozen=True)
class Measured:
    """The results of the demo: the accuracy of the small network, and the outcome of both ways."""

    small_accuracy: float
    frozen_entries: int
    head_frozen: np.ndarray  # True = frozen
    frozen: Outcome
    naive: Outcome


class ProgressBar(keras.callbacks.Callback):
    """Advances a progress bar after each epoch."""

    def __init__(self, progress: Progress, label: str, epochs: int) -> None:
        super().__init__()
        self._progress = progress
        self._task = progress.add_task(label, total=epochs)

    def on_epoch_end(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        """Called by Keras."""
        self._progress.advance(self._task)


def load() -> Digits:
    """The 1,797 digits of scikit-learn, split with a fixed seed."""
    data = load_digits()
    images = (data.images / 16)[..., None].astype("float32")
    parts = train_test_split(
        images, data.target, test_size=0.25, random_state=SEED, stratify=data.target
    )
    x_train, x_test, y_train, y_test = parts

    def split(x: np.ndarray, y: np.ndarray, chosen: np.ndarray) -> Split:
        return x[chosen], y[chosen]

    return Digits(
        train_old=split(x_train, y_train, y_train < CLASSES),
        train_new=split(x_train, y_train, y_train >= CLASSES),
        test_old=split(x_test, y_test, y_test < CLASSES),
        test_new=split(x_test, y_test, y_test >= CLASSES),
    )


def build(width: int) -> keras.Model:
    """A network for `5 * width` digits, with `width` times the filters and units."""
    backend.seed(SEED)
    layers = keras.layers
    return keras.Sequential(
        [
            keras.Input((8, 8, 1)),
            layers.Conv2D(FILTERS * width, 3, padding="same", activation="relu", name="edges"),
            layers.Conv2D(2 * FILTERS * width, 3, strides=2, activation="relu", name="strokes"),
            layers.Conv2D(UNITS * width, 3, activation="relu", name="shapes"),
            layers.Flatten(),
            layers.Dense(CLASSES * width, name="digits"),
        ]
    )


def widen(small: keras.Model) -> tuple[keras.Model, dict[str, np.ndarray]]:
    """A network twice as wide, with the outputs of `small` and new ones, and the masks to freeze.

    The masks select all that an old unit reads: its old weights, and its weights for new units,
    which are zero. The last axis of a weight is the outputs of its layer.
    """
    model = build(2)
    copied = fl.copy_weights(small, model)
    masks = {
        path: np.broadcast_to(mask.reshape(-1, mask.shape[-1]).any(axis=0), mask.shape)
        for path, mask in copied.items()
    }
    for path, weight in fl.weights(model).items():
        weight.assign(np.where(masks[path] & ~copied[path], 0, weight))
    return model, masks


def train(model: keras.Model, data: Split, epochs: int, bar: ProgressBar) -> None:
    """Train with AdamW and a binary loss for each digit: no output depends on another."""
    images, labels = data
    backend.seed(SEED)
    # Smoothed labels keep outputs moderate, so that separately learned digits can be compared.
    loss = keras.losses.BinaryCrossentropy(from_logits=True, label_smoothing=0.2)
    model.compile(keras.optimizers.AdamW(3e-3, weight_decay=1e-3), loss)
    targets = np.eye(model.output_shape[-1], dtype="float32")[labels]
    model.fit(images, targets, batch_size=32, epochs=epochs, verbose=0, callbacks=[bar])


def accuracy(model: keras.Model, data: Split) -> float:
    """The share of images whose largest output is the right digit."""
    images, labels = data
    return float(np.mean(model.predict(images, verbose=0).argmax(-1) == labels))


def changed_entries(
    before: dict[str, np.ndarray], after: dict[str, np.ndarray], masks: dict[str, np.ndarray]
) -> int:
    """How many entries under the masks differ in any bit."""
    return sum(
        int(np.sum(before[path].view("uint32")[mask] != after[path].view("uint32")[mask]))
        for path, mask in masks.items()
    )


def learn_new(
    name: str,
    model: keras.Model,
    masks: dict[str, np.ndarray],
    digits: Digits,
    epochs: int,
    progress: Progress,
) -> Outcome:
    """Train a widened model on only the new digits, and measure."""
    before = fl.snapshot(model)
    logits = model.predict(digits.test_old[0], verbose=0)[:, :CLASSES]
    train(model, digits.train_new, epochs, ProgressBar(progress, f"5 to 9, {name}", epochs))
    after = fl.snapshot(model)
    moved = model.predict(digits.test_old[0], verbose=0)[:, :CLASSES] - logits
    return Outcome(
        name=name,
        old_accuracy=accuracy(model, digits.test_old),
        new_accuracy=accuracy(model, digits.test_new),
        changed=changed_entries(before, after, masks),
        drift=float(np.abs(moved).max()),
        trainable=sum(int(np.prod(v.shape)) for v in model.trainable_variables),
        optimizer_bytes=sum(backend.to_numpy(v.value).nbytes for v in model.optimizer.variables),
        head_change=np.abs(after["digits/kernel"] - before["digits/kernel"]),
    )


def table(measured: Measured) -> Table:
    """The results as a table, one column for each way."""
    ways = (measured.frozen, measured.naive)
    out = Table(title="Trained only on 5 to 9")
    out.add_column("on the test digits, after training")
    for way in ways:
        out.add_column(way.name, justify="right")
    out.add_row("accuracy on old digits, 0 to 4", *(f"{w.old_accuracy:.1%}" for w in ways))
    out.add_row("accuracy on new digits, 5 to 9", *(f"{w.new_accuracy:.1%}" for w in ways))
    total = measured.frozen_entries
    out.add_row("frozen entries that changed", *(f"{w.changed:,} of {total:,}" for w in ways))
    out.add_row("largest change of an old output", *(f"{w.drift:.3g}" for w in ways))
    out.add_row("trainable parameters", *(f"{w.trainable:,}" for w in ways))
    out.add_row("optimizer bytes", *(f"{w.optimizer_bytes:,}" for w in ways))
    return out


def draw(measured: Measured, out: Path) -> None:
    """Draw what is frozen of the head and how far each entry moved in both models, as a PNG."""
    figure = Figure(figsize=(9, 7), layout="constrained")
    top, *below = figure.subplots(3, 1, sharex=True)
    top.imshow(measured.head_frozen.T, cmap=ListedColormap([ORANGE, BLUE]), vmin=0, vmax=1)
    top.set_title("kernel of the head: what is frozen")
    legend = [Patch(color=BLUE, label="frozen"), Patch(color=ORANGE, label="trains")]
    moved = [np.ma.masked_equal(w.head_change, 0) for w in (measured.frozen, measured.naive)]
    largest = max(float(m.max()) for m in moved if m.count())
    scale = LogNorm(vmin=largest / 1e3, vmax=largest)
    for axes, way, change in zip(below, (measured.frozen, measured.naive), moved, strict=True):
        axes.set_facecolor(GREY)
        axes.imshow(change.T, cmap="viridis", norm=scale)
        axes.set_title(f"{way.name}: |after - before|")
    for axes in (top, *below):
        axes.set_aspect("auto")
        axes.set_yticks(range(2 * CLASSES))
        axes.set_ylabel("output (digit)")
    below[-1].set_xlabel("input (unit of the layer before; the second half is new)")
    figure.colorbar(below[-1].images[0], ax=below, label="|after - before|", extend="min")
    legend.append(Patch(color=GREY, label="|after - before| is exactly 0"))
    figure.legend(handles=legend, loc="outside upper center", ncols=3, frameon=False)
    with replacing(out) as unfinished:
        figure.savefig(unfinished, dpi=120, format="png")


def run(out: Path, epochs: int = 40, console: Console | None = None) -> Measured:
    """Run the demo: train, print the table, write the picture.

    Args:
        out: The PNG to write.
        epochs: Epochs on the new digits; the small network trains 15 epochs on the old ones.
        console: Where to print; the standard output by default.

    Returns:
        The results.
    """
    console = console or Console()
    digits = load()
    bars = Progress(console=console, transient=True, disable=not console.is_terminal)
    # Layers this small are not faster with more threads, and far slower on a busy machine.
    with threadpool_limits(1), bars as progress:
        small = build(1)
        train(small, digits.train_old, 15, ProgressBar(progress, "0 to 4, small network", 15))

        model, masks = widen(small)
        fl.freeze(model, masks)
        frozen = learn_new("frozen in place", model, masks, digits, epochs, progress)

        model, _ = widen(small)
        naive = learn_new("naive fine-tuning", model, masks, digits, epochs, progress)

    measured = Measured(
        small_accuracy=accuracy(small, digits.test_old),
        frozen_entries=sum(int(mask.sum()) for mask in masks.values()),
        head_frozen=masks["digits/kernel"],
        frozen=frozen,
        naive=naive,
    )
    console.print(f"A network reads the digits 0 to 4: {measured.small_accuracy:.1%} right.")
    console.print("It is widened for 5 to 9; its old weights form a network inside the new one.")
    console.print(table(measured))
    draw(measured, out)
    console.print(f"Picture of the head: {out}", soft_wrap=True, highlight=False)
    return measured
