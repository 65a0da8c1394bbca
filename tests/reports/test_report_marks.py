"""The maps of a report mark parts that are too small to see, as plots do."""

import keras
import pytest

import frostline as fl
from frostline._plots.colors import MARK, TRAINS
from helpers import value
from models import dense

pytestmark = pytest.mark.once

PIXELS = """([canvas, color]) => {
  const { width, height } = canvas;
  const copy = new OffscreenCanvas(width, height).getContext("2d", { willReadFrequently: true });
  copy.drawImage(canvas, 0, 0);
  const { data } = copy.getImageData(0, 0, width, height);
  const wanted = [1, 3, 5].map((at) => parseInt(color.slice(at, at + 2), 16));
  const rows = new Set();
  for (let at = 0; at < data.length; at += 4) {
    if (wanted.every((part, place) => Math.abs(data[at + place] - part) < 8)) {
      rows.add(Math.floor(at / 4 / width) / height);
    }
  }
  return [...rows];
}"""


def rows_of(page, number, color):
    """The rows of a map that have pixels of a color, as shares of its height."""
    canvas = page.locator("canvas").nth(number)
    canvas.scroll_into_view_if_needed()
    page.wait_for_function("canvas => 'drawn' in canvas.dataset", arg=canvas.element_handle())
    return canvas.evaluate(
        f"(canvas, color) => ({PIXELS})([canvas, color])",
        color,
    )


def test_all_rows_but_two_of_a_table(opened, tmp_path):
    layer = keras.layers.Embedding(3000, 64, name="tokens")
    layer.build()
    fl.freeze(layer, "*", ~fl.tokens([1500, 1501]))
    before = fl.snapshot(layer)
    changed = value(layer.embeddings)
    changed[1500:1502] += 0.01
    layer.embeddings.assign(changed)
    path = fl.report(layer, before, path=tmp_path / "report.html")
    with opened(path) as page:
        page.get_by_role("button", name="embeddings").first.click()
        marked, trains = rows_of(page, 0, MARK), rows_of(page, 0, TRAINS)
        assert 0.45 < min(marked) < 0.5 < max(marked) < 0.55
        assert 0.48 < min(trains) < max(trains) < 0.52
        marked = rows_of(page, 1, MARK)
        assert 0.45 < min(marked) < 0.5 < max(marked) < 0.55


def test_what_can_be_seen_has_no_mark(opened, tmp_path):
    layer = dense(20, 20)
    fl.freeze(layer, "kernel", fl.at[3, 4])
    path = fl.report(layer, path=tmp_path / "report.html")
    with opened(path) as page:
        page.get_by_role("button", name="kernel").first.click()
        assert rows_of(page, 0, MARK) == []
