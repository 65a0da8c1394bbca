"""The tree of `fl.summary`: its sums, the blocks that it folds, and its looks."""

import functools
import html.parser
import io
import json
import re
import sys
import time
from types import SimpleNamespace

import keras
import numpy as np
import pandas
import pytest
import rich.console
from hypothesis import given
from hypothesis import strategies as st
from keras import layers

import frostline as fl
from frostline._summaries.layers import lines, printed, tree_of_paths
from frostline._summaries.numbers import NUMBERS, Totals

pytestmark = pytest.mark.once

SUMS = [name for name in NUMBERS if name != "share"]


def block(number, width=8):
    inputs = keras.Input((None, width))
    attended = layers.MultiHeadAttention(2, width // 2, name="attention")(inputs, inputs)
    inner = layers.LayerNormalization(name="norm")(inputs + attended)
    outputs = layers.Dense(width, name="down")(layers.Dense(2 * width, name="up")(inner))
    return keras.Model(inputs, outputs, name=f"block_{number}")


def stack(count=12):
    inputs = keras.Input((None,), dtype="int32")
    x = layers.Embedding(20, 8, name="tokens")(inputs)
    for number in range(count):
        x = block(number)(x)
    return keras.Model(inputs, layers.Dense(3, name="out")(x), name="stack")


class Block(layers.Layer):
    """A block whose layers Keras names, with numbers that continue from block to block."""

    def __init__(self):
        super().__init__()
        self.first, self.second = layers.Dense(4), layers.Dense(6)

    def build(self, shape):
        self.first.build(shape)
        self.second.build((None, 4))
        self.scale = self.add_weight(shape=(6,), name="scale")

    def call(self, x):
        return self.second(self.first(x)) * self.scale


def subclassed():
    return keras.Sequential([keras.Input((6,)), *[Block() for _ in range(4)]], name="model")


def by_functions():
    """Blocks made by a function, which no layer holds."""
    inputs = x = keras.Input((6,))
    for _ in range(5):
        x = layers.LayerNormalization()(x + layers.Dense(6)(layers.Dense(4)(x)))
    return keras.Model(inputs, layers.Dense(1, name="out")(x), name="model")


def shared():
    again = layers.Dense(4, name="again")
    inside = keras.Sequential([keras.Input((4,)), again, layers.Dense(4, name="last")], name="in")
    inputs = keras.Input((4,))
    return keras.Model(inputs, again(inside(inside(inputs))), name="model")


def recurrent():
    return keras.Sequential(
        [
            keras.Input((5, 3)),
            layers.Bidirectional(layers.LSTM(4), name="both"),
            layers.Dense(1, name="out"),
        ],
        name="model",
    )


def many():
    return keras.Sequential(
        [keras.Input((4,)), *[layers.Dense(4) for _ in range(250)]], name="model"
    )


def half():
    model = subclassed()
    model.layers[1].trainable = False
    return model


MODELS = {
    "stack": stack,
    "subclassed": subclassed,
    "layers that are off": half,
    "by functions": by_functions,
    "shared": shared,
    "recurrent": recurrent,
    "attention": lambda: block(0),
    "500 weights": many,
}


@functools.cache
def partly(make):
    """A model with every third entry of each kernel and half of each bias frozen."""
    model = make()
    fl.freeze(model, "*kernel", lambda w: np.arange(w.size).reshape(w.shape) % 3 == 0)
    fl.freeze(model, "*bias", lambda w: np.arange(w.size).reshape(w.shape) < w.size // 2)
    model.compile("adam", "mse")
    return model


def text(summary, width=100, **options):
    stream = io.StringIO()
    rich.console.Console(file=stream, width=width, **options).print(summary)
    return stream.getvalue()


def assert_sum(parts, totals):
    for name in SUMS:
        found = [getattr(part, name) for part in parts]
        assert getattr(totals, name) == (None if None in found else sum(found)), name


def assert_adds_up(of, alike):
    """The lines add up in each of the equal blocks, and so do the lines below each line."""
    for place, totals in enumerate(alike):
        assert_sum([line.alike[place] for line in of], totals)
    for line in of:
        assert line.totals is line.alike[0]
        assert min(one.share for one in line.alike) <= line.share + 1e-12
        if line.times > 1:
            (one,) = line.below
            assert len(one.alike) == line.times * len(line.alike)
            for place, totals in enumerate(line.alike):
                assert_sum(one.alike[place :: len(line.alike)], totals)
            assert_adds_up(one.below, one.alike) if one.below else None
        elif line.below:
            assert_adds_up(line.below, line.alike)


@pytest.mark.parametrize("fold", [True, False], ids=["folded", "every one"])
@pytest.mark.parametrize("depth", [None, 1, 2])
@pytest.mark.parametrize("make", MODELS.values(), ids=list(MODELS))
def test_everything_adds_up(make, depth, fold):
    summary = fl.summary(partly(make), depth=depth, fold=fold)
    assert_adds_up(summary._lines, [summary])
    assert summary.size == summary.frozen + summary.trainable
    assert summary.rows == summary._tree.totals.rows
    for layer in summary.layers:
        assert_adds_up(layer._lines, [layer])
        assert set(layer.rows) <= set(summary.rows)
        assert len(layer.rows) > 1


def test_without_an_optimizer_the_rest_adds_up():
    summary = fl.summary(subclassed())
    assert_adds_up(summary._lines, [summary])
    assert summary.optimizer_bytes_kept is None


@pytest.mark.once(False)
@pytest.mark.parametrize("make", MODELS.values(), ids=list(MODELS))
def test_bytes_kept_are_those_of_the_optimizer(make):
    model = partly(make)
    sizes = [int(np.prod(variable.shape)) for variable in model.trainable_variables]
    model.optimizer.build(model.trainable_variables)
    slots = [slot for slot in model.optimizer.variables if tuple(slot.shape)]
    summary = fl.summary(model)
    assert summary.trained == sum(sizes)
    assert summary.optimizer_bytes_kept == 4 * sum(int(np.prod(slot.shape)) for slot in slots)


@pytest.mark.parametrize("depth", [None, 1])
@pytest.mark.parametrize("make", MODELS.values(), ids=list(MODELS))
def test_what_is_hidden_is_counted(make, depth):
    summary = fl.summary(partly(make), depth=depth)
    shown = text(summary, width=200)
    # The line of a weight has a shape, which begins with a number; that of a layer has none.
    listed = len(re.findall(r" \(\d+(?:, \d+)*,?\) ", shown))
    hidden = len(summary.rows) - listed
    assert (f"folded: {hidden:,} of {len(summary.rows):,} weights; " in shown) == (hidden > 0)
    assert "folded" not in text(fl.summary(partly(make), fold=False))


def test_depth_says_how_many_weights_a_layer_has():
    shown = text(fl.summary(partly(stack), depth=1), width=160)
    assert " out (2 weights) " in shown
    assert " block_0 ... block_11 x 12 (168 weights) " in shown
    assert "entries" in next(line for line in shown.splitlines() if "x 12" in line)
    assert "folded: 170 of 171 weights; depth=None, fold=False lists them" in shown
    assert "; depth=None lists them" in text(fl.summary(stack(), depth=1, fold=False))
    two = text(fl.summary(partly(stack), depth=2), width=120)
    assert "   each (block_0) " in two
    assert "     attention (8 weights) " in two


def test_only_what_is_alike_is_folded():
    def folded(model):
        return [line.name for line in fl.summary(model)._lines if line.times > 1]

    model = stack(6)
    assert folded(model) == ["block_0 ... block_5 x 6"]
    fl.freeze(model, "block_2/up/kernel", fl.at[0])
    assert folded(model) == ["block_3 ... block_5 x 3"]
    fl.freeze(model, "block_*/up/kernel", fl.at[0])
    assert folded(model) == ["block_0 ... block_5 x 6"]
    # The same number of entries, in other places.
    fl.unfreeze(model, "block_5/up/kernel")
    fl.freeze(model, "block_5/up/kernel", lambda w: np.arange(w.size).reshape(w.shape) % 8 == 0)
    assert folded(model) == ["block_0 ... block_4 x 5"]
    model.get_layer("block_1").trainable = False
    assert folded(model) == ["block_2 ... block_4 x 3"]
    # Query, key and value differ only in their names, and are still listed.
    assert folded(model.get_layer("block_1").get_layer("attention")) == []


def varied(count=4):
    """Equal blocks with different numbers of frozen entries."""
    model = stack(count)
    for number in range(count):
        fl.freeze(model, f"block_{number}/up/kernel", fl.smallest((number + 8) / 128))
    return model


VARIED = """\
 block_0 ... block_3 x 4             38 / 2,336               1.6%
   each (block_0)                 8 to 11 / 584         1.4 to 1.9%
     up                           8 to 11 / 144         5.6 to 7.6%
       kernel          (8, 16)    8 to 11 / 128  █      6.2 to 8.6%  entries"""


def test_blocks_that_differ_in_counts_are_one_with_ranges(monkeypatch):
    monkeypatch.setenv("COLUMNS", "90")
    model = varied()
    shown = str(fl.summary(model)).splitlines()
    for line in VARIED.splitlines():
        words = [word for word in line.split() if "█" not in word]
        assert words in [[w for w in row.split() if "█" not in w] for row in shown], line
    assert "a to b: the lowest and the highest of equal blocks" in shown
    assert not [row for row in str(fl.summary(model, fold=False)).splitlines() if " to " in row]
    # Plain data lists each block, whether the text is folded or not.
    kernels = [row for row in fl.summary(model).rows if row.path.endswith("up/kernel")]
    assert [row.frozen for row in kernels] == [8, 9, 10, 11]
    described = fl.summary(model).to_dict()
    assert [w["frozen"] for w in described["weights"] if w["frozen"]] == [8, 9, 10, 11]
    html = fl.summary(model)._repr_html_()
    assert "8 to 11 / 128" in html
    assert "6.2 to 8.6%" in html


def test_the_words_below_a_table_are_those_in_it():
    model = stack(1)
    assert "entries:" not in text(fl.summary(model), width=200)
    fl.freeze(model, "out/kernel", fl.at[0, 0])
    fl.freeze(model, "out/bias")
    shown = text(fl.summary(model), width=200)
    assert "whole: all of the weight is frozen; entries: single entries train" in shown
    assert "off:" not in shown
    model.get_layer("out").trainable = False
    shown = text(fl.summary(model), width=200)
    assert "off: trainable=False on its layer or variable" in shown


def test_two_layers_of_one_name_stay_two():
    class Two(keras.layers.Layer):
        def __init__(self):
            super().__init__()
            self.one, self.other = layers.Dense(2, name="same"), layers.Dense(2, name="same")

        def build(self, shape):
            self.one.build(shape)
            self.other.build(shape)

    layer = Two()
    layer.build((None, 2))
    assert [part.size for part in fl.summary(layer).layers] == [6, 6]
    assert text(fl.summary(layer)).count(" same ") == 2


paths = st.lists(st.lists(st.sampled_from("ab12"), min_size=1, max_size=4), min_size=1, max_size=30)


@given(paths, st.data())
def test_any_tree_adds_up(found, data):
    rows = []
    for number, path in enumerate(found):
        size = data.draw(st.integers(1, 3))
        frozen = data.draw(st.integers(0, size))
        kind = "whole" if frozen == size else "entries" if frozen else ""
        weight = "/".join([*path, f"w{number % 2}"])
        rows.append(fl.Row(weight, (size,), "float16", size, frozen, kind, 0, frozen < size, 3))
    depth, fold = data.draw(st.sampled_from([None, 1, 2])), data.draw(st.booleans())
    tree = tree_of_paths("any", rows)
    assert_adds_up(lines(tree, depth, fold), [Totals(rows)])
    every = [line.row for _, line in printed(lines(tree, None, False)) if line.row]
    assert sorted(every, key=repr) == sorted(rows, key=repr)
    assert text(fl.Summary("any", tuple(rows), depth=depth, fold=fold), width=30)


SMALL = """\
model: 17 of 49 entries frozen, 32 train

 weight      shape   frozen / size              share  kind     delta bytes
 ──────────────────────────────────────────────────────────────────────────
 hidden                    14 / 35  ████        40.0%                   108
   kernel    (6, 5)        12 / 30  ████        40.0%  block             84
   bias      (5,)            2 / 5  ████        40.0%  block             24
 inner/in                   3 / 12  ██          25.0%                    72
   kernel    (5, 2)         1 / 10  █           10.0%  entries           72
   bias      (2,)            2 / 2  ██████████ 100.0%  whole              0
 out/kernel  (2, 1)          0 / 2               0.0%                     8
 ──────────────────────────────────────────────────────────────────────────
 total                     17 / 49              34.7%                   188

optimizer state unknown: compile the model first (Adafactor, Muon and
MultiOptimizer are not supported)
delta file: 188 bytes, the values that train and their indices
whole: all of the weight is frozen; block: one range of positions along an axis
trains or is frozen; entries: single entries train"""

NARROW = """\
model: 17 of 49 entries frozen, 32 train
+------------------------------------------+
|weight               |frozen / size |share|
|---------------------+--------------+-----|
|hidden (2 weights)   |      14 / 35 |40.0%|
|inner/in (2 weights) |       3 / 12 |25.0%|
|out/kernel           |        0 / 2 | 0.0%|
|---------------------+--------------+-----|
|total                |      17 / 49 |34.7%|
+------------------------------------------+
optimizer state unknown: compile the model
first (Adafactor, Muon and MultiOptimizer are
not supported)
delta file: 188 bytes, the values that train
and their indices
whole: all of the weight is frozen; block: one
range of positions along an axis trains or is
frozen; entries: single entries train
folded: 4 of 5 weights; depth=None, fold=False
lists them"""

FOLDED = """\
stack: 2,433 of 7,195 entries frozen, 4,762 train

 weight              frozen / size  share  kind
 ────────────────────────────────────────────────────────
 tokens/embeddings         0 / 160   0.0%
 block_0 ...         2,424 / 7,008  34.6%
 block_11 x 12
   each (block_0)        202 / 584  34.6%
     attention           104 / 288  36.1%  block, entries
     (8 weights)
     norm                   0 / 16   0.0%
     (2 weights)
     up (2 weights)       51 / 144  35.4%  block, entries
     down                 47 / 136  34.6%  block, entries
     (2 weights)
 out                        9 / 27  33.3%
   kernel                   8 / 24  33.3%  block
   bias                      1 / 3  33.3%  block
 ────────────────────────────────────────────────────────
 total               2,433 / 7,195  33.8%

optimizer state: 38,096 bytes kept, 19,464 bytes saved
delta file: 36,200 bytes, the values that train and their
indices
block: one range of positions along an axis trains or is
frozen; entries: single entries train
folded: 168 of 171 weights; depth=None, fold=False lists
them"""


def small(**options):
    model = keras.Sequential(
        [
            keras.Input((6,)),
            layers.Dense(5, name="hidden"),
            keras.Sequential([keras.Input((5,)), layers.Dense(2, name="in")], name="inner"),
            layers.Dense(1, name="out", use_bias=False),
        ],
        name="model",
    )
    fl.freeze(model, "hidden/*", fl.units([0, 1]))
    fl.freeze(model, "inner/in/kernel", fl.at[0, 0])
    fl.freeze(model, "inner/in/bias")
    return fl.summary(model, **options)


def test_a_small_table_to_the_letter(monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    assert str(small()) == SMALL


def test_a_narrow_table_without_unicode(monkeypatch):
    monkeypatch.setenv("COLUMNS", "46")
    monkeypatch.setattr("sys.stdout", SimpleNamespace(encoding="ascii"))
    assert str(small(depth=1)) == NARROW


def test_a_folded_table(monkeypatch):
    monkeypatch.setenv("COLUMNS", "60")
    assert str(fl.summary(partly(stack), depth=2)) == FOLDED


@pytest.mark.parametrize("width", [24, 40, 60, 80, 120])
@pytest.mark.parametrize("make", MODELS.values(), ids=list(MODELS))
def test_no_line_is_longer_than_the_terminal(make, width):
    shown = text(fl.summary(partly(make)), width=width)
    assert max(map(len, shown.splitlines())) <= width
    if width >= 40:
        assert "…" not in shown
        assert f"{fl.summary(partly(make)).frozen:,} / " in shown


class Page(html.parser.HTMLParser):
    """Checks that tags are closed in order; keeps the text inside `details` apart."""

    def __init__(self, page):
        super().__init__()
        self.open, self.tags, self.outside, self.inside = [], [], "", ""
        self.feed(page)
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag != "br":
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if "details" in self.open:
            self.inside += data + "|"
        else:
            self.outside += data + "|"


@pytest.mark.parametrize("depth", [None, 1])
@pytest.mark.parametrize("make", MODELS.values(), ids=list(MODELS))
def test_html_has_plain_tags_and_every_number(make, depth):
    summary = fl.summary(partly(make), depth=depth)
    page = Page(summary._repr_html_())
    kinds = {tag for tag, _ in page.tags}
    assert kinds <= {"table", "caption", "thead", "tbody", "tfoot", "tr", "th", "td"} | {
        *("b", "span", "div", "br", "details", "summary")
    }
    # Only the colours of the page around it, light or dark.
    styles = " ".join(found.get("style") or "" for _, found in page.tags)
    assert "#" not in styles
    assert "rgb" not in styles
    assert f"{summary.frozen:,} / {summary.size:,}" in page.outside
    closed = any(line.times > 1 or not line.shown for _, line in printed(summary._lines))
    assert ("details" in kinds) == closed
    assert all("open" not in found for tag, found in page.tags if tag == "details")


def test_html_of_what_is_folded():
    page = Page(fl.summary(partly(stack))._repr_html_())
    assert "block_0 ... block_11 x 12|" in page.outside
    assert "one of 12|" in page.inside
    assert "each (block_0)|" in page.inside
    assert "folded: 154 of 171 weights; fold=False lists them" in page.outside
    # A click shows all that a depth hides.
    page = Page(fl.summary(partly(stack), depth=1, fold=False)._repr_html_())
    assert page.inside.count("query|") == 12
    assert "folded" not in page.outside


def test_to_dict_is_plain_data():
    summary = fl.summary(partly(stack))
    found = summary.to_dict()
    assert json.loads(summary.to_json()) == found
    assert json.loads(summary.to_json(indent=2)) == found
    assert list(found) == ["name", *NUMBERS, "layers", "weights"]
    assert [weight["path"] for weight in found["weights"]] == [row.path for row in summary.rows]
    for weight in found["weights"]:
        assert list(weight) == ["path", "shape", "dtype", *NUMBERS, "kind", "trains"]
    for name in SUMS:
        assert sum(weight[name] for weight in found["weights"]) == found[name]
    paths = [layer["path"] for layer in found["layers"]]
    assert paths[:3] == ["block_0", "block_0/attention", "block_0/attention/query"]
    for layer in found["layers"]:
        inside = [w for w in found["weights"] if w["path"].startswith(layer["path"] + "/")]
        assert layer["weights"] == len(inside)
        for name in SUMS:
            assert layer[name] == sum(weight[name] for weight in inside)


def test_numbers_without_an_optimizer_are_null():
    found = json.loads(fl.summary(subclassed()).to_json())
    for of in (found, *found["layers"], *found["weights"]):
        assert of["optimizer_bytes_kept"] is None
        assert of["slots_saved"] is None


def test_a_dataframe_has_a_row_for_each_weight():
    model = partly(subclassed)
    summary = fl.summary(model)
    frame = summary.to_dataframe()
    weights = summary.to_dict()["weights"]
    assert isinstance(frame, pandas.DataFrame)
    assert frame.shape == (len(weights), len(weights[0]))
    assert list(frame.columns) == list(weights[0])
    rows = frame.astype(object).where(frame.notna(), None).to_dict("records")
    assert [{**row, "shape": list(row["shape"])} for row in rows] == weights
    assert {type(shape) for shape in frame["shape"]} == {tuple}


def test_columns_of_a_dataframe_are_numbers_where_they_count():
    model = keras.Sequential([keras.Input((4,)), layers.Dense(3, name="hidden")])
    fl.freeze(model, "hidden/kernel", fl.at[0])
    counts = ("size", "frozen", "trained", "delta_bytes")
    kept = ("slots_kept", "slots_saved", "optimizer_bytes_kept", "optimizer_bytes_saved")
    frame = fl.summary(model).to_dataframe()
    assert {str(frame[name].dtype) for name in counts} == {"int64"}
    assert (str(frame["share"].dtype), str(frame["trains"].dtype)) == ("float64", "bool")
    assert frame[list(kept)].isna().all(axis=None)  # there is no optimizer yet
    assert frame["frozen"].sum() == 3
    model.compile("adam", "mse")
    frame = fl.summary(model).to_dataframe()
    assert {str(frame[name].dtype) for name in kept} == {"int64"}
    assert frame.loc[frame["kind"] == "block", "slots_kept"].tolist() == [18]


def test_dataframe_without_pandas(monkeypatch):
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(
        fl.DependencyError, match=r"needs pandas, which is not installed.*pip install pandas"
    ):
        small().to_dataframe()


def test_dataframe_of_a_broken_pandas(monkeypatch, tmp_path):
    (tmp_path / "pandas.py").write_text("import missing_part_of_pandas")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "pandas", raising=False)
    with pytest.raises(ModuleNotFoundError, match="missing_part_of_pandas"):
        small().to_dataframe()


@pytest.mark.parametrize("depth", [0, -1, 1.5, "2", True])
def test_a_depth_that_is_no_positive_number_is_refused(depth):
    with pytest.raises(fl.SummaryError, match=r"a positive number of layers; got depth="):
        small(depth=depth)


@pytest.mark.parametrize(
    ("where", "indices"),
    [(fl.at[:2], 4), (fl.at[::2], 3), (fl.at[:, 1:], 1), (fl.at[0, 0], 41), (None, 0), ("no", 0)],
    ids=["rows", "every other row", "columns", "one entry", "whole", "nothing"],
)
def test_bytes_of_a_delta(where, indices):
    layer = layers.Dense(7, use_bias=False)
    layer.build((None, 6))
    if where != "no":
        fl.freeze(layer, "kernel", where)
    row = fl.summary(layer).rows[0]
    assert row.index_bytes == 4 * indices
    assert row.delta_bytes == 4 * (row.size - row.frozen) + 4 * indices
    layer.trainable = False
    assert fl.summary(layer).delta_bytes == 0


@pytest.mark.parametrize(
    ("dtype", "size"), [("float16", 2), ("bfloat16", 2), ("float8_e4m3fn", 1), ("float64", 8)]
)
def test_bytes_of_a_dtype(dtype, size):
    row = fl.Row("w", (3,), dtype, 3, 1, "entries", 2, True, slots_kept=4)
    assert (row.optimizer_bytes_kept, row.optimizer_bytes_saved) == (4 * size, 2 * size)
    assert row.delta_bytes == 2 * size


def test_time_does_not_grow_with_the_weights():
    def seconds(width):
        layer = layers.Dense(width)
        layer.build((None, width))
        fl.freeze(layer, "kernel", lambda w: w < 0)
        times = []
        for _ in range(9):
            start = time.perf_counter()
            fl.summary(layer)
            times.append(time.perf_counter() - start)
        return min(times)

    # A thousand times as many entries.
    assert seconds(2048) < 10 * seconds(64)
