"""Layers without a `build` that make their sublayers in `__init__`: their freeze is restored."""

import keras
import numpy as np
import pytest

import frostline as fl
from frostline._freezing import layer as freezing_layer
from frostline._freezing.description import AWAITED
from helpers import (
    array,
    assert_all_same_bits,
    assert_same_bits,
    compile_for_test,
    freeze_at_random,
    frozen_masks,
    value,
    weights,
)
from models import data

layers = keras.layers
registered = keras.saving.register_keras_serializable("test_made_on_call")
BACKEND = keras.backend.backend()
X, Y = data(8, 4)
START = 1 / 3
"""The initial value of every weight; half precision would round it."""


def dense(units=4):
    return layers.Dense(units, kernel_initializer=start(), bias_initializer=start())


def start():
    return keras.initializers.Constant(START)


@registered
class Block(layers.Layer):
    """Sublayers of one shape, which the call builds in another order than `__init__` holds them."""

    def __init__(self, depth=3, **kwargs):
        super().__init__(**kwargs)
        self.depth = depth
        self.inner = dense()
        self.more = [dense() for _ in range(depth - 1)]

    def call(self, inputs):
        for layer in reversed(self.more):
            inputs = layer(inputs)
        return self.inner(inputs)

    def get_config(self):
        return {**super().get_config(), "depth": self.depth}


@registered
class Nested(layers.Layer):
    """Holds blocks in a dictionary, in a `Sequential`, and one that is never called."""

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.unused = Block()
        self.named = {"b": Block(), "a": dense()}
        self.row = keras.Sequential([dense(), Block()])

    def call(self, inputs):
        return self.row(self.named["a"](self.named["b"](inputs)))


@registered
class Normalized(layers.Layer):
    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.inner = dense()
        self.norm = layers.BatchNormalization()
        self.drop = layers.Dropout(0.5)

    def call(self, inputs, training=None):
        return self.drop(self.norm(self.inner(inputs), training=training), training=training)


@registered
class Attended(layers.Layer):
    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.attention = layers.MultiHeadAttention(
            2, 2, kernel_initializer=start(), bias_initializer=start()
        )
        self.inner = dense()

    def call(self, inputs):
        x = self.inner(inputs[:, None])
        return self.attention(x, x)[:, 0]


@registered
class TwoInputs(layers.Layer):
    """Holds one layer twice."""

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.first = self.again = dense()
        self.second = dense()

    def call(self, inputs, others):
        return self.second(self.again(others)) + self.first(inputs)


@registered
class Net(keras.Model):
    """A subclassed model without a `build`, holding one of these layers."""

    def __init__(self, inside="Block", **kwargs):
        super().__init__(**kwargs)
        self.inside = inside
        self.block = globals()[inside]()
        self.out = dense(3)

    def call(self, inputs):
        return self.out(self.block(inputs))

    def get_config(self):
        return {**super().get_config(), "inside": self.inside}


@registered
class Given(keras.Model):
    """A model that takes a block, saves it, and calls the layers inside the block."""

    def __init__(self, block=None, **kwargs):
        super().__init__(**kwargs)
        self.block = block or Block()
        self.out = dense(3)

    def call(self, inputs):
        for layer in (self.block.inner, *self.block.more, self.out):
            inputs = layer(inputs)
        return inputs

    def get_config(self):
        return {"block": keras.saving.serialize_keras_object(self.block)}

    @classmethod
    def from_config(cls, config):
        return cls(keras.saving.deserialize_keras_object(config["block"]))


def functional(*made, twice=False):
    inputs = keras.Input((4,))
    outputs = [inputs, dense()(inputs)] if twice else [inputs]
    for layer in made:
        outputs = [layer(*outputs)]
    return keras.Model(inputs, dense(3)(outputs[0]))


def called(model):
    model(X)
    return model


def shared():
    block = Block()
    return functional(block, dense(), block)


