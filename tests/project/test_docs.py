"""Every example in a docstring, the README or a page runs and prints what it shows."""

import ast
import doctest
import importlib
import inspect
import pkgutil
import re

import keras
import numpy as np
import pytest

import frostline
from helpers import ROOT

MODULES = sorted(
    module.name
    for module in pkgutil.walk_packages(frostline.__path__, "frostline.")
    if module.name != "frostline.__main__" and "._backends." not in module.name
)
FLAGS = doctest.NORMALIZE_WHITESPACE | doctest.ELLIPSIS


@pytest.mark.parametrize("name", MODULES)
def test_docstring_examples_run_and_print_what_they_say(name):
    module = importlib.import_module(name)
    finder, runner = doctest.DocTestFinder(), doctest.DocTestRunner(optionflags=FLAGS)
    for test in finder.find(module, extraglobs={"frostline": frostline}):
        keras.backend.clear_session(free_memory=False)
        keras.utils.set_random_seed(0)
        runner.run(test)
    assert runner.summarize(verbose=False).failed == 0


@pytest.mark.once
@pytest.mark.parametrize("name", frostline.__all__)
def test_public_names_are_documented(name):
    exported = getattr(frostline, name)
    documented = exported if inspect.isclass(exported) or callable(exported) else type(exported)
    assert inspect.getdoc(documented)


@pytest.mark.once
@pytest.mark.parametrize(
    "name", [n for n in frostline.__all__ if inspect.isfunction(getattr(frostline, n))]
)
def test_public_functions_have_an_example(name):
    assert ">>> " in str(inspect.getdoc(getattr(frostline, name)))


@pytest.mark.once
@pytest.mark.parametrize("name", frostline.__all__)
def test_public_names_have_an_entry_in_the_reference(name):
    text = "".join((ROOT / "docs" / page).read_text() for page in ("api.md", "errors.md"))
    headings = re.findall(r"^##+ (.*)$", text, re.M)  # the entries of selections and modules
    entries = re.findall(r"^::: frostline\.(\w+)$", text, re.M)
    assert name in {*entries, *", ".join(headings).lower().split(", ")}


@pytest.mark.once
def test_all_is_sorted():
    assert frostline.__all__ == sorted(frostline.__all__)


def test_the_package_shows_what_is_public_and_nothing_else():
    modules = {"callbacks", "cli", "deltas", "plots", "reports", "snapshots", "summaries"}
    shown = {name for name in dir(frostline) if not name.startswith("_")}
    assert shown == modules | set(frostline.__all__)
    assert frostline.__version__


PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
DOCS = ROOT / "docs"
# Pages about one task, which begin with lines to copy.
TASKS = {
    *(DOCS / "howto").glob("*.md"),
    *(DOCS / f"{n}.md" for n in ("tutorial", "training", "stock")),
}
# Pages that train in their own ways. The others repeat them, and run on PyTorch or in `make docs`.
ON_EACH_BACKEND = {"README.md", "tutorial.md", "training.md", "loops.md"}


@pytest.mark.parametrize(
    "page",
    [
        pytest.param(page, marks=pytest.mark.once(page.name not in ON_EACH_BACKEND))
        for page in PAGES
    ],
    ids=[page.name for page in PAGES],
)
def test_code_blocks_run_and_print_what_the_page_says(page, capsys, caplog, tmp_path, monkeypatch):
    # TensorFlow logs that code run like this has no source. pytest keeps that record and with it
    # the frames of the `tf.function`, so the page could not free its objects.
    caplog.set_level("ERROR", logger="tensorflow")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "80")
    namespace = {}
    text = page.read_text()
    blocks = re.findall(r"```python\n(.*?)```(?:\n+```text\n(.*?)```)?", text, re.S)
    for code, printed in blocks:
        exec(compile(ast.parse(code), page.name, "exec"), namespace)
        shown = capsys.readouterr().out
        if printed:
            assert shown.split() == printed.split()
    if page in TASKS:  # the lines to copy at the top, with the names from the page
        exec(compile(_lines_to_copy(text), page.name, "exec"), namespace)


def _lines_to_copy(text):
    first = re.search(r"^```(\w*)\n(.*?)^```", text, re.S | re.M)
    assert first
    assert first[1] == "py", "a how-to begins with the lines to copy; its script is `python`"
    return first[2]


