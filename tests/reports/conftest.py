"""Fixtures that the tests of pages share: a browser, and a page with a leak."""

import pytest

import frostline as fl
from models import leak, trained
from pages import launched, opener


@pytest.fixture(scope="module")
def opened():
    with launched() as started:
        yield opener(started)


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A report with a leak, its model, and the snapshot from before."""
    model, before = trained()
    leak(model)
    path = fl.report(model, before, path=tmp_path_factory.mktemp("made") / "report.html")
    return path, model, before
