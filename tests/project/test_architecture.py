"""Rules of the house that a reader could check by hand: which file may import which, and sizes."""

import ast
import importlib
import re
import tomllib

import pytest

from helpers import ROOT, assert_script_ends
from imports import FILES, SOURCE, Source, levels, room_of

# The wings from the ground up. Each names those that it may import, all of them further up in this
# table, so that no import runs from a lower wing to a higher one. The map is docs/architecture.md.
_ENGINE = (
    "_errors _keras _catalogue _console _arrays _selections _backends _weights _fast _freezing"
)
MAY_IMPORT = {
    "_errors": "",
    "_version": "",
    "_keras": "",
    "_catalogue": "",
    "_console": "",
    "_writing": "_errors",
    "_arrays": "_errors",
    "_selections": "_errors _catalogue _arrays",
    "_files": "_errors _catalogue _arrays",
    "_backends": "_errors _keras _arrays",
    "_weights": "_errors _keras _arrays _backends",
    "_fast": "_keras _catalogue _arrays _backends _weights",
    "_freezing": "_errors _keras _console _arrays _selections _backends _weights _fast",
    "_callbacks": f"{_ENGINE} _writing",
    "callbacks": f"{_ENGINE} _callbacks",
    "_stock": _ENGINE,
    "_summaries": _ENGINE,
    "summaries": f"{_ENGINE} _summaries",
    "_plots": f"{_ENGINE} _summaries summaries",
    "plots": f"{_ENGINE} _summaries summaries _plots",
    "_deltas": f"{_ENGINE} _writing _files",
    "deltas": f"{_ENGINE} _version _deltas",
    "_reports": f"{_ENGINE} _version _writing _summaries summaries _plots plots",
    "reports": f"{_ENGINE} _writing _summaries summaries _plots plots _reports",
    "_public": "_errors _selections _freezing callbacks _stock summaries plots deltas reports",
    "_cli": f"{_ENGINE} _version _writing _files _summaries _plots _deltas _reports _public",
    "cli": "_cli _public",
    "__init__": "_version _public cli",
    "__main__": "cli",
}
# What stands on the engine is used by others through its front: the package, or a public module.
FRONTED = {"_callbacks", "_stock", "_summaries", "_plots", "_reports"}
# No Keras and no backend, in what they import either: the command starts with these.
PURE = {
    "_errors",
    "_version",
    "_catalogue",
    "_console",
    "_writing",
    "_arrays",
    "_selections",
    "_files",
}
# Where our own modules are imported inside functions: to keep Keras, a backend that was not chosen
# or a library that is an extra out of a process.
LATE = {
    *("__init__.py", "cli.py", "_cli/rewrite.py", "_cli/tour.py"),
    *("_backends/current.py", "_plots/need.py"),
}

SOURCES = {source.name: source for source in map(Source, FILES)}
OURS = [one for source in SOURCES.values() for one in source.imports if one.ours]


def rooms() -> set[str]:
    """The files and folders at the root of the package."""
    return {room_of(name) for name in SOURCES}


def files_imported(name: str, *, late: bool) -> set[str]:
    """The files that a file imports, inside functions too where `late`."""
    return {
        one.target
        for one in SOURCES[name].imports
        if one.ours and not one.typing_only and (late or not one.late)
    }


@pytest.mark.parametrize("room", sorted(rooms()))
def test_each_file_and_folder_is_a_wing(room):
    assert room in MAY_IMPORT, f"{room}: in no wing. Give it a line in MAY_IMPORT."


def test_the_root_is_small():
    entries = [path for path in SOURCE.iterdir() if path.name != "__pycache__"]
    assert len(entries) <= 30


def test_wings_import_only_wings_below_them():
    order = list(MAY_IMPORT)
    for wing, allowed in MAY_IMPORT.items():
        assert all(order.index(below) < order.index(wing) for below in allowed.split()), wing


@pytest.mark.parametrize("name", sorted(SOURCES))
def test_a_file_imports_what_its_wing_may(name):
    wing = room_of(name)
    for one in SOURCES[name].imports:
        # `import frostline` is what a user writes, and means the public API.
        below = "_public" if one.module == "frostline" else room_of(one.target)
        if one.ours and below != wing:
            assert below in MAY_IMPORT[wing].split(), f"{name} imports {one.module}"


