"""The wheel and the sdist: their contents, and that they run with only their dependencies."""

import importlib.metadata
import os
import re
import shutil
import subprocess
import sys
import tarfile
import zipfile

import keras
import packaging.metadata
import packaging.requirements
import pytest

import frostline as fl
from helpers import ROOT

pytestmark = pytest.mark.once

BACKEND = keras.backend.backend()
EXTRAS = {"tensorflow", "jax", "torch", "plot", "cli", "demo", "bench", "docs", "dev"}
NAME = f"frostline-{fl.__version__}"
WHEEL = f"{NAME}-py3-none-any.whl"
# All that `make test`, `make lint` and `make docs` read. An sdist also has its metadata.
FILES = {
    ".gitignore",
    "CHANGELOG.md",
    "CITATION.cff",
    "CONTRIBUTING.md",
    "LICENSE",
    "Makefile",
    "README.md",
    "SECURITY.md",
    "mkdocs.yml",
    "pyproject.toml",
}
FOLDERS = {"benchmarks", "docs", "examples", "src", "tests"}


def files_below(folder):
    """Every file except caches, by its path from `folder`."""
    found = {path.relative_to(folder) for path in folder.rglob("*") if path.is_file()}
    caches = {"__pycache__", ".ipynb_checkpoints"}
    return {path.as_posix() for path in found if not caches & set(path.parts)}


def environment():
    """This process's environment, without variables that would show a new one this package."""
    hidden = ("PYTHONPATH", "PYTHONHOME", "COLUMNS", "VIRTUAL_ENV")
    return {k: v for k, v in os.environ.items() if k not in hidden}


def run(*command, status=0, where=None):
    """Run a command, which must end with `status`, and return what it printed to both streams."""
    done = subprocess.run(
        [str(part) for part in command],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env=environment(),
        cwd=where,
    )
    assert done.returncode == status, done.stdout
    return done.stdout


def build(source, where, kind):
    """Build the `wheel` or `sdist` of a source tree, and return its path."""
    run(sys.executable, "-m", "build", "--no-isolation", f"--{kind}", "--outdir", where, source)
    (made,) = where.iterdir()
    return made


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    return build(ROOT, tmp_path_factory.mktemp("wheel"), "wheel")


@pytest.fixture(scope="module")
def sdist(tmp_path_factory):
    return build(ROOT, tmp_path_factory.mktemp("sdist"), "sdist")


@pytest.fixture(scope="module")
def unpacked(sdist, tmp_path_factory):
    where = tmp_path_factory.mktemp("unpacked")
    with tarfile.open(sdist) as archive:
        archive.extractall(where, filter="data")
    return where / NAME


# --- contents


def test_the_wheel_has_every_module_and_nothing_else(wheel):
    assert wheel.name == WHEEL
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
    package = {f"frostline/{name}" for name in files_below(ROOT / "src" / "frostline")}
    about = {"METADATA", "WHEEL", "RECORD", "entry_points.txt", "licenses/LICENSE"}
    assert names == package | {f"{NAME}.dist-info/{name}" for name in about}
    assert "frostline/py.typed" in names


def test_the_sdist_has_what_the_makefile_and_the_tests_need(unpacked):
    assert {path.name for path in unpacked.iterdir()} == FILES | FOLDERS | {"PKG-INFO"}
    for folder in FOLDERS:
        assert files_below(unpacked / folder) == files_below(ROOT / folder)


def test_the_sdist_builds_the_same_wheel(unpacked, wheel, tmp_path):
    assert build(unpacked, tmp_path, "wheel").read_bytes() == wheel.read_bytes()


def test_the_metadata_is_complete(wheel, unpacked):
    with zipfile.ZipFile(wheel) as archive:
        raw = archive.read(f"{NAME}.dist-info/METADATA")
        licence = archive.read(f"{NAME}.dist-info/licenses/LICENSE")
    # Raises for a malformed field, and for one that its version of the standard does not have.
    read = packaging.metadata.Metadata.from_email(raw, validate=True)
    assert (read.name, str(read.version)) == ("frostline", fl.__version__)
    assert str(read.requires_python) == ">=3.11"
    assert read.license_expression == "Apache-2.0"
    assert licence == (ROOT / "LICENSE").read_bytes()
    assert set(read.provides_extra or []) == EXTRAS
    assert read.project_urls is None, "there is none to name yet"
    assert read.description_content_type == "text/markdown"
    assert read.description == (ROOT / "README.md").read_text(encoding="utf-8")
    always = {r.name for r in read.requires_dist or [] if r.marker is None}
    assert always == {"keras", "numpy", "rich", "safetensors"}
    assert (unpacked / "PKG-INFO").read_bytes() == raw


def test_the_version_stands_in_one_place():
    project = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    assert 'dynamic = ["version"]' in project
    assert not re.search(r"^version\s*=", project, re.MULTILINE)
    changes = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    assert re.findall(r"^## \[(.*?)\]", changes, re.MULTILINE)[0] == fl.__version__


# --- installed


def closure(asked):
    """The installed distributions that requirements ask for, directly or indirectly."""
    queue, seen, found = [packaging.requirements.Requirement(one) for one in asked], set(), {}
    while queue:
        wanted = queue.pop()
        for extra in {"", *wanted.extras}:
            if (wanted.name, extra) in seen:
                continue
            seen.add((wanted.name, extra))
            found[wanted.name] = importlib.metadata.distribution(wanted.name)
            for line in found[wanted.name].requires or []:
                more = packaging.requirements.Requirement(line)
                if more.marker is None or more.marker.evaluate({"extra": extra}):
                    queue.append(more)
    return list(found.values())


