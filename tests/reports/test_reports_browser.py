"""Reports and the HTML of summaries in a real browser: offline, without errors, used as usual."""

import base64
import re

import keras
import numpy as np
import pytest

import browser
import frostline as fl
from frostline._console import percent
from frostline._plots import colors
from helpers import invoke, value
from models import dense, frozen_variously, large, moved
from pages import (
    assert_contrast,
    lines,
    listed,
    names,
    open_row,
    overflow,
    row,
    texts,
)

pytestmark = pytest.mark.once

TIMES = "\N{MULTIPLICATION SIGN}"
LEAK = "lstm/lstm_cell/kernel"
COLUMNS = {
    "weight": "path",
    "shape": "shape",
    "dtype": "dtype",
    "entries": "size",
    "frozen": "frozen",
    "share": "share",
    "kind": "kind",
    "trains": "trains",
    "slots": "slots_kept",
    "moved": "changed",
    "largest drift": "largest",
    "leaked": "leaked",
}


READ = """(canvas) => {
  const copy = new OffscreenCanvas(canvas.width, canvas.height);
  const context = copy.getContext("2d", { willReadFrequently: true });
  context.drawImage(canvas, 0, 0);
  const data = context.getImageData(0, 0, canvas.width, canvas.height).data;
  const text = Array.from(data, (part) => String.fromCharCode(part)).join("");
  return [canvas.width, canvas.height, btoa(text)];
}"""


def image(canvas):
    """The pixels of a canvas, `uint8[height, width, 3]`."""
    width, height, data = canvas.evaluate(READ)
    pixels = np.frombuffer(base64.b64decode(data), np.uint8)
    return pixels.reshape(height, width, 4)[..., :3]


def color(pixels):
    """The colour of a pixel as `#rrggbb`."""
    return "#" + bytes(pixels).hex()


def cell(image, cells, row, column, at=(0.5, 0.5)):
    """The colour of a cell, at the place `at` in it, on a map of `cells` rows and columns."""
    shares = (row + at[0]) / cells[0], (column + at[1]) / cells[1]
    y, x = (int(share * size) for share, size in zip(shares, image.shape, strict=False))
    return color(image[y, x])


def share(image, wanted):
    """The share of an image that has a colour."""
    return (image == np.frombuffer(bytes.fromhex(wanted[1:]), np.uint8)).all(axis=-1).mean()


# The browser itself.


def test_the_browser_is_the_one_that_is_named(tmp_path, monkeypatch):
    for name in ("named", "chromium"):
        (tmp_path / name).write_text("")
        (tmp_path / name).chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv(browser.VARIABLE, raising=False)
    assert browser.find() == str(tmp_path / "chromium")
    monkeypatch.setenv(browser.VARIABLE, str(tmp_path / "named"))
    assert browser.find() == str(tmp_path / "named")
    monkeypatch.setenv(browser.VARIABLE, "missing")
    with pytest.raises(RuntimeError, match="FROSTLINE_BROWSER=missing: no such program"):
        browser.required()


