"""`fl.summary`: exact numbers, and a table that adds up."""

import io

import keras
import numpy as np
import pytest
import rich.console

import frostline as fl
from helpers import STOCK_OPTIMIZERS, weights

pytestmark = pytest.mark.once


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
    "block": (fl.at[:2], 16, "block"),
    "one trainable block": (fl.at[[0, 5]], 16, "block"),
    "positions": (fl.at[:, ::2], 24, "positions"),
    "entries": (fl.at[0, 0] | fl.at[3, 2:4], 3, "entries"),
    "whole": (None, 48, "whole"),
}


@pytest.mark.once(False)
@pytest.mark.parametrize(
    ("where", "frozen", "kind"), SELECTIONS.values(), ids=list(SELECTIONS.keys())
)
def test_a_summary_counts_exactly(where, frozen, kind):
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


@pytest.mark.once(False)
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


@pytest.mark.once(False)
@pytest.mark.parametrize("kind", ["block", "positions", "entries"])
def test_the_summary_of_keras_adds_up(kind):
    target = model()
    plain = target.count_params()
    fl.freeze(target, "hidden/kernel", SELECTIONS[kind][0])
    counts = [
        sum(int(np.prod(v.shape)) for v in variables)
        for variables in (target.trainable_weights, target.non_trainable_weights)
    ]
    assert sum(counts) == target.count_params()
    row = fl.summary(target).rows[0]
    # For every kind except a block, the frozen part is as large as the weight.
    extra = 0 if kind == "block" else row.size - row.frozen
    assert target.count_params() == plain + extra


# Adafactor keeps a row and a column of a matrix, Muon one slot for some weights, two for others.
STOCK = sorted(STOCK_OPTIMIZERS.keys() - {"Adafactor", "Muon"})


@pytest.mark.once(False)
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


OPTIMIZERS = {
    "SGD": (lambda: keras.optimizers.SGD(), 0),
    "SGD with momentum": (lambda: keras.optimizers.SGD(momentum=0.9), 1),
    "Adam": (lambda: keras.optimizers.Adam(), 2),
    "AdamW": (lambda: keras.optimizers.AdamW(), 2),
    "Adam with loss scale": (
        lambda: keras.optimizers.LossScaleOptimizer(keras.optimizers.Adam()),
        2,
    ),
    "Adam, average, accumulation": (
        lambda: keras.optimizers.Adam(use_ema=True, gradient_accumulation_steps=2),
        4,
    ),
    # What these keep depends on the shape or name of a weight, so there is no single number.
    "Adafactor": (lambda: keras.optimizers.Adafactor(), None),
    "Muon": (lambda: keras.optimizers.Muon(), None),
}


@pytest.mark.parametrize("built", [False, True], ids=["not built", "built"])
@pytest.mark.parametrize(("make", "slots"), OPTIMIZERS.values(), ids=list(OPTIMIZERS))
def test_slots_saved_of_an_optimizer(make, slots, built):
    target = model()
    target.compile(make(), "mse")
    if built:
        target.optimizer.build(target.trainable_variables)
    fl.freeze(target, "hidden/kernel", fl.at[:2])
    saved = fl.summary(target).rows[0].slots_saved
    assert saved == (None if slots is None else slots * 16)


class ForItsModelOnly(keras.optimizers.SGD):
    def build(self, variables):
        if len(variables) != 6:
            raise ValueError("an optimizer of one model")
        super().build(variables)


class NotFromConfig(keras.optimizers.SGD):
    def get_config(self):
        return {"unknown": 1}


@pytest.mark.once(False)
@pytest.mark.parametrize("kind", [ForItsModelOnly, NotFromConfig])
def test_an_optimizer_that_can_not_be_probed_is_unknown(kind):
    target = model()
    target.compile(kind(), "mse")
    assert fl.summary(target).slots_saved is None
    assert "optimizer state unknown: compile the model first" in " ".join(
        str(fl.summary(target)).split()
    )


def test_without_an_optimizer_nothing_is_said_of_slots():
    summary = fl.summary(model())
    assert summary.slots_saved is None
    assert summary.optimizer_bytes_saved is None
    assert {row.slots_saved for row in summary.rows} == {None}


def test_a_layer_that_is_off():
    target = model()
    target.compile("adam", "mse")
    fl.freeze(target, "hidden/kernel", fl.at[0])
    fl.freeze(target, "*/bias")
    assert [row.slots_saved for row in fl.summary(target).rows] == [16, 16, 0, 0, 0, 8]
    target.get_layer("hidden").trainable = False
    rows = fl.summary(target).rows
    assert [row.trains for row in rows] == [False, False, True, True, True, False]
    assert rows[0].frozen == 8
    # A plain layer that is off has no slots either, so the freeze saves nothing.
    assert [row.slots_saved for row in rows] == [0, 0, 0, 0, 0, 8]
    assert "block (off)" in str(fl.summary(target))


def test_text_holds_every_weight_and_the_totals(monkeypatch):
    monkeypatch.setenv("COLUMNS", "120")
    target = model()
    target.compile("adam", "mse")
    fl.freeze(target, "hidden/kernel", fl.at[:2])
    text = str(fl.summary(target))
    assert repr(fl.summary(target)) == text
    assert "\x1b" not in text
    names = [name for weight in weights(target) for name in weight.path.split("/")]
    assert names
    for name in names:
        assert name in text.split()
    assert "16 / 48" in text
    assert "16 / 108" in text
    assert "33.3%" in text
    assert "████" not in text
    assert "███" in text