def requirements(wheel, extras):
    """The requirements in the metadata of a wheel that apply here with these extras."""
    with zipfile.ZipFile(wheel) as archive:
        raw = archive.read(f"{NAME}.dist-info/METADATA")
    for one in packaging.metadata.Metadata.from_email(raw).requires_dist or []:
        marker, one.marker = one.marker, None
        if marker is None or any(marker.evaluate({"extra": extra}) for extra in extras):
            yield str(one)


def fresh(where, wheel, *extras):
    """Python in a new environment with the wheel and links to only its declared dependencies.

    The other packages installed here are missing there, so importing an undeclared dependency
    fails. Downloading all of them takes a minute: `test_from_the_registry` does that.
    """
    run(sys.executable, "-m", "venv", "--without-pip", where)
    python = where / "bin" / "python"
    pip = [sys.executable, "-m", "pip", "--python", python, "install", "--quiet", "--no-index"]
    run(*pip, "--no-deps", "--no-build-isolation", "--disable-pip-version-check", wheel)
    (packages,) = where.glob("lib/python*/site-packages")
    for one in closure(requirements(wheel, extras)):
        for top in {path.parts[0] for path in one.files or [] if path.parts[0] != ".."}:
            target = packages / top
            if top != "__pycache__" and not target.exists():
                target.symlink_to(str(one.locate_file(top)))
    return python


FIRST_USE = """
import importlib.util, pathlib, sys
import keras, numpy as np
import frostline as fl

assert pathlib.Path(fl.__file__).is_relative_to(sys.prefix), fl.__file__
for module in ("matplotlib", "typer", "sklearn", "pytest"):
    assert importlib.util.find_spec(module) is None, module

layers = [keras.layers.Dense(3, name="hidden"), keras.layers.Dense(1, name="out")]
model = keras.Sequential([keras.Input((2,)), *layers])
fl.freeze(model, "hidden/kernel", fl.at[0, :])
before = fl.snapshot(model)["hidden/kernel"]
model.compile(keras.optimizers.AdamW(0.1), "mse")
model.fit(np.ones((32, 2)), np.zeros((32, 1)), epochs=2, verbose=0)
after = fl.snapshot(model)["hidden/kernel"]
print(keras.backend.backend(), fl.__version__, (after == before).tolist())
print(fl.summary(model).frozen)
try:
    fl.plot(model)
except fl.DependencyError as error:
    print(error)
model.save("model.keras")
"""


def test_the_wheel_runs_with_what_it_asks_for_alone(wheel, tmp_path):
    python = fresh(tmp_path / "env", wheel, BACKEND)
    printed = run(
        python, "-W", "error::DeprecationWarning:frostline", "-c", FIRST_USE, where=tmp_path
    )
    assert f"{BACKEND} {fl.__version__} [[True, True, True], [False, False, False]]\n3\n" in printed
    assert 'pip install "frostline[plot]"' in printed
    said = run(python.with_name("frostline"), "--version", status=2, where=tmp_path)
    assert "frostline: this command needs typer, which is not installed. Run: pip install" in said
    assert len(said.splitlines()) == 1


def test_the_command_of_the_wheel_with_its_extra(wheel, tmp_path):
    keras.Sequential([keras.Input((2,)), keras.layers.Dense(3, name="out")]).save(
        tmp_path / "model.keras"
    )
    command = fresh(tmp_path / "env", wheel, "cli").with_name("frostline")
    assert run(command, "--version", where=tmp_path).split() == ["frostline", fl.__version__]
    listed = run(command, "inspect", "model.keras", where=tmp_path)
    assert re.search(r"out/kernel +\(2, 3\) +float32 +6 +0", listed)


def test_pip_installs_the_unpacked_sdist(unpacked, wheel, tmp_path):
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-index", "--no-deps"]
    copy = shutil.copytree(unpacked, tmp_path / "a folder")
    run(*pip, "--no-build-isolation", "--target", tmp_path / "target", ".", where=copy)
    with zipfile.ZipFile(wheel) as archive:
        modules = {name for name in archive.namelist() if name.startswith("frostline/")}
    assert {f"frostline/{n}" for n in files_below(tmp_path / "target" / "frostline")} == modules


if BACKEND == "jax":  # the smallest backend: once is enough

    @pytest.mark.once(False)
    @pytest.mark.full
    @pytest.mark.parametrize("kind", ["wheel", "sdist"])
    def test_from_the_registry(kind, request, tmp_path):
        archive = request.getfixturevalue(kind)
        run(sys.executable, "-m", "venv", tmp_path / "env")
        python = tmp_path / "env" / "bin" / "python"
        pip = [python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
        run(*pip, f"frostline[jax,cli] @ {archive.as_uri()}")
        script = FIRST_USE.replace('"typer", ', "")
        printed = run(python, "-c", script, where=tmp_path)
        assert f"jax {fl.__version__} [[True, True, True], [False, False, False]]\n3\n" in printed
        command = python.with_name("frostline")
        assert run(command, "--version").split() == ["frostline", fl.__version__]
        listed = run(command, "inspect", "model.keras", where=tmp_path)
        assert re.search(r"hidden/kernel +\(2, 3\) +float32 +6 +3", listed)
