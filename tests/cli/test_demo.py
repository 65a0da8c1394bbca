"""The command line, and the demo with few epochs."""

import re
import struct
import subprocess
import sys
from pathlib import Path

import keras
import numpy as np
import pytest

import frostline as fl
from frostline import cli
from frostline._cli import demo
from frostline._fast.paths import generic
from helpers import invoke


@pytest.fixture(scope="module")
def shown(tmp_path_factory):
    """The output of `frostline demo`, and the picture it wrote."""
    out = tmp_path_factory.mktemp("demo") / "head.png"
    result = invoke("demo", "--epochs", "2", "--out", str(out))
    assert result.exit_code == 0, result.output
    return result.output, out


def row(output, label):
    """The cells of the table's row `label`, without the label."""
    found = re.search(rf"^│ {re.escape(label)} +│ +(.*?) +│ +(.*?) +│$", output, re.MULTILINE)
    assert found is not None, f"no row {label!r} in:\n{output}"
    return found.groups()


def number(cell):
    return float(cell.replace(",", "").rstrip("%"))


def test_demo_changes_no_frozen_entry_where_naive_fine_tuning_changes_most(shown):
    frozen, naive = (cell.split(" of ") for cell in row(shown[0], "frozen entries that changed"))
    assert frozen[1] == naive[1]
    assert number(frozen[1]) > 10_000
    assert number(frozen[0]) == 0
    assert number(naive[0]) > number(naive[1]) / 2


def test_demo_moves_no_old_output_where_naive_fine_tuning_does(shown):
    frozen, naive = row(shown[0], "largest change of an old output")
    assert number(frozen) == 0
    assert number(naive) > 0.1


@pytest.mark.parametrize("label", ["trainable parameters", "optimizer bytes"])
def test_demo_trains_with_half_of_the(shown, label):
    frozen, naive = row(shown[0], label)
    assert number(frozen) == pytest.approx(number(naive) / 2, rel=1e-3)


@pytest.mark.parametrize(
    "label", ["accuracy on old digits, 0 to 4", "accuracy on new digits, 5 to 9"]
)
def test_demo_shows_the(shown, label):
    for cell in row(shown[0], label):
        assert cell.endswith("%")
        assert 0 <= number(cell) <= 100


def test_demo_keeps_most_of_the_old_accuracy(shown):
    frozen, naive = row(shown[0], "accuracy on old digits, 0 to 4")
    assert number(frozen) > 80
    assert number(frozen) > number(naive)


def test_demo_writes_the_picture_it_names(shown):
    output, path = shown
    assert f"Picture of the head: {path}" in output
    data = path.read_bytes()
    assert data[:8] == b"\x89PNG\r\n\x1a\n"
    width, height = struct.unpack(">II", data[16:24])
    assert width > 800
    assert height > 600
    assert len(data) > 10_000


def test_demo_shows_no_progress_where_there_is_no_terminal(shown):
    assert "\x1b" not in shown[0]
    assert "small network" not in shown[0]


@pytest.mark.once
def test_demo_refuses_a_missing_folder_before_it_trains(tmp_path):
    result = invoke("demo", "--out", str(tmp_path / "missing" / "head.png"))
    assert result.exit_code == 2
    assert "no such folder" in result.output


def test_widening_keeps_the_outputs_and_freezing_keeps_them_too():
    images = demo.load().test_old[0]
    small = demo.build(1)
    model, masks = demo.widen(small)
    small_outputs = small.predict(images, verbose=0)
    wide_outputs = model.predict(images, verbose=0)
    np.testing.assert_allclose(wide_outputs[:, :5], small_outputs, atol=1e-5)
    fl.freeze(model, masks)
    frozen_outputs = model.predict(images, verbose=0)
    np.testing.assert_allclose(frozen_outputs, wide_outputs, atol=1e-6)
    with generic():
        model.make_predict_function(force=True)
        np.testing.assert_array_equal(model.predict(images, verbose=0), wide_outputs)
    assert fl.frozen_mask(model.get_layer("digits").kernel)[0].tolist() == [True] * 5 + [False] * 5


