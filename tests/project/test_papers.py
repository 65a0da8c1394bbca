"""The runs and the page of `make papers`, scaled down to seconds."""

import importlib

import numpy as np
import pytest
from benchmarks.papers import paper, run
from benchmarks.papers.page import arrays, figure, markdown, table

from helpers import ROOT

pytestmark = pytest.mark.once

SMALL = {
    "deconstructing_tickets": {"EPOCHS": 1, "BATCH": 500, "RATES": (0.01,)},
    "batchnorm_only": {"EPOCHS": 1, "BATCH": 500, "BLOCKS": 2, "FILTERS": 2, "RATES": (0.01,)},
    "bitfit": {"BEFORE": 1, "EPOCHS": 1, "EXAMPLES": 20, "RATES": (0.01,)},
    "fish": {
        **{"EPOCHS": 1, "PRETRAINING": 1, "PRETRAINED": 256, "SCORED": 10, "RATES": (0.01,)},
        **dict.fromkeys(["TRAINED", "CHOSEN_BY", "TESTED"], 100),
    },
    "surgical": {"EPOCHS": 1, "PRETRAINING": 1, "RATES": (0.01,)},
    "channels": {
        **{"EPOCHS": 1, "PRETRAINING": 1, "PRETRAINED": 32, "TRAINED": 16, "RATES": (0.01,)},
        **{"CHOSEN_BY": 100, "TESTED": 100, "NARROW": 16, "WIDE": 32, "BLOCKS": 1},
        **{"WARM": 1, "ROUNDS": 1},
    },
}


@pytest.fixture
def small(request, monkeypatch):
    """A paper's module at a small scale, with its caches cleared before and after."""
    module = importlib.import_module(f"benchmarks.papers.{request.param}")
    kept = [made for made in vars(module).values() if hasattr(made, "cache_clear")]
    for made in kept:
        made.cache_clear()
    for name, value in SMALL[request.param].items():
        monkeypatch.setattr(module, name, value)
    yield module
    for made in kept:
        made.cache_clear()


LONG = {"surgical"}


@pytest.mark.parametrize(
    "small",
    [pytest.param(name, marks=pytest.mark.full if name in LONG else ()) for name in run.NAMES],
    indirect=True,
)
def test_a_paper_runs_and_measures_what_is_stored(small):
    found = run.run(small.PAPER, 1)
    known = run.stored()[small.PAPER.name]["conditions"]
    assert list(found["conditions"]) == list(known)
    assert {len(rows[0]) for rows in found["conditions"].values()} == {len(small.PAPER.measures)}
    assert small.PAPER.verdict(arrays(found)) in markdown(small.PAPER, found).replace("\n", " ")


def test_the_page_holds_the_stored_results():
    assert (ROOT / "docs" / "reproduced.md").read_text(encoding="utf-8") == run.page()


@pytest.mark.parametrize("name", run.NAMES)
def test_a_section_has_every_number_and_its_picture(name):
    one, result = run.load(name), run.stored()[name]
    for line in table(one, result):
        assert line in run.page()
    assert f'<a id="{name}"></a>' in run.page()
    assert 5_000 < (ROOT / "docs" / f"reproduced_{name}.png").stat().st_size < 60_000


def test_the_figure_is_drawn(tmp_path):
    name = run.NAMES[0]
    figure(run.load(name), run.stored()[name], tmp_path / "figure.png")
    assert (tmp_path / "figure.png").stat().st_size > 5_000


@pytest.mark.parametrize(
    ("one", "other", "expected"),
    [
        pytest.param([1, 2, 3], [0, 1, 2], True, id="always by one"),
        pytest.param([0, 1, 2], [1, 2, 3], False, id="always below"),
        pytest.param([3, 0, 3], [0, 2, 2], False, id="by less than its error"),
        pytest.param([2, 3, 4, 5], [1, 1, 1, 6], False, id="one seed against"),
    ],
)
def test_above_is_by_more_than_two_standard_errors(one, other, expected):
    assert paper.above(np.array(one), np.array(other)) == expected


@pytest.mark.parametrize(
    ("values", "shown"),
    [
        pytest.param([480, 480], "480", id="a count"),
        pytest.param([97.0, 98.0], "97.5 ± 0.7", id="percent"),
        pytest.param([1.5, 2.5], "2.00 ± 0.71", id="milliseconds"),
        pytest.param([0.125, 0.125], "0.125", id="below one"),
    ],
)
def test_numbers_are_shown_as_mean_and_deviation(values, shown):
    assert paper.spread(np.array(values)) == shown


def test_a_frozen_entry_that_changed_stops_a_paper():
    import keras

    import frostline as fl

    model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(2, name="out")])
    fl.freeze(model, "out/kernel", fl.at[0])
    held = paper.frozen_values(model)
    kernel = model.get_layer("out").kernel
    values = fl.snapshot(model)["out/kernel"]
    kernel.assign(values + np.array([[0], [1], [1]], "float32"))
    paper.assert_same_bits(model, held)
    kernel.assign(values + np.array([[1e-6], [0], [0]], "float32"))
    with pytest.raises(AssertionError, match="out/kernel: frozen entries changed"):
        paper.assert_same_bits(model, held)
