"""Mappings from weights to selections, in every function that takes them."""

import re

import keras
import numpy as np
import pytest

import frostline as fl
from frostline._selections.simple import Selection
from helpers import (
    assert_all_same_bits,
    assert_same_bits,
    compile_for_test,
    frozen_masks,
    value,
    values,
    weights,
)
from models import data, dense_layers

X, Y = data(16, 6)
ROWS = np.arange(6)[:, None] * np.ones(5, int) < 2


def two():
    return dense_layers(body=5, head=3)


def masks(model):
    return {w.path: fl.frozen_mask(w.variable) for w in weights(model)}


MAPPINGS = {
    "globs": {"body/kernel": ROWS, "head/*": fl.units([0])},
    "regex": {re.compile("body/k"): fl.at[:2], re.compile("^head"): fl.units(0)},
    "sum": {"body/k*": fl.at[0], "*/kernel": fl.at[0], "body/kernel": 1, "head/*": fl.units(0)},
    "callable": {"body/kernel": lambda array: ROWS, "head/*": fl.units(slice(1))},
}
mappings = pytest.mark.parametrize("mapping", MAPPINGS.values(), ids=MAPPINGS.keys())


def expected(mapping):
    kernel = np.zeros((5, 3), bool)
    kernel[:, 0] = True
    if "*/kernel" in mapping:
        kernel[0] = True
    return {
        "body/kernel": ROWS,
        "body/bias": np.zeros(5, bool),
        "head/kernel": kernel,
        "head/bias": np.array([True, False, False]),
    }


@mappings
def test_freeze_and_unfreeze(mapping):
    model = two()
    start = values(model)
    fl.freeze(model, mapping)
    assert_all_same_bits(list(masks(model).values()), list(expected(mapping).values()))
    assert_all_same_bits(values(model), start)
    fl.unfreeze(model, mapping)
    assert not any(mask.any() for mask in frozen_masks(model))
    fl.freeze(model)
    fl.unfreeze(model, mapping)
    assert_all_same_bits(frozen_masks(model), [~mask for mask in expected(mapping).values()])


@mappings
def test_train_only(mapping):
    model = two()
    compile_for_test(model)
    fl.train_only(model, mapping)
    wanted = expected(mapping)
    assert_all_same_bits(frozen_masks(model), [~mask for mask in wanted.values()])
    before = values(model)
    model.train_on_batch(X, Y)
    for weight, was in zip(weights(model), before, strict=True):
        assert_same_bits(value(weight.variable) != was, wanted[weight.path])


@mappings
def test_blocks_restore_what_a_mapping_changed(mapping):
    model = two()
    with fl.frozen(model, mapping):
        assert_all_same_bits(frozen_masks(model), list(expected(mapping).values()))
        with fl.thawed(model, mapping):
            assert not any(mask.any() for mask in frozen_masks(model))
        assert_all_same_bits(frozen_masks(model), list(expected(mapping).values()))
    assert not any(mask.any() for mask in frozen_masks(model))


def test_no_selection_is_the_whole_weight_whatever_else_picks_of_it():
    model = two()
    changes = fl.freeze(model, {"*/bias": None, "body/bias": fl.at[0]})
    assert [(c.path, c.frozen) for c in changes] == [("body/bias", 5), ("head/bias", 3)]
    assert not model.layers[0].bias.trainable


def test_a_selection_that_fits_some_of_its_weights_adds_to_another():
    model = keras.Sequential(
        [
            keras.Input((3,), dtype="int32"),
            keras.layers.Embedding(7, 2, name="tokens"),
            keras.layers.Dense(2, name="out"),
        ]
    )
    fl.freeze(model, {"*": fl.tokens(0), "out/bias": fl.at[0]})
    assert [int(mask.sum()) for mask in frozen_masks(model)] == [2, 0, 1]


VERBS = {verb.__name__: verb for verb in (fl.freeze, fl.unfreeze, fl.train_only)}
BAD = {
    "unknown path": (
        ({"body/kernel": fl.at[0], "had/*": None},),
        fl.PathError,
        r"weights='had/\*'",
    ),
    "beside where": (
        ({"body/kernel": None}, fl.at[0]),
        fl.SelectionError,
        r"^where: cannot be combined with a mapping, .*; got weights=mapping and "
        r"where=at\[0\]. Leave `where` out; .* `fl.\w+\(model, list\(scores\), selection\)`.$",
    ),
    "empty": (({},), fl.PathError, r"no weight is named; got weights=\{\}"),
    "no selection": (({"body/kernel": "rows"},), fl.SelectionError, r"got where='rows'"),
    "out of range": (
        ({"body/kernel": fl.at[0], "head/bias": fl.at[3]},),
        fl.SelectionError,
        r"^head/bias: index 3 is out of range",
    ),
    "an entry that fits nothing": (
        ({"body/kernel": fl.at[0], "head/*": fl.tokens(0)},),
        fl.SelectionError,
        r"^head/kernel: this selection does not apply to any of these weights; "
        r"got where=tokens\(0\) \(layer Dense\)",
    ),
    "no name": (
        ({3: fl.at[0]},),
        fl.PathError,
        r"weights must be a glob on the path.*got weights=3",
    ),
}


@pytest.mark.parametrize("verb", VERBS.values(), ids=VERBS.keys())
@pytest.mark.parametrize(("arguments", "error", "message"), BAD.values(), ids=BAD.keys())
def test_a_bad_entry_changes_nothing(arguments, error, message, verb):
    model = two()
    fl.freeze(model, "body/kernel", fl.at[1])
    before, kinds = frozen_masks(model), [type(layer) for layer in model.layers]
    with pytest.raises(error, match=message):
        verb(model, *arguments)
    assert_all_same_bits(frozen_masks(model), before)
    assert [type(layer) for layer in model.layers] == kinds


