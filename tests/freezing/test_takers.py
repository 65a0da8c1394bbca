"""A layer that borrows a frozen weight from another lists only the part that trains."""

import keras
import numpy as np
import pytest

import frostline as fl
from helpers import (
    array,
    assert_all_same_bits,
    assert_same_bits,
    compile_for_test,
    value,
    values,
    weights,
)

X, Y = np.ones((8, 3), "float32"), np.zeros((8, 2), "float32")

SOURCES = []  # `Borrowed` takes the kernel of the last one

FREEZES = {
    "rows": fl.at[0],
    "scattered": fl.at[[0, 2]],
    "entries": fl.at[[0, 1], [1, 0]],
    "whole": None,
}


@keras.saving.register_keras_serializable("takers")
class Borrowed(keras.layers.Layer):
    """Multiplies by the kernel of a layer that it does not own."""

    def build(self, shape):
        self.kernel = SOURCES[-1].kernel
        self.bias = self.add_weight(shape=(2,), name="bias")

    def call(self, inputs):
        return keras.ops.matmul(inputs, self.kernel) + self.bias


def source(where=None, frozen=True):
    keras.utils.set_random_seed(0)
    layer = keras.layers.Dense(2, use_bias=False, name="source")
    layer.build((None, 3))
    if frozen:
        fl.freeze(layer, "kernel", where)
    return layer


def borrower(layer):
    SOURCES.append(layer)
    return keras.Sequential([keras.Input((3,)), Borrowed(name="borrowed")])


def trained(model, optimizer=None, steps=2):
    compile_for_test(model, optimizer or keras.optimizers.AdamW(0.1, weight_decay=0.1))
    for _ in range(steps):
        model.train_on_batch(X, Y)
    return model


@pytest.mark.parametrize("kind", FREEZES)
def test_it_trains_what_is_not_frozen(kind):
    layer = source(FREEZES[kind])
    before, mask = value(layer.kernel), fl.frozen_mask(layer.kernel)
    model = borrower(layer)
    assert all(tuple(v.shape) != (3, 2) for v in model.trainable_variables)
    trained(model)
    assert_same_bits(value(layer.kernel), before, mask)
    assert (value(layer.kernel) != before)[~mask].all()


@pytest.mark.parametrize("kind", FREEZES)
def test_it_follows_later_changes(kind):
    layer = source(FREEZES[kind])
    model = trained(borrower(layer), keras.optimizers.AdamW(0.1, use_ema=True))
    for change in (
        lambda: fl.unfreeze(layer),
        lambda: fl.freeze(model, "borrowed/kernel", fl.at[:, 1]),
        lambda: fl.freeze(layer),
        lambda: fl.unfreeze(model, "borrowed/kernel", fl.at[1]),
        lambda: fl.unfreeze(model),
    ):
        change()
        before, mask = value(layer.kernel), fl.frozen_mask(layer.kernel)
        model.train_on_batch(X, Y)
        assert_same_bits(value(layer.kernel), before, mask)
        assert (value(layer.kernel) != before)[~mask].all()
    assert type(layer) is keras.layers.Dense
    assert type(model.layers[0]) is Borrowed
    assert [v is layer.kernel for v in model.trainable_variables] == [True, False]


def test_one_that_took_it_over_while_it_was_off_follows_too():
    layer = source(frozen=False)
    layer.trainable = False
    model = borrower(layer)
    layer.trainable = True
    fl.freeze(layer, "kernel", fl.at[0])
    assert sorted(tuple(v.shape) for v in model.trainable_variables) == [(2,), (2, 2)]
    before = value(layer.kernel)
    trained(model)
    assert_same_bits(value(layer.kernel)[0], before[0])
    assert (value(layer.kernel)[1:] != before[1:]).all()


def test_lists_and_dictionaries_of_weights():
    layer = source(fl.at[0])

    class Held(keras.layers.Layer):
        def __init__(self):
            super().__init__()
            self.listed, self.named = [layer.kernel], {"w": layer.kernel}

        def call(self, inputs):
            return keras.ops.matmul(inputs, self.listed[0] + self.named["w"])

    model = keras.Sequential([keras.Input((3,)), Held()])
    assert [tuple(v.shape) for v in model.trainable_variables] == [(2, 2)]
    before = value(layer.kernel)
    trained(model)
    assert_same_bits(value(layer.kernel)[0], before[0])
    assert (value(layer.kernel)[1:] != before[1:]).all()


