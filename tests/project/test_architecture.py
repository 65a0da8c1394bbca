"""Rules for the structure of the source: which file may import which, and how long files are."""

import ast
import importlib
import re
import tomllib

import pytest

from helpers import ROOT, assert_script_ends
from imports import FILES, SOURCE, Source, levels, room_of

# The wings, the lowest first, each with the wings that it may import. Those are all further up in
# this table, so no lower wing imports a higher one. The map is docs/architecture.md.
MAY_IMPORT = {
    "_errors": "",
    "_version": "",
    "_console": "_errors",
    "_keras": "",
    "_catalogue": "",
    "_writing": "_errors",
    "_arrays": "",
    "_selections": "_errors _catalogue _arrays",
    "_files": "_errors _catalogue _arrays",
    "_backends": "_errors _keras _arrays",
    "_weights": "_errors _keras _catalogue _arrays _selections _backends",
    "_fast": "_keras _catalogue _arrays _backends _weights",
    "_freezing": "_errors _console _keras _arrays _selections _backends _weights _fast",
    "_callbacks": "_errors _console _keras _writing _arrays _weights _freezing",
    "_stock": "_errors _console _keras _catalogue _arrays _weights _freezing",
    "_summaries": "_console _arrays _weights _freezing",
    "_plots": "_errors _console _catalogue _arrays _selections _weights _freezing _summaries",
    "_deltas": "_errors _console _writing _arrays _files _weights _freezing",
    "_reports": "_errors _version _console _writing _arrays _summaries _plots",
    "_scores": "_errors _console _keras _catalogue _backends _weights _freezing",
    "callbacks": "_errors _keras _arrays _weights _freezing _callbacks",
    "snapshots": "_errors _console _keras _weights",
    "summaries": "_errors _console _weights _summaries",
    "plots": "_errors _console _weights _plots summaries",
    "deltas": "_errors _version _console _weights _freezing _deltas",
    "reports": "_errors _console _writing _weights _summaries _plots _reports summaries plots",
    "_public": "_errors _selections _freezing _stock _scores callbacks snapshots summaries plots "
    "deltas reports",
    "_cli": "_errors _version _console _catalogue _writing _arrays _selections _files _backends "
    "_summaries _plots _deltas _reports _public",
    "cli": "_cli",
    "__init__": "_version _public cli",
    "__main__": "cli",
}
# Wings built on the engine. Others import only their front: the package, or a public module.
FRONTED = {"_callbacks", "_stock", "_summaries", "_plots", "_deltas", "_reports", "_scores"}
# The command starts with these: neither they nor their imports may import Keras or a backend.
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
# Files that import our own modules inside functions, to keep Keras, an unchosen backend or the
# library of an extra out of a process.
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
    """The files that a file imports, with `late` also those imported inside functions."""
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
    assert len(entries) <= 32


def test_wings_import_only_wings_below_them():
    order = list(MAY_IMPORT)
    for wing, allowed in MAY_IMPORT.items():
        assert all(order.index(below) < order.index(wing) for below in allowed.split()), wing


def wing_of(one):
    """The wing of one of our imports; `import frostline` means the public API."""
    return "_public" if one.module == "frostline" else room_of(one.target)


@pytest.mark.parametrize("wing", MAY_IMPORT)
def test_a_wing_imports_what_the_table_says_and_nothing_else(wing):
    used = {wing_of(one): one for one in OURS if room_of(one.file) == wing}
    used.pop(wing, None)
    allowed = set(MAY_IMPORT[wing].split())
    assert not [f"{one.file} imports {one.module}" for at, one in used.items() if at not in allowed]
    assert allowed <= used.keys(), "the table allows what nobody imports"


@pytest.mark.parametrize("name", sorted(SOURCES))
def test_wings_that_stand_on_the_engine_are_used_through_their_fronts(name):
    for one in SOURCES[name].imports:
        wing = room_of(one.target) if one.ours else ""
        if wing in FRONTED - {room_of(name)} and name != f"{wing[1:]}.py":
            front = importlib.import_module(f"frostline.{wing}")
            taken = one.package == front.__name__ and one.name in getattr(front, "__all__", ())
            assert taken, f"{name} takes {one.name} from {one.package}"


def test_no_import_of_ours_runs_in_a_circle():
    levels({name: files_imported(name, late=True) - {"__init__.py"} for name in SOURCES})


def test_the_house_has_few_levels():
    edges: dict[str, set[str]] = {}
    for one in OURS:
        edges.setdefault(room_of(one.file), set()).add(wing_of(one))
    found = levels({room: below - {room} for room, below in edges.items()})
    assert max(found.values()) <= 13, sorted(found.items(), key=lambda item: item[1])


@pytest.mark.parametrize("name", sorted(SOURCES))
def test_an_import_inside_a_function_says_why(name):
    late = [one for one in SOURCES[name].imports if one.ours and one.late]
    assert bool(late) == (name in LATE)
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


def test_the_map_lists_the_wings_in_the_order_of_the_table():
    table = MAP[MAP.index("| wing |") : MAP.index("## What happens in `fl.freeze")]
    rows = [line.split("|")[1] for line in table.splitlines() if line.startswith("| `")]
    named = [name.removesuffix(".py") for row in rows for name in re.findall(r"`(\w+)", row)]
    assert named == list(MAY_IMPORT)


@pytest.mark.parametrize("name", sorted(SOURCES))
def test_backends_are_told_apart_in_one_place(name):
    if room_of(name) != "_backends":
        text = (SOURCE / name).read_text(encoding="utf-8")
        assert not re.search(r"backend\.backend\(\)|KERAS_BACKEND", text)


@pytest.mark.parametrize("name", sorted(SOURCES))
def test_private_keras_is_used_in_one_module(name):
    if not name.startswith("_keras/"):
        for one in SOURCES[name].imports:
            assert not f"{one.package}.{one.name}".startswith("keras.src")


@pytest.mark.parametrize("name", sorted(SOURCES))
def test_files_and_functions_stay_short(name):
    text = (SOURCE / name).read_text(encoding="utf-8")
    assert len(text.splitlines()) <= 350
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
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
