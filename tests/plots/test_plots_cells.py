"""The places of a weight's entries on its map, and the contents of its cells. Pure NumPy."""

import keras
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_array_equal

import frostline as fl
from frostline import Row
from frostline._arrays.plan import plan_from_mask
from frostline._plots.arrange import Arrangement
from frostline._plots.cells import Side
from frostline._plots.maps import Subject, drift_panel, in_pieces
from frostline._plots.values import arrangement_of as arrangement
from helpers import bits, image, maps, weights

pytestmark = pytest.mark.once

# Cells.


@given(tiles=st.integers(1, 40), inner=st.integers(1, 40), most=st.integers(1, 60))
def test_cells_cover_a_side_and_cross_no_tile(tiles, inner, most):
    edges = Side(tiles, inner).edges(most)
    assert (edges[0], edges[-1]) == (0, tiles * inner)
    assert (np.diff(edges) > 0).all()
    assert len(edges) - 1 <= most
    if tiles <= most:
        assert set(range(0, tiles * inner, inner)) <= set(edges.tolist())
        sizes = np.diff(edges)
        assert sizes.max() - sizes.min() <= 1


@st.composite
def two_values(draw):
    """Two values of a weight with up to four axes in any order, its mask, and a grid of cells."""
    shape = tuple(draw(st.lists(st.integers(1, 7), max_size=4)))
    order = tuple(draw(st.permutations(range(len(shape)))))
    down = draw(st.integers(0, len(shape)))
    rows, columns = (
        Side(1, int(np.prod([shape[a] for a in axes]))) for axes in (order[:down], order[down:])
    )
    random = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    bfloat16 = keras.ops.convert_to_numpy(keras.ops.zeros(1, "bfloat16")).dtype
    dtype = draw(st.sampled_from(["float32", "float64", "float16", bfloat16, "complex128"]))
    odd = np.array([0.0, -0.0, np.nan, np.inf, -np.inf, 1.0, 2.0, 3.0])
    before, other = (np.asarray(random.choice(odd, shape)).astype(dtype) for _ in range(2))
    after = np.where(random.random(shape) < 0.5, before, other)
    frozen = np.asarray(random.random(shape) < draw(st.sampled_from([0.0, 0.5, 1.0])))
    plan = plan_from_mask(frozen)
    row = Row("w", shape, str(dtype), frozen.size, int(frozen.sum()), "", None, True)
    laid = Arrangement(order, rows, columns)
    subject = Subject(row, laid, plan)
    most = draw(st.integers(1, 9)), draw(st.integers(1, 9))
    return subject, subject.grid(lambda *sides: most), before, np.asarray(after), frozen


@given(two_values(), st.sampled_from([8, 64, 1 << 22]))
def test_a_cell_says_what_is_true_of_its_entries(given, limit):
    subject, grid, before, after, frozen = given
    panel = drift_panel(subject, grid, in_pieces(before, after, limit))
    found = panel.drift
    assert found is not None
    differs = (bits(before) != bits(after)).any(axis=-1).reshape(before.shape)
    then, now, fixed, differs = map(subject.laid.lay_out, (before, after, frozen, differs))
    for row in range(grid.shape[0]):
        for column in range(grid.shape[1]):
            cell = (
                slice(*grid.rows[row : row + 2]),
                slice(*grid.columns[column : column + 2]),
            )
            with np.errstate(invalid="ignore"):
                wide = np.complex128 if then.dtype.kind == "c" else np.float64
                apart = np.abs(now[cell].astype(wide) - then[cell].astype(wide))
            finite = np.isfinite(apart)
            here = (row, column)
            assert panel.share[here] == fixed[cell].mean()
            assert found.moved[here] == differs[cell].sum()
            assert found.leaked[here] == (differs & fixed)[cell].sum()
            assert found.nonfinite[here] == (differs[cell] & ~finite).sum()
            assert found.largest[here] == apart[differs[cell] & finite].max(initial=0)


@given(two_values(), st.sampled_from([8, 64, 1 << 22]))
def test_the_first_leak_is_the_first_in_the_order_of_the_weight(given, limit):
    subject, grid, before, after, frozen = given
    first = drift_panel(subject, grid, in_pieces(before, after, limit)).first
    differs = (bits(before) != bits(after)).any(axis=-1).reshape(before.shape)
    leaked = np.argwhere(differs & frozen)
    assert (first is None) == (len(leaked) == 0)
    if first is not None:
        assert first.index == tuple(leaked[0])
        assert str(before[first.index]) in first.before


def test_far_apart_is_not_infinite():
    far = np.full((1, 1), 3e38, "float32")
    row = Row("w", (1, 1), "float32", 1, 0, "", None, True)
    subject = Subject(row, Arrangement((0, 1), Side(1, 1), Side(1, 1)), None)
    found = drift_panel(subject, subject.grid(lambda *_: (1, 1)), in_pieces(far, -far)).drift
    assert found is not None
    assert found.nonfinite.sum() == 0
    assert found.largest[0, 0] == pytest.approx(6e38)


# Places of entries.


def placed(layer, name):
    (weight,) = [w for w in weights(layer) if w.path.endswith(name)]
    laid = arrangement(weight)
    shape = tuple(weight.variable.shape)
    entries = np.arange(np.prod(shape, dtype=int)).reshape(shape)
    return laid, entries, laid.lay_out(entries)


def attention(query_heads=4, key_value_heads=None):
    if key_value_heads is None:
        layer = keras.layers.MultiHeadAttention(query_heads, 3, name="attention")
    else:
        layer = keras.layers.GroupQueryAttention(3, query_heads, key_value_heads, name="attention")
    layer.build((None, 5, 7), (None, 5, 7))
    return layer


