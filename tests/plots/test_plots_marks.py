"""Parts that are too small to see are marked, and windows of convolutions are legible."""

from typing import Any

import keras
import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure

import frostline as fl
from frostline._plots.colors import FROZEN, MARK, TRAINS
from frostline._plots.marks import boxes
from helpers import image, maps, value
from models import dense

pytestmark = pytest.mark.once

layers = keras.layers


def near(figure: Any, axes: Any, entry: tuple[float, float], color: str, reach: int = 12) -> int:
    """Count the pixels of a colour around an entry `(row, column)` of a map."""
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    pixels = np.asarray(canvas.buffer_rgba())[..., :3].astype(float)
    x, y = axes.transData.transform(entry[::-1])
    row, column = round(pixels.shape[0] - y), round(x)
    around = pixels[max(row - reach, 0) : row + reach, max(column - reach, 0) : column + reach]
    return int((np.abs(around - np.array(to_rgb(color)) * 255).max(axis=-1) < 8).sum())


def table(frozen: Any) -> keras.layers.Embedding:
    layer = layers.Embedding(3000, 64, name="tokens")
    layer.build()
    fl.freeze(layer, "*", frozen)
    return layer


@pytest.mark.parametrize(
    ("rows", "seen"), [([2998, 2999], 2999), ([0, 1], 0), ([1400, 1401], 1400)], ids=str
)
def test_all_rows_but_two_of_a_table(rows, seen):
    figure = fl.plot(table(~fl.tokens(rows)))
    (axes,) = maps(figure)
    assert near(figure, axes, (seen, 32), MARK) > 10
    assert near(figure, axes, (seen, 32), TRAINS) > 30
    assert near(figure, axes, (700, 32), MARK) == near(figure, axes, (700, 32), TRAINS) == 0
    labels = [text.get_text() for text in figure.legends[0].get_texts()]
    assert labels[-1] == "smaller than 2 pixels, drawn larger"


def test_two_frozen_rows_of_a_table():
    figure = fl.plot(table(fl.tokens([1400, 1401])))
    (axes,) = maps(figure)
    assert near(figure, axes, (1400, 32), MARK) > 10
    assert near(figure, axes, (1400, 32), FROZEN) > 30


def test_one_entry_of_a_large_kernel():
    layer = dense(4096, 4096)
    fl.freeze(layer, "kernel", ~fl.at[1234, 567])
    before = fl.snapshot(layer)
    changed = value(layer.kernel)
    changed[1234, 567] += 0.01
    layer.kernel.assign(changed)
    figure = fl.plot(layer, "kernel")
    assert near(figure, maps(figure)[0], (1234, 567), MARK) > 20
    assert near(figure, maps(figure)[0], (1234, 567), TRAINS, 4) > 8
    figure = fl.plot_drift(before, layer, "kernel")
    assert near(figure, maps(figure)[0], (1234, 567), MARK) > 20
    own = Figure((5, 5), dpi=100)
    axes = own.subplots()
    fl.plot(layer, "kernel", ax=axes)
    assert near(own, axes, (1234, 567), MARK) > 20


def test_one_column_is_marked_as_one_row_is():
    layer = dense(64, 3000)
    fl.freeze(layer, "kernel", ~fl.at[:, 1500])
    figure = fl.plot(layer, "kernel")
    (axes,) = maps(figure)
    assert near(figure, axes, (32, 1500), MARK) > 10
    assert near(figure, axes, (32, 1500), TRAINS) > 30


def marks(figure: Any) -> list[Any]:
    found = [child for axes in figure.axes for child in axes.get_children()]
    return [child for child in found if child.get_gid() == "mark"]


def test_what_can_be_seen_has_no_mark():
    layer = dense()
    fl.freeze(layer, "kernel", fl.at[2, 3])
    assert marks(fl.plot(layer, "kernel")) == []
    large = dense(2000, 2000)
    for where in (fl.at[:1000], fl.at[::2], lambda w: w > 0):
        fl.freeze(large, "kernel", where)
        assert marks(fl.plot(large, "kernel")) == []
        fl.unfreeze(large)


def test_a_leak_has_its_ring_and_no_other_mark():
    layer = dense(4096, 4096)
    fl.freeze(layer, "kernel", fl.at[:])
    before = fl.snapshot(layer)
    changed = value(layer.kernel)
    changed[1234, 567] += 0.01
    layer.kernel.assign(changed)
    assert marks(fl.plot_drift(before, layer, "kernel")) == []


def test_boxes_are_the_cells():
    random = np.random.default_rng(0)
    for cells in (random.random((9, 7)) < 0.4, np.ones((3, 4), bool), np.zeros((2, 2), bool)):
        covered = np.zeros(cells.shape, int)
        for top, bottom, left, right in boxes(cells):
            covered[top:bottom, left:right] += 1
        np.testing.assert_array_equal(covered, cells)


# Windows of convolutions.


def convolution(filters: int, window: Any, channels: int) -> keras.layers.Conv2D:
    layer = layers.Conv2D(filters, window, name="conv")
    layer.build((None, 16, 16, channels))
    return layer


def lines(axes: Any) -> int:
    """Count the collections of lines between tiles."""
    found = [one for one in axes.collections if type(one).__name__ == "LineCollection"]
    return sum(one.get_gid() != "mark" for one in found)


def test_windows_that_are_too_small_are_a_cell_each():
    layer = convolution(64, 3, 32)
    fl.freeze(layer, "kernel", fl.units([5]) | fl.at[0, 0, 7, 9])
    (axes,) = maps(fl.plot(layer, "kernel"))
    share = image(axes, "frozen")
    assert share.shape == (32, 64)
    assert (share[:, 5] == 1).all()
    assert share[7, 9] == pytest.approx(1 / 9)
    assert share.sum() == pytest.approx(32 + 1 / 9)
    assert lines(axes) == 0


def test_a_few_windows_are_drawn_entry_by_entry_with_lines_between():
    layer = convolution(4, 3, 2)
    fl.freeze(layer, "kernel", fl.at[1, 1])
    (axes,) = maps(fl.plot(layer, "kernel"))
    assert image(axes, "frozen").shape == (6, 12)
    assert lines(axes) == 2


@pytest.mark.parametrize(
    ("window", "channels"), [((8, 1), 6), ((1, 8), 6), ((3, 3), 1), ((5, 2), 3)], ids=str
)
def test_a_window_has_its_proportions(window, channels):
    layer = convolution(4, window, channels)
    fl.freeze(layer, "kernel", fl.units([1]))
    (axes,) = maps(fl.plot(layer, "kernel"))
    box = axes.get_window_extent()
    high, wide = box.height / (window[0] * channels), box.width / (window[1] * 4)
    assert 0.5 <= wide / high <= 2.01


def test_maps_fill_the_page():
    keras.utils.set_random_seed(0)
    inputs = keras.Input((10,))
    names = [f"part_{name}" for name in "abcdefgh"]
    outputs = [layers.Dense(12, name=name)(inputs) for name in names]
    model = keras.Model(inputs, outputs, name="wide")
    fl.freeze(model, "*/kernel", lambda w: w > 0)
    figure = fl.plot(model, fold=False)
    boxes = [axes.get_window_extent() for axes in figure.axes]
    ends = {}
    for box in boxes:
        ends[round(box.x0)] = min(ends.get(round(box.x0), 1e9), box.y0)
    low, high = min(ends.values()), max(box.y1 for box in boxes)
    assert len(ends) > 2
    # Every column reaches into the lowest third of the page.
    assert all(end - low < (high - low) / 3 for end in ends.values())
