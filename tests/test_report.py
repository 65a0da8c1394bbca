"""`fl.summary`: exact numbers, and a table that adds up."""

import inspect
import io

import keras
import numpy as np
import pytest
import rich.console

import frostline as fl
from helpers import weights


def model(**names):
    return keras.Sequential(
        [
            keras.Input((6,)),
            keras.layers.Dense(8, name=names.get("hidden", "hidden")),
            keras.layers.BatchNormalization(name="norm"),
            keras.layers.Dense(4, name="out"),
        ],
        name="model",
    )


SELECTIONS = {
    "slab": (fl.at[:2], 16, "slab"),
    "one trainable block": (fl.at[[0, 5]], 16, "slab"),
    "indices": (fl.at[:, ::2], 24, "indices"),
    "entries": (fl.at[0, 0] | fl.at[3, 2:4], 3, "entries"),
    "whole": (None, 48, "whole"),
}


@pytest.mark.parametrize(
    ("where", "frozen", "kind"), SELECTIONS.values(), ids=list(SELECTIONS.keys())
)
def test_exact_numbers(where, frozen, kind):
    target = model()
    fl.freeze(target, "hidden/kernel", where)
    summary = fl.summary(target)
    row = summary.rows[0]
    assert (row.path, row.shape, row.dtype, row.size) == ("hidden/kernel", (6, 8), "float32", 48)
    assert (row.frozen, row.kind, row.share) == (frozen, kind, frozen / 48)
    assert row.frozen == fl.frozen_mask(target.get_layer("hidden").kernel).sum()
    assert row.trains is (kind != "whole")
    assert [r.frozen for r in summary.rows[1:]] == [0] * 5
    assert [r.kind for r in summary.rows[1:]] == [""] * 5
    assert (summary.frozen, summary.size) == (frozen, 48 + 8 + 8 + 8 + 32 + 4)


def test_totals_are_those_of_the_plain_model():
    target = model()
    total = sum(int(np.prod(v.shape)) for v in target.trainable_variables)
    fl.freeze(target, "*/kernel", fl.at[0, 0])
    fl.freeze(target, "*/bias")
    summary = fl.summary(target)
    assert summary.size == total
    assert summary.trainable == total - 2 - 12
    assert summary.trainable == sum(int(np.prod(v.shape)) for v in target.trainable_variables)
    assert summary.share == 14 / total


@pytest.mark.parametrize("kind", ["slab", "indices", "entries"])
def test_the_summary_of_keras_adds_up(kind):
    target = model()
    plain = target.count_params()
    fl.freeze(target, "hidden/kernel", SELECTIONS[kind][0])
    counts = [
        sum(int(np.prod(v.shape)) for v in variables)
        for variables in (target.trainable_weights, target.non_trainable_weights)
    ]
    assert sum(counts) == target.count_params()
    extra = 0 if kind != "entries" else fl.summary(target).rows[0].size - 3
    assert target.count_params() == plain + extra


STOCK = sorted(
    kind.__name__
    for kind in vars(keras.optimizers).values()
    if inspect.isclass(kind) and issubclass(kind, keras.optimizers.Optimizer)
    if kind.__name__ not in {"Optimizer", "LossScaleOptimizer", "MultiOptimizer"}
    # Adafactor keeps a row and a column of a matrix, Muon one slot for some and two for others.
    if kind.__name__ not in {"Adafactor", "Muon"}
)


@pytest.mark.parametrize("name", STOCK)
def test_slots_saved_are_the_slots_that_are_not_there(name):
    plain, target = model(), model()
    fl.freeze(target, "hidden/kernel", fl.at[:, ::2])
    fl.freeze(target, "out/kernel", fl.at[0, 0])
    fl.freeze(target, "*/bias")
    for one in (plain, target):
        one.compile(getattr(keras.optimizers, name)(0.01), "mse")
    saved = fl.summary(target).slots_saved
    sizes = []
    for one in (plain, target):
        one.optimizer.build(one.trainable_variables)
        sizes.append(sum(int(np.prod(v.shape)) for v in one.optimizer.variables))
    assert saved == sizes[0] - sizes[1]
    assert saved is not None
    assert fl.summary(target).optimizer_bytes_saved == 4 * saved


def test_without_an_optimizer_nothing_is_said_of_slots():
    summary = fl.summary(model())
    assert summary.slots_saved is None
    assert summary.optimizer_bytes_saved is None
    assert {row.slots_saved for row in summary.rows} == {None}


def test_a_layer_that_is_off():
    target = model()
    fl.freeze(target, "hidden/kernel", fl.at[0])
    target.get_layer("hidden").trainable = False
    rows = fl.summary(target).rows
    assert [row.trains for row in rows] == [False, False, True, True, True, True]
    assert rows[0].frozen == 8
    assert "slab (layer off)" in str(fl.summary(target))


def test_text_holds_every_weight_and_the_totals(monkeypatch):
    monkeypatch.setenv("COLUMNS", "120")
    target = model()
    target.compile("adam", "mse")
    fl.freeze(target, "hidden/kernel", fl.at[:2])
    text = str(fl.summary(target))
    assert repr(fl.summary(target)) == text
    assert "\x1b" not in text
    for weight in weights(target):
        assert weight.path in text
    assert "16 / 48" in text
    assert "16 / 108" in text
    assert "33.3%" in text
    assert "████" not in text
    assert "███" in text


@pytest.mark.parametrize("width", [60, 80, 200])
def test_numbers_are_never_cut(width):
    target = model(hidden="a_rather_long_name_of_a_layer_that_folds")
    target.compile("adam", "mse")
    fl.freeze(target, "a_*/kernel", fl.at[:2])
    stream = io.StringIO()
    rich.console.Console(file=stream, width=width, color_system="truecolor").print(
        fl.summary(target)
    )
    assert "16 / 48" in stream.getvalue()
    assert "slots saved" in stream.getvalue()
    assert "\n".join(stream.getvalue().split()).count("…") == 0


def test_html_is_escaped_and_complete():
    target = model(hidden="a<b>&c")
    fl.freeze(target, "out/kernel", fl.at[0, 0])
    page = fl.summary(target)._repr_html_()
    assert "a&lt;b&gt;&amp;c/kernel" in page
    assert "a<b>" not in page
    assert page.count("<tr>") == 8
    assert "1 / 32" in page
    assert "http" not in page


def test_a_shared_weight_counts_once():
    layer = keras.layers.Dense(4, name="again")
    inputs = keras.Input((4,))
    target = keras.Model(inputs, layer(layer(inputs)))
    assert [row.path for row in fl.summary(target).rows] == ["again/kernel", "again/bias"]


def test_errors():
    with pytest.raises(fl.NotBuiltError, match="no weights yet"):
        fl.summary(keras.layers.Dense(3))
    with pytest.raises(fl.TargetError, match="not a Keras layer or model"):
        fl.summary("model")