MAKERS = {
    "functional": lambda: functional(Block()),
    "nested": lambda: functional(Nested()),
    "normalized": lambda: functional(Normalized()),
    "attention": lambda: functional(Attended()),
    "two-inputs": lambda: functional(TwoInputs(), twice=True),
    "shared": shared,
    "half": lambda: functional(Block(dtype="mixed_bfloat16")),
    "sequential": lambda: keras.Sequential([keras.Input((4,)), Block(), dense(3)]),
    "sequential-without-input": lambda: called(keras.Sequential([Block(), dense(3)])),
    "subclassed": lambda: called(Net()),
    "subclassed-nested": lambda: called(Net("Nested")),
    "given": lambda: called(Given()),
}
makers = pytest.mark.parametrize("make", MAKERS.values(), ids=MAKERS.keys())
CLONES = {
    "clone_model": keras.models.clone_model,
    "from_config": lambda model: type(model).from_config(model.get_config()),
}
clones = pytest.mark.parametrize("cloned", CLONES.values(), ids=CLONES.keys())
# Keras warns about every layer without a `build` that the file lists as built.
pytestmark = pytest.mark.filterwarnings("ignore:`build\\(\\)` was called on layer:UserWarning")


def frozen(make):
    keras.utils.set_random_seed(0)
    model = make()
    freeze_at_random(model, "both")
    fl.freeze(model, weights(model)[0].variable)
    return model


def assert_same_masks(model, expected):
    assert_all_same_bits(frozen_masks(model), frozen_masks(expected))
    assert not any(AWAITED in layer.__dict__ for layer in model._flatten_layers())


@makers
def test_a_model_file_brings_the_freeze_back(make, tmp_path):
    model = frozen(make)
    compile_for_test(model)
    model.fit(X, Y, verbose=0)
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    assert_same_masks(loaded, model)
    assert_all_same_bits(
        [value(w.variable) for w in weights(loaded)], [value(w.variable) for w in weights(model)]
    )
    np.testing.assert_array_equal(loaded.predict(X, verbose=0), model.predict(X, verbose=0))
    one, other = ([value(v) for v in m.optimizer.variables] for m in (loaded, model))
    assert_all_same_bits(one, other)


@clones
@makers
def test_a_clone_that_is_called_is_frozen_alike(make, cloned):
    model = frozen(make)
    assert_same_masks(called(cloned(model)), model)
    assert_same_masks(called(cloned(cloned(model))), model)


@clones
@makers
def test_fit_straight_after_cloning_moves_no_frozen_entry(make, cloned):
    model = frozen(make)
    clone = cloned(model)
    compile_for_test(clone)
    clone.fit(X, Y, verbose=0, epochs=2)
    assert_same_masks(clone, model)
    for weight, mask in zip(weights(clone), frozen_masks(clone), strict=True):
        if weight.variable.name in {"kernel", "bias"}:
            start_value = np.full(mask.shape, START, "float32")
            assert_same_bits(value(weight.variable), start_value, where=mask)
    trained = clone.trainable_variables
    assert [v is w for v, w in zip(clone.optimizer._trainable_variables, trained, strict=True)]


@pytest.mark.filterwarnings("ignore:You are saving a model that has not yet been built")
def test_a_clone_not_called_yet_is_saved_with_its_freeze(tmp_path):
    model = frozen(MAKERS["subclassed-nested"])
    clone = type(model).from_config(model.get_config())
    assert not weights(clone)
    clone.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    assert_same_masks(called(loaded), model)


def test_a_clone_not_called_yet_takes_no_weights_as_in_keras(tmp_path):
    model = frozen(MAKERS["subclassed"])
    model.save_weights(tmp_path / "model.weights.h5")
    clone = type(model).from_config(model.get_config())
    with pytest.raises(ValueError, match="a model that has not yet been built"):
        clone.load_weights(tmp_path / "model.weights.h5")
    called(clone).load_weights(tmp_path / "model.weights.h5")
    assert_same_masks(clone, model)


