"""Rewriting a model in stock Keras layers."""

import warnings
from typing import Any, cast

import keras
import numpy as np
import pytest
from keras import layers

import frostline as fl
from helpers import DenseAdamW, array, assert_same_bits, compile_for_test

pytestmark = [pytest.mark.once, pytest.mark.usefixtures("quickly_compiled")]

RANDOM = np.random.default_rng(0)


# The layer, the input shape, and pairs of a glob and the frozen selection.
CASES = {
    "dense, columns": (lambda: layers.Dense(6, "tanh"), (4,), [("*", fl.units([0, 1]))]),
    "dense, scattered columns": (lambda: layers.Dense(6, "tanh"), (4,), [("*", fl.units([4, 1]))]),
    "dense, rows": (lambda: layers.Dense(6, "tanh"), (4,), [("*/kernel", fl.at[1:3])]),
    "dense, rows and bias": (
        lambda: layers.Dense(6),
        (3, 4),
        [("*/kernel", fl.at[[0, 3]]), ("*/bias", None)],
    ),
    "dense, kernel alone": (lambda: layers.Dense(6, "relu"), (4,), [("*/kernel", None)]),
    "dense, bias alone": (lambda: layers.Dense(6, "relu"), (4,), [("*/bias", None)]),
    "dense, whole": (lambda: layers.Dense(6), (4,), [("*", None)]),
    "dense, columns and other biases": (
        lambda: layers.Dense(6, "tanh"),
        (4,),
        [("*/kernel", fl.at[:, :2]), ("*/bias", fl.at[[1, 4]])],
    ),
    "dense, no bias": (lambda: layers.Dense(6, use_bias=False), (4,), [("*", fl.at[:, 1:3])]),
    "dense, penalties": (
        lambda: layers.Dense(
            6,
            kernel_regularizer="l2",
            bias_regularizer="l1",
            activity_regularizer="l2",
            kernel_constraint=keras.constraints.MaxNorm(1.0, axis=0),
        ),
        (4,),
        [("*", fl.units([0, 3]))],
    ),
    "einsum, heads": (
        lambda: layers.EinsumDense("abc,cde->abde", (5, 3, 2), bias_axes="de"),
        (5, 4),
        [("*/kernel", fl.at[:, 1]), ("*/bias", fl.at[1])],
    ),
    "einsum, other biases": (
        lambda: layers.EinsumDense("abc,cde->abde", (5, 3, 2), bias_axes="de"),
        (5, 4),
        [("*/kernel", fl.at[:, 1]), ("*/bias", fl.at[:, 0])],
    ),
    "einsum, rows": (
        lambda: layers.EinsumDense("abc,cd->abd", (5, 6), bias_axes="d", activation="tanh"),
        (5, 4),
        [("*/kernel", fl.at[[0, 2]])],
    ),
    "einsum, an axis of both": (
        lambda: layers.EinsumDense("abc,bcd->abd", (5, 6), bias_axes="d"),
        (5, 4),
        [("*/kernel", fl.at[[0, 3]])],
    ),
    "einsum, ellipsis": (
        lambda: layers.EinsumDense("...x,xy->...y", 6, bias_axes="y"),
        (5, 4),
        [("*", fl.units([1, 2]))],
    ),
    "conv, filters": (
        lambda: layers.Conv2D(4, 3, activation="relu"),
        (6, 6, 2),
        [("*", fl.units([0, 2]))],
    ),
    "conv, channels in": (lambda: layers.Conv1D(4, 3), (6, 3), [("*/kernel", fl.at[:, 1])]),
    "conv, three axes": (lambda: layers.Conv3D(3, 2), (3, 3, 3, 2), [("*", fl.units([2]))]),
    "conv, transposed": (
        lambda: layers.Conv2DTranspose(4, 3),
        (4, 4, 2),
        [("*", fl.units([0, 1]))],
    ),
    "conv, depthwise": (
        lambda: layers.DepthwiseConv2D(3, depth_multiplier=2),
        (6, 6, 3),
        [("*/kernel", fl.at[:, :, 1]), ("*/bias", fl.at[2:4])],
    ),
    "conv, separable": (
        lambda: layers.SeparableConv2D(4, 3, activation="relu"),
        (6, 6, 3),
        [("*/depthwise_kernel", fl.at[:, :, 0]), ("*/pointwise_kernel", fl.at[..., :2])],
    ),
    "embedding, block of rows": (
        lambda: layers.Embedding(8, 3),
        (5,),
        [("*", fl.tokens(slice(0, 6)))],
    ),
    "embedding, rows within": (lambda: layers.Embedding(8, 3), (5,), [("*", ~fl.tokens([3, 4]))]),
    "embedding, scattered rows": (
        lambda: layers.Embedding(8, 3),
        (5,),
        [("*", fl.tokens([1, 2, 6]))],
    ),
    "embedding, columns": (lambda: layers.Embedding(8, 4), (5,), [("*", fl.at[:, [0, 2]])]),
    "normalization, batch": (lambda: layers.BatchNormalization(), (4,), [("*", fl.units([0, 2]))]),
    "normalization, gamma alone": (lambda: layers.BatchNormalization(), (4,), [("*/gamma", None)]),
    "normalization, layer": (
        lambda: layers.LayerNormalization(),
        (5, 4),
        [("*/gamma", fl.at[1:]), ("*/beta", fl.at[0])],
    ),
    "normalization, group": (lambda: layers.GroupNormalization(2), (5, 4), [("*", fl.units([3]))]),
    "normalization, rms": (lambda: layers.RMSNormalization(), (5, 4), [("*", fl.units([3]))]),
}


