"""A model sharded over eight devices trains like on one, and its weights stay sharded."""

import re
import warnings

import jax
import keras
import numpy as np
from keras import layers

import frostline as fl

jax.config.update("jax_disable_most_optimizations", True)

ROWS, BY_COLUMNS = ("model", None), (None, "model")
LAYOUTS = {
    "tokens/embeddings": ROWS,
    "across/embeddings": BY_COLUMNS,
    "columns/kernel": BY_COLUMNS,
    "rows/kernel": ROWS,
    "both/kernel": ("batch", "model"),
    "einsum/kernel": BY_COLUMNS,
    "conv/kernel": (None, None, "model"),
    "raw/kernel": BY_COLUMNS,
    "single/kernel": BY_COLUMNS,
    "columns/bias": ("model",),
}
FREEZES = [
    {
        "tokens/embeddings": ~fl.at[-8:],
        "across/embeddings": fl.at[:, :8],
        "columns/kernel": fl.at[:, :16],
        "rows/kernel": fl.at[::2],
        "both/kernel": fl.at[:, 16:],
        "einsum/kernel": fl.at[:, ::4],
        "conv/kernel": fl.at[..., :8],
        "raw/kernel": fl.at[:, 8:24],
        "single/kernel": lambda kernel: kernel > 0,
        "columns/bias": fl.at[:3],
    },
    {
        "tokens/embeddings": fl.at[::3],
        "across/embeddings": fl.at[:, ::2],
        "columns/kernel": fl.at[:, 1::2],
        "rows/kernel": fl.at[8:],
        "both/kernel": fl.at[:8],
        "einsum/kernel": lambda kernel: kernel > 0.1,
        "conv/kernel": fl.at[:, ::2],
        "raw/kernel": fl.at[:, [0, 5, 6]],
        "single/kernel": fl.at[0, 0],
    },
    {},
]


class Raw(layers.Layer):
    """Multiplies in its own `call`, without a fast path, so the weight is merged for it."""

    def build(self, shape):
        self.kernel = self.add_weight(shape=(shape[-1], 32), name="kernel")

    def call(self, x):
        return keras.ops.matmul(x, self.kernel)


def make():
    keras.utils.set_random_seed(0)
    ids = keras.Input((8,), dtype="int32")
    x = layers.Embedding(64, 32, name="tokens")(ids)
    x = layers.Add()([x, layers.Embedding(64, 32, name="across")(ids)])
    for layer in (
        layers.Dense(32, activation="tanh", name="columns"),
        layers.Dense(32, name="rows"),
        layers.Dense(32, activation="tanh", name="both"),
        layers.EinsumDense("abc,cd->abd", (None, 32), name="einsum"),
        layers.Conv1D(32, 3, padding="same", activation="tanh", name="conv"),
        Raw(name="raw"),
        layers.Dense(32, name="single"),
        layers.GlobalAveragePooling1D(),
        layers.Dense(4, name="head"),
    ):
        x = layer(x)
    model = keras.Model(ids, x)
    model.compile(keras.optimizers.SGD(0.1, momentum=0.9), "mse", jit_compile=True)
    return model


def check_shared(model, layout_map):
    for path, weight in fl.weights(model).items():
        wanted = layout_map[path]
        if wanted is not None:
            sharding = wanted.backend_layout
            assert weight.value.sharding.is_equivalent_to(sharding, len(weight.shape)), path
    for variable, slot in zip(model.trainable_variables, model.optimizer.momentums, strict=True):
        value, axes = variable.value, len(variable.shape)
        assert slot.value.sharding.is_equivalent_to(value.sharding, axes), slot.path
        if layout_map[variable.path] is None or value.size < 256:
            continue  # each device holds small parts whole
        if any(size % 4 == 0 for size in value.shape):
            assert value.sharding.shard_shape(value.shape) != value.shape, variable.path