@pytest.mark.once
def test_readme_shows_an_example_early():
    lines = (ROOT / "README.md").read_text().splitlines()
    assert "```python" in lines[:15]


ERRORS = (ROOT / "docs" / "errors.md").read_text(encoding="utf-8")
OURS = ERRORS.partition("## From Keras and the backends")[0]
CELLS = re.findall(r"^\| (`.*?) \| ", OURS[OURS.index("## Naming weights") :], re.MULTILINE)
QUOTED = [text for cell in CELLS for _, text in re.findall(r"(`+) ?(.+?) ?\1(?!`)", cell)]


def said_in_source():
    """Every string in the source, without the values that are inserted into it."""
    for file in (ROOT / "src" / "frostline").rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.JoinedStr):
                parts = [getattr(part, "value", "") for part in node.values]
                yield "\0".join(part if isinstance(part, str) else "" for part in parts)
            elif isinstance(node, ast.Constant) and isinstance(node.value, str):
                yield node.value


@pytest.mark.once
def test_the_page_of_errors_quotes_messages_that_there_are():
    said = list(said_in_source())
    for quoted in QUOTED:
        pieces = [piece.strip() for piece in quoted.split("…")]
        assert any(all(piece in text for piece in pieces) for text in said), quoted
    assert len(QUOTED) > 100


@pytest.mark.once
def test_the_page_of_errors_has_every_class():
    public = {name: getattr(frostline, name) for name in frostline.__all__}
    kinds = [n for n, it in public.items() if inspect.isclass(it) and issubclass(it, Exception)]
    assert [name for name in kinds if f"::: frostline.{name}\n" not in ERRORS] == []
    assert len(kinds) > 10


@pytest.mark.once
def test_each_line_of_the_readme_s_table_runs(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    table = (ROOT / "README.md").read_text().partition("| you want to |")[2].partition("\n\n")[0]
    lines = re.findall(r"^\|[^|]*\| `((?:fl|model)\..*?)` \|", table, re.M)
    assert len(lines) >= 10
    x, y = np.zeros((2, 4), "int32"), np.zeros((2, 4, 10), "float32")
    names = {"x": x, "y": y, "array": np.ones((8, 4), bool), "fl": frostline}
    names |= {"model": _with_tokens(1000), "larger": _with_tokens(1010)}
    names["model"].compile("adam", "mse")
    for line in lines:
        frostline.unfreeze(names["model"])
        eval(line, names)


def _with_tokens(vocabulary):
    """A small model with each of the layers that the README's table names."""
    tokens = keras.Input((4,), dtype="int32")
    y = keras.layers.Embedding(vocabulary, 8, name="tokens")(tokens)
    y = keras.layers.MultiHeadAttention(2, 4, name="attention")(y, y)
    y = keras.layers.Dense(4, kernel_initializer="zeros", name="hidden")(y)
    return keras.Model(tokens, keras.layers.Dense(10, name="head")(y))


@pytest.mark.once
@pytest.mark.parametrize("name", ["README.md", "CONTRIBUTING.md", "SECURITY.md"])
def test_links_of_pages_outside_the_site_lead_somewhere(name):
    # A strict build of the site checks the links of all other pages.
    links = re.findall(r"\]\((?!https?:)([^)#]*)#?([^)]*)\)", (ROOT / name).read_text())
    assert links
    for target, anchor in links:
        page = ROOT / target if target else ROOT / name
        assert page.exists(), target
        headings = re.findall(r"^#+ (.*)$", page.read_text(), re.M) if anchor else []
        slugs = {re.sub(r"[^\w-]+", "", one.lower().replace(" ", "-")) for one in headings}
        assert not anchor or anchor in slugs, f"{target}#{anchor}"


WIDTH = 88  # characters that fit a column in a window of 1,300 pixels: docs/assets/site.css


@pytest.mark.once
@pytest.mark.parametrize("page", PAGES, ids=[page.name for page in PAGES])
def test_code_fits_its_column(page):
    blocks = re.findall(r"^```\w*\n(.*?)^```", page.read_text(), re.S | re.M)
    wide = [line for block in blocks for line in block.splitlines() if len(line) > WIDTH]
    assert not wide