# One case of each kind trains on every backend; the others only differ in how they are rewritten.
ON_EACH_BACKEND = {
    "dense, scattered columns",
    "einsum, heads",
    "conv, filters",
    "embedding, scattered rows",
    "normalization, batch",
}
cases = pytest.mark.parametrize(
    "case",
    [pytest.param(case, marks=pytest.mark.once(case not in ON_EACH_BACKEND)) for case in CASES],
)


def network(case):
    make, shape, freezes = CASES[case]
    keras.utils.set_random_seed(0)
    layer = make()
    layer.name = "split"
    whole = isinstance(layer, layers.Embedding)
    inputs = keras.Input(shape, dtype="int32" if whole else None)
    model = keras.Model(inputs, layers.Dense(2, name="out")(layers.Flatten()(layer(inputs))))
    for weight in model.weights:
        if weight.trainable:
            weight.assign(RANDOM.uniform(0.3, 1, size=tuple(weight.shape)))
    for glob, where in freezes:
        fl.freeze(model, glob.replace("*", "split/*" if glob == "*" else "split", 1), where)
    random = np.random.default_rng(1)
    x = random.integers(0, 8, (16, *shape)) if whole else random.normal(size=(16, *shape))
    return model, x.astype("int32" if whole else "float32"), random.normal(size=(16, 2))


def count(variables):
    return sum(int(np.prod(v.shape)) for v in variables)


@cases
def test_outputs_parameters_and_training_are_the_same(case, tmp_path):
    model, x, y = network(case)
    before = array(model(x))
    plain = fl.to_stock(model)
    np.testing.assert_allclose(array(plain(x)), before, rtol=1e-5, atol=1e-6)
    assert count(plain.trainable_variables) == count(model.trainable_variables)
    plain.save(tmp_path / "plain.keras")
    again = keras.saving.load_model(tmp_path / "plain.keras")
    assert_same_bits(array(again(x)), array(plain(x)))
    for one in (model, again):
        # Tokens repeat, which can change the steps of AdamW: see the note of `to_stock`.
        kind = keras.optimizers.SGD if case.startswith("embedding") else keras.optimizers.AdamW
        compile_for_test(one, kind(0.01))
        for _ in range(5):
            one.train_on_batch(x, y)
    assert np.abs(array(model(x)) - before).max() > 1e-3
    np.testing.assert_allclose(array(again(x)), array(model(x)), rtol=1e-3, atol=1e-4)


@pytest.mark.once(False)
def test_training_it_leaves_the_given_model_as_it_was():
    x = keras.Input((4,))
    model = keras.Model(x, layers.Dropout(0.5)(layers.BatchNormalization(name="norm")(x)))
    fl.freeze(model, "norm/*", fl.units([0]))
    data = RANDOM.normal(size=(16, 4)).astype("float32")
    before, seed = array(model(data)), array(model.layers[-1].seed_generator.state)
    plain = fl.to_stock(model)
    assert_same_bits(array(plain.layers[-1].seed_generator.state), seed)
    compile_for_test(plain)
    plain.fit(data, data, verbose=0)  # JAX donates the arrays of the variables that it trains
    assert_same_bits(array(model(data)), before)
    assert_same_bits(array(model.layers[-1].seed_generator.state), seed)


def test_names_tell_the_parts():
    model, _, _ = network("dense, columns")
    plain = fl.to_stock(model)
    assert [layer.name for layer in plain.layers][1] == "split"
    inner = plain.get_layer("split")
    assert inner.get_layer("split__trainable").trainable
    assert not inner.get_layer("split__frozen").trainable
    assert inner.get_layer("split__frozen").units == 2