@pytest.mark.parametrize("kind", ["rows", "entries", "whole"])
def test_weight_files_go_both_ways(kind, tmp_path):
    model = borrower(source(FREEZES[kind]))
    model.save_weights(tmp_path / "frozen.weights.h5")
    plain = borrower(source(frozen=False))
    for variable in plain.weights:
        variable.assign(variable + 1)
    plain.load_weights(tmp_path / "frozen.weights.h5")
    assert_all_same_bits(values(plain), values(model))
    for variable in plain.weights:
        variable.assign(variable + 1)
    plain.save_weights(tmp_path / "plain.weights.h5")
    model.load_weights(tmp_path / "plain.weights.h5")
    assert_all_same_bits(values(plain), values(model))


@pytest.mark.parametrize("again", [True, False], ids=["frozen-again", "plain-again"])
def test_a_saved_borrower_comes_back(again, tmp_path):
    layer = source(fl.at[0])
    model = borrower(layer)
    outputs = array(model(X))
    model.save(tmp_path / "model.keras")
    other = source(fl.at[0], frozen=again)
    SOURCES.append(other)
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    np.testing.assert_array_equal(array(loaded(X)), outputs)
    assert_same_bits(fl.frozen_mask(other.kernel), fl.frozen_mask(layer.kernel))
    for one in (loaded, other):
        assert (3, 2) not in [tuple(v.shape) for v in one.trainable_variables]


@pytest.mark.parametrize("kind", ["rows", "entries", "whole"])
def test_spectral_normalization_around_a_frozen_layer(kind, tmp_path):
    layer = source(FREEZES[kind])
    before, mask = value(layer.kernel), fl.frozen_mask(layer.kernel)
    model = keras.Sequential([keras.Input((3,)), keras.layers.SpectralNormalization(layer)])
    if kind != "whole":
        trained(model, keras.optimizers.SGD(0.1))
    assert_same_bits(value(layer.kernel), before, mask)
    assert (value(layer.kernel) != before)[~mask].all()
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    np.testing.assert_array_equal(array(loaded(X)), array(model(X)))
    masks = [fl.frozen_mask(weight.variable) for weight in weights(loaded)]
    assert_all_same_bits(masks, [mask])


def test_a_tied_head_that_is_added_to_a_frozen_table():
    keras.utils.set_random_seed(0)
    table = keras.layers.Embedding(10, 4, name="tokens")
    body = keras.Sequential([keras.Input((5,), dtype="int32"), table])
    fl.freeze(body, "tokens/embeddings", fl.tokens(range(8)))

    class Head(keras.layers.Layer):
        def __init__(self, weight):
            super().__init__()
            self.weight = weight

        def call(self, inputs):
            return keras.ops.matmul(inputs, keras.ops.transpose(self.weight))

    model = keras.Sequential([*body.layers, Head(table.embeddings)])
    model(np.ones((1, 5), "int32"))
    assert [tuple(v.shape) for v in model.trainable_variables] == [(2, 4)]
    before = value(table.embeddings)
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile("adam", loss, jit_compile=keras.backend.backend() == "jax")
    model.fit(np.full((4, 5), 9), np.ones((4, 5)), verbose=0)
    moved = (value(table.embeddings) != before).any(axis=1)
    assert np.flatnonzero(moved).tolist() == [8, 9]


class Several(keras.layers.Layer):
    """Holds weights of other layers in a list."""

    def __init__(self, held):
        super().__init__()
        self.held = list(held)


@pytest.mark.parametrize("first", ["frozen", "taken"])
def test_a_weight_that_is_given_back_is_listed_no_more(first):
    layer, other = source(frozen=False), source(frozen=False)
    if first == "frozen":
        fl.freeze(layer, "kernel", fl.at[0])
    taker = Several([layer.kernel, other.kernel])
    if first == "taken":
        fl.freeze(layer, "kernel", fl.at[0])
    assert len(taker.variables) == 3
    taker.held.pop(0)
    assert [v is other.kernel for v in taker.variables] == [True]
    taker.held += [layer.kernel]
    taker.held.append(layer.kernel)
    assert len(taker.variables) == 3
    fl.unfreeze(layer)
    assert [id(v) for v in taker.variables] == [id(other.kernel), id(layer.kernel)]
    taker.held.clear()
    assert taker.variables == []
