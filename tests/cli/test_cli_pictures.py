"""`frostline diff --html --png`: files give the same page and picture as their models."""

import json
import sys

import keras
import numpy as np
import pytest
from safetensors.numpy import save_file

import frostline as fl
from frostline._cli.pictures import subject_in_file
from frostline._files import open_file
from frostline._files.through import go_through
from frostline._plots.values import arrangement_of
from helpers import assert_command_imports_none, data_of, invoke, unpacked, value, weights
from models import frozen_variously, large, moved, small, trained

pytestmark = pytest.mark.once

layers = keras.layers


def many_axes():
    """A model of layers whose weight axes have a meaning, other than those in `large`."""
    keras.utils.set_random_seed(0)
    inputs = keras.Input((12, 12, 4))
    x = layers.Conv2D(6, 3, name="conv")(inputs)
    x = layers.DepthwiseConv2D(3, depth_multiplier=2, name="depthwise")(x)
    x = layers.SeparableConv2D(5, 3, name="separable")(x)
    x = layers.Conv2DTranspose(4, 3, name="transposed")(x)
    x = layers.Reshape((-1, 4))(x)
    x = layers.EinsumDense("abc,cd->abd", (None, 7), bias_axes="d", name="einsum")(x)
    x = layers.GroupQueryAttention(3, 4, 2, name="grouped")(x, x)
    x = layers.Bidirectional(layers.LSTM(3, return_sequences=True), name="both")(x)
    return keras.Model(inputs, layers.SimpleRNN(3, name="simple")(x), name="axes")


@pytest.mark.parametrize("suffix", ["keras", "weights.h5"])
@pytest.mark.parametrize("make", [large, many_axes, lambda: frozen_variously(large())])
def test_a_weight_lies_on_the_map_of_a_file_as_on_that_of_its_model(tmp_path, make, suffix):
    model = make()
    path = tmp_path / f"model.{suffix}"
    (model.save if suffix == "keras" else model.save_weights)(path)
    expected = {found.path: arrangement_of(found) for found in weights(model)}
    with open_file(path) as opened:
        known = {w.path: subject_in_file(w, w.frozen).laid for w in opened.weights}
    # Without a config the names of some weights are numbers, and nothing more is known of them.
    assert len(known.keys() & expected.keys()) >= len(expected) - 3
    for name in known.keys() & expected.keys():
        assert known[name] == expected[name], name


def unnamed(path):
    """Whether a weight has a number for a name, as in a file without a config."""
    return path.rpartition("/")[2].isdigit()


@pytest.fixture
def files(tmp_path):
    """Files of a model before training, after it, and after a frozen entry moved."""
    model, _ = trained()
    plain = frozen_variously(large())
    plain.save(tmp_path / "before.keras")
    model.save(tmp_path / "after.keras")
    changed = moved(model, "out/kernel", (0, 1), 5.0)
    changed.save(tmp_path / "leak.keras")
    changed.save_weights(tmp_path / "leak.weights.h5")
    for name, made in (("before", plain), ("leak", changed)):
        tensors = {found.path: value(found.variable) for found in weights(made)}
        save_file(tensors, tmp_path / f"{name}.safetensors")
    return tmp_path


@pytest.mark.parametrize("after", ["leak.keras", "leak.weights.h5"])
def test_the_page_of_files_is_the_page_of_their_models(files, after):
    page = files / "files.html"
    result = invoke("diff", files / "before.keras", files / after, "--html", page)
    assert result.exit_code == 1, result.output
    assert f"written to {page}" in result.stdout
    model = keras.saving.load_model(files / "leak.keras")
    before = fl.snapshot(keras.saving.load_model(files / "before.keras"))
    expected = {
        weight["path"]: weight
        for weight in data_of(fl.report(model, before, path=files / "model.html"))["weights"]
    }
    shown = {weight["path"]: weight for weight in data_of(page)["weights"]}
    assert len(shown) == len(expected) + 2  # plus the moving statistics
    for path, weight in shown.items():
        if path not in expected:
            assert path.startswith("norm/moving_") or unnamed(path)
            continue
        other = expected[path]
        for key in ("shape", "dtype", "size", "frozen", "kind", "changed", "largest", "leaked"):
            assert weight[key] == other[key], (path, key)
        assert weight["first"] == other["first"]
        assert weight["trains"] is weight["delta_bytes"] is None
        assert weight["map"] == other["map"]


def test_tensors_alone_with_the_freeze_of_another_file(files):
    page = files / "page.html"
    names = [files / f"{name}.safetensors" for name in ("before", "leak")]
    result = invoke("diff", *names, "--frozen", files / "before.keras", "--html", page)
    assert result.exit_code == 1, result.output
    shown = {weight["path"]: weight for weight in data_of(page)["weights"]}
    assert shown["out/kernel"]["leaked"] == 1
    assert unpacked(shown["out/kernel"])["leaked"].sum() == 1


def test_files_without_a_freeze_say_that_nothing_is_known(files):
    page, picture = files / "page.html", files / "drift.png"
    names = [files / f"{name}.safetensors" for name in ("before", "leak")]
    result = invoke("diff", *names, "--html", page, "--png", picture)
    assert result.exit_code == 0, result.output
    assert "What is frozen is not known" in page.read_text(encoding="utf-8")


