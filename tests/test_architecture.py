"""Rules of the house that a reader could check by hand."""

import ast
import pathlib
import re
import tomllib

import pytest

import frostline
from helpers import assert_script_ends

SOURCE = pathlib.Path(frostline.__file__).parent
FILES = sorted(SOURCE.rglob("*.py"))
_REPORTS = ("data", "page", "verdict", "write")
PURE = [
    *("_plan.py", "_selections.py", "_algebra.py", "_index.py", "_mask.py", "_errors.py"),
    *("_equation.py", "_grammar.py", "_output.py", "_pictures.py", "_replace.py", "_start.py"),
    *("_summaries/_numbers.py", *(f"_reports/_{name}.py" for name in _REPORTS)),
    *(f"_plots/_{name}.py" for name in ("arrange", "cells", "colors", "maps", "need", "stored")),
    *(f"_files/{path.name}" for path in sorted((SOURCE / "_files").glob("*.py"))),
    *(
        f"_deltas/{path.name}"
        for path in sorted((SOURCE / "_deltas").glob("*.py"))
        if path.name not in ("_apply.py", "_model.py")
    ),
]


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_backends_are_told_apart_in_one_place(path):
    if path.parent.name != "_backends":
        assert not re.search(r"backend\.backend\(\)|KERAS_BACKEND", path.read_text())


@pytest.mark.parametrize("name", PURE)
def test_selections_and_plans_are_pure_numpy(name):
    tree = ast.parse((SOURCE / name).read_text())
    for node in ast.walk(tree):
        names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
        if isinstance(node, ast.ImportFrom):
            names = [node.module or ""]
        assert not any(part.split(".")[0] in {"keras", "jax", "torch"} for part in names)


def test_importing_brings_in_no_backend_that_keras_has_not_chosen():
    script = (
        "import sys, keras\n"
        "names = {'tensorflow', 'jax', 'torch', 'matplotlib', 'typer', 'sklearn'}\n"
        "before = names & sys.modules.keys()\n"
        "import frostline\n"
        "assert names & sys.modules.keys() == before, names & sys.modules.keys()\n"
    )
    assert_script_ends(script)


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_files_and_functions_stay_short(path):
    text = path.read_text()
    assert len(text.splitlines()) <= 350
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef):
            body = node.body[1:] if ast.get_docstring(node) else node.body
            lines = (body[-1].end_lineno or 0) - body[0].lineno + 1 if body else 0
            assert lines <= 60, node.name


def test_the_oldest_versions_that_are_tested_are_the_bounds_of_the_package():
    root = pathlib.Path(__file__).parent.parent
    project = tomllib.loads((root / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"].values()
    asked = [*project["dependencies"], *(line for extra in extras for line in extra)]
    bounds = dict(re.findall(r"^([a-z-]+)>=([0-9.]+)", "\n".join(asked), re.MULTILINE))
    tested = dict(
        re.findall(r"^([a-z-]+)==([0-9.]+)", (root / "tests/oldest.txt").read_text(), re.M)
    )
    for name in ("keras", "tensorflow-cpu", "jax", "torch"):
        assert re.fullmatch(rf"{re.escape(bounds[name])}(\.0)*", tested[name])
