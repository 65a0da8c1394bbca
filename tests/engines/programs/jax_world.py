"""Set up the devices of a JAX program, in one process or in several connected on loopback."""

import hashlib
import os
import sys
import traceback
from pathlib import Path

import jax
import keras
import numpy as np

import frostline as fl

rank, processes = int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])
jax.config.update("jax_disable_most_optimizations", True)


def join():
    """Connect to the other processes, if there are any."""
    if processes > 1:
        jax.config.update("jax_cpu_collectives_implementation", "gloo")
        address = f"{os.environ['MASTER_ADDR']}:{os.environ['MASTER_PORT']}"
        keras.distribution.initialize(address, processes, rank)
        sys.excepthook = _end


def _end(*error):
    # On exit JAX waits for the other processes, which may wait for this one.
    traceback.print_exception(*error)
    sys.stderr.flush()
    os._exit(1)


def distribute(how):
    """Set the distribution: `data`, `model 2` (a mesh of two rows), or `one` device."""
    kind, _, rows = how.partition(" ")
    devices = keras.distribution.list_devices()
    if kind == "one":
        distribution = None
    elif kind == "data":
        distribution = keras.distribution.DataParallel(devices=devices, auto_shard_dataset=False)
    else:
        shape = (int(rows), len(devices) // int(rows))
        mesh = keras.distribution.DeviceMesh(shape, ["batch", "model"], devices)
        layouts = keras.distribution.LayoutMap(mesh)
        layouts[".*kernel"] = (None, "model")
        layouts[".*embeddings"] = ("model", None)
        layouts[".*h/bias"] = ("model",)
        distribution = keras.distribution.ModelParallel(
            layout_map=layouts, batch_dim_name="batch", auto_shard_dataset=False
        )
    keras.distribution.set_distribution(distribution)


def my_rows(*arrays):
    """The rows of a batch that this process reads: its share if the batch is divided, or all."""
    distribution = keras.distribution.distribution()
    divided = distribution is not None and distribution.device_mesh.shape[0] > 1
    count, place = (processes, rank) if divided else (1, 0)
    return [np.split(array, count)[place] for array in arrays]


def assert_copies_agree(model, folder, name):
    """Copies of a value have the same bits on each device; write their hashes to a file."""
    found = {}
    for place, variable in enumerate([*model.variables, *model.optimizer.variables]):
        for shard in variable.value.addressable_shards:
            key = f"{place} {variable.path} {shard.index}"
            told = hashlib.sha256(np.asarray(shard.data).tobytes()).hexdigest()
            assert found.setdefault(key, told) == told, key
    Path(folder, f"{name}-{rank}.txt").write_text("\n".join(f"{k} {v}" for k, v in found.items()))


def assert_same(one, other):
    """Weights have the same paths and bits."""
    assert one.keys() == other.keys()
    for path in one:
        assert one[path].tobytes() == other[path].tobytes(), path


def assert_near(one, other):
    """Weights have the same paths and are equal up to rounding."""
    assert one.keys() == other.keys()
    for path in one:
        np.testing.assert_allclose(one[path], other[path], rtol=1e-3, atol=1e-5, err_msg=path)


def masks_of(model):
    """The frozen mask of each weight."""
    return {path: fl.frozen_mask(variable) for path, variable in fl.weights(model).items()}