def test_heads_lie_side_by_side():
    laid, entries, shown = placed(attention(), "query/kernel")
    assert (laid.columns.tiles, laid.columns.inner) == (4, 3)
    assert laid.columns.label == "head (3 columns each)"
    assert_array_equal(shown, np.concatenate([entries[:, head] for head in range(4)], axis=1))
    laid, entries, shown = placed(attention(), "attention_output/kernel")
    assert (laid.rows.tiles, laid.rows.inner, laid.columns.label) == (4, 3, "unit")
    assert_array_equal(shown, np.concatenate(list(entries)))
    laid, entries, shown = placed(attention(), "value/bias")
    assert (laid.rows.label, laid.columns.label) == ("head", "feature")
    assert_array_equal(shown, entries)


def test_heads_of_keys_are_those_of_keys():
    laid, _, _ = placed(attention(4, 2), "key/kernel")
    assert (laid.columns.tiles, laid.columns.inner) == (2, 3)


def test_heads_first_in_the_kernel_lie_side_by_side_too():
    """Gemma's projections have such kernels."""

    class Attention(keras.layers.Layer):
        def __init__(self):
            super().__init__()
            self.num_heads = 4
            self.query = keras.layers.EinsumDense("btd,ndh->btnh", (None, 4, 3), name="query")

    layer = Attention()
    layer.query.build((None, 5, 7))
    laid, entries, shown = placed(layer, "query/kernel")
    assert (laid.columns.tiles, laid.columns.inner, laid.rows.size) == (4, 3, 7)
    assert_array_equal(shown, np.concatenate(list(entries), axis=1))


def test_heads_of_a_kernel_that_has_features_first():
    class Attention(keras.layers.Layer):
        def __init__(self):
            super().__init__()
            self.num_heads = 4
            self.query = keras.layers.EinsumDense("btd,dhn->bthn", (None, 3, 4), name="query")

    layer = Attention()
    layer.query.build((None, 5, 7))
    laid, entries, shown = placed(layer, "query/kernel")
    assert (laid.columns.tiles, laid.columns.inner) == (4, 3)
    assert_array_equal(shown, np.concatenate([entries[:, :, head] for head in range(4)], axis=1))


def test_a_selection_of_heads_is_whole_tiles():
    layer = attention()
    fl.freeze(layer, "*", fl.heads([1]))
    for path in ("*/kernel", "*/bias"):
        for axes in maps(fl.plot(layer, path)):
            share = image(axes, "frozen")
            assert set(np.unique(share)) <= {0.0, 1.0}
    (axes,) = maps(fl.plot(layer, "query/kernel"))
    assert image(axes, "frozen")[0].tolist() == [0] * 3 + [1] * 3 + [0] * 6
    assert [text.get_text() for text in axes.get_xticklabels()] == ["0", "1", "2", "3"]


def test_windows_of_a_convolution():
    layer = keras.layers.Conv2D(4, (3, 5))
    layer.build((None, 8, 8, 2))
    laid, entries, shown = placed(layer, "kernel")
    assert shown.shape == (2 * 3, 4 * 5)
    for inside in range(2):
        for out in range(4):
            window = shown[3 * inside :, 5 * out :][:3, :5]
            assert_array_equal(window, entries[:, :, inside, out])
    assert laid.rows.label == "input channel (3 rows each)"
    assert laid.columns.label == "output channel (5 columns each)"


CONVOLUTIONS = {
    "1": (lambda: keras.layers.Conv1D(4, 3), (None, 8, 2), (2, 4 * 3)),
    "3": (lambda: keras.layers.Conv3D(4, (2, 3, 5)), (None, 8, 8, 8, 2), (2 * 6, 4 * 5)),
    "transposed": (lambda: keras.layers.Conv2DTranspose(4, (3, 5)), (None, 8, 8, 2), (6, 20)),
    "depthwise": (
        lambda: keras.layers.DepthwiseConv2D((3, 5), depth_multiplier=2),
        (None, 8, 8, 4),
        (2 * 3, 4 * 5),
    ),
    "one input channel": (lambda: keras.layers.Conv2D(4, 3), (None, 8, 8, 1), (3, 12)),
}


@pytest.mark.parametrize(("make", "given", "shape"), CONVOLUTIONS.values(), ids=CONVOLUTIONS)
def test_other_convolutions(make, given, shape):
    layer = make()
    layer.build(given)
    laid, entries, shown = placed(layer, "kernel")
    assert shown.shape == shape
    assert sorted(shown.ravel()) == sorted(entries.ravel())
    fl.freeze(layer, "*kernel", fl.units([1]))
    (axes,) = maps(fl.plot(layer, "*kernel"))
    share = image(axes, "frozen")
    assert share.sum() * np.prod(shape) == share.size * fl.summary(layer).rows[0].frozen
    assert {0.0, 1.0} == set(np.unique(share))
    if laid.rows.inner == 3 and laid.rows.tiles == 1:
        # A single tile counts as a tile too: the ticks number channels, not rows.
        assert [text.get_text() for text in axes.get_yticklabels()] == ["0"]


@pytest.mark.parametrize(
    ("kind", "gates"),
    [
        (keras.layers.LSTM, ["input", "forget", "cell", "output"]),
        (keras.layers.GRU, ["update", "reset", "state"]),
    ],
)
def test_gates_are_named(kind, gates):
    layer = kind(3)
    layer.build((None, 4, 2))
    fl.freeze(layer, "*", fl.units(0))
    figure = fl.plot(layer)
    for axes in maps(figure):
        assert [text.get_text() for text in axes.get_xticklabels()] == gates
        assert image(axes, "frozen")[0].tolist() == [1, 0, 0] * len(gates)
