"""Turning stock Keras layers back into partly frozen ones."""

import dataclasses
import warnings
from typing import Any, cast

import keras
import numpy as np
import pytest
from keras import layers, ops
from test_stock import cases, network

import frostline as fl
from helpers import array, assert_same_bits, compile_for_test

pytestmark = [pytest.mark.once, pytest.mark.usefixtures("quickly_compiled")]

RANDOM = np.random.default_rng(0)


def weights(model) -> dict[str, keras.Variable]:
    layer = model.get_layer("split")
    found = ((name, getattr(layer, name, None)) for name in dir(layer))
    return {name: one for name, one in found if isinstance(one, keras.Variable)}


def assert_same_weights(one, other):
    assert weights(one).keys() == weights(other).keys()
    for name, weight in weights(one).items():
        assert weight.path == weights(other)[name].path
        assert_same_bits(array(weight), array(weights(other)[name]))


def assert_same(one, other):
    """The models have the same `split` layer, the same bits and the same frozen entries."""
    assert_same_weights(one, other)
    for name, weight in weights(one).items():
        if weight.trainable:
            frozen = fl.frozen_mask(weights(other)[name])
            assert np.array_equal(fl.frozen_mask(weight), frozen), name
    told = [keras.saving.serialize_keras_object(m.get_layer("split")) for m in (one, other)]
    assert told[0] == told[1]


@cases
def test_the_way_back_is_exact(case, tmp_path):
    model, x, y = network(case)
    plain = fl.to_stock(model)
    assert_same(fl.from_stock(plain), model)
    # It also works after saving, loading and training.
    plain.save(tmp_path / "plain.keras")
    plain = keras.saving.load_model(tmp_path / "plain.keras")
    compile_for_test(plain, keras.optimizers.SGD(0.01))
    plain.train_on_batch(x, y)
    again = fl.from_stock(plain)
    np.testing.assert_allclose(array(again(x)), array(plain(x)), rtol=1e-5, atol=1e-6)
    whole = fl.merge_stock(plain)
    assert type(whole.get_layer("split")).__module__.startswith("keras.")
    assert_same_weights(whole, again)
    assert not any(fl.is_frozen(v) for v in whole.trainable_variables)


def test_nested_and_shared_layers_come_back():
    shared = layers.Dense(4, activation="tanh", name="shared")
    first, second = keras.Input((4,)), keras.Input((4,))
    block = keras.Sequential([keras.Input((4,)), layers.Dense(3, name="inner")], name="block")
    total = ops.relu(shared(first) + shared(second))
    model = keras.Model([first, second], [block(total), shared(total)])
    fl.freeze(model, "shared/*", fl.units([1]))
    fl.freeze(model, "block/inner/kernel", fl.at[0])
    again = fl.from_stock(fl.to_stock(model))
    x = [RANDOM.normal(size=(2, 4)).astype("float32") for _ in range(2)]
    for one, other in zip(again(x), model(x), strict=True):
        assert_same_bits(array(one), array(other))
    assert type(again.get_layer("block")) is keras.Sequential
    inner, was = (one.get_layer("block").get_layer("inner") for one in (again, model))
    assert inner.kernel.path == was.kernel.path == "block/inner/kernel"
    rows = [[row for row in fl.summary(one).rows if row.frozen] for one in (again, model)]
    told = [{row.path: row.frozen for row in found} for found in rows]
    assert told[0] == told[1]
    assert len(told[0]) == 3


def test_a_layer_that_does_not_train_comes_back_so():
    model, _, _ = network("dense, columns")
    model.get_layer("split").trainable = False
    plain = fl.to_stock(model)
    assert not plain.get_layer("split").trainable_variables
    again = fl.from_stock(plain)
    assert_same(again, model)
    assert not again.get_layer("split").trainable
    # The parts' own flags decide which entries are frozen.
    again.get_layer("split").trainable = True
    assert fl.frozen_mask(again.get_layer("split").bias).sum() == 2


def test_what_was_set_free_is_not_frozen_in_silence():
    model, _, _ = network("dense, columns")
    plain = fl.to_stock(model)
    inner = plain.get_layer("split")
    inner.get_layer("split__frozen").trainable = True
    with pytest.raises(fl.UnsupportedError, match=r"split__frozen: .*got trainable=True"):
        fl.from_stock(plain)
    assert_same_weights(fl.merge_stock(plain), model)
    inner.get_layer("split__frozen").trainable = False
    inner.get_layer("split__trainable").trainable = False
    with pytest.raises(fl.UnsupportedError, match=r"split__trainable: .*got trainable=False"):
        fl.from_stock(plain)


