"""Partly frozen models and their stock versions match for random architectures and freezes."""

import keras
import numpy as np
import pytest
from keras import layers

import frostline as fl
from helpers import DenseAdamW, array, assert_same_bits, assert_script_ends, compile_for_test

pytestmark = [pytest.mark.once, pytest.mark.usefixtures("quickly_compiled")]

STEPS, BATCH, TOKENS = 20, 4, 40
# Two seeds run on every backend, two more once, and all of them in `make test-full`.
SEEDS = [
    *(pytest.param(seed, marks=pytest.mark.once(False)) for seed in range(2)),
    *range(2, 4),
    *(pytest.param(seed, marks=pytest.mark.full) for seed in range(4, 40)),
]
OPTIMIZERS = {
    "SGD": lambda: keras.optimizers.SGD(0.01, momentum=0.9),
    # `epsilon` is above rounding errors; otherwise a gradient of pure noise would give a full step.
    "AdamW": lambda: DenseAdamW(0.003, weight_decay=0.1, epsilon=1e-3),
}


class Architecture:
    """A random model of up to six layers, with branches, nested models and shared layers."""

    def __init__(self, seed, *, dropout=True):
        keras.utils.set_random_seed(seed)
        self.random = np.random.default_rng(seed)
        self.count = 0
        self.dropout = dropout
        kind = self.random.choice(["vector", "sequence", "image", "tokens"])
        shape = {"vector": (6,), "sequence": (6, 4), "image": (5, 5, 4), "tokens": (5,)}[kind]
        self.tokens = kind == "tokens"
        x = keras.Input(shape, dtype="int32" if self.tokens else "float32")
        y = layers.Embedding(TOKENS, 4, name="embedding")(x) if self.tokens else x
        for _ in range(self.random.integers(1, 7)):
            y = self.step(y)
        y = y if len(y.shape) == 2 else layers.Flatten()(y)
        self.model = keras.Model(x, layers.Dense(2, name="out")(y), name="model")
        self.shape = shape
        self.model(self.data()[0][:1])
        for weight in self.model.weights:
            # Avoid the initial zeros and ones, which would hide mistakes.
            if weight.trainable and len(weight.shape) == 1:
                weight.assign(self.random.uniform(0.5, 1.5, tuple(weight.shape)))

    def data(self):
        n = STEPS * BATCH
        random = np.random.default_rng(1)
        if self.tokens:
            x = random.integers(0, TOKENS, (n, *self.shape)).astype("int32")
        else:
            x = random.normal(size=(n, *self.shape)).astype("float32")
        return x, random.normal(size=(n, 2)).astype("float32")

    def step(self, y):
        way = self.random.choice(
            ["layer"] * 5 + ["add", "concatenate", "nested", "shared", "dropout"]
        )
        if way == "layer":
            return self.layer(y)(y)
        if way == "dropout":
            return layers.Dropout(0.2 * self.dropout)(y)
        if way == "nested":
            x = keras.Input(y.shape[1:])
            self.count += 1
            inner = keras.Model(x, self.layer(x)(x), name=f"nested_{self.count}")
            return inner(y)
        if way == "shared":
            shared = layers.Dense(int(y.shape[-1]), "tanh", name=self.name("shared"))
            return shared(shared(y))
        same = len(y.shape) == 2
        one = layers.Dense(4, "tanh", name=self.name("left"))(y)
        other = (self.layer(y, size=4) if same else layers.Dense(4, name=self.name("right")))(y)
        return {"add": layers.Add, "concatenate": layers.Concatenate}[way]()([one, other])

    def name(self, kind):
        self.count += 1
        return f"{kind}_{self.count}"

    def layer(self, y, size=None):
        # At least four: a norm over two channels is a step function, which amplifies rounding.
        n = size or int(self.random.integers(4, 7))
        options = {"activation": "tanh", "use_bias": bool(self.random.random() < 0.8)}
        if self.random.random() < 0.3:
            options["kernel_regularizer"] = keras.regularizers.L2(0.01)
        linear = [
            lambda name: layers.Dense(n, name=name, **options),
            lambda name: layers.EinsumDense("...b,bc->...c", n, bias_axes="c", name=name),
        ]
        normalizing = [
            lambda name: layers.BatchNormalization(momentum=0.9, name=name),
            lambda name: layers.LayerNormalization(name=name),
            lambda name: layers.RMSNormalization(name=name),
        ]
        rank, side = len(y.shape) - 2, int(y.shape[1])
        convolving = []
        if rank in (1, 2) and side > 2:
            kernel = getattr(layers, f"Conv{rank}D")
            transposed = getattr(layers, f"Conv{rank}DTranspose")
            depthwise = getattr(layers, f"DepthwiseConv{rank}D")
            separable = getattr(layers, f"SeparableConv{rank}D")
            plain = {key: options[key] for key in ("activation", "use_bias")}
            convolving = [
                lambda name: kernel(n, 2, name=name, **options),
                lambda name: transposed(n, 2, name=name, **options),
                lambda name: depthwise(2, depth_multiplier=2, name=name, **plain),
                lambda name: separable(n, 2, name=name, **plain),
            ]
        made = [*linear, *convolving] if size else [*linear, *normalizing, *convolving]
        return made[self.random.integers(len(made))](self.name("layer"))

    def freeze(self):
        """Freeze some positions of some weights, along an axis that can be split."""
        frozen = 0
        for layer in _leaves(self.model):
            for name, axes in _axes(layer).items():
                variable = getattr(layer, name, None)
                if variable is None or self.random.random() < 0.4:
                    continue
                axis = int(self.random.choice(axes))
                length = variable.shape[axis]
                some = self.random.permutation(length)[: self.random.integers(1, length + 1)]
                if self.random.random() < 0.5:
                    some = np.arange(some.size) + self.random.integers(0, length - some.size + 1)
                where = (slice(None),) * (axis % len(variable.shape)) + (list(some),)
                fl.freeze(layer, variable, fl.at[where])
                frozen += 1
        if not frozen:
            fl.freeze(self.model, "out/kernel", fl.at[0])
        return self.model


