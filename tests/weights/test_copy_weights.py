"""Copying the weights of a model into a larger one, to freeze them there."""

from typing import Any

import keras
import numpy as np
import pytest

import frostline as fl
from helpers import (
    array,
    assert_all_same_bits,
    assert_same_bits,
    everything_in,
    freeze_at_random,
    train,
    value,
    values,
    weights,
    write_failing,
)
from models import TiedEmbedding, dense, dense_layers, holder, rewritten, two_of_one_path

layers = keras.layers


def statistics(model):
    return [value(v) for v in model.variables if v.name.startswith("moving_")]


# Positions: compared with a reference in NumPy.

LAYERS = {
    "bidirectional": lambda n, m: layers.Bidirectional(layers.LSTM(n, return_sequences=True)),
    "gru": lambda n, m: layers.GRU(n, return_sequences=True),
    "rnn": lambda n, m: layers.SimpleRNN(n, return_sequences=True),
    "separable": lambda n, m: layers.SeparableConv1D(n, 2, depth_multiplier=m),
    "depthwise": lambda n, m: layers.DepthwiseConv1D(2, depth_multiplier=m, padding="same"),
    "conv": lambda n, m: layers.Conv1D(n, 2, padding="same"),
    "transposed": lambda n, m: layers.Conv1DTranspose(n, 2),
    "norm": lambda n, m: layers.BatchNormalization(),
    "dense": lambda n, m: layers.Dense(n),
}


def random_pair(seed):
    """Two models of the same layers with automatic names; the second is at least as large."""
    random = np.random.default_rng(seed)
    kinds = random.choice(list(LAYERS), 4)
    small = random.integers(1, 4, (5, 2))
    large = small + random.integers(0, 3, (5, 2))

    def make(sizes):
        made = [LAYERS[kind](int(n), int(m)) for kind, (n, m) in zip(kinds, sizes, strict=False)]
        embedding = layers.Embedding(int(sizes[4, 0]) + 2, int(sizes[4, 1]))
        model = keras.Sequential([keras.Input((9,), dtype="int32"), embedding, *made])
        return rewritten(model, int(sizes.sum()))

    return make(small), make(large)