def test_what_is_no_split_is_told():
    x = keras.Input((4,))
    odd = layers.Dropout(0.5)(layers.Dense(3, name="odd__trainable")(x))
    odd = keras.Model(x, odd, name="odd")
    model = keras.Model(x, odd(x), name="model")
    for back in (fl.from_stock, fl.merge_stock):
        with pytest.raises(
            fl.UnsupportedError, match="model/odd: this model has a name like those of"
        ):
            back(model)
    plain = keras.Model(x, layers.Dense(2)(x), name="plain")
    with pytest.raises(
        fl.UnsupportedError, match=r"plain: no layer was split by `to_stock`.*find_splits"
    ):
        fl.from_stock(plain)
    with pytest.raises(fl.TargetError, match="not a Keras model"):
        fl.from_stock(layers.Dense(2))  # type: ignore[arg-type]
    assert not fl.find_splits(model)


@pytest.mark.parametrize("odd", ["norm__normalization", "norm__shifted", "norm__activation"])
def test_what_only_has_the_names_is_told(odd):
    x = keras.Input((4,))
    y = layers.Dense(4, name="norm__frozen")(layers.Dense(4, name=odd)(x))
    model = keras.Model(x, keras.Model(x, y, name="norm")(x), name="model")
    with pytest.raises(
        fl.UnsupportedError, match="model/norm: this model has a name like those of"
    ):
        fl.from_stock(model)


def test_what_was_changed_by_hand_is_told():
    # Two parts of one input with matching names, one of them with another dilation rate.
    x = keras.Input((8, 3))
    parts = [
        layers.Conv1D(2, 2, padding="same", name="conv__frozen", trainable=False)(x),
        layers.Conv1D(2, 2, padding="same", dilation_rate=2, name="conv__trainable")(x),
    ]
    joint = layers.Concatenate(name="conv__concatenate")(parts)
    changed = keras.Model(x, joint, name="conv")
    model = keras.Model(x, changed(x), name="model")
    for back in (fl.from_stock, fl.merge_stock):
        with pytest.raises(
            fl.UnsupportedError, match=r"model/conv: .*like those of `to_stock`, but other layers"
        ):
            back(model)


def head(**options):
    return layers.Dense(3, **options)


# Each returns the joined output and the kernel entries that one merged layer would freeze.
def columns(x, merge=None, **options):
    old = layers.Dense(3, name="head_old", trainable=False, **options)
    new = layers.Dense(2, name="head_new", **options)
    y = (merge or layers.Concatenate)()([old(x), new(x)])
    return y, np.s_[:, :3]


def three_parts(x):
    made = [layers.Dense(2, name=f"part_{i}", trainable=i == 1)(x) for i in range(3)]
    return ops.concatenate(made, axis=-1), np.s_[:, [0, 1, 4, 5]]


def in_other_order(x):
    old, new = layers.Dense(3, name="head_old"), layers.Dense(2, name="head_new")
    old.trainable = False
    y = ops.take(ops.concatenate([old(x), new(x)], axis=-1), [4, 0, 1, 3, 2], axis=-1)
    return y, np.s_[:, [1, 2, 4]]


def rows(x):
    old = layers.Dense(3, name="head_old", trainable=False)
    new = layers.Dense(3, name="head_new", use_bias=False)
    return old(x[:, :3]) + new(x[:, 3:]), np.s_[:3]


def three_rows(x):
    made = [
        layers.Dense(3, name=f"head_{i}", trainable=i == 1, use_bias=i == 1, activation="linear")
        for i in range(3)
    ]
    y = [layer(x[:, 2 * i : 2 * i + 2]) for i, layer in enumerate(made)]
    return y[0] + y[1] + y[2], np.s_[[0, 1, 4, 5]]


def with_activation_layers(x):
    old = layers.Dense(3, layers.LeakyReLU(), name="head_old", trainable=False)
    new = layers.Dense(2, layers.LeakyReLU(), name="head_new")
    return layers.Concatenate()([old(x), new(x)]), np.s_[:, :3]


def rows_by_split(x):
    first, second = ops.split(x, 2, axis=-1)
    old = layers.Dense(3, name="head_old", use_bias=False)
    new = layers.Dense(3, name="head_new", trainable=False)
    return layers.Add()([old(first), new(second)]), np.s_[3:]


def filters(x):
    x = layers.Reshape((6, 1))(x)
    old = layers.Conv1D(3, 2, name="conv_old", trainable=False, activation="relu")
    new = layers.Conv1D(2, 2, name="conv_new", activation="relu", kernel_regularizer="l2")
    return layers.Concatenate()([old(x), new(x)]), np.s_[..., :3]


def without_a_common_name(x):
    base, extra = layers.Dense(3, name="base", trainable=False), layers.Dense(2, name="extra")
    return layers.Concatenate(name="head")([base(x), extra(x)]), np.s_[:, :3]


