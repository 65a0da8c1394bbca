"""A run that is killed in its fourth epoch and restarted ends like an uninterrupted one.

    jax_restart.py FOLDER HOW

The first start trains without interruption, then trains again with Orbax checkpoints and waits to
be killed. The second start continues from the checkpoints.
"""

import sys
import time
from pathlib import Path

import jax_training as training
import jax_world as world
import keras
import numpy as np
import orbax.checkpoint
import pytest

import frostline as fl

EPOCHS = 5


class Wait(keras.callbacks.Callback):
    """Stops in the fourth epoch once the checkpoint of an earlier epoch is written."""

    def __init__(self, checkpoints):
        super().__init__()
        self._checkpoints = checkpoints

    def on_train_batch_end(self, batch, logs=None):
        if int(self.model.optimizer.iterations) == 4:
            while not any(one.name.isdigit() for one in self._checkpoints.iterdir()):
                time.sleep(0.02)
            print("in the fourth epoch", flush=True)
            time.sleep(1000)


def begin():
    model = training.build()
    fl.freeze(model, {"tokens/*": ~fl.tokens([30, 31]), "h/kernel": fl.at[:, ::2]})
    fl.freeze(model, {"o/kernel": fl.at[0, 1:], "o/bias": None})
    return model


def train(model, *callbacks, first=0):
    x, y = world.my_rows(training.X, training.Y)
    changes = [fl.callbacks.FreezeSchedule({2: later}), fl.callbacks.FreezeAudit()]
    model.fit(
        *(x, y),
        batch_size=len(x),
        initial_epoch=first,
        epochs=EPOCHS,
        shuffle=False,
        verbose=0,
        callbacks=[*changes, *callbacks],
    )


def later(model):
    fl.unfreeze(model, "h/kernel", fl.at[0])
    fl.freeze(model, "o/kernel", fl.at[1])


def directly(model, folder):
    """Save Keras's state with Orbax itself; only a model with the same freeze can read it."""
    kinds = ("trainable_variables", "non_trainable_variables")
    copy = keras.models.clone_model(model)
    given, wanted = ({kind: one.get_state_tree()[kind] for kind in kinds} for one in (model, copy))
    with orbax.checkpoint.StandardCheckpointer() as checkpointer:
        checkpointer.save(folder / "directly", given)
        checkpointer.wait_until_finished()
        read = checkpointer.restore(folder / "directly", wanted)
    copy.set_state_tree(read)
    world.assert_same(fl.snapshot(copy), fl.snapshot(model))
    fl.freeze(copy, "o/kernel", fl.at[2])
    with pytest.raises(fl.RestoreError, match="saved with another freeze"):
        copy.set_state_tree(read)


def run(folder, how):
    world.distribute(how)
    checkpoints, expected = folder / "checkpoints", folder / f"{world.rank}.npz"
    if not expected.exists():
        model = begin()
        train(model)
        np.savez(expected, allow_pickle=False, **fl.snapshot(model))
        model = begin()
        train(model, keras.callbacks.OrbaxCheckpoint(str(checkpoints)), Wait(checkpoints))
    model = keras.saving.load_model(checkpoints)
    done = int(model.optimizer.iterations)
    assert 1 <= done <= 3, done
    train(model, first=done)
    world.assert_same(fl.snapshot(model), dict(np.load(expected)))
    world.assert_copies_agree(model, folder, "restarted")
    directly(model, folder)
    print("as undisturbed", flush=True)


if __name__ == "__main__":
    world.join()
    run(Path(sys.argv[1]), sys.argv[2])
