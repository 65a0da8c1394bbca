"""Several devices: the freeze is exact on each, slots are sharded like the parts."""

import keras
import pytest

from helpers import assert_script_ends

TENSORFLOW = """
import keras, numpy as np, tensorflow as tf, frostline as fl

cpu = tf.config.list_physical_devices("CPU")[0]
tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
strategy = tf.distribute.MirroredStrategy(["/cpu:0", "/cpu:1"])
with strategy.scope():
    model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(6), keras.layers.Dense(2)])
    model.compile("adam", "mse")
kernel = model.layers[0].kernel
before = kernel.numpy()
fl.freeze(model.layers[0], "kernel", fl.at[:, :3])
x, y = np.ones((8, 4), "float32"), np.ones((8, 2), "float32")
model.fit(x, y, verbose=0)
after = kernel.numpy()
assert (after[:, :3] == before[:, :3]).all() and (after[:, 3:] != before[:, 3:]).all()
for variable in model.weights:
    copies = variable.value.values
    assert len(copies) == 2
    np.testing.assert_array_equal(copies[0], copies[1])
fl.unfreeze(model)
model.fit(x, y, verbose=0)
assert len(kernel.value.values) == 2
"""

# Frozen outside the scope, again and again: the copies are equal, and equal to one device.
CHANGED = """
import contextlib, keras, numpy as np, tensorflow as tf, frostline as fl

cpu = tf.config.list_physical_devices("CPU")[0]
tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
strategy = tf.distribute.MirroredStrategy(["/cpu:0", "/cpu:1"])
random = np.random.default_rng(0)
x, y = random.normal(size=(32, 4)).astype("f"), random.normal(size=(32, 2)).astype("f")

def run(scope, optimizer, first):
    keras.utils.set_random_seed(0)
    with scope:
        model = keras.Sequential([
            keras.Input((4,)), keras.layers.Dense(6, name="h"), keras.layers.Dense(2, name="o")
        ])
        model.compile(optimizer(), "mse", jit_compile=False)

    def fit():
        model.fit(x, y, batch_size=16, epochs=2, shuffle=False, verbose=0)

    if first:
        fit()
    fl.freeze(model, "h/kernel", fl.at[:, :2])
    fl.freeze(model, "h/kernel", fl.at[:, 4:])
    fit()
    fl.freeze(model, "o/*")
    fl.unfreeze(model, "h/kernel", fl.at[0])
    fit()
    fl.unfreeze(model)
    fit()
    return model

for optimizer, first in (
    (lambda: keras.optimizers.AdamW(0.05, use_ema=True), True),
    (lambda: keras.optimizers.SGD(0.05, momentum=0.9), False),
    (lambda: keras.optimizers.LossScaleOptimizer(keras.optimizers.Nadam(0.05)), True),
):
    scopes = strategy.scope(), contextlib.nullcontext()
    models = [run(scope, optimizer, first) for scope in scopes]
    for variable in [*models[0].weights, *models[0].optimizer.variables]:
        copies = variable.value.values
        assert len(copies) == 2, variable.path
        assert np.array_equal(copies[0].numpy(), copies[1].numpy()), variable.path
    many, one = map(fl.snapshot, models)
    assert all(np.abs(many[path] - one[path]).max() < 1e-4 for path in many)
"""

TORCH = """
import keras, numpy as np, torch, frostline as fl
import os
os.environ.update(MASTER_ADDR="127.0.0.1", MASTER_PORT="29541")
torch.distributed.init_process_group("gloo", rank=0, world_size=1)
model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(6), keras.layers.Dense(2)])
kernel = model.layers[0].kernel
before = kernel.numpy()
fl.freeze(model, "*/kernel", fl.at[:, :1])
fl.freeze(model, "*/bias")
model.requires_grad_(True)
parallel = torch.nn.parallel.DistributedDataParallel(model)
optimizer = torch.optim.AdamW(parallel.parameters(), lr=0.1, weight_decay=0.1)
for _ in range(3):
    optimizer.zero_grad()
    parallel(torch.ones(8, 4)).pow(2).mean().backward()
    optimizer.step()
after = kernel.numpy()
assert (after[:, :1] == before[:, :1]).all() and (after[:, 1:] != before[:, 1:]).all()
torch.distributed.destroy_process_group()
"""


SCRIPTS = {
    "jax": {},  # tests/engines/test_jax_engines.py
    "tensorflow": {"data": TENSORFLOW, "changed": CHANGED},
    "torch": {"data": TORCH},
}[keras.backend.backend()]


@pytest.mark.parametrize("script", SCRIPTS.values(), ids=SCRIPTS)
def test_frozen_entries_keep_their_bits_on_several_devices(script):
    assert_script_ends(script)