HANDMADE = [
    columns,
    with_activation_layers,
    three_parts,
    in_other_order,
    rows,
    three_rows,
    rows_by_split,
    filters,
]


@pytest.mark.parametrize("make", [*HANDMADE, without_a_common_name])
def test_a_split_by_hand_is_found_and_becomes_one_layer(make):
    keras.utils.set_random_seed(0)
    x = keras.Input((6,))
    y, frozen = make(x)
    model = keras.Model(x, layers.Dense(2, name="out")(layers.Flatten()(y)), name="model")
    (split,) = fl.find_splits(model)
    assert split.name == {"three_parts": "part", "filters": "conv"}.get(make.__name__, "head")
    again = fl.from_stock(model, [split])
    kernel = again.get_layer(split.name).kernel
    expected = np.zeros(kernel.shape, bool)
    expected[frozen] = True
    assert np.array_equal(fl.frozen_mask(kernel), expected)
    assert not any(fl.is_frozen(v) for v in fl.merge_stock(model, [split]).trainable_variables)
    data = RANDOM.normal(size=(16, 6)).astype("float32"), RANDOM.normal(size=(16, 2))
    for one in (model, again):
        compile_for_test(one, keras.optimizers.AdamW(0.01))
        for _ in range(5):
            one.train_on_batch(*data)
    np.testing.assert_allclose(array(again(data[0])), array(model(data[0])), rtol=1e-3, atol=1e-4)
    trained = [sum(np.prod(v.shape) for v in m.trainable_variables) for m in (model, again)]
    assert trained[0] == trained[1]


def two_activations(x):
    old, new = layers.Dense(3, "relu", trainable=False), layers.Dense(2, "tanh")
    return layers.Concatenate()([old(x), new(x)])


def used_twice(x):
    old, new = layers.Dense(3, trainable=False), layers.Dense(3)
    between = new(x)
    return layers.Concatenate()([old(x), between]), between


def one_variable(x):
    y = columns(x)[0]
    bias = keras.Model(x, y).get_layer("head_new").bias
    bias.trainable = False
    return y


def called_twice(x):
    old, new = layers.Dense(6, trainable=False), layers.Dense(6)
    return layers.Concatenate()([old(x), new(x), new(old(x))])


NOT_ONE = {
    "all train": lambda x: layers.Concatenate()([head()(x), head()(x)]),
    "all frozen": lambda x: layers.Concatenate()([head(trainable=False)(x) for _ in range(2)]),
    "softmax": lambda x: columns(x, activation="softmax")[0],
    "activations": two_activations,
    "two biases": lambda x: layers.Add()([head(trainable=False)(x[:, :3]), head()(x[:, 3:])]),
    "an activation before a sum": lambda x: layers.Add()(
        [
            head(trainable=False, use_bias=False, activation="relu")(x[:, :3]),
            head(activation="relu")(x[:, 3:]),
        ]
    ),
    "an input of its own": lambda x: layers.Concatenate()(
        [head(trainable=False)(x), head()(ops.relu(x))]
    ),
    "overlapping slices": lambda x: layers.Add()(
        [head(trainable=False, use_bias=False)(x[:, :4]), head()(x[:, 2:])]
    ),
    "a constraint across": lambda x: columns(
        x, kernel_constraint=keras.constraints.UnitNorm(axis=1)
    )[0],
    "a sum of whole inputs": lambda x: layers.Add()(
        [head(trainable=False, use_bias=False)(x), head()(x)]
    ),
    "other classes": lambda x: layers.Concatenate()(
        [head(trainable=False)(x), layers.EinsumDense("ab,bc->ac", 3, bias_axes="c")(x)]
    ),
    "along the batch": lambda x: ops.concatenate([head(trainable=False)(x), head()(x)], axis=0),
    "halves": lambda x: columns(x, activation="glu")[0],
    "weights of its own": lambda x: columns(x, activation=layers.PReLU())[0],
    "another dtype": lambda x: columns(x, lambda: layers.Concatenate(dtype="float16"))[0],
    "the flag of one variable": one_variable,
    "used twice": used_twice,
    "called twice": called_twice,
}


@pytest.mark.parametrize("case", NOT_ONE)
def test_what_one_layer_would_not_do_is_not_listed(case):
    x = keras.Input((6,))
    assert not fl.find_splits(keras.Model(x, NOT_ONE[case](x)))