def oracle(old, new):
    """The index in the new weight of every entry of the old one."""
    (small, layer), (large, grown) = ((w.variable.shape, w.owner) for w in (old, new))
    inner = list(zip(small, large, strict=True))
    parts = {"LSTMCell": 4, "GRUCell": 3}.get(type(layer).__name__, 1)
    inner[-1] = small[-1] // parts, large[-1] // parts
    multiplied = {"bias": "DepthwiseConv1D", "pointwise_kernel": "SeparableConv1D"}
    if multiplied.get(old.variable.name) == type(layer).__name__:  # channels times the multiplier
        axis = 0 if old.variable.name == "bias" else 1
        inner[axis] = layer.depth_multiplier, grown.depth_multiplier
    along = zip(small, inner, strict=True)
    return np.ix_(*([p // few * many + p % few for p in range(n)] for n, (few, many) in along))


@pytest.mark.parametrize("seed", range(6))
def test_random_pairs_of_models_against_an_oracle(seed):
    old, new = random_pair(seed)
    for model in (old, new) if seed % 3 == 0 else ():
        freeze_at_random(model, "both")
    before = values(new)
    copied = fl.copy_weights(old, new)
    assert list(copied) == list(fl.weights(new))  # without moving statistics
    for source, weight, expected in zip(weights(old), weights(new), before, strict=True):
        index, mask = oracle(source, weight), np.zeros(expected.shape, bool)
        expected[index], mask[index] = value(source.variable), True
        assert_same_bits(value(weight.variable), expected)
        assert np.array_equal(copied[weight.path], mask), weight.path
    for small, large in zip(statistics(old), statistics(new), strict=True):
        assert_same_bits(large[: small.size], small)


# Outputs: if all new entries are zero, the old units give the same outputs.

GROWN = {
    "Dense": (lambda n: layers.Dense(2 + n), None),
    "Conv1D": (lambda n: layers.Conv1D(2 + n, 2), None),
    "Conv1DTranspose": (lambda n: layers.Conv1DTranspose(2 + n, 2), None),
    "LSTM": (lambda n: layers.LSTM(3 + n), None),
    "GRU": (lambda n: layers.GRU(3 + n), None),
    "GRU that resets first": (lambda n: layers.GRU(3 + n, reset_after=False), None),
    "RNN": (lambda n: layers.RNN(layers.LSTMCell(3 + n)), None),
    "ConvLSTM1D": (lambda n: layers.ConvLSTM1D(2 + n, 2), None),
    "Bidirectional": (lambda n: layers.Bidirectional(layers.LSTM(2 + n)), [0, 1, 5, 6]),
    "Depthwise": (lambda n: layers.DepthwiseConv1D(2, depth_multiplier=1 + n), [0, 4, 8, 12, 16]),
    "Separable": (lambda n: layers.SeparableConv1D(2 + n, 2, depth_multiplier=1 + n), None),
    "heads": (lambda n: layers.MultiHeadAttention(2 + n, 4), None),
    "query heads": (lambda n: layers.GroupQueryAttention(4, 2 * (2 + n), 2), None),
    "key/value heads": (lambda n: layers.GroupQueryAttention(4, 2 * (1 + n), 1 + n), None),
}


@pytest.mark.once
@pytest.mark.parametrize("kind", GROWN)
def test_old_units_among_zeros_give_what_they_gave(kind):
    """The inputs grow too."""
    make, places = GROWN[kind]
    x = np.random.default_rng(0).normal(size=(2, 4, 6, 7)).astype("float32")
    x = x if kind == "ConvLSTM1D" else x[0]

    def made(grown):
        layer, given = make(grown), x if grown else x[..., :5]
        inputs = [given, given] if "heads" in kind else [given]
        layer(*inputs)
        rewritten(layer)
        return layer, inputs

    (old, narrow), (new, wide) = made(0), made(3)
    copied = fl.copy_weights(old, new, fill="zeros")
    expected, given = array(old(*narrow)), array(new(*wide))
    places = range(expected.shape[-1]) if places is None else places
    np.testing.assert_allclose(given[..., places], expected, atol=1e-5)
    before = values(new)
    fl.freeze(new, copied)
    for weight, start in zip(weights(new), before, strict=True):
        assert np.array_equal(fl.frozen_mask(weight.variable), copied[weight.path])
        assert_same_bits(value(weight.variable), start)


# Growing a model several times.


def test_a_model_grown_three_times_keeps_its_first_weights():
    model = rewritten(dense_layers(hidden=2, out=1))
    first = fl.snapshot(model)
    x, random = np.ones((4, 6), "float32"), np.random.default_rng(0)
    for units in (3, 5, 6):
        grown = dense_layers(hidden=units, out=units - 1)
        if units == 5:
            fl.freeze(grown, "hidden/kernel", fl.at[0])  # partly frozen on both sides
        copied = fl.copy_weights(model, grown, fill="noise")
        fl.freeze(grown, copied)
        train(grown, x, random.normal(size=(4, units - 1)).astype("float32"))
        for path, old in fl.snapshot(model).items():
            block = tuple(map(slice, old.shape))
            assert copied[path][block].all()
            assert copied[path].sum() == old.size
            assert_same_bits(fl.snapshot(grown)[path][block], old)
        model = grown
    for path, old in first.items():
        assert_same_bits(fl.snapshot(model)[path][tuple(map(slice, old.shape))], old)


def test_moving_statistics_are_copied_and_the_new_ones_are_left():
    old, new = layers.BatchNormalization(name="norm"), layers.BatchNormalization(name="norm")
    old.build((None, 2))
    new.build((None, 3))
    rewritten(old)
    copied = fl.copy_weights(old, new, at={"*": [2, 0]}, fill="zeros")
    assert {path: mask.tolist() for path, mask in copied.items()} == {
        "gamma": [True, False, True],
        "beta": [True, False, True],
    }
    for name, rest in {"gamma": 0, "beta": 0, "moving_mean": 0, "moving_variance": 1}.items():
        small, large = value(getattr(old, name)), value(getattr(new, name))
        assert_same_bits(large[[2, 0]], small)
        assert large[1] == rest


def test_a_tied_embedding_is_copied_once():
    old, new = TiedEmbedding(5, 4), TiedEmbedding(7, 4)
    for layer in (old, new):
        layer.build((None, 2))
    copied = fl.copy_weights(old, new, fill="mean")
    assert list(copied) == ["table/embeddings"]
    table = value(old.table.embeddings)
    expected = np.concatenate([table, np.repeat(table.mean(0, keepdims=True), 2, axis=0)])
    np.testing.assert_allclose(value(new.table.embeddings), expected, rtol=1e-6, atol=1e-7)
    fl.train_only(new, "table/embeddings", fl.tokens([5, 6]))
    assert np.array_equal(fl.frozen_mask(new.table.embeddings), copied["table/embeddings"])


def twice(tied):
    first = layers.Dense(3, name="first")
    second = keras.Sequential([first if tied else layers.Dense(3, name="first")], name="again")
    model = keras.Sequential([keras.Input((3,)), first, second])
    return rewritten(model)


def test_a_tie_may_be_undone_and_not_be_made():
    tied, untied = twice(tied=True), twice(tied=False)
    assert len(fl.copy_weights(tied, untied)) == 4
    assert_same_bits(value(untied.layers[1].layers[0].kernel), value(tied.layers[0].kernel))
    before = values(tied)
    with pytest.raises(
        fl.RestoreError, match="first/kernel: this weight is tied in the new model, but two"
    ):
        fl.copy_weights(twice(tied=False), tied)
    assert_all_same_bits(values(tied), before)


def automatic(*inner):
    """Blocks of layers with automatic names."""
    blocks = [keras.Sequential([layers.Dense(2) for _ in range(count)]) for count in inner]
    return rewritten(keras.Sequential([keras.Input((2,)), *blocks]), len(inner))


def test_a_layer_more_in_one_block_does_not_shift_the_next():
    old, new = automatic(1, 2), automatic(2, 2)
    with pytest.raises(
        fl.PathError, match=r"dense_4/kernel: .* has no weight with this path; got n"
    ):
        fl.copy_weights(old, new)
    copied = fl.copy_weights(old, new, missing="skip")
    olds, news = values(old), values(new)
    assert_all_same_bits([*news[:2], *news[4:]], olds)
    assert [path.partition("/")[2] for path in copied] == [
        "dense_3/kernel",
        "dense_3/bias",
        "dense_5/kernel",
        "dense_5/bias",
        "dense_6/kernel",
        "dense_6/bias",
    ]


# Bits and dtypes.


@pytest.mark.parametrize("where", [fl.nothing, fl.at[1], fl.everything], ids=str)
def test_every_bit_of_bfloat16_is_copied(where):
    old, new = holder((2, 3), "bfloat16"), holder((3, 4), "bfloat16", initializer="ones")
    odd = np.array([0x8000, 1, 0x7F80, 0x7FC5, 0xFFC7, 0x7F81], "u2").reshape(2, 3)
    fl.restore(old, {"w": odd.view(fl.snapshot(old)["w"].dtype)})
    fl.freeze(old, "w", where)
    fl.freeze(new, "w", where)
    fl.copy_weights(old, new)
    assert np.array_equal(fl.snapshot(new)["w"][:2, :3].view("u2"), odd)
    assert np.array_equal(fl.snapshot(new)["w"][2], np.ones(4))


def test_a_dtype_that_holds_every_value_takes_them_and_no_other():
    half, full = holder((2,), "float16", initializer="ones"), holder((3,), "float32")
    fl.copy_weights(half, full)
    assert value(full.w).tolist() == [1, 1, 0]
    for old, new in (("float32", "float16"), ("float16", "bfloat16")):
        small, large = holder((2,), old, initializer="ones"), holder((3,), new)
        with pytest.raises(fl.RestoreError, match=rf"w: the dtype .* dtype {old}\), new .*{new}"):
            fl.copy_weights(small, large)
        assert not value(large.w).any()


def test_a_quantized_kernel_is_not_taken_for_numbers():
    old, new = dense(), dense()
    old.quantize("int8")
    with pytest.raises(fl.RestoreError, match=r"kernel: the dtype .* dtype int8\), new .*float32"):
        fl.copy_weights(old, new, missing="skip")


# Other positions.

PLACES = {
    "slices": np.s_[:, 3:],
    "fl.at": fl.at[:, 3:],
    "a list along the first axis": [1, 0],
    "lists": np.ix_([0, 1], [4, 2]),
    "a row of a cube": np.s_[1, ::2],
}


@pytest.mark.parametrize("index", PLACES.values(), ids=PLACES)
def test_a_block_goes_where_an_index_says(index):
    shape = {"[1, 0]": (3, 2), "(1, slice(None, None, 2))": (2, 4, 2)}.get(str(index), (2, 5))
    old, new = holder((2, 2), initializer="ones"), holder(shape)
    random = np.random.default_rng(0).normal(size=(2, 2)).astype("float32")
    old.w.assign(random)
    copied = fl.copy_weights(old, new, at={"w": index})
    key = np.s_[:, 3:] if isinstance(index, fl.Selection) else index
    expected, mask = np.zeros(shape, "float32"), np.zeros(shape, bool)
    expected[key], mask[key] = random, True
    assert_same_bits(value(new.w), expected)
    assert np.array_equal(copied["w"], mask)


def test_the_last_key_counts_and_none_leaves_out():
    old, new = rewritten(dense_layers(hidden=2, out=2)), dense_layers(hidden=2, out=1)
    before = fl.snapshot(new)
    copied = fl.copy_weights(old, new, at={"*": None, "hidden/*": ...})
    assert list(copied) == ["hidden/kernel", "hidden/bias"]
    assert_same_bits(fl.snapshot(new)["out/kernel"], before["out/kernel"])
    assert_same_bits(fl.snapshot(new)["hidden/kernel"], fl.snapshot(old)["hidden/kernel"])


# New entries.

OLD = np.array([[1, 2, 3], [3, 6, 9]], "float32")
FILLS: dict[str, tuple[Any, tuple[int, ...], Any]] = {
    "as initialised": (None, (3, 4), [[1, 2, 3, 7], [3, 6, 9, 7], [7, 7, 7, 7]]),
    "zeros": ("zeros", (2, 4), [[1, 2, 3, 0], [3, 6, 9, 0]]),
    "the mean of the rows": ("mean", (3, 3), [[1, 2, 3], [3, 6, 9], [2, 4, 6]]),
    "the mean of the columns": ("mean", (2, 4), [[1, 2, 3, 2], [3, 6, 9, 6]]),
    "the mean of all": ("mean", (3, 4), [[1, 2, 3, 4], [3, 6, 9, 4], [4, 4, 4, 4]]),
    "a function": (
        lambda old, shape: np.full(shape, old.max()),
        (2, 4),
        [[1, 2, 3, 9], [3, 6, 9, 9]],
    ),
    "a number": (lambda old, shape: -1, (2, 4), [[1, 2, 3, -1], [3, 6, 9, -1]]),
    "for some": ({"w": "zeros"}, (2, 4), [[1, 2, 3, 0], [3, 6, 9, 0]]),
    "for others": ({"*": "zeros", "w": None}, (2, 4), [[1, 2, 3, 7], [3, 6, 9, 7]]),
}


@pytest.mark.parametrize(("fill", "shape", "expected"), FILLS.values(), ids=FILLS)
def test_what_new_entries_start_with(fill, shape, expected):
    old, new = holder((2, 3)), holder(shape)
    old.w.assign(OLD)
    new.w.assign(np.full(shape, 7))
    fl.copy_weights(old, new, fill=fill)
    assert value(new.w).tolist() == expected


def test_the_mean_of_a_recurrent_layer_is_that_of_each_gate():
    old, new = layers.LSTM(2), layers.LSTM(3)
    for layer in (old, new):
        layer.build((None, 4, 5))
    rewritten(old)
    fl.copy_weights(old, new, fill="mean")
    gates = value(old.cell.kernel).reshape(5, 4, 2).mean(-1)
    np.testing.assert_allclose(value(new.cell.kernel)[:, 2::3], gates, rtol=1e-5)


def test_noise_has_the_mean_and_spread_of_the_old_and_is_the_same_each_time():
    old = holder((500, 2))
    random = np.random.default_rng(0)
    old.w.assign(random.normal([3, -5], [0.5, 2], (500, 2)))
    made = [holder((1500, 2)) for _ in range(3)]
    for new, seed in zip(made, (0, 0, 1), strict=True):
        fl.copy_weights(old, new, fill="noise", seed=seed)
    rest = value(made[0].w)[500:]
    np.testing.assert_allclose(rest.mean(0), value(old.w).mean(0), atol=0.2)
    np.testing.assert_allclose(rest.std(0), value(old.w).std(0), rtol=0.1)
    assert_same_bits(value(made[1].w), value(made[0].w))
    assert (value(made[2].w)[500:] != rest).all()


# Errors.


BAD: dict[str, tuple[Any, dict[str, Any], type[Exception], str]] = {
    "smaller": (
        {"hidden": 4, "out": 1},
        {},
        fl.RestoreError,
        r"out/kernel: it is smaller than the old weight; got old "
        r"\(shape \(4, 2\), dtype float32\), new \(shape \(4, 1\), dtype float32\)\. "
        r"Give its place with `at=\{'out/kernel': index\}`",
    ),
    "a weight less": (
        {"hidden": 5, "out": {"units": 2, "use_bias": False}},
        {},
        fl.PathError,
        r"out/bias: sequential\w* has no weight with this path; got old with out/bias \(shape",
    ),
    "another name": (
        {"hidden": 5, "outs": 2},
        {},
        fl.PathError,
        r"out/kernel: .* and 1 more\. Nearest: 'outs/kernel'.*`missing='skip'`",
    ),
    "a weight more": (
        {"hidden": 5, "more": 5, "out": 2},
        {},
        fl.PathError,
        r"more/kernel: sequential\w* has no weight with this path; got new with more/kernel",
    ),
    "nothing in common": (
        {"first": 5, "second": 2},
        {"missing": "skip"},
        fl.PathError,
        "no weight has the path of a weight of",
    ),
    "a place of another shape": (
        {"hidden": 5, "out": 3},
        {"at": {"out/kernel": np.s_[:3, :2]}},
        fl.RestoreError,
        r"out/kernel: the place must have the shape .*\(shape \(3, 2\)\), got old \(shape \(4, 2\)",
    ),
    "a place with an entry twice": (
        {"hidden": 5, "out": 3},
        {"at": {"out/bias": [1, 1]}},
        fl.SelectionError,
        r"out/bias: a place must select each entry once; got at=\[1, 1\]",
    ),
    "a place out of range": (
        {"hidden": 5, "out": 3},
        {"at": {"out/bias": [1, 3]}},
        fl.SelectionError,
        r"out/bias: index 3 is out of range for axis 0 of size 3; got at=\[1, 3\]",
    ),
    "a place that is no index": (
        {"hidden": 5, "out": 3},
        {"at": {"out/bias": ~fl.at[0]}},
        fl.SelectionError,
        r"out/bias: a place must be a NumPy index or `fl.at",
    ),
    "a place for no weight": (
        {"hidden": 5, "out": 3},
        {"at": {"out/kernal": [1, 1]}},
        fl.PathError,
        "no weight has this path; got weights='out/kernal'",
    ),
    "a place without a weight": (
        {"hidden": 5, "out": 3},
        {"at": np.s_[:, 3:]},
        fl.SelectionError,
        "at: must be a mapping from paths",
    ),
    "a fill that is none": (
        {"hidden": 5, "out": 3},
        {"fill": "median"},
        fl.SelectionError,
        "fill: must be None, 'zeros', 'mean', 'noise', a function .* got fill='median'",
    ),
    "a fill that is an array": (
        {"hidden": 5, "out": 3},
        {"fill": np.zeros(3)},
        fl.SelectionError,
        "fill: must be None, .* got fill=array",
    ),
    "a function that gives another shape": (
        {"hidden": 5, "out": 3},
        {"fill": {"out/bias": lambda old, shape: np.zeros(7)}},
        fl.RestoreError,
        r"out/bias: the array from the function .*got fill with an array \(shape \(7,\)",
    ),
    "a function that gives no number": (
        {"hidden": 5, "out": 3},
        {"fill": {"out/bias": lambda old, shape: None}},
        fl.RestoreError,
        r"out/bias: the array from the function .* dtype object\)",
    ),
    "missing": ({"hidden": 5, "out": 3}, {"missing": "ignore"}, fl.SelectionError, "missing: must"),
}


@pytest.mark.parametrize(("shape", "arguments", "error", "message"), BAD.values(), ids=BAD)
def test_bad_input_writes_nothing(shape, arguments, error, message):
    old, new = rewritten(dense_layers(hidden=4, out=2)), dense_layers(**shape)
    before = everything_in(new)
    with pytest.raises(error, match=message):
        fl.copy_weights(old, new, **arguments)
    assert_all_same_bits(everything_in(new), before)


def test_other_pairs_that_do_not_fit():
    with pytest.raises(fl.RestoreError, match=r"w: its rank differs from .*\(2,\).*\(2, 2\)"):
        fl.copy_weights(holder((2,)), holder((2, 2)))
    with pytest.raises(fl.PathError, match="same/kernel: two different weights have this path"):
        fl.copy_weights(two_of_one_path(), two_of_one_path())
    with pytest.raises(fl.TargetError, match="not a Keras layer or model"):
        fl.copy_weights({}, dense())
    with pytest.raises(fl.NotBuiltError, match="no weights yet"):
        fl.copy_weights(dense(), layers.Dense(3))


def test_a_new_model_that_holds_a_weight_of_the_old_one_elsewhere_is_refused():
    first, second = dense(3, 3, "dense"), dense(3, 3, "dense_1")
    old = keras.Sequential([keras.Input((3,)), first, second])
    new = keras.Sequential([keras.Input((3,)), second, dense(3, 3, "dense_2")])
    with pytest.raises(
        fl.RestoreError, match="dense_1/kernel: this weight also belongs to the old model"
    ):
        fl.copy_weights(old, new)
    new = keras.Sequential([keras.Input((3,)), first, second, dense(3, 1, "head")])
    copied = fl.copy_weights(old, new, missing="skip")
    assert list(copied) == list(fl.weights(old))


def test_a_copy_inside_a_call_is_refused():
    old = dense(4, 3)

    class Copying(layers.Dense):
        def call(self, inputs):
            fl.copy_weights(old, self)
            return super().call(inputs)

    layer = Copying(3, name="copying")
    layer.build((None, 4))
    with pytest.raises(fl.RestoreError, match="cannot be written while a layer runs"):
        layer(np.ones((1, 4), "float32"))


@pytest.mark.parametrize("failing", [OSError, KeyboardInterrupt], ids=lambda kind: kind.__name__)
@pytest.mark.parametrize("place", range(5))
def test_a_write_that_fails_takes_back_what_was_written(place, failing, monkeypatch):
    """Four weights, one of them in two parts, take five writes; each of them may fail."""
    old, new = rewritten(dense_layers(hidden=4, out=2)), rewritten(dense_layers(hidden=5, out=2), 1)
    fl.freeze(new, "out/kernel", fl.at[0])
    now = values(new)
    with write_failing(monkeypatch, place, failing):
        fl.copy_weights(old, new)
    assert_all_same_bits(values(new), now)
    assert len(fl.copy_weights(old, new)) == 4
