"""`frostline report`: the page about a model file, alone or compared with an earlier one."""

import os

import keras
import numpy as np
import pytest
from safetensors.numpy import save_file

import frostline as fl
from helpers import assert_command_imports_none, data_of, invoke, told, value, weights
from models import frozen_variously, large, moved, small, trained

pytestmark = pytest.mark.once

KEYS = ("shape", "dtype", "size", "frozen", "kind", "map")


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """A model before training, after it, and after a frozen entry moved."""
    folder = tmp_path_factory.mktemp("files")
    model, _ = trained()

    def save(name, made):
        made.save(folder / f"{name}.keras")
        tensors = {found.path: value(found.variable) for found in weights(made)}
        save_file(tensors, folder / f"{name}.safetensors")

    save("before", frozen_variously(large()))
    save("after", model)
    save("leak", moved(model, "out/kernel", (0, 1), 5.0))
    return folder


def page_of(page):
    return {weight["path"]: weight for weight in data_of(page)["weights"]}


def test_the_page_of_a_file_is_the_page_of_its_model(files, tmp_path):
    page = tmp_path / "page.html"
    result = invoke("report", files / "after.keras", "-o", page)
    assert result.exit_code == 0, result.output
    model = keras.saving.load_model(files / "after.keras")
    expected = page_of(fl.report(model, path=tmp_path / "model.html"))
    shown = page_of(page)
    assert len(shown) == len(expected) + 2  # plus the moving statistics
    for path, weight in expected.items():
        for key in KEYS:
            assert shown[path][key] == weight[key], (path, key)
    frozen = fl.summary(model).frozen
    assert f", {frozen:,} frozen\nwritten to {page}\n" in result.stdout
    text = page.read_text(encoding="utf-8")
    assert "Not compared" in text
    assert "--before OLD" in text


@pytest.mark.parametrize(("after", "status"), [("after", 0), ("leak", 1)])
@pytest.mark.parametrize("suffix", ["keras", "safetensors"])
def test_the_page_of_two_files_is_that_of_diff(files, tmp_path, suffix, after, status):
    pages = tmp_path / "report.html", tmp_path / "diff.html"
    names = files / f"before.{suffix}", files / f"{after}.{suffix}"
    freeze = "--frozen", files / "before.keras"
    result = invoke("report", names[1], "--before", names[0], *freeze, "-o", pages[0])
    compared = invoke("diff", *names, *freeze, "--html", pages[1], "-q")
    assert result.exit_code == compared.exit_code == status, result.output
    assert data_of(pages[0]) == data_of(pages[1])
    assert result.stdout == f"{compared.stdout}written to {pages[0]}\n"


def test_a_file_of_weights_alone_takes_its_freeze_from_another(files, tmp_path):
    page = tmp_path / "page.html"
    tensors = files / "after.safetensors"
    result = invoke("report", tensors, "-o", page)
    assert result.exit_code == 0, result.output
    assert "what is frozen is not known" in result.stdout
    assert "not known: no file holds a freeze" in page.read_text(encoding="utf-8")
    assert "frozen" not in [column["key"] for column in data_of(page)["columns"]]
    result = invoke("report", tensors, "--frozen", files / "after.keras", "-o", page)
    assert result.exit_code == 0, result.output
    with_freeze, own = page_of(page), tmp_path / "own.html"
    invoke("report", files / "after.keras", "-o", own)
    for path, weight in page_of(own).items():
        if path in with_freeze:
            assert with_freeze[path]["frozen"] == weight["frozen"]
    assert sum(weight["frozen"] for weight in with_freeze.values()) == 293


def test_it_is_called_report_html_and_replaced(files, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "report.html").write_text("old")
    result = invoke("report", files / "before.keras", "-q")
    assert result.exit_code == 0
    assert result.stdout.count("\n") == 1
    assert (tmp_path / "report.html").read_text(encoding="utf-8").startswith("<!doctype html>")
    assert os.listdir(tmp_path) == ["report.html"]


HOSTILE = "<script>\x1b[31m/kernel"


def test_names_in_a_file_can_neither_end_the_page_nor_reach_a_terminal(tmp_path, monkeypatch):
    name = f"a{chr(27)}[2J.safetensors"
    monkeypatch.chdir(tmp_path)
    save_file({HOSTILE: np.ones((2, 2), "float32")}, name)
    result = invoke("report", name, "--before", name)
    assert result.exit_code == 0, result.output
    assert "\x1b" not in result.output
    text = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert "\x1b" not in text
    assert text.count("<script") == text.count("</script>") == 2
    assert list(page_of(tmp_path / "report.html")) == [HOSTILE]


BAD = {
    "no page": ("page.png", "must end in .html or .htm; got suffix='.png'. Call it page.html"),
    "no folder": ("missing/page.html", "its folder does not exist"),
    "a folder": (".", "not a file; got a folder"),
    "a link to a file that is read": ("link.html", "the output would replace an input file"),
}


@pytest.mark.parametrize(("place", "message"), BAD.values(), ids=BAD)
def test_a_bad_path_is_refused(files, tmp_path, place, message):
    (tmp_path / "link.html").symlink_to(files / "before.keras")
    content = (files / "before.keras").read_bytes()
    result = invoke("report", files / "before.keras", "-o", tmp_path / place)
    assert message in told(result)
    assert (files / "before.keras").read_bytes() == content


def test_what_cannot_be_read_or_compared_leaves_an_old_page(files, tmp_path):
    page = tmp_path / "page.html"
    page.write_text("old")
    small().save(tmp_path / "small.keras")
    (tmp_path / "cut.keras").write_bytes((files / "after.keras").read_bytes()[:-500])
    known = files / "after.keras"
    for given, message in (
        ((tmp_path / "missing.keras",), "the file cannot be read"),
        ((tmp_path / "cut.keras",), "cut.keras: "),
        ((known, "--before", tmp_path / "small.keras"), "the architecture differs from"),
        ((known, "--frozen", files / "after.safetensors"), "contains no freeze"),
        ((known, "--frozen", tmp_path / "small.keras"), "contains no freeze"),
    ):
        assert message in told(invoke("report", *given, "-o", page))
        assert page.read_text() == "old"


def test_neither_keras_nor_a_backend_is_imported_and_no_weight_is_read(files, tmp_path):
    assert_command_imports_none(
        tmp_path,
        ["report", str(files / "after.keras"), "-q"],
        {"keras", "tensorflow", "jax", "torch", "matplotlib"},
        first="from frostline._files import sources; sources.Bytes.read = None",
    )
    assert (tmp_path / "report.html").is_file()
