"""`train_only` trains the named weights and freezes everything else in the target."""

import copy
import pickle

import keras
import numpy as np
import pytest

import frostline as fl
from helpers import (
    assert_all_same_bits,
    assert_same_bits,
    compile_for_test,
    frozen_masks,
    value,
    values,
    weights,
)
from models import data, dense_layers, two_of_one_path

X, Y = data(16, 6)


def two():
    return dense_layers(body=5, head=3)


def paths_that_train(model):
    return [w.path for w in weights(model) if not fl.frozen_mask(w.variable).all()]


HALF = np.arange(30).reshape(6, 5) % 2 == 0

NAMED = {
    "whole weight": (("body/kernel",), {"body/kernel": np.ones((6, 5), bool)}),
    "rows": (("body/kernel", fl.at[1]), {"body/kernel": np.arange(6)[:, None] == 1}),
    "entries": (("body/kernel", HALF), {"body/kernel": HALF}),
    "list": ((["head/*", "body/bias"],), dict.fromkeys(["body/bias", "head/kernel", "head/bias"])),
    "units": (
        ("*", fl.units(0)),
        {path: None for path in ("body/kernel", "body/bias", "head/kernel", "head/bias")},
    ),
    "mapping": (
        ({"body/kernel": HALF, "head/*": None},),
        {"body/kernel": HALF, "head/kernel": None, "head/bias": None},
    ),
}
BEFORE = {
    "nothing": lambda model: None,
    "all": fl.freeze,
    "part": lambda model: fl.freeze(model, {"*/kernel": fl.at[:, :2], "head/bias": None}),
}
named = pytest.mark.parametrize(("arguments", "expected"), NAMED.values(), ids=NAMED.keys())
before = pytest.mark.parametrize("prepare", BEFORE.values(), ids=BEFORE.keys())


@before
@named
def test_one_step_moves_only_what_is_named(arguments, expected, prepare):
    model = two()
    compile_for_test(model)
    model.train_on_batch(X, Y)
    prepare(model)
    start = values(model)
    fl.train_only(model, *arguments)
    assert_all_same_bits(values(model), start)
    assert paths_that_train(model) == list(expected)
    for weight in weights(model):
        trains = expected.get(weight.path)
        if trains is not None:
            assert_same_bits(
                ~fl.frozen_mask(weight.variable),
                np.broadcast_to(trains, tuple(weight.variable.shape)),
            )
    model.train_on_batch(X, Y)
    for weight, was in zip(weights(model), start, strict=True):
        frozen = fl.frozen_mask(weight.variable)
        assert_same_bits(value(weight.variable), was, where=frozen)
        assert (value(weight.variable) != was)[~frozen].all()


@named
def test_a_second_call_changes_nothing(arguments, expected):
    model = two()
    first = fl.train_only(model, *arguments)
    listed, masks = [id(v) for v in model.variables], frozen_masks(model)
    again = fl.train_only(model, *arguments)
    assert len(again) == 0
    assert repr(again) == repr(first)
    assert len(expected) == repr(first).count(" train")
    assert [id(v) for v in model.variables] == listed
    assert_all_same_bits(frozen_masks(model), masks)


def test_slots_of_what_still_trains_are_kept():
    model = two()
    compile_for_test(model, keras.optimizers.SGD(0.1, momentum=0.9))
    model.train_on_batch(X, Y)
    head = [slot for slot in model.optimizer.variables if "head_kernel" in slot.path]
    body = next(value(s) for s in model.optimizer.variables if "body_kernel" in s.path)
    fl.train_only(model, {"head/kernel": None, "body/kernel": fl.at[2:]})
    slots = model.optimizer.variables
    assert [id(s) for s in slots if "head_kernel" in s.path] == [id(s) for s in head]
    (kept,) = [value(s) for s in slots if "body" in s.path]
    assert_same_bits(kept, body[2:])