@registered
class Heads(keras.Model):
    """Two heads of one shape, called one at a time."""

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.heads = [dense(3), dense(3)]

    def call(self, inputs, head=1):
        return self.heads[head](inputs)


def test_each_weight_is_frozen_when_it_is_made_and_the_rest_still_waits(tmp_path):
    model = called(Heads())
    model(X, head=0)
    fl.freeze(model.heads[0], "kernel", fl.at[0])
    fl.freeze(model.heads[1], "kernel", fl.at[1:])
    masks = frozen_masks(model)
    clone = type(model).from_config(model.get_config())
    for _ in range(2):
        called(clone)
        assert_same_bits(fl.frozen_mask(clone.heads[1].kernel), masks[2])
        assert not weights(clone.heads[0])
        clone = type(model).from_config(clone.get_config())
    called(clone).save(tmp_path / "model.keras")
    # The saved clone still has one head to build.
    clone = keras.saving.load_model(tmp_path / "model.keras")
    clone(X, head=0)
    assert_same_masks(clone, model)


def test_what_waits_in_a_layer_is_described_by_the_layers_around_it():
    block = frozen(MAKERS["given"]).block
    again = type(block).from_config(block.get_config())
    around = called(Around(again))
    fl.freeze(around.out, "kernel", fl.at[0])
    assert AWAITED in again.__dict__
    twice = type(around).from_config(around.get_config())
    assert not weights(twice)
    twice(X)
    twice.block(X)
    assert_same_masks(twice.block, block)
    assert fl.is_frozen(twice.out.kernel)


@registered
class Around(keras.Model):
    """Makes or takes a block, and does not call it."""

    def __init__(self, block=None, **kwargs):
        super().__init__(**kwargs)
        self.block = block or Block()
        self.out = dense(3)

    def call(self, inputs):
        return self.out(inputs)

    def get_config(self):
        return super().get_config()


@registered
class Eager(layers.Layer):
    """Its call fails on symbolic tensors."""

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.first, self.second = dense(), dense()

    def call(self, inputs):
        x = self.second(inputs)
        self.frozen_in_time = bool(fl.frozen_mask(self.second.kernel).any())
        return self.first(x) * float(array(keras.ops.sum(x)) < 1e9)


def test_an_eager_first_call_freezes_each_weight_before_the_next_layer():
    layer = Eager()
    called(layer)
    freeze_at_random(layer, "both")
    clone = type(layer).from_config(layer.get_config())
    called(clone)
    assert clone.frozen_in_time
    assert_same_masks(clone, layer)


def test_a_cell_in_a_loop_is_frozen_on_its_first_call():
    inputs = keras.Input((3, 4))
    both = layers.Bidirectional(layers.RNN(Cell(), return_sequences=True))
    model = keras.Model(inputs, layers.TimeDistributed(Row())(both(inputs)))
    x = np.repeat(X[:, None], 3, axis=1)
    model(x)
    freeze_at_random(model, "both")
    clone = keras.models.clone_model(model)
    clone(x)
    assert_same_masks(clone, model)


@registered
class Row(Block):
    def compute_output_shape(self, shape):
        return (*shape[:-1], 4)


@registered
class Cell(layers.Layer):
    state_size = 4

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.inner, self.recurrent = dense(), dense()

    def call(self, inputs, states):
        output = keras.ops.tanh(self.inner(inputs) + self.recurrent(states[0]))
        return output, [output]


def test_where_keras_can_not_load_it_says_so_itself(tmp_path):
    # The call makes the weights, and Keras does not trace it if there is a `compute_output_shape`.
    model = called(functional(Row()))
    freeze_at_random(model, "both")
    model.save(tmp_path / "model.keras")
    with pytest.raises(ValueError, match="was never built and thus it doesn't have any variables"):
        keras.saving.load_model(tmp_path / "model.keras")


