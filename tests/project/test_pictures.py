"""A script made every picture of the documentation, and can make it again."""

import runpy
from fnmatch import fnmatch
from typing import Any

import pytest

from helpers import ROOT

pytestmark = pytest.mark.once

DOCS = ROOT / "docs"
PICTURES = sorted(
    path.relative_to(DOCS).as_posix()
    for path in DOCS.rglob("*")
    if path.suffix in (".png", ".svg") and path.parent.name != "assets"  # except the logo
)
SCRIPT: dict[str, Any] = runpy.run_path(str(DOCS / "pictures.py"))
NAMES = [*SCRIPT["MAKERS"], *SCRIPT["BY_COMMANDS"]]


@pytest.mark.parametrize("picture", PICTURES)
def test_a_picture_is_made_by_the_script(picture):
    name = picture.rpartition(".")[0]
    assert [known for known in NAMES if fnmatch(name, known)], picture


@pytest.mark.parametrize("name", NAMES)
def test_the_script_makes_pictures_that_there_are(name):
    assert [one for one in PICTURES if fnmatch(one.rpartition(".")[0], name)]


@pytest.mark.parametrize("picture", PICTURES)
def test_a_picture_is_on_a_page(picture):
    pages = [*DOCS.rglob("*.md"), ROOT / "README.md", ROOT / "mkdocs.yml"]
    assert any(picture in page.read_text(encoding="utf-8") for page in pages)


def test_a_drawing_is_what_the_script_draws(tmp_path):
    SCRIPT["how_it_works"](tmp_path / "drawing.svg")
    assert (tmp_path / "drawing.svg").read_text() == (DOCS / "how-it-works.svg").read_text()


def test_the_pictures_of_plots_are_those_of_its_code():
    text = (DOCS / "plots.md").read_text(encoding="utf-8")
    for name in ("frozen", "large", "drift", "leak"):
        assert f'savefig("{name}.png")' in text
        assert f"(plots_{name}.png)" in text


def test_an_unknown_name_is_refused():
    with pytest.raises(SystemExit, match="nothing: no such picture; there are "):
        SCRIPT["main"](["nothing"])
    with pytest.raises(SystemExit, match="benchmarks: make bench measures and draws it"):
        SCRIPT["main"](["benchmarks"])