def test_a_change_counts_entries_in_both_directions():
    model = two()
    fl.freeze(model, "body/kernel", fl.at[:2])
    changes = fl.train_only(model, "body/kernel", fl.at[1:3])
    # Row 1 thaws, rows 3 to 5 freeze.
    assert changes[0] == fl.Change("body/kernel", 20, 20, 30)
    assert [(c.path, c.entries) for c in changes[1:]] == [
        ("body/bias", 5),
        ("head/kernel", 15),
        ("head/bias", 3),
    ]


def test_what_it_prints():
    model = two()
    changes = fl.train_only(model, "*/kernel", fl.at[0])
    printed = (
        "body/kernel: 5 of 30 entries train\n"
        "head/kernel: 3 of 15 entries train\n"
        "everything else is frozen: 2 weights, 8 entries"
    )
    assert repr(changes) == printed
    assert isinstance(changes, fl.Changes)
    for again in (copy.deepcopy(changes), pickle.loads(pickle.dumps(changes))):
        assert again == changes
        assert repr(again) == printed
    assert repr(fl.train_only(model, "*")).count("\n") == 3
    assert (
        repr(fl.train_only(model, "*", fl.nothing))
        == "nothing trains, everything is frozen: 4 weights, 53 entries"
    )
    assert (
        repr(fl.train_only(model.layers[0], "kernel"))
        == "kernel: 30 of 30 entries train\neverything else is frozen: 1 weight, 5 entries"
    )


def test_a_selection_with_no_entry_warns_that_nothing_trains():
    model = two()
    with pytest.warns(fl.EmptySelectionWarning, match=r"where=at\[7:\]. Nothing trains now.$"):
        fl.train_only(model, "body/kernel", fl.at[7:])
    assert paths_that_train(model) == []


def test_a_weight_that_the_selection_says_nothing_about_is_frozen():
    keras.utils.set_random_seed(0)
    model = keras.Sequential(
        [
            keras.Input((3,), dtype="int32"),
            keras.layers.Embedding(7, 2, name="tokens"),
            keras.layers.Dense(2, name="out"),
        ]
    )
    fl.train_only(model, "*", fl.tokens([5]))
    assert paths_that_train(model) == ["tokens/embeddings"]
    masks = frozen_masks(model)
    with pytest.raises(fl.SelectionError, match=r"^out/kernel: this selection does not apply"):
        fl.train_only(model, "out/*", fl.tokens([5]))
    assert_all_same_bits(frozen_masks(model), masks)


def test_tied_weights_train_if_one_of_their_paths_is_named():
    shared = keras.layers.Dense(4, name="shared")
    first, second = (
        keras.Sequential([keras.Input((4,)), shared], name=name) for name in ("first", "second")
    )
    inputs = keras.Input((4,))
    model = keras.Model(inputs, second(first(inputs)))
    changes = fl.train_only(model, "second/shared/kernel", fl.at[0])
    assert repr(changes) == (
        "second/shared/kernel: 4 of 16 entries train\n"
        "everything else is frozen: 1 weight, 4 entries"
    )
    assert_same_bits(fl.frozen_mask(shared.kernel), np.arange(16).reshape(4, 4) >= 4)


def test_weights_of_one_path_are_told_apart_by_the_variable():
    model = two_of_one_path()
    fl.train_only(model, model.pair[1].bias)
    trains = [not fl.frozen_mask(w.variable).all() for w in weights(model)]
    assert trains == [False, False, False, True]


def with_lora():
    model = two()
    model.layers[0].enable_lora(2)
    return model