def _leaves(model):
    for layer in model.layers:
        if isinstance(layer, keras.Model):
            yield from _leaves(layer)
        else:
            yield layer


def _axes(layer):
    """The weights of a layer, and the axes along which each one can be split."""
    if isinstance(layer, (layers.SeparableConv1D, layers.SeparableConv2D)):
        return {"depthwise_kernel": [-2], "pointwise_kernel": [-2, -1], "bias": [0]}
    if isinstance(layer, (layers.DepthwiseConv1D, layers.DepthwiseConv2D)):
        return {"kernel": [-2], "bias": [0]}
    if isinstance(layer, layers.Embedding):
        return {"embeddings": [0, 1]}
    if isinstance(layer, layers.RMSNormalization):
        return {"scale": [0]}
    return {"kernel": [-2, -1], "bias": [0], "gamma": [0], "beta": [0]}


def count(model):
    return sum(int(np.prod(v.shape)) for v in model.trainable_variables)


NAMES = (
    *("kernel", "bias", "embeddings", "gamma", "beta", "scale", "depthwise_kernel"),
    *("pointwise_kernel", "moving_mean", "moving_variance"),
)


def variables(model):
    """The variables of an unsplit model, by path."""
    found = {
        (layer.name, name): getattr(layer, name, None) for layer in _leaves(model) for name in NAMES
    }
    return {"/".join(at): one for at, one in found.items() if isinstance(one, keras.Variable)}


def weights(model):
    return {path: array(variable) for path, variable in variables(model).items()}


def train(model, optimizer, x, y):
    keras.utils.set_random_seed(0)  # on PyTorch, dropout uses PyTorch's own seed
    compile_for_test(model, optimizer)
    model.fit(x, y, batch_size=BATCH, epochs=1, shuffle=False, verbose=0)
    return model


@pytest.mark.parametrize("seed", SEEDS)
def test_outputs_counts_and_what_training_makes_are_the_same(seed):
    # PyTorch draws dropout in memory order, which a sum or a concatenation of parts changes.
    made = Architecture(seed, dropout=keras.backend.backend() != "torch")
    model = made.freeze()
    x, y = made.data()
    before = weights(model)
    assert before
    for kind in OPTIMIZERS.values():
        plain, again = fl.to_stock(model), fl.from_stock(fl.to_stock(model))
        assert_same_bits(array(again(x)), array(model(x)))
        np.testing.assert_allclose(array(plain(x)), array(model(x)), rtol=1e-4, atol=1e-5)
        assert count(plain) == count(again) == count(model)
        train(plain, kind(), x, y)
        train(again, kind(), x, y)
        found, expected = weights(fl.from_stock(plain)), weights(again)
        assert found.keys() == expected.keys() == before.keys()
        for path, trained in expected.items():
            np.testing.assert_allclose(found[path], trained, rtol=1e-3, atol=1e-4, err_msg=path)
        moved = max(np.abs(expected[path] - before[path]).max() for path in before)
        assert moved > 1e-3
        for path, variable in variables(again).items():
            frozen = fl.frozen_mask(variable)
            assert_same_bits(expected[path][frozen], before[path][frozen])
            assert_same_bits(found[path][frozen], before[path][frozen])


def test_another_backend_trains_it_without_frostline(tmp_path):
    expected = []
    for seed in range(3):
        made = Architecture(seed, dropout=False)  # random numbers differ between backends
        model = made.freeze()
        x, y = made.data()
        plain = fl.to_stock(model)
        plain.save(tmp_path / f"{seed}.keras")
        np.savez(tmp_path / f"{seed}.npz", x=x, y=y, before=array(model(x)))
        expected.append(train(model, OPTIMIZERS["SGD"](), x, y))
    script = (
        "import sys\n"
        "sys.modules['frostline'] = None\n"  # importing it raises
        "import keras, numpy as np\n"
        "for seed in range(3):\n"
        f"    path = {str(tmp_path)!r} + f'/{{seed}}'\n"
        "    model = keras.saving.load_model(path + '.keras')\n"
        "    data = np.load(path + '.npz')\n"
        "    found = model.predict(data['x'], verbose=0)\n"
        "    np.testing.assert_allclose(found, data['before'], rtol=1e-3, atol=1e-4)\n"
        "    model.compile(keras.optimizers.SGD(0.01, momentum=0.9), 'mse')\n"
        f"    model.fit(data['x'], data['y'], batch_size={BATCH}, shuffle=False, verbose=0)\n"
        "    model.save(path + '.keras')\n"
    )
    other = {"jax": "torch", "torch": "tensorflow", "tensorflow": "jax"}
    assert_script_ends(script, KERAS_BACKEND=other[keras.backend.backend()])
    for seed, model in enumerate(expected):
        plain = keras.saving.load_model(tmp_path / f"{seed}.keras")
        found = weights(fl.from_stock(plain))
        for path, trained in weights(model).items():
            np.testing.assert_allclose(found[path], trained, rtol=1e-3, atol=1e-4, err_msg=path)