def test_without_a_browser_one_line_says_what_to_do(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv(browser.VARIABLE, raising=False)
    monkeypatch.setattr(browser, "ON_A_MAC", ())
    assert browser.install() is None
    with pytest.raises(RuntimeError, match="no Chromium or Chrome, which the tests of pages need"):
        browser.required()


# The contents of a page.


def test_a_page_says_what_summary_says(opened, made):
    path, model, _ = made
    found = fl.summary(model).to_dict()
    with opened(path) as page:
        assert sorted(listed(page)) == sorted(weight["path"] for weight in found["weights"])
        for key in ("size", "frozen", "trained", "optimizer_bytes_kept", "delta_bytes"):
            assert f"{found[key]:,}" in texts(page.locator(".tiles b"))
        assert (
            f"{found['optimizer_bytes_saved']:,} bytes saved" in page.locator(".tiles").inner_text()
        )
        data = page.evaluate("JSON.parse(document.getElementById('data').textContent)")
        assert {**found, **data["summary"]} == found
        for shown, weight in zip(data["weights"], found["weights"], strict=True):
            assert {**weight, **{key: shown[key] for key in weight}} == weight
        for weight in found["weights"]:
            cells = texts(row(page, weight["path"]).locator("td"))
            assert cells[:6] == [
                str(tuple(weight["shape"])),
                weight["dtype"],
                f"{weight['size']:,}",
                f"{weight['frozen']:,}",
                percent(weight["frozen"], weight["size"]),
                weight["kind"],
            ]
            assert cells[6:8] == ["yes" if weight["trains"] else "no", f"{weight['slots_kept']:,}"]


def test_a_row_opens_to_the_other_numbers(opened, made):
    path, model, _ = made
    weight = next(w for w in fl.summary(model).to_dict()["weights"] if w["path"] == LEAK)
    with opened(path) as page:
        open_row(page, LEAK)
        for key in ("trained", "slots_saved", "optimizer_bytes_kept", "delta_bytes"):
            assert page.locator(f"dd[data-key={key}]").inner_text() == f"{weight[key]:,}"


def test_a_leak_is_the_first_thing_to_be_seen(opened, made):
    path, _, before = made
    was = before[LEAK][0, 3]
    with opened(path) as page:
        verdict = page.locator(".verdict.leak")
        assert verdict.bounding_box()["y"] < 300
        said = verdict.inner_text()
        assert "LEAK: 1 frozen entry moved" in said
        assert (
            f"1 of 293 frozen entries differ, in 1 weight. The first is {LEAK}[0, 3]: {was!s}"
            in said
        )
        assert "18 of 28 weights, 777 of 1,069 entries" in said
        verdict.get_by_role("link").click()
        page.locator("button.open:focus").wait_for()
        assert page.evaluate("document.activeElement.textContent") == LEAK
        assert "1 frozen entry moved" in page.locator(".leaktext").inner_text()


def test_a_page_without_a_leak_says_so(opened, tmp_path):
    layer = dense(3, 4)
    fl.freeze(layer, "kernel", fl.at[0])
    before = fl.snapshot(layer)
    with opened(fl.report(layer, before, path=tmp_path / "report.html")) as page:
        assert "OK: no frozen entry moved" in page.locator(".verdict.ok").inner_text()
        assert "4 frozen entries compared bit for bit, 0 differ" in page.inner_text(".verdict")
        assert "0 of 2 weights, 0 of 16 entries" in page.inner_text(".verdict")


def test_a_page_without_before_shows_no_drift(opened, tmp_path):
    with opened(fl.report(dense(3, 4), path=tmp_path / "report.html")) as page:
        assert "before = fl.snapshot(model)" in page.locator(".verdict.none").inner_text()
        assert "moved" not in texts(page.locator("thead th"))
        assert open_row(page, "kernel").count() == 1


# Sorting, searching and keys.


@pytest.fixture(scope="module")
def sortable(opened, made):
    """One page that the tests of all columns share, whatever its order, and its data."""
    with opened(made[0], width=1281) as page:
        yield page, page.evaluate("JSON.parse(document.getElementById('data').textContent)")


@pytest.mark.parametrize("column", COLUMNS)
def test_a_click_on_a_column_sorts_the_table(sortable, column):
    page, data = sortable
    keys = {weight["path"]: weight[COLUMNS[column]] for weight in data["weights"]}
    head = page.locator("thead th").nth(list(COLUMNS).index(column))
    said = []
    for _ in range(2):
        head.get_by_role("button").click()
        said.append(head.get_attribute("aria-sort"))
        shown = [keys[name] for name in names(page)]
        assert len(shown) == len(keys)
        if column == "shape":
            shown = [(len(shape), shape) for shape in shown]
        assert shown == sorted(shown, reverse=said[-1] == "descending")
    assert sorted(said) == ["ascending", "descending"]
    assert page.locator("[aria-sort=ascending], [aria-sort=descending]").count() == 1


def test_a_search_leaves_the_weights_that_match(opened, made):
    path, _, _ = made
    with opened(path) as page:
        page.keyboard.press("/")
        page.keyboard.type("LSTM bias")
        assert names(page) == ["lstm/lstm_cell/bias"]
        assert page.locator(".count").inner_text() == "1 of 28 weights"
        page.keyboard.type(" nothing")
        assert page.get_by_text("No weight matches").is_visible()
        page.keyboard.press("Escape")
        assert page.locator(".count").inner_text() == "28 weights"
        assert "Partly frozen: 13 weights" in lines(page)


@pytest.mark.parametrize("name", ["partly frozen", "moved", "leaked"])
def test_a_filter_leaves_the_weights_of_its_kind(opened, made, name):
    path, _, _ = made
    tests = {
        "partly frozen": lambda w: 0 < w["share"] < 1,
        "moved": lambda w: w["changed"],
        "leaked": lambda w: w["leaked"],
    }
    with opened(path) as page:
        weights = page.evaluate("JSON.parse(document.getElementById('data').textContent).weights")
        page.get_by_label(name, exact=True).check()
        assert names(page) == [w["path"] for w in weights if tests[name](w)]
        assert 0 < len(names(page)) < len(weights)


def test_the_page_is_used_by_keyboard_alone(opened, made):
    path, _, _ = made
    focused = "document.activeElement.textContent"
    with opened(path) as page:
        page.keyboard.press("/")
        page.keyboard.press("ArrowDown")
        assert page.evaluate(focused) == LEAK
        page.keyboard.press("ArrowDown")
        assert page.evaluate(focused) == "attention"
        page.keyboard.press("End")
        assert page.evaluate(focused) == "scaled/gamma"
        page.keyboard.press("Home")
        page.keyboard.press("Enter")
        button = page.locator("button.open").first
        assert button.get_attribute("aria-expanded") == "true"
        assert button.evaluate("e => getComputedStyle(e).outlineStyle") == "solid"
        page.keyboard.press("Tab")
        page.locator("canvas[data-drawn]:focus").wait_for()
        page.keyboard.press("ArrowDown")
        page.keyboard.press("ArrowRight")
        said = page.locator(".said").first
        assert said.inner_text().startswith("[1, 1] · ")
        page.keyboard.press("Escape")
        assert button.get_attribute("aria-expanded") == "false"
        assert page.evaluate(focused) == LEAK
        assert page.locator("tr.detail:visible").count() == 0
        page.keyboard.press("ArrowDown")
        page.keyboard.press("ArrowDown")
        assert page.evaluate(focused) == "attention/query/kernel"
        page.keyboard.press("Escape")
        assert page.evaluate(focused) == "attention"
        assert "attention/query/kernel" not in names(page)


# Maps.


def test_one_leaked_entry_of_a_large_weight_has_the_colour_of_a_leak(opened, tmp_path):
    layer = dense(2000, 1500)
    fl.freeze(layer, "kernel", fl.at[:1000])
    before = fl.snapshot(layer)
    changed = value(layer.kernel) + np.float32(0.5)
    changed[:1000] = before["kernel"][:1000]
    changed[333, 777] += 1
    layer.kernel.assign(changed)
    with opened(fl.report(layer, before, path=tmp_path / "report.html")) as page:
        frozen, drift = open_row(page, "kernel").all()
        cells = (512, 512)
        edges = [np.arange(513) * size // 512 for size in (2000, 1500)]
        place = [
            int(np.searchsorted(edge, entry, "right")) - 1
            for edge, entry in zip(edges, (333, 777), strict=True)
        ]
        found, mask = image(drift), image(frozen)
        assert cell(found, cells, *place) == colors.LEAK
        assert cell(mask, cells, 100, 100) == colors.FROZEN
        assert cell(mask, cells, 400, 100) == colors.TRAINS
        # The frozen half has the colour of equal entries, and lines over a part of it.
        assert share(found, colors.EQUAL) > 0.25
        assert 0.01 < share(found, colors.HATCH) < 0.25
        assert share(found[found.shape[0] // 2 + 2 :], colors.HATCH) == 0
        box = drift.bounding_box()
        assert box is not None
        x, y = ((place[1] + 0.5) / 512 * box["width"], (place[0] + 0.5) / 512 * box["height"])
        drift.hover(position={"x": x, "y": y})
        said = page.locator(".said").last.inner_text()
        assert "LEAK: 1 frozen moved" in said
        assert re.match(r"\[33[0-3]:33[4-7], 77[5-7]:7(78|79|80)\]", said)
        assert "largest drift 1" in said


def test_colours_and_words_of_each_kind_of_cell(opened, tmp_path):
    layer = dense(2, 3)
    fl.freeze(layer, "kernel", fl.at[0])
    layer.kernel.assign(np.zeros((2, 3)))
    before = fl.snapshot(layer)
    layer.kernel.assign([[0, -0.0, 0], [0, 0.25, np.nan]])
    with opened(fl.report(layer, before, path=tmp_path / "report.html")) as page:
        _, drift = open_row(page, "kernel").all()
        found = image(drift)
        assert cell(found, (2, 3), 0, 1) == colors.LEAK
        assert cell(found, (2, 3), 1, 0) == colors.EQUAL
        assert cell(found, (2, 3), 1, 2) == colors.NONFINITE
        others = (colors.LEAK, colors.EQUAL, colors.NONFINITE)
        assert cell(found, (2, 3), 1, 1) not in others
        said = []
        for row, column in ((0, 0), (0, 1), (1, 1), (1, 2)):
            box = drift.bounding_box()
            assert box is not None
            drift.hover(
                position={
                    "x": box["width"] * (column + 0.5) / 3,
                    "y": box["height"] * (row + 0.5) / 2,
                }
            )
            said.append(page.locator(".said").last.inner_text())
        assert said == [
            "[0, 0] · frozen · bit-identical",
            "[0, 1] · frozen · drift 0 · LEAK: 1 frozen moved",
            "[1, 1] · trains · drift 0.25",
            "[1, 2] · trains · drift 0 · 1 NaN or infinite",
        ]


@pytest.mark.parametrize("path", ["attention/query/kernel", "both/forward_gru/gru_cell/kernel"])
def test_a_cell_says_which_entries_it_holds(opened, made, path):
    report, _, _ = made
    with opened(report) as page:
        canvas = open_row(page, path).first
        canvas.focus()
        page.keyboard.press("ArrowDown")
        page.keyboard.press("End")
        said = page.locator(".said").first.inner_text()
        expected = {
            "attention/query/kernel": "[1, 1, 2] · head 1 · trains",
            "both/forward_gru/gru_cell/kernel": "[1, 8] · gate state · trains",
        }
        assert said.startswith(expected[path])


# Phones, narrow windows and paper.


def test_on_a_phone_nothing_is_cut_off(opened, made):
    path, model, _ = made
    with opened(path, width=390, height=844, is_mobile=True, has_touch=True) as page:
        assert overflow(page) <= 0
        open_row(page, LEAK)
        assert overflow(page) <= 0
        assert len(listed(page)) == len(fl.summary(model).rows)
        cells = row(page, LEAK).locator("td")
        assert all(cell.is_visible() for cell in cells.all())
        assert cells.evaluate_all(
            "all => all.every((cell) => cell.scrollWidth <= cell.clientWidth)"
        )
        page.get_by_label("Sort by").select_option("frozen")
        assert names(page)[0] == "lstm/lstm_cell/recurrent_kernel"
        assert len(names(page)) == len(fl.summary(model).rows)
        page.get_by_label("Reverse the order").click()
        assert names(page)[0] == "tokens/embeddings"
        assert overflow(page) <= 0


def test_a_finger_points_at_a_cell(opened, made):
    path, _, _ = made
    with opened(path, width=390, height=844, is_mobile=True, has_touch=True) as page:
        open_row(page, LEAK)
        canvas = page.locator("figure canvas[data-drawn]").first
        canvas.scroll_into_view_if_needed()
        canvas.tap(position={"x": 5, "y": 5})
        said = page.locator("figure .said").first
        assert said.text_content().startswith("[")


def test_a_narrow_window_scrolls_the_table_alone(opened, made):
    path, _, _ = made
    with opened(path, width=900) as page:
        assert overflow(page) <= 0
        assert page.locator(".box").evaluate("e => e.scrollWidth > e.clientWidth")


@pytest.mark.parametrize("width", [800, 1024, 1200, 1281])
def test_the_column_of_leaks_is_in_sight_at_any_width(opened, made, width):
    path, _, _ = made
    with opened(path, width=width) as page:
        for cell in page.locator('[data-name="leaked"]:visible').all():
            box = cell.bounding_box()
            assert box["x"] + box["width"] <= width
            middle = [box["x"] + box["width"] / 2, box["y"] + box["height"] / 2]
            top = (
                "([x, y]) => document.elementFromPoint(x, y)?.closest('[data-name]')?.dataset.name"
            )
            if middle[1] < 900:
                assert page.evaluate(top, middle) == "leaked"


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
def test_text_is_read_on_what_it_stands_on(opened, made, dark):
    path, _, _ = made
    with opened(path, dark=dark) as page:
        open_row(page, LEAK)
        page.locator("canvas").last.hover()
        assert_contrast(page)
        background = page.evaluate("getComputedStyle(document.body).backgroundColor")
        assert (sum(map(int, re.findall(r"\d+", background))) < 150) == dark


def test_a_printed_page_has_the_table_and_no_controls(opened, made):
    path, _, _ = made
    with opened(path) as page:
        page.emulate_media(media="print")
        assert not page.locator(".controls").is_visible()
        assert names(page)[:2] == [LEAK, "attention/query/kernel"]
        assert page.locator(".verdict").is_visible()


def test_without_javascript_the_whole_table_is_there(opened, made):
    path, model, _ = made
    with opened(path, java_script_enabled=False) as page:
        assert sorted(names(page)) == sorted(row.path for row in fl.summary(model).rows)
        assert page.locator("tr[id^=w] td:visible").count() == 28 * 11
        assert "need JavaScript" in page.inner_text("main")
        assert not page.locator(".controls").is_visible()


HOSTILE = [
    "</script><script>document.title='owned'</script>",
    "<b>bold</b> & \"quotes\" 'single' `tick` ${1}",
    "<img src=x onerror=alert(1)>",
    "\u202eright-to-left \u0639\u0631\u0628\u064a",
    "$title {{braces}} \\u003c <!-- comment",
    "nul\x00 and bell\x07 and \u2028 line",
]


def test_names_that_would_break_a_page(opened, tmp_path):
    class Holder(keras.layers.Layer):
        def build(self, *_):
            shapes = {f"w{n}": (2, 2) for n in range(len(HOSTILE))}
            self.all = [self.add_weight(shape=s, name=n) for n, s in shapes.items()]

    layer = Holder(name="<i>model")
    layer.build()
    fl.freeze(layer, layer.all[0], fl.at[0])
    for variable, name in zip(layer.all, HOSTILE, strict=True):
        variable._name = name  # Keras refuses only a slash, and other programs not even that
    before = fl.snapshot(layer)
    layer.all[0].assign(np.ones((2, 2)))
    with opened(fl.report(layer, before, path=tmp_path / "a <b> report.html")) as page:
        shown = list(HOSTILE)
        for sign in "\x00\x07\u2028\u202e":
            escaped = sign.encode("unicode_escape").decode()
            shown = [name.replace(sign, escaped) for name in shown]
        # The rest of the text is shown as it is, except that white space is trimmed.
        shown = [name.strip() for name in shown]
        assert sorted(listed(page)) == sorted(shown)
        assert page.title().startswith("<i>model: ")
        assert page.locator("h1").inner_text() == "<i>model"
        assert page.locator("b", has_text="bold").count() == page.locator("img").count() == 0
        row(page, re.escape(HOSTILE[0])).get_by_role("button").click()
        assert HOSTILE[0] in page.locator(".leaktext").inner_text()
        page.get_by_role("searchbox").fill("</script>")
        assert len(names(page)) == 1
        assert page.evaluate("document.title") == page.title()


def test_a_page_of_many_weights_lists_and_sorts_them(opened, tmp_path):
    inputs = x = keras.Input((4,))
    for n in range(250):
        x = keras.layers.Dense(4, name=f"dense_{n}")(x)
    model = keras.Model(inputs, x, name="many")
    path = fl.report(model, fl.snapshot(model), path=tmp_path / "report.html")
    with opened(path) as page:
        assert len(listed(page)) == 500
        assert lines(page) == [
            "Not frozen, not moved: 500 weights",
            f"dense_0 … dense_249 {TIMES} 250 500 weights, not frozen",
            f"kernel {TIMES} 250",
            f"bias {TIMES} 250",
        ]
        page.get_by_role("columnheader", name="entries").get_by_role("button").click()
        assert names(page)[0] == "dense_0/kernel"
        assert len(names(page)) == 500
        page.get_by_role("searchbox").fill("dense_24")
        assert len(names(page)) == 22


# The HTML of a summary, as a notebook shows it.


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
def test_the_html_of_a_summary(opened, tmp_path, dark):
    model = frozen_variously(large())
    colors = "background:#111;color:#eee" if dark else "background:#fff;color:#111"
    path = tmp_path / "summary.html"
    body = f"<body style='font-family:sans-serif;font-size:13px;{colors}'>"
    html = fl.summary(model, depth=1)._repr_html_()
    path.write_text(f"<!doctype html><meta charset=utf-8>{body}{html}</body>", encoding="utf-8")
    with opened(path, dark=dark) as page:
        found = fl.summary(model)
        assert f"{found.frozen:,} of {found.size:,} entries frozen" in page.inner_text("caption")
        folded = page.locator("summary")
        assert folded.count() > 3
        folded.first.click()
        assert page.locator("details[open] td").first.is_visible()
        assert overflow(page) <= 0
        assert_contrast(page)


def test_the_html_of_a_summary_of_hostile_names(opened, tmp_path):
    layer = dense(2, 2)
    layer.kernel._name = "<script>document.title='owned'<b>"
    path = tmp_path / "summary.html"
    html = fl.summary(layer)._repr_html_()
    path.write_text(f"<!doctype html><meta charset=utf-8><title>t</title>{html}", encoding="utf-8")
    with opened(path) as page:
        assert page.title() == "t"
        assert "<script>document.title='owned'<b>" in page.inner_text("table")


def test_a_page_of_files_opens(opened, tmp_path, monkeypatch):
    model = frozen_variously(large())
    model.save(tmp_path / "before.keras")
    moved(model, "out/kernel", (0, 1), 5.0).save(tmp_path / "after.keras")
    files = [str(tmp_path / name) for name in ("before.keras", "after.keras", "report.html")]
    result = invoke("diff", *files[:2], "--html", files[2])
    assert result.exit_code == 1
    with opened(tmp_path / "report.html") as page:
        assert "LEAK: 1 frozen entry moved" in page.locator(".verdict.leak").inner_text()
        assert "trains" not in texts(page.locator("thead th"))
        assert open_row(page, "out/kernel").count() == 2