def test_lora_and_biases():
    model = with_lora()
    kernel = value(model.layers[0]._kernel)
    changes = fl.train_only(model, ["*/lora_kernel_*", "*/bias"])
    assert repr(changes) == (
        "body/lora_kernel_a: 12 of 12 entries train\n"
        "body/lora_kernel_b: 10 of 10 entries train\n"
        "body/bias: 5 of 5 entries train\n"
        "head/bias: 3 of 3 entries train\n"
        "everything else is frozen: 2 weights, 45 entries"
    )
    assert [c.path for c in changes] == ["head/kernel"]
    compile_for_test(model)
    before = values(model)
    model.train_on_batch(X, Y)
    moved = [
        w.path
        for w, was in zip(weights(model), before, strict=True)
        if (value(w.variable) != was).any()
    ]
    # The gradient of lora_kernel_a is zero while lora_kernel_b is zero; weight decay moves it.
    assert moved == ["body/bias", "body/lora_kernel_a", "body/lora_kernel_b", "head/bias"]
    assert_same_bits(value(model.layers[0]._kernel), kernel)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ("*/lora_kernel_*",),
            r"^body/bias: .*lora_enabled=True. Let it train too: "
            r"`fl.train_only\(model, \[..., 'body/bias'\]\)`.$",
        ),
        (("*", fl.at[0]), r"^body/kernel: .*lora_enabled=True. Leave this layer out"),
    ],
    ids=["one that trains", "a part"],
)
def test_what_cannot_be_frozen_is_an_error_if_it_would_have_to_be(arguments, message):
    model = with_lora()
    kinds = [type(layer) for layer in model.layers]
    with pytest.raises(fl.UnsupportedError, match=message):
        fl.train_only(model, *arguments)
    assert [type(layer) for layer in model.layers] == kinds
    assert not any(mask.any() for mask in frozen_masks(model))


def model_off(model):
    model.trainable = False
    return model.name


def layer_off(model):
    model.layers[0].trainable = False
    return "body"


def variable_off(model):
    model.layers[0].kernel.trainable = False
    return "variable"


@pytest.mark.parametrize("turn_off", [model_off, layer_off, variable_off])
def test_a_named_weight_whose_layer_does_not_train_is_warned_of(turn_off):
    model = two()
    name = turn_off(model)
    with pytest.warns(
        UserWarning,
        match=rf"^body/kernel: this weight is named but .*; got {name}.trainable=False. Set",
    ):
        changes = fl.train_only(model, "body/kernel")
    assert repr(changes).startswith("body/kernel: 0 of 30 entries train, trainable=False\n")
    assert model.trainable_variables == []


def test_all_weights_that_do_not_train_are_counted_in_one_warning():
    model = two()
    model.layers[0].trainable = False
    with pytest.warns(
        UserWarning, match=r"body.trainable=False, and 1 more weight like it"
    ) as all_:
        fl.train_only(model, "*")
    assert len(all_) == 1
    model.layers[0].trainable = True
    assert len(fl.train_only(model, "*")) == 0


def test_a_layer_that_does_not_train_is_frozen_too_where_it_is_not_named():
    model = two()
    model.layers[0].trainable = False
    fl.train_only(model, "head/*")
    model.layers[0].trainable = True
    assert paths_that_train(model) == ["head/kernel", "head/bias"]
    assert len(model.trainable_variables) == 2


def test_a_block_restores_what_it_changed():
    model = two()
    fl.freeze(model, "body/kernel", fl.at[0])
    masks = frozen_masks(model)
    with fl.frozen(model, "head/bias"):
        fl.train_only(model, "head/bias")
    assert_all_same_bits(frozen_masks(model), masks)


def test_a_freeze_that_waits_for_its_weights_is_refused():
    class Lazy(keras.Model):
        def __init__(self, **kwargs):
            super().__init__(**kwargs)
            self.out = keras.layers.Dense(2, name="out")
            self.more = keras.layers.Dense(2, name="more")

        def call(self, x):
            return self.more(self.out(x))

    model = Lazy()
    model(X)
    fl.freeze(model, "more/kernel", fl.at[0])
    again = type(model).from_config(model.get_config())
    again.out.build((None, 6))
    with pytest.raises(fl.NotBuiltError, match="waits for weights that do not exist yet"):
        fl.train_only(again, "out/kernel")


def test_weights_are_required():
    with pytest.raises(TypeError, match="weights"):
        fl.train_only(two())  # pyright: ignore[reportCallIssue]