def test_the_error_of_a_value_names_its_entry():
    with pytest.raises(fl.SelectionError) as caught:
        fl.freeze(two(), {"body/kernel": "rows"})
    assert caught.value.__notes__ == ["in the mapping's entry 'body/kernel'"]


class LastPath(Selection):
    """Selects the whole of the last weight among those that it is used for."""

    def __init__(self, paths=()):
        self.paths = paths

    def among(self, weights):
        return LastPath([*self.paths, *(one.path for one in weights)])

    def mask(self, weight):
        return np.full(weight.shape, weight.path == self.paths[-1])

    def __repr__(self):
        return f"LastPath({self.paths})"


ALL = ["body/kernel", "body/bias", "head/kernel", "head/bias"]


@pytest.mark.parametrize(
    ("ask", "frozen"),
    [
        (lambda s: ("*", s), ["head/bias"]),
        (lambda s: (["head/kernel", "body/*", "body/bias"], s), ["head/kernel"]),
        (lambda s: ({"head/kernel": s, "body/*": s},), ["head/kernel"]),
        (lambda s: ({"head/kernel": LastPath(), "body/*": s},), ["head/kernel", "body/bias"]),
        (lambda s: ("*/kernel", ~s), ["body/kernel"]),
    ],
    ids=["glob", "list", "equal in a mapping", "other in a mapping", "complement"],
)
def test_a_selection_sees_all_weights_that_it_is_given_for(ask, frozen):
    model = two()
    changes = fl.freeze(model, *ask(LastPath()))
    assert [change.path for change in changes] == frozen


def test_a_selection_is_given_each_weight_once_in_the_order_of_the_model():
    seen = []

    class Noted(LastPath):
        def among(self, weights):
            seen.append([one.path for one in weights])
            return super().among(weights)

    one = Noted()
    fl.freeze(two(), {"head/*": one, "*": one, "body/bias": one})
    assert seen == [ALL]


class Reads(keras.layers.Layer):
    """Holds a layer of the model a second time, so that its weight has two paths."""

    def __init__(self, layer):
        super().__init__(name="reads")
        self.layer = layer

    def call(self, inputs):
        return self.layer(inputs)


@pytest.mark.parametrize("names", [["reads/*", "last/*"], ["last/*", "reads/*", "first/*"]])
def test_the_place_of_a_shared_weight_is_that_of_its_first_path(names):
    first = keras.layers.Dense(4, use_bias=False, kernel_initializer="ones", name="first")
    last = keras.layers.Dense(4, use_bias=False, kernel_initializer="ones", name="last")
    model = keras.Sequential([keras.Input((4,)), first, last, Reads(first)])
    some = fl.smallest(3, scope="model")  # all values are equal, so the first weight is picked
    for named in (names, names[::-1]):
        changes = fl.train_only(model, dict.fromkeys(named, some))
        assert (~fl.frozen_mask(first.kernel)).sum() == 3
        assert fl.frozen_mask(last.kernel).all()
    path = "first/kernel" if "first/*" in names else "reads/first/kernel"
    assert str(changes).startswith(path)


EMPTY = np.zeros((6, 5), bool)
QUIET = {
    "array": EMPTY,
    "mask": fl.mask(EMPTY),
    "list": EMPTY.tolist(),
    "callable": lambda array: array > 1e9,
    "at": fl.at[np.zeros(6, bool)],
    "and": fl.zeros & EMPTY,
    "not": ~fl.mask(~EMPTY),
}
LOUD = {
    "index": (fl.at[[]], r"at\[\[\]\]"),
    "slice": (fl.at[9:], r"at\[9:\]"),
    "zeros": (fl.zeros, "zeros"),
}


@pytest.mark.parametrize("verb", VERBS.values(), ids=VERBS.keys())
@pytest.mark.parametrize("where", QUIET.values(), ids=QUIET.keys())
def test_an_array_that_selects_nothing_does_not_warn(where, verb):
    verb(two(), "body/kernel", where)


@pytest.mark.parametrize(("where", "text"), LOUD.values(), ids=LOUD.keys())
def test_other_selections_of_nothing_warn(where, text):
    model = two()
    with pytest.warns(fl.EmptySelectionWarning, match=f"where={text}. Nothing changed.$"):
        fl.freeze(model, {"body/kernel": where})
    with pytest.warns(fl.EmptySelectionWarning, match=f"where={text}. This entry of the mapping "):
        fl.freeze(model, {"body/kernel": where, "head/kernel": fl.at[0]})


@pytest.mark.parametrize(
    ("where", "text"),
    [
        (np.zeros(64, bool), r"boolean array of shape \(64,\), 0 True"),
        (fl.mask(np.zeros(64, bool)), r"boolean array of shape \(64,\), 0 True"),
        (
            fl.mask(np.ones(650, bool)) | fl.at[0],
            r"boolean array of shape \(650,\), 650 True \| at",
        ),
    ],
    ids=["array", "mask", "or"],
)
def test_a_boolean_array_is_described_and_not_printed(where, text):
    with pytest.raises(fl.SelectionError, match=f"where={text}"):
        fl.freeze(two(), {"body/kernel": None}, where)


def test_a_boolean_index_is_described():
    with pytest.raises(fl.SelectionError, match=r"got at\[boolean array of shape \(7,\), 7 True\]"):
        fl.freeze(two(), "body/kernel", fl.at[np.ones(7, bool)])
    with pytest.raises(fl.SelectionError, match=r"^boolean array of shape \(7,\), 7 True: a sel"):
        bool(fl.mask(np.ones(7, bool)))
    assert repr(fl.mask([True])) == "mask([True])"
    assert repr(fl.at[[True]]) == "at[[True]]"