def test_several_splits_nested_and_renamed():
    x = keras.Input((6,))
    inner_x = keras.Input((5,))
    inner = keras.Model(inner_x, columns(inner_x)[0], name="inner")
    first, _ = without_a_common_name(x)
    model = keras.Model(x, inner(first), name="model")
    splits = fl.find_splits(model)
    assert sorted(split.name for split in splits) == ["head", "head"]
    renamed = [dataclasses.replace(split, name=f"whole_{i}") for i, split in enumerate(splits)]
    again = fl.from_stock(model, renamed)
    data = RANDOM.normal(size=(3, 6)).astype("float32")
    np.testing.assert_allclose(array(again(data)), array(model(data)), rtol=1e-5, atol=1e-6)
    assert {row.path for row in fl.summary(again).rows if row.frozen} == {
        "whole_0/kernel",
        "whole_0/bias",
        "inner/whole_1/kernel",
        "inner/whole_1/bias",
    }
    # Converting only one split leaves the other one unchanged.
    one = fl.from_stock(model, splits[:1])
    assert len(fl.find_splits(one)) == 1
    with pytest.raises(fl.SelectionError, match="model: the model does not have this split"):
        fl.from_stock(one, splits)


def test_sequences_of_unknown_length():
    x = keras.Input((None, 6))
    split = columns(x)[0]
    last = layers.Add()([split[:, -1:], ops.take(split, [7], axis=1)])
    model = keras.Model(x, ops.take(last, [0, 0], axis=1))
    again = fl.from_stock(model, fl.find_splits(model))
    data = RANDOM.normal(size=(2, 9, 6)).astype("float32")
    np.testing.assert_allclose(array(again(data)), array(model(data)), rtol=1e-5, atol=1e-6)
    assert fl.frozen_mask(again.get_layer("head").bias).tolist() == [True] * 3 + [False] * 2


def test_a_split_that_a_mask_passes_is_not_listed():
    x = keras.Input((5, 6))
    masked = layers.Masking()(x)
    model = keras.Model(x, layers.GRU(2)(columns(masked, lambda: ops_concatenate)[0]))
    assert not fl.find_splits(model)
    inner_x = keras.Input((5, 6))
    inner = keras.Model(inner_x, columns(inner_x, lambda: ops_concatenate)[0])
    assert len(fl.find_splits(inner)) == 1
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Keras warns that a nested model does not pass on the mask
        nested = keras.Model(x, layers.GRU(2)(inner(masked)))
    assert not fl.find_splits(nested)


def ops_concatenate(tensors):
    return ops.concatenate(tensors, axis=-1)


def two_heads():
    x = keras.Input((6,))
    old, new = layers.Dense(3, name="head_a", trainable=False), layers.Dense(2, name="head_b")
    return keras.Model(x, [columns(x)[0], layers.Concatenate()([old(x), new(x)])], name="model")


def test_splits_have_names_of_their_own():
    model = two_heads()
    splits = fl.find_splits(model)
    assert len({split.name for split in splits}) == 2
    again = fl.from_stock(model, iter(splits))
    assert sum(row.frozen for row in fl.summary(again).rows) == 2 * 3 * 7
    for name in ("same", "a/b", "", 3, None):
        renamed = [dataclasses.replace(split, name=name) for split in splits]
        with pytest.raises(fl.SelectionError, match="a layer needs a name without a slash"):
            fl.from_stock(model, renamed)
    assert fl.from_stock(model, splits[:1]).get_layer(splits[0].name) is not None


def test_splits_that_are_none_or_no_longer():
    model = two_heads()
    splits = fl.find_splits(model)
    for odd in ("head", 3, fl.find_splits):
        with pytest.raises(fl.SelectionError, match="model: splits must be a list"):
            fl.from_stock(model, cast(Any, odd))
    with pytest.raises(fl.SelectionError, match="model: not a split; got 'head'"):
        fl.from_stock(model, cast(Any, ["head"]))
    with pytest.raises(fl.SelectionError, match="does not have this split"):
        fl.from_stock(model, [dataclasses.replace(splits[0], axis=0)])
    model.get_layer("head_old").trainable = True
    with pytest.raises(fl.SelectionError, match="does not have this split"):
        fl.from_stock(model, splits)


def test_a_merged_model_has_nothing_frozen_anywhere():
    x = keras.Input((6,))
    model = keras.Model(x, layers.Dense(2, name="out")(columns(x)[0]))
    fl.freeze(model, "out/kernel", fl.at[0])
    made = fl.merge_stock(model, fl.find_splits(model))
    assert not any(row.frozen for row in fl.summary(made).rows)
    assert type(made.get_layer("out")) is layers.Dense
    assert fl.frozen_mask(model.get_layer("out").kernel)[0].all()


def test_what_to_stock_made_is_known_by_its_names():
    model, _, _ = network("dense, columns")
    assert not fl.find_splits(fl.to_stock(model))
