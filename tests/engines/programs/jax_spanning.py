"""Weights that no process holds whole: every process can read and audit them, and none hangs.

jax_spanning.py
"""

import re
import tempfile
import warnings

import jax_world as world
import keras
import numpy as np
import pytest
from jax.experimental import multihost_utils
from ml_dtypes import bfloat16

import frostline as fl
from frostline._backends import jax_processes

NOT_HERE = "Fetching value for `jax.Array` that spans non-addressable (non process local) devices"


def build(dtype="float32"):
    keras.utils.set_random_seed(0)
    layer = keras.layers.Dense(8, name="h", dtype=dtype)
    model = keras.Sequential([keras.Input((4,)), layer], name="model")
    model.compile("sgd", "mse")
    return model, layer


def refused(call):
    """Check that plain Keras refuses this, as docs/scale.md says."""
    with pytest.raises(RuntimeError, match=re.escape(NOT_HERE)):
        call()


def plain_keras():
    model, layer = build()
    for call in (layer.kernel.numpy, model.get_weights):
        refused(call)
    with tempfile.TemporaryDirectory() as folder:
        refused(lambda: model.save(f"{folder}/model.keras"))
        refused(lambda: model.save_weights(f"{folder}/model.weights.h5"))


def before_the_first_step():
    """A new weight that each device holds whole is readable, though JAX cannot list its shards."""
    model, _ = build()
    assert fl.snapshot(model)["h/bias"].tolist() == [0] * 8
    fl.freeze(model, "h/bias", lambda bias: bias == 0)
    data = np.ones((4, 4)), np.ones((4, 8))
    model.fit(*data, verbose=0, callbacks=[fl.callbacks.FreezeAudit()])
    assert fl.snapshot(model)["h/bias"].tolist() == [0] * 8


def every_bit():
    """Whole weights and single entries keep NaN payloads, which an XLA collective may change."""
    model, layer = build("bfloat16")
    bits = np.random.default_rng(0).integers(0, 1 << 16, (4, 8)).astype("uint16")
    bits[0] = np.arange(8) + 0x7FC1  # NaNs
    given = bits.view(bfloat16)
    fl.restore(model, {"h/kernel": given})
    assert fl.snapshot(model)["h/kernel"].view("uint16").tolist() == bits.tolist()
    fl.freeze(model, "h/kernel", fl.at[1:])
    assert fl.snapshot(model)["h/kernel"].view("uint16").tolist() == bits.tolist()
    base, _ = build("bfloat16")
    held = {"h/kernel": np.where(fl.frozen_mask(layer.kernel), given, given[0, 0])}
    fl.restore(base, {**fl.snapshot(model), **held})
    fl.apply_delta(base, fl.extract_delta(model))
    assert fl.snapshot(base)["h/kernel"].view("uint16").tolist() == bits.tolist()


class Leak(keras.callbacks.Callback):
    """Overwrites one frozen entry in the last column, which the last process holds."""

    def on_train_batch_end(self, batch, logs=None):
        kernel = fl.snapshot(self.model)["h/kernel"]
        kernel[2, 7] += 1
        self.model.layers[0].kernel.assign(kernel)


def audited():
    model, _ = build()
    fl.freeze(model, "h/kernel")
    x, y = np.ones((4, 4), "float32"), np.ones((4, 8), "float32")
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        audit = fl.callbacks.FreezeAudit(on_leak="warn")
        model.fit(x, y, verbose=0, callbacks=[Leak(), audit])
    told = [str(one.message) for one in caught if "frozen entry has changed" in str(one.message)]
    assert bool(told) == (world.rank == 1), told
    assert not told or "got weight[2, 7]=" in told[0]
    # If the freeze changes during training, each process compares the entries that it holds.
    model, _ = build()
    fl.freeze(model, "h/kernel", fl.at[:, 4:])
    schedule = fl.callbacks.FreezeSchedule({1: lambda model: fl.freeze(model, "h/*", fl.at[1:])})
    audit = fl.callbacks.FreezeAudit()
    model.fit(x, y, epochs=2, verbose=0, callbacks=[schedule, audit])
    assert audit.comparisons == 2


def unlike():
    """If processes freeze different entries, each gets an error and nothing changes."""
    model, layer = build()
    with pytest.raises(
        fl.ProcessError, match="all processes must freeze the same entries; got 2 different"
    ):
        fl.freeze(model, "h/kernel", fl.at[world.rank])
    assert not fl.is_frozen(layer.kernel)
    fl.freeze(model, "h/kernel", fl.at[0])


def alone():
    """If only one process calls `snapshot`, it gets an error and does not hang."""
    model, _ = build()
    multihost_utils.sync_global_devices("made")
    jax_processes.PATIENCE = 1
    if world.rank == 0:
        try:
            fl.snapshot(model)
        except fl.ProcessError as error:
            print(error, flush=True)


if __name__ == "__main__":
    world.join()
    world.distribute("model 1")
    plain_keras()
    before_the_first_step()
    every_bit()
    audited()
    unlike()
    alone()