def test_nested_and_shared_layers_are_rewritten():
    shared = layers.Dense(4, activation="tanh", name="shared")
    first, second = keras.Input((4,)), keras.Input((4,))
    block = keras.Sequential([keras.Input((4,)), layers.Dense(3, name="inner")], name="block")
    total = layers.Add()([shared(first), shared(second)])
    model = keras.Model([first, second], [block(total), shared(total)])
    fl.freeze(model, "shared/*", fl.units([1]))
    fl.freeze(model, "block/inner/kernel", fl.at[0])
    plain = fl.to_stock(model)
    x = [RANDOM.normal(size=(2, 4)).astype("float32") for _ in range(2)]
    for one, other in zip(plain(x), model(x), strict=True):
        np.testing.assert_allclose(array(one), array(other), rtol=1e-5, atol=1e-6)
    assert count(plain.trainable_variables) == count(model.trainable_variables)
    # The split model is a new one; the given model is unchanged.
    assert fl.frozen_mask(shared.kernel)[:, 1].all()
    assert type(plain.get_layer("shared")) is type(model)


def test_a_sequential_model_stays_one():
    model = keras.Sequential([keras.Input((4,)), layers.Dense(3, name="a"), layers.Dropout(0.5)])
    fl.freeze(model, "a/kernel", fl.at[0])
    assert type(fl.to_stock(model)) is keras.Sequential


@pytest.mark.parametrize(("coarsen", "frozen"), [("more", 6), (True, 6), ("less", 3)])
def test_single_entries_are_made_coarser_where_asked(coarsen, frozen):
    model = keras.Sequential([keras.Input((4,)), layers.Dense(3, name="a", use_bias=False)])
    fl.freeze(model, "a/kernel", fl.at[0] | fl.at[1, 2])
    with pytest.raises(fl.UnsupportedError, match=r"a/kernel: .*4 of 12 entries.*coarsen='more'"):
        fl.to_stock(model)
    plain = fl.to_stock(model, coarsen=cast(Any, coarsen))
    assert count(plain.non_trainable_variables) == frozen
    x = RANDOM.normal(size=(2, 4)).astype("float32")
    np.testing.assert_allclose(array(plain(x)), array(model(x)), rtol=1e-5, atol=1e-6)


class Own(keras.Model):
    def __init__(self):
        super().__init__()
        self.inner = layers.Dense(2)

    def call(self, x):
        return self.inner(x)


def test_what_has_no_equal_is_refused():
    own = Own()
    own(np.ones((1, 3), "float32"))
    with pytest.raises(fl.TargetError, match="its `call` is Python code"):
        fl.to_stock(own)
    with pytest.raises(fl.TargetError, match="not a Keras model"):
        fl.to_stock(layers.Dense(2))
    recurrent = keras.Sequential([keras.Input((4, 3)), layers.LSTM(2, name="lstm")])
    fl.freeze(recurrent, "lstm/*/bias")
    with pytest.raises(
        fl.UnsupportedError, match=r"lstm/lstm_cell/bias: .*cannot be split.*got LSTM"
    ):
        fl.to_stock(recurrent)
    normed = keras.Sequential(
        [keras.Input((4,)), layers.Dense(3, kernel_constraint="unit_norm", name="normed")]
    )
    fl.freeze(normed, "normed/kernel", fl.at[0])
    with pytest.raises(fl.UnsupportedError, match="normed/kernel: UnitNorm needs both parts"):
        fl.to_stock(normed)
    masked = keras.Sequential([keras.Input((4,)), layers.Embedding(5, 2, mask_zero=True)])
    fl.freeze(masked, "*", fl.tokens([0]))
    with pytest.raises(fl.UnsupportedError, match=r"embedding\w*/embeddings: .*the mask of a seq"):
        fl.to_stock(masked)
    with pytest.raises(fl.SelectionError, match="coarsen='a bit'"):
        fl.to_stock(
            keras.Sequential([keras.Input((4,)), layers.Dense(3)]), coarsen=cast(Any, "a bit")
        )


def test_a_grouped_convolution_is_refused():
    model = keras.Sequential([keras.Input((6, 4)), layers.Conv1D(4, 2, groups=2, name="conv")])
    fl.freeze(model, "conv/*", fl.units([0]))
    with pytest.raises(fl.UnsupportedError, match=r"conv/kernel: its channels are in 2 groups"):
        fl.to_stock(model)