def test_another_architecture_is_refused_when_all_is_built():
    block = frozen(MAKERS["given"]).block
    config = block.get_config()
    config["depth"] = 2
    again = type(block).from_config(config)
    with pytest.raises(fl.RestoreError, match="differs from the saved one"):
        again(X)


def test_a_freeze_that_fails_still_waits(monkeypatch):
    model = frozen(MAKERS["subclassed"])
    clone = type(model).from_config(model.get_config())

    def failing(*_):
        raise MemoryError

    with monkeypatch.context() as patched:
        patched.setattr(freezing_layer, "refresh_classes", failing)
        with pytest.raises(MemoryError):
            called(clone)
    assert_same_masks(called(clone), model)


if BACKEND == "tensorflow":
    import tensorflow as tf

    @pytest.mark.parametrize("graph", [False, True], ids=["eager", "function"])
    def test_the_first_call_under_a_tape_trains_no_frozen_entry(graph):
        model = frozen(MAKERS["subclassed-nested"])
        clone = type(model).from_config(model.get_config())
        optimizer = keras.optimizers.SGD(0.1)

        def step(x, y):
            with tf.GradientTape() as tape:
                loss = tf.reduce_mean((clone(x, training=True) - y) ** 2)
            gradients = tape.gradient(loss, clone.trainable_variables)
            optimizer.apply(gradients, clone.trainable_variables)

        step = tf.function(step) if graph else step
        for _ in range(2):
            step(tf.constant(X), tf.constant(Y))
        assert_started_and_moved(clone, model)


if BACKEND == "torch":
    import torch

    def test_the_first_call_of_a_loop_trains_no_frozen_entry():
        model = frozen(MAKERS["subclassed-nested"])
        clone = type(model).from_config(model.get_config())
        loss = ((clone(X, training=True) - torch.tensor(Y)) ** 2).mean()
        loss.backward()
        optimizer = torch.optim.SGD(clone.parameters(), 0.1)
        optimizer.step()
        assert_started_and_moved(clone, model)


def assert_started_and_moved(clone, model):
    assert_same_masks(clone, model)
    for weight, mask in zip(weights(clone), frozen_masks(clone), strict=True):
        start_value = np.full(mask.shape, START, "float32")
        assert_same_bits(value(weight.variable), start_value, where=mask)
        assert (value(weight.variable) != start_value)[~mask].any() or mask.all()


def test_unfreezing_what_still_waits_is_refused():
    inputs = keras.Input((4,))
    model = keras.Model(inputs, layers.Dense(2)(Block(name="block")(inputs)))
    fl.freeze(model, "block/*", fl.at[..., 0])
    block = type(model.layers[1]).from_config(model.layers[1].get_config())
    around = keras.Sequential([block, layers.Dense(3)])
    around.layers[1].build((None, 4))
    with pytest.raises(fl.NotBuiltError, match=r"block: its freeze, .*Call the model once on data"):
        fl.unfreeze(around)
    around(X)
    assert len(fl.unfreeze(around)) == 6


def test_a_description_of_version_1_is_read():
    layer = layers.LSTM(3, name="lstm")
    layer.build((None, None, 4))
    fl.freeze(layer, "*kernel", fl.at[0])
    config = layer.get_config()
    assert config["frostline"]["version"] == 2
    config["frostline"]["version"] = 1
    for index, weight in enumerate(config["frostline"]["weights"]):
        assert weight.pop("route")
        weight["index"] = index  # kernel, recurrent kernel
    old = type(layer).from_config(config)
    with pytest.raises(fl.RestoreError, match="of an earlier version, waits for weights"):
        old.get_config()
    old.build((None, None, 4))
    assert_all_same_bits(frozen_masks(old), frozen_masks(layer))
    config["frostline"]["weights"][0]["index"] = 2
    with pytest.raises(fl.RestoreError, match="no lstm_cell/kernel where it was"):
        type(layer).from_config(config).build((None, None, 4))
