"""The model, the data and the changes of a freeze for the tests of TensorFlow's engines."""

from __future__ import annotations

import hashlib
import json
import time
import warnings
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow

import frostline as fl

tf: Any = tensorflow

EPOCHS, STEPS = 7, 2
_RANDOM = np.random.default_rng(0)
X = _RANDOM.integers(0, 40, (16, 5)).astype("int32")
Y = _RANDOM.normal(size=(16, 2)).astype("float32")

# One change per epoch: blocks, entries, positions and whole weights, by index and by callable.
CHANGES: list[Callable[[Any], Any]] = [
    lambda model: fl.freeze(
        model, {"tokens/*": fl.at[:36], "hidden/kernel": lambda array: array > 0}
    ),
    lambda model: fl.freeze(model, "hidden/bias"),
    lambda model: fl.unfreeze(model, "hidden/kernel", fl.at[0]),
    lambda model: fl.freeze(model, "out/kernel", lambda array: abs(array) > np.median(abs(array))),
    lambda model: fl.freeze(model, {"tokens/*": fl.at[[37, 39]], "out/kernel": fl.at[[0, 2]]}),
    lambda model: fl.unfreeze(model, {"tokens/*": fl.at[30:], "hidden/bias": fl.at[:]}),
    lambda model: fl.unfreeze(model),
]
SAVED = 4  # the epoch whose end is saved


def network() -> Any:
    """The model, the same in every process."""
    keras.utils.set_random_seed(0)
    layers = keras.layers
    return keras.Sequential(
        [
            keras.Input((5,), dtype="int32"),
            layers.Embedding(40, 8, name="tokens"),
            layers.GlobalAveragePooling1D(),
            layers.Dense(6, name="hidden"),
            layers.Dense(2, name="out"),
        ],
        name="model",
    )


def made(optimizer: Callable[[], Any] | None = None) -> Any:
    """The compiled model with a built optimizer, as a custom loop needs it."""
    model = network()
    # With a small epsilon, Adam's step for a tiny gradient would only follow its rounding error.
    rate = keras.optimizers.Adam(0.02, epsilon=1e-2) if optimizer is None else optimizer()
    model.compile(rate, "mse", jit_compile=False)
    model.optimizer.build(model.trainable_variables)
    return model


def replica_step(model: Any, replicas: int = 1) -> Callable[[Any, Any], None]:
    """A step on one replica's part of the batch."""

    def step(x: Any, y: Any) -> None:
        with tf.GradientTape() as tape:
            loss = tf.reduce_mean((model(x, training=True) - y) ** 2) / replicas
        gradients = tape.gradient(loss, model.trainable_variables)
        model.optimizer.apply(gradients, model.trainable_variables)

    return step


class Engine:
    """Trains on one device; subclasses use several.

    Attributes:
        copies: The copies of a mirrored variable in a process, 0 if variables are not mirrored.
    """

    copies = 0

    def scope(self) -> AbstractContextManager[Any]:
        """The scope in which models are made."""
        return tf.distribute.get_strategy().scope()

    def compiled(self, model: Any) -> Callable[[], None]:
        """A step on the whole batch, traced with the current freeze."""
        step = tf.function(replica_step(model))
        return lambda: step(X, Y)

    def train(self, model: Any, steps: int = STEPS, tick: Callable[[Any], Any] = id) -> None:
        """Take some steps and call `tick` after each."""
        step = self.compiled(model)
        for _ in range(steps):
            step()
            tick(model)

    def check(self, model: Any) -> None:
        """Check that variables are where the engine keeps them and that their copies are equal."""
        for variable in (*model.variables, *model.optimizer.variables):
            copies = getattr(variable.value, "values", ())
            assert len(copies) == self.copies, variable.path
            assert len({copy.numpy().tobytes() for copy in copies}) < 2, variable.path

    def make(self) -> Any:
        """A new model."""
        with self.scope():
            return made()

    def load(self, path: Path) -> Any:
        """A saved model."""
        with self.scope():
            return keras.saving.load_model(path)