@pytest.mark.once
def test_training_and_test_digits_have_no_image_in_common():
    digits = demo.load()
    images = {
        name: {image.tobytes() for image in getattr(digits, name)[0]}
        for name in ("train_old", "train_new", "test_old", "test_new")
    }
    assert sum(len(getattr(digits, name)[1]) for name in images) == 1797
    assert not (images["train_old"] | images["train_new"]) & (
        images["test_old"] | images["test_new"]
    )
    assert set(digits.train_new[1]) == set(digits.test_new[1]) == {5, 6, 7, 8, 9}


@pytest.mark.once
def test_changed_entries_compares_bits_under_the_mask():
    before = {"w": np.array([0.0, 0.0, 2.0, np.nan], "float32")}
    after = {"w": np.array([-0.0, -0.0, 3.0, np.nan], "float32")}
    masks = {"w": np.array([True, True, False, True])}
    assert demo.changed_entries(before, after, masks) == 2


@pytest.mark.once
def test_version_is_printed():
    result = invoke("--version")
    assert result.exit_code == 0
    assert result.output == f"frostline {fl.__version__}\n"


@pytest.mark.once
@pytest.mark.parametrize("way", ["module", "script"])
def test_the_command_runs_the_demo_in_a_process_of_its_own(way, tmp_path):
    """The command starts without Keras, and has to import the whole library itself."""
    script = tmp_path / "frostline"
    script.write_text("from frostline.cli import main\nmain()\n")
    start = ["-m", "frostline"] if way == "module" else [str(script)]
    done = subprocess.run(
        [sys.executable, *start, "demo", "--epochs", "1", "--out", str(tmp_path / "out.png")],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    assert "frozen entries that changed" in done.stdout
    assert (tmp_path / "out.png").exists()


@pytest.mark.once
def test_the_module_is_the_command():
    command = [sys.executable, "-m", "frostline", "--version"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout == f"frostline {fl.__version__}\n"


@pytest.mark.once
@pytest.mark.parametrize(
    ("module", "package", "extra"),
    [
        ("typer", "typer", "cli"),
        ("sklearn.datasets", "scikit-learn", "demo"),
        ("matplotlib.colors", "matplotlib", "demo"),
    ],
    ids=["typer", "scikit-learn", "matplotlib"],
)
def test_a_missing_extra_is_one_clear_line(monkeypatch, tmp_path, capsys, module, package, extra):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["frostline", "demo"])
    monkeypatch.setattr(sys, "excepthook", sys.excepthook)  # typer replaces it
    monkeypatch.setitem(sys.modules, module, None)
    monkeypatch.delitem(sys.modules, "frostline._cli.demo")
    with pytest.raises(SystemExit) as stopped:
        cli.main()
    assert stopped.value.code == 2
    assert capsys.readouterr().err == (
        f"frostline: this command needs {package}, which is not installed. "
        f'Run: pip install "frostline[{extra}]"\n'
    )


@pytest.mark.once
def test_another_missing_module_is_not_blamed_on_the_extra(monkeypatch):
    monkeypatch.setattr(sys, "argv", ["frostline", "demo"])
    monkeypatch.setattr(sys, "excepthook", sys.excepthook)
    monkeypatch.setitem(sys.modules, "rich.table", None)
    monkeypatch.delitem(sys.modules, "frostline._cli.demo")
    with pytest.raises(ModuleNotFoundError, match=r"rich\.table"):
        cli.main()


def test_the_progress_bar_advances_once_an_epoch():
    progress = demo.Progress(disable=True)
    bar = demo.ProgressBar(progress, "label", 3)
    model = keras.Sequential([keras.Input((1,)), keras.layers.Dense(1)])
    model.compile("sgd", "mse")
    zeros = np.zeros((4, 1))
    model.fit(zeros, zeros, epochs=3, verbose=0, callbacks=[bar])
    assert progress.tasks[0].completed == 3


@pytest.mark.once
def test_the_default_picture_is_in_the_current_directory(monkeypatch, tmp_path):
    calls = []
    monkeypatch.setattr(demo, "run", lambda out, epochs: calls.append((out, epochs)))
    monkeypatch.chdir(tmp_path)
    assert invoke("demo").exit_code == 0
    assert calls == [(Path("frostline-demo.png"), 40)]