@pytest.mark.parametrize("name", ["a[red]b", "a:smile:b", "[bold]"])
def test_a_name_is_no_markup(name, monkeypatch):
    monkeypatch.setenv("COLUMNS", "120")
    target = keras.Sequential([keras.Input((2,)), keras.layers.Dense(2, name=name)], name=name)
    lines = str(fl.summary(target)).splitlines()
    assert lines[0].startswith(f"{name}: 0 of 6")
    assert [line.split()[0] for line in lines if " / " in line][2:4] == ["kernel", "bias"]
    assert any(line.startswith(f" {name} ") for line in lines)


def test_text_is_plain_even_where_colour_is_forced(monkeypatch):
    monkeypatch.setenv("FORCE_COLOR", "1")
    assert "\x1b" not in str(fl.summary(model()))


@pytest.mark.parametrize("encoding", ["ascii", "cp1252"])
def test_text_can_be_printed_where_there_is_no_unicode(encoding, monkeypatch):
    monkeypatch.setenv("COLUMNS", "120")
    target = model()
    fl.freeze(target, "*/kernel")
    monkeypatch.setattr("sys.stdout", io.TextIOWrapper(io.BytesIO(), encoding=encoding))
    str(fl.summary(target)).encode(encoding)
    assert "##########" in str(fl.summary(target))


def test_rich_prints_it_in_colour():
    target = model()
    fl.freeze(target, "*/kernel")
    stream = io.StringIO()
    rich.console.Console(
        file=stream, width=120, force_terminal=True, color_system="truecolor"
    ).print(fl.summary(target))
    assert "\x1b[36m█" in stream.getvalue()


@pytest.mark.parametrize("width", [40, 60, 80, 100, 200])
def test_large_numbers_are_never_cut(width):
    row = fl.Row(
        "backbone/token_embedding/embeddings",
        (128_256, 4096),
        "float32",
        525_336_576,
        525_324_288,
        "block",
        1_050_648_576,
        True,
        slots_kept=24_576,
    )
    stream = io.StringIO()
    rich.console.Console(file=stream, width=width).print(fl.Summary("large", (row,)))
    table, _, notes = stream.getvalue().partition("optimizer state:")
    assert table.count("525,324,288 / 525,336,576") == 2
    for column, cell in {
        "shape": "(128256, 4096)",
        "kind": "block",
    }.items():
        assert (column in table) == (cell in table), column
    # In the row and the total if the column is shown, and always in the text below the table.
    assert table.count("4,202,594,304") == 2 * ("bytes saved" in table)
    assert table.count("49,152") == 2 * ("delta bytes" in table)
    notes = " ".join(notes.split())
    assert notes.startswith("98,304 bytes kept, 4,202,594,304 bytes saved delta file: 49,152 bytes")
    assert ("shape" in table) == (width >= 120)
    assert ("bytes saved" in table) == (width >= 120)
    # A path breaks after its slashes if that is enough.
    assert "".join(line.split()[0] for line in table.splitlines() if line.split()).count(row.path)


@pytest.mark.parametrize(
    ("frozen", "size", "text"),
    [(0, 0, "0.0%"), (0, 9, "0.0%"), (1, 9999, "<0.1%"), (9998, 9999, ">99.9%"), (9, 9, "100.0%")],
)
def test_a_share_is_all_or_nothing_only_where_it_is(frozen, size, text, monkeypatch):
    monkeypatch.setenv("COLUMNS", "120")
    row = fl.Row("w", (size,), "float32", size, frozen, "entries", None, True)
    assert row.share == (frozen / size if size else 0.0)
    shown = str(fl.Summary("layer", (row,)))
    assert shown.count(f" {text} ") == 2


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
    assert "128 bytes saved" in stream.getvalue()
    assert "\n".join(stream.getvalue().split()).count("…") == 0


def test_html_is_escaped_and_complete():
    target = model(hidden="a<b>&c")
    fl.freeze(target, "out/kernel", fl.at[0, 0])
    page = fl.summary(target)._repr_html_()
    assert "<b>a&lt;b&gt;&amp;c</b>" in page
    assert "a<b>" not in page
    # The head, three layers of two weights each, and the total.
    assert page.count("<tr>") == 1 + 3 * 3 + 1
    assert "1 / 32" in page
    assert "http" not in page


@pytest.mark.once(False)
def test_a_shared_weight_counts_once():
    layer = keras.layers.Dense(4, name="again")
    inputs = keras.Input((4,))
    target = keras.Model(inputs, layer(layer(inputs)))
    assert [row.path for row in fl.summary(target).rows] == ["again/kernel", "again/bias"]


def test_a_weight_that_is_reached_in_two_ways_counts_once():
    layer = keras.layers.Dense(4, name="again")
    inside = keras.Sequential([keras.Input((4,)), layer], name="inside")
    inputs = keras.Input((4,))
    target = keras.Model(inputs, layer(inside(inputs)))
    fl.freeze(target, "*kernel", fl.at[0])
    summary = fl.summary(target)
    assert [row.path for row in summary.rows] == ["inside/again/kernel", "inside/again/bias"]
    assert (summary.frozen, summary.size) == (4, target.count_params())


def test_bad_targets_are_refused():
    with pytest.raises(fl.NotBuiltError, match="no weights yet"):
        fl.summary(keras.layers.Dense(3))
    with pytest.raises(fl.PathError, match="no trainable weights"):
        fl.summary(keras.layers.ReLU())
    with pytest.raises(fl.TargetError, match="not a Keras layer or model"):
        fl.summary("model")