def test_a_mask_that_does_not_reach_a_frozen_layer_is_none_of_its_business():
    ids = keras.Input((5,), dtype="int32")
    masked = layers.Embedding(8, 3, mask_zero=True)(ids)
    model = keras.Model(ids, layers.Dense(4, name="out")(layers.GRU(3)(masked)))
    fl.freeze(model, "out/*", fl.units([0]))
    x = np.array([[1, 2, 0, 0, 0], [3, 1, 4, 2, 0]], "int32")
    np.testing.assert_allclose(array(fl.to_stock(model)(x)), array(model(x)), rtol=1e-5, atol=1e-6)
    # A mask does reach the layers of a nested model, although the outer model does not record it.
    inner_x = keras.Input((5, 3))
    inner = keras.Model(inner_x, layers.Dense(4, name="dense")(inner_x), name="inner")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Keras warns that a nested model does not pass on the mask
        nested = keras.Model(ids, layers.GRU(2)(inner(masked)), name="nested")
    fl.freeze(nested, "inner/dense/kernel", fl.at[0])
    with pytest.raises(
        fl.UnsupportedError, match=r"nested/dense/kernel: .* the mask of a sequence"
    ):
        fl.to_stock(nested)


def test_a_layer_shared_by_inputs_of_other_lengths():
    shared = layers.Conv1D(3, 2, name="shared")
    first, second = keras.Input((5, 2)), keras.Input((7, 2))
    pooled = layers.GlobalAveragePooling1D()
    model = keras.Model([first, second], pooled(shared(first)) + pooled(shared(second)))
    fl.freeze(model, "shared/*", fl.units([1]))
    plain = fl.to_stock(model)
    x = [RANDOM.normal(size=(2, n, 2)).astype("float32") for n in (5, 7)]
    np.testing.assert_allclose(array(plain(x)), array(model(x)), rtol=1e-5, atol=1e-6)
    assert_same_bits(array(fl.from_stock(plain)(x)), array(model(x)))
    several = layers.Dense(3, name="several")
    flat = keras.Input((2,))
    model = keras.Model([first, flat], [several(first), several(flat)], name="model")
    fl.freeze(model, "several/*", fl.units([1]))
    with pytest.raises(
        fl.UnsupportedError, match="model/several: this layer is called with inputs of sev"
    ):
        fl.to_stock(model)


def test_flags_of_single_variables_are_kept():
    x = keras.Input((4,))
    hidden = layers.Dense(3, name="hidden")(x)
    model = keras.Model(x, layers.Dense(2, name="out")(hidden))
    fl.freeze(model, "hidden/kernel", fl.at[:, 0])
    model.get_layer("hidden").bias.trainable = False
    model.get_layer("out").bias.trainable = False
    plain = fl.to_stock(model)
    assert count(plain.trainable_variables) == count(model.trainable_variables) == 8 + 6
    assert fl.frozen_mask(fl.from_stock(plain).get_layer("hidden").bias).all()


def own_loss(y, found):
    return keras.ops.mean((y - found) ** 2)


def test_what_was_compiled_and_lambdas_need_no_registration():
    x = keras.Input((4,))
    hidden = layers.Lambda(lambda t: t * 2.0, output_shape=(4,))(x)
    model = keras.Model(x, layers.Dense(3, name="out")(hidden))
    fl.freeze(model, "out/*", fl.units([1]))
    model.compile(DenseAdamW(0.1), own_loss, metrics=[own_loss])
    plain = fl.to_stock(model)
    data = RANDOM.normal(size=(4, 4)).astype("float32"), RANDOM.normal(size=(4, 3))
    assert type(plain.optimizer) is DenseAdamW
    np.testing.assert_allclose(plain.evaluate(*data, verbose=0), model.evaluate(*data, verbose=0))


def test_what_keras_cannot_copy_is_told():
    class Nameless(layers.Layer):
        def __init__(self, rate):
            super().__init__()
            self.rate = rate

        def call(self, x):
            return x

    x = keras.Input((4,))
    y = layers.Dense(3, name="out")(Nameless(keras.regularizers.L2())(x))
    model = keras.Model(x, y, name="model")
    fl.freeze(model, "out/*", fl.units([1]))
    with pytest.raises(fl.UnsupportedError, match=r"model: Keras can't copy this model; got "):
        fl.to_stock(model)
    prelu = layers.Dense(3, activation=layers.PReLU(), name="out")
    model = keras.Model(x, prelu(x), name="model")
    model(np.ones((1, 4), "float32"))
    fl.freeze(model, "out/kernel", fl.units([1]))
    with pytest.raises(
        fl.UnsupportedError, match="model/out: the activation of this layer has weights"
    ):
        fl.to_stock(model)