@pytest.mark.parametrize("after", ["leak.keras", "leak.weights.h5", "leak.safetensors"])
def test_the_picture_of_files_is_the_picture_of_their_models(files, after, monkeypatch):
    from frostline._plots import page as drawn_by

    drawn = []
    draw = drawn_by.page
    monkeypatch.setattr(drawn_by, "page", lambda *given: drawn.append(given) or draw(*given))
    picture = files / "drift.png"
    result = invoke("diff", files / "before.keras", files / after, "--png", picture, "-q")
    if after.endswith("safetensors"):
        assert result.exit_code == 2  # the tensors lack the moving statistics
        assert not picture.exists()
        return
    assert result.exit_code == 1, result.output
    assert result.stdout.count("\n") == 2
    assert picture.read_bytes().startswith(b"\x89PNG")
    ((panels, title, notes, lines, _),) = drawn
    assert title == f"{after}: 1 frozen entry moved in 1 of 30 weights"
    assert not notes
    model = keras.saving.load_model(files / "leak.keras")
    before = fl.snapshot(keras.saving.load_model(files / "before.keras"))
    drawn.clear()
    fl.plot_drift(before, model)
    ((expected, _, _, others),) = drawn
    if after == "leak.keras":
        assert {line.name for line in lines} - {line.name for line in others} == {"norm"}
    named = {panel.row.path: panel for panel in panels}
    for panel in expected:
        mine = named.get(panel.row.path)
        if mine is None:
            assert after == "leak.weights.h5"
            continue
        np.testing.assert_array_equal(mine.share, panel.share)
        np.testing.assert_array_equal(mine.drift.largest, panel.drift.largest)
        np.testing.assert_array_equal(mine.drift.leaked, panel.drift.leaked)


def test_json_stays_json(files):
    result = invoke(
        *("diff", files / "before.keras", files / "after.keras", "--json"),
        *("--html", files / "page.html"),
    )
    assert result.exit_code == 0
    assert json.loads(result.stdout)["total"]["frozen_changed"] == 0
    assert (files / "page.html").is_file()


@pytest.mark.parametrize("option", ["--html", "--png"])
def test_no_model_is_replaced_by_a_page(files, option):
    names = files / "before.keras", files / "after.keras"
    before = names[1].read_bytes()
    result = invoke("diff", *names, option, names[1])
    assert result.exit_code == 2
    assert "; got suffix='.keras'. Call it after." in result.stderr
    assert names[1].read_bytes() == before


@pytest.mark.parametrize("option", ["--html", "--png"])
def test_a_folder_that_is_missing(files, option):
    place = files / "missing" / f"page.{option.lstrip('-')}"
    result = invoke("diff", files / "before.keras", files / "leak.keras", option, place)
    assert result.exit_code == 2
    assert "its folder does not exist" in result.stderr


BAD = {
    "no folder": ("missing/page.html", "its folder does not exist"),
    "a folder": (".", "not a file; got a folder"),
}


@pytest.mark.parametrize("option", ["--html", "--png"])
@pytest.mark.parametrize(("place", "message"), BAD.values(), ids=BAD)
def test_a_bad_path_is_told_before_anything_is_compared(files, option, place, message):
    names = files / "before.keras", files / "leak.keras"
    result = invoke("diff", *names, option, files / place)
    assert result.exit_code == 2
    assert message in result.stderr
    assert not result.stdout


def test_files_that_can_not_be_compared_leave_an_old_page(files):
    small().save(files / "small.keras")
    (files / "page.html").write_text("old")
    result = invoke(
        *("diff", files / "before.keras", files / "small.keras"), "--html", files / "page.html"
    )
    assert result.exit_code == 2
    assert (files / "page.html").read_text() == "old"


def test_without_matplotlib_the_extra_is_named(files, monkeypatch):
    for name in [name for name in sys.modules if name.partition(".")[0] == "matplotlib"]:
        monkeypatch.delitem(sys.modules, name)
    for name in ("frostline._plots.page", "frostline._plots.panel"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    monkeypatch.delattr("frostline._plots.page", raising=False)
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    names = files / "before.keras", files / "leak.keras"
    result = invoke("diff", *names, "--png", files / "drift.png")
    assert result.exit_code == 2
    assert "--png: needs matplotlib, which is not installed" in result.stderr
    assert '"frostline[plot]"' in result.stderr
    assert invoke("diff", *names, "--html", files / "page.html").exit_code == 1


def test_neither_keras_nor_a_backend_is_imported(files):
    pages = ["--html", "page.html", "--png", "drift.png"]
    assert_command_imports_none(
        files,
        ["diff", "before.keras", "after.keras", "-q", *pages],
        {"keras", "tensorflow", "jax", "torch"},
    )
    assert (files / "page.html").is_file()
    assert (files / "drift.png").is_file()


@pytest.mark.parametrize(
    ("option", "threads"), [(None, None), ("--html", 1)], ids=["numbers", "page"]
)
def test_files_are_compared_in_several_threads_unless_a_page_watches(
    files, option, threads, monkeypatch
):
    used = []

    def watched(pairs, work, threads):
        used.append(threads)
        return go_through(pairs, work, threads)

    monkeypatch.setattr("frostline._files.compare.go_through", watched)
    asked = () if option is None else (option, files / "page.html")
    assert invoke("diff", files / "before.keras", files / "before.keras", *asked).exit_code == 0
    assert used == [threads]