def run(layout_map=None):
    model = make()
    random = np.random.default_rng(0)
    x, y = random.integers(0, 64, (16, 8)), random.normal(size=(16, 4)).astype("f")
    for freeze in FREEZES:
        fl.unfreeze(model)
        outputs = model.predict(x, verbose=0)
        fl.freeze(model, freeze) if freeze else None
        np.testing.assert_allclose(model.predict(x, verbose=0), outputs, atol=2e-6)
        before = fl.snapshot(model)
        for _ in range(3):
            model.train_on_batch(x, y)
        for path, weight in fl.snapshot(model).items():
            frozen = fl.frozen_mask(fl.weights(model)[path])
            assert np.array_equal(weight[frozen], before[path][frozen]), path
            assert (weight[~frozen] != before[path][~frozen]).mean() > 0.5 or "tokens" in path, path
        if layout_map is not None:
            check_shared(model, layout_map)
    return fl.snapshot(model)


one = run()
devices = keras.distribution.list_devices()
for shape in ((1, 8), (2, 4)):
    mesh = keras.distribution.DeviceMesh(shape, ["batch", "model"], devices)
    layout_map = keras.distribution.LayoutMap(mesh)
    for path, axes in LAYOUTS.items():
        layout_map[path] = keras.distribution.TensorLayout(axes, mesh)
    keras.distribution.set_distribution(
        keras.distribution.ModelParallel(layout_map=layout_map, batch_dim_name="batch")
    )
    many = run(layout_map)
    assert one.keys() == many.keys()
    for path, weight in one.items():
        np.testing.assert_allclose(many[path], weight, atol=2e-5, err_msg=path)

# If the devices cannot divide a part, each of them holds it whole; a large one gives a warning.
layout_map["wide/kernel"] = keras.distribution.TensorLayout((None, "model"), mesh)
wide = layers.Dense(1024, name="wide")
wide.build((None, 1024))
for where, warned in ((fl.at[:, 1:], False), (fl.at[:, ::2], False), (fl.at[0, 0], True)):
    with warnings.catch_warnings(record=True) as found:
        warnings.simplefilter("always")
        fl.freeze(wide, "kernel", where)
    said = [str(one.message) for one in found]
    wanted = "wide/kernel: .* got 1,048,575 trainable entries and 4 devices. Choose a number of tr"
    assert [re.match(wanted, one) is not None for one in said] == [True] * warned, said
    fl.unfreeze(wide)

# Single entries of a weight that is divided along both axes of the mesh.
for trains in (8, 9, 12, 400):
    both = layers.Dense(32, name="both")
    both.build((None, 32))
    fl.freeze(both, "kernel", np.arange(1024).reshape(32, 32) >= trains)
    assert fl.frozen_mask(both.kernel).sum() == 1024 - trains

# A weight that was made without a distribution ignores one that is set later. A batch may be on a
# different mesh than the weight.
keras.distribution.set_distribution(None)
alone = make()
alone.fit(np.zeros((8, 8), "int32"), np.zeros((8, 4)), verbose=0)
keras.distribution.set_distribution(
    keras.distribution.ModelParallel(layout_map=layout_map, batch_dim_name="batch")
)
meshed = make()
for freeze in FREEZES[:2]:
    for model in (alone, meshed):
        fl.freeze(model, freeze)
        fl.unfreeze(model, "*/kernel", fl.at[:3])
    assert all(v.value.sharding.num_devices == 1 for v in alone.variables)
fl.freeze(meshed, "single/kernel", lambda kernel: kernel > 0)
other = keras.distribution.DeviceMesh((8,), ["data"], devices)
keras.distribution.set_distribution(keras.distribution.DataParallel(device_mesh=other))
x = jax.numpy.ones((8, 32))
jax.grad(lambda x: meshed.get_layer("single")(x).sum())(x)

# The derivative with respect to a NumPy input.
keras.distribution.set_distribution(None)
layer = layers.Dense(32)
layer.build((None, 16))
fl.freeze(layer, "kernel", fl.at[::2])
rest = [variable.value for variable in layer.non_trainable_variables]


def squares(trainable, x):
    return (layer.stateless_call(trainable, rest, x)[0] ** 2).sum()


given = [variable.value for variable in layer.trainable_variables]
jax.grad(squares, argnums=(0, 1))(given, np.ones((64, 16), "float32"))