@pytest.mark.parametrize("name", sorted(SOURCES))
def test_wings_that_stand_on_the_engine_are_used_through_their_fronts(name):
    for one in SOURCES[name].imports:
        if one.ours and room_of(one.target) in FRONTED - {room_of(name)}:
            wing = room_of(one.target)
            own = name == f"{wing[1:]}.py"  # the public module of that wing
            front = importlib.import_module(f"frostline.{wing}")
            front = one.module == front.__name__ or one.module.rpartition(".")[2] in getattr(
                front, "__all__", ()
            )
            assert own or front, f"{name} imports {one.module}"


def test_no_import_of_ours_runs_in_a_circle():
    levels({name: files_imported(name, late=True) - {"__init__.py"} for name in SOURCES})


def test_the_house_has_few_levels():
    edges: dict[str, set[str]] = {}
    for one in OURS:
        below = "_public" if one.module == "frostline" else room_of(one.target)
        edges.setdefault(room_of(one.file), set()).add(below)
    found = levels({room: below - {room} for room, below in edges.items()})
    assert max(found.values()) <= 13, sorted(found.items(), key=lambda item: item[1])


@pytest.mark.parametrize("name", sorted(SOURCES))
def test_an_import_inside_a_function_says_why(name):
    late = [one for one in SOURCES[name].imports if one.ours and one.late]
    assert not late or name in LATE
    for one in late:
        assert "#" in one.line, f"{name}: {one.line.strip()}  # why is it not at the top?"


@pytest.mark.parametrize("name", [n for n in sorted(SOURCES) if room_of(n) in PURE])
def test_what_the_command_starts_with_knows_no_keras(name):
    seen, pending = set(), [name]
    while pending:
        file = pending.pop()
        if file not in seen:
            seen.add(file)
            pending += files_imported(file, late=False)
    for file in seen:
        for one in SOURCES[file].imports:
            keras = one.module.partition(".")[0] in {"keras", "jax", "torch", "tensorflow"}
            assert one.late or not keras, f"{file} imports {one.module}"


MAP = (ROOT / "docs/architecture.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("name", sorted(set(re.findall(r"`([\w/]+\.(?:py|md))`", MAP))))
def test_the_map_names_files_that_exist(name):
    assert (SOURCE / name).is_file() or (ROOT / name).is_file()


@pytest.mark.parametrize("room", sorted(rooms()))
def test_the_map_names_each_wing(room):
    assert f"`{room}/`" in MAP or f"`{room}.py`" in MAP


@pytest.mark.parametrize("name", sorted(SOURCES))
def test_backends_are_told_apart_in_one_place(name):
    if room_of(name) != "_backends":
        text = (SOURCE / name).read_text(encoding="utf-8")
        assert not re.search(r"backend\.backend\(\)|KERAS_BACKEND", text)


@pytest.mark.parametrize("name", sorted(SOURCES))
def test_private_keras_is_used_in_one_module(name):
    if name != "_keras.py":
        assert not any(one.module.startswith("keras.src") for one in SOURCES[name].imports)


@pytest.mark.parametrize("name", sorted(SOURCES))
def test_files_and_functions_stay_short(name):
    text = (SOURCE / name).read_text(encoding="utf-8")
    assert len(text.splitlines()) <= 350
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef):
            body = node.body[1:] if ast.get_docstring(node) else node.body
            lines = (body[-1].end_lineno or 0) - body[0].lineno + 1 if body else 0
            assert lines <= 60, node.name


def test_importing_brings_in_no_backend_that_keras_has_not_chosen():
    script = (
        "import sys, keras\n"
        "names = {'tensorflow', 'jax', 'torch', 'matplotlib', 'typer', 'sklearn'}\n"
        "before = names & sys.modules.keys()\n"
        "import frostline\n"
        "assert names & sys.modules.keys() == before, names & sys.modules.keys()\n"
    )
    assert_script_ends(script)


def test_the_oldest_versions_that_are_tested_are_the_bounds_of_the_package():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"].values()
    asked = [*project["dependencies"], *(line for extra in extras for line in extra)]
    bounds = dict(re.findall(r"^([a-z-]+)>=([0-9.]+)", "\n".join(asked), re.MULTILINE))
    tested = dict(
        re.findall(r"^([a-z-]+)==([0-9.]+)", (ROOT / "tests/oldest.txt").read_text(), re.M)
    )
    for name in ("keras", "tensorflow-cpu", "jax", "torch"):
        assert re.fullmatch(rf"{re.escape(bounds[name])}(\.0)*", tested[name])
