"""Each notebook runs on the current backend and prints the output that is stored in it."""

import importlib

import nbformat
import pytest

from notebooks import NOTEBOOKS, executed

pytestmark = pytest.mark.once

TEXT = ("text/plain", "text/html")


def printed(cell):
    """The text that a cell prints and shows, and the kinds of its pictures."""
    shown = []
    for output in cell.outputs:
        if output.output_type == "stream":
            shown.append((output.name, output.text))
        else:
            data = sorted(output.data.items())
            shown.append([(kind, value if kind in TEXT else "") for kind, value in data])
    return shown


def code(notebook):
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_runs_and_prints_what_is_stored_in_it(path, tmp_path):
    # If there is no list of fonts yet, build it here: matplotlib prints a message about that.
    importlib.import_module("matplotlib.font_manager")
    stored, run = nbformat.read(path, as_version=4), executed(path, tmp_path)
    assert len(code(run)) > 5
    for place, (before, now) in enumerate(zip(code(stored), code(run), strict=True), 1):
        streams = [output.name for output in now.outputs if output.output_type == "stream"]
        assert set(streams) <= {"stdout"}, f"cell {place} warns: {now.outputs}"
        assert before.execution_count == place, "run it: `python tests/notebooks.py`"
        # Other backends and processors round the numbers of cells with this tag differently.
        if "varies" not in now.metadata.get("tags", []):
            assert printed(before) == printed(now), before.source
        else:
            assert len(printed(before)) == len(printed(now)), before.source


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_is_small_and_of_no_version_control_trouble(path):
    assert path.stat().st_size < 300_000
    notebook = nbformat.read(path, as_version=4)
    nbformat.validate(notebook)
    assert all("execution" not in cell.metadata for cell in notebook.cells), "no times of runs"


def test_there_is_a_notebook():
    assert [path.name for path in NOTEBOOKS] == ["frostline_tour.ipynb"]