def live(engine: Engine, folder: Path) -> Any:
    """Train through all changes: the first half is made by hand, the rest by a schedule.

    Frozen entries keep their bits, all other weights move. Saves models, weights, deltas and
    snapshots on the way.
    """
    model = engine.make()
    late = {epoch: CHANGES[epoch] for epoch in range(4, EPOCHS)}
    audit = fl.callbacks.FreezeAudit()
    callbacks = keras.callbacks.CallbackList(
        [fl.callbacks.FreezeSchedule(late), audit], model=model
    )
    callbacks.on_train_begin()
    for epoch in range(EPOCHS):
        if epoch not in late:
            CHANGES[epoch](model)
        callbacks.on_epoch_begin(epoch)
        before = fl.snapshot(model)
        engine.train(model)
        callbacks.on_epoch_end(epoch)
        assert_only_the_rest_moved(model, before)
        engine.check(model)
        if epoch == SAVED:
            save(model, folder, "there")
    callbacks.on_train_end()
    assert audit.comparisons == EPOCHS
    save(model, folder, "end")
    return model


def resume(engine: Engine, folder: Path, tick: Callable[[Any], None], *, saves: bool = True) -> Any:
    """Train through all changes, starting after the last saved epoch, and save each epoch.

    The test kills one of the processes and starts all of them again. The result has the same bits
    as an uninterrupted run.
    """
    done = sorted(folder.glob("epoch-*.keras"))
    model = engine.load(done[-1]) if done else engine.make()
    for epoch in range(len(done), EPOCHS):
        CHANGES[epoch](model)
        engine.train(model, tick=tick)
        if saves:
            model.save(folder / "writing.keras")
            (folder / "writing.keras").rename(folder / f"epoch-{epoch}.keras")
    tell(began=len(done))
    undisturbed = engine.make()
    for change in CHANGES:
        change(undisturbed)
        engine.train(undisturbed)
    for path, value in fl.snapshot(undisturbed).items():
        assert value.tobytes() == fl.snapshot(model)[path].tobytes(), path
    engine.check(model)
    tell(end=digest(model))


def leave_steps_behind(engine: Engine) -> None:
    """Report the warnings of changes while an older step still exists."""
    model, told = engine.make(), []
    for change in (
        lambda: fl.freeze(model, "hidden/kernel", fl.at[0]),
        lambda: fl.unfreeze(model),
        lambda: fl.freeze(model, "out/kernel"),
        lambda: fl.unfreeze(model),
    ):
        step = engine.compiled(model)
        step()
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always", UserWarning)
            change()
        told.append([str(one.message) for one in caught if one.category is UserWarning])
        del step
    tell(stale=told)


def ticking(seconds: float) -> Callable[[Any], None]:
    """A callback that prints the step and waits, so that the test can kill the process."""

    def tick(model: Any) -> None:
        print("step", int(model.optimizer.iterations.numpy()), flush=True)
        time.sleep(seconds)

    return tick


def assert_only_the_rest_moved(model: Any, before: Any) -> None:
    """Frozen entries keep their bits, and each weight with trainable entries has moved."""
    masks = {path: fl.frozen_mask(variable) for path, variable in fl.weights(model).items()}
    for path, value in fl.snapshot(model).items():
        still = value.view("u4") == before[path].view("u4")
        assert still[masks[path]].all(), path
        assert not still.all() or masks[path].all(), path


def digest(model: Any) -> str:
    """A hash of all weights and slots, to compare processes."""
    found = [keras.ops.convert_to_numpy(one.value) for one in model.optimizer.variables[2:]]
    content = b"".join(one.tobytes() for one in (*fl.snapshot(model).values(), *found))
    return hashlib.sha256(content).hexdigest()


def plain(engine: Engine) -> None:
    """Report the errors of plain Keras in `fit` and `evaluate`."""
    model, errors = engine.make(), {}
    for call in (model.fit, model.evaluate):
        try:
            call(X, Y, verbose=0)
        except ValueError as error:
            errors[call.__name__] = str(error)
    tell(plain=errors)


def save(model: Any, folder: Path, name: str) -> None:
    """Save a model, its weights file, its delta and its values."""
    model.save(folder / f"{name}.keras")
    model.save_weights(folder / f"{name}.weights.h5")
    fl.extract_delta(model).save(folder / f"{name}.safetensors")
    values: dict[str, Any] = dict(fl.snapshot(model))
    np.savez(folder / f"{name}.npz", **values)


def tell(**found: Any) -> None:
    """Print what the test reads."""
    print(json.dumps(found), flush=True)


def told(printed: str) -> dict[str, Any]:
    """Everything that a program printed with `tell`."""
    lines = [line for line in printed.splitlines() if line.startswith("{")]
    return {key: value for line in lines for key, value in json.loads(line).items()}
