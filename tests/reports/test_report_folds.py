"""What the page of a report shows first, what it folds, and how it explains its words."""

import keras
import numpy as np
import pytest

import frostline as fl
from models import dense
from pages import fold, lines, listed, names, open_row, overflow, row, texts

pytestmark = pytest.mark.once

TIMES = "\N{MULTIPLICATION SIGN}"
LEAK = "lstm/lstm_cell/kernel"


@pytest.fixture(scope="module")
def deep(tmp_path_factory):
    """A page of a model with six equal blocks, of which some tokens, units and entries train."""

    def block(number):
        inner = [
            keras.layers.Dense(8, name="a_dense_layer_with_a_long_name"),
            keras.layers.LayerNormalization(name="norm"),
            keras.layers.Dense(8, name="out"),
        ]
        return keras.Sequential([keras.Input((4, 8)), *inner], name=f"transformer_layer_{number}")

    keras.utils.set_random_seed(0)
    tokens = keras.layers.Embedding(50, 8, name="token_embedding")
    blocks = [block(number) for number in range(6)]
    backbone = keras.Sequential([keras.Input((4,)), tokens, *blocks], name="pretrained_backbone")
    last = keras.layers.Dense(2, name="classifier")
    model = keras.Sequential([keras.Input((4,)), backbone, last], name="model")
    trained = {
        "*/embeddings": fl.tokens([48, 49]),
        "*long_name/kernel": fl.at[:, 0],
        "*/out/kernel": fl.largest(0.25, scope="model"),
        "classifier/*": fl.everything,
    }
    fl.train_only(model, trained)
    before = fl.snapshot(model)
    for name, variable in fl.weights(model).items():
        free = ~fl.frozen_mask(variable)
        fl.weights(model)[name].assign(before[name] + np.float32(0.5) * free)
    path = tmp_path_factory.mktemp("deep") / "report.html"
    return fl.report(model, before, path=path), model


BACKBONE = "pretrained_backbone/"
LONG = f"{BACKBONE}transformer_layer_3/a_dense_layer_with_a_long_name/kernel"


def test_what_is_partly_frozen_comes_first_and_equal_blocks_are_folded(opened, deep):
    path, model = deep
    kernels = [row for row in fl.summary(model).rows if row.path.endswith("/out/kernel")]
    counts = [row.frozen for row in kernels]
    assert min(counts) < max(counts)
    with opened(path) as page:
        assert lines(page) == [
            "Partly frozen: 13 weights",
            f"{BACKBONE}token_embedding/embeddings",
            f"{BACKBONE}transformer_layer_0 … transformer_layer_5 {TIMES} 6",
            f"a_dense_layer_with_a_long_name/kernel {TIMES} 6",
            f"out/kernel {TIMES} 6",
            "frozen whole 24 weights",
            "Moved: 2 weights",
            "classifier 2 weights, not frozen",
            "classifier/kernel",
            "classifier/bias",
        ]
        each = texts(fold(page, "out/kernel").locator("td"))
        low, high = min(counts), max(counts)
        share = f"{100 * low / 64:.1f} to {100 * high / 64:.1f}%"
        assert each[:6] == ["(8, 8)", "float32", "64", f"{low} to {high}", share, "entries"]
        assert each[7:] == [f"{64 - high} to {64 - low}", "0.5", "0"]
        block = page.locator("tr.fold", has_text="transformer_layer_5")
        sums = fl.summary(model)
        found = [row for row in sums.rows if "/transformer_layer_" in row.path]
        assert f"{sum(row.frozen for row in found):,}" in texts(block.locator("td"))


def test_a_fold_opens_to_its_weights(opened, deep):
    path, model = deep
    with opened(path) as page:
        closed = len(names(page))
        kernels = [f"{BACKBONE}transformer_layer_{n}/out/kernel" for n in range(6)]
        fold(page, "out/kernel").get_by_role("button").click()
        assert [name for name in names(page) if name.endswith("out/kernel")] == kernels
        assert len(names(page)) == closed + 6
        open_row(page, kernels[5])
        page.locator("tr.fold", has_text="transformer_layer_5").get_by_role("button").click()
        assert len(names(page)) == 3
        assert page.locator("tr.detail:visible").count() == 0
        page.get_by_role("button", name="Open all").click()
        assert sorted(names(page)) == sorted(row.path for row in fl.summary(model).rows)
        page.get_by_role("button", name="Close all").click()
        assert names(page) == [f"{BACKBONE}token_embedding/embeddings"]
        page.get_by_role("searchbox").fill("layer_3 norm")
        assert len(names(page)) == 2
        assert not page.locator("tr.fold:visible, tr.title:visible").count()


def test_a_link_opens_the_folds_around_a_weight(opened, deep):
    path, model = deep
    place = [row.path for row in fl.summary(model).rows].index(LONG)
    with opened(path) as page:
        page.evaluate(f"location.hash = '#w{place}'")
        page.locator("tr.detail:visible canvas[data-drawn]").last.wait_for()
        assert LONG in names(page)
        assert page.locator("tr.detail:visible code").first.inner_text() == LONG
        page.evaluate("location.hash = ''")


@pytest.mark.parametrize("width", [390, 900, 1300])
def test_a_long_name_is_shortened_in_the_middle_and_whole_where_it_is_asked_for(
    opened, deep, width
):
    path, _ = deep
    with opened(path, width=width) as page:
        page.get_by_role("searchbox").fill("layer_3 long_name/kernel")
        name = row(page, LONG).locator("bdi")
        assert name.get_attribute("title") == name.text_content() == LONG
        cut = name.locator(".cut")
        assert cut.text_content() == "a_dense_layer_with_a_long_name"
        assert cut.evaluate("e => getComputedStyle(e, '::before').content") == '"…"'
        assert cut.evaluate("e => getComputedStyle(e).fontSize") == "0px"
        assert name.evaluate("e => e.getClientRects().length") <= 3
        page.get_by_role("searchbox").fill("")
        heights = page.locator("tbody tr[id]:visible > th").evaluate_all(
            "all => all.map((th) => th.querySelector('span').getBoundingClientRect().height)"
        )
        assert max(heights) <= 3 * 20 + 4
        assert overflow(page) <= 0


def test_leaks_are_listed_before_all_else_and_count_in_their_layer(opened, made):
    path, model, _ = made
    with opened(path) as page:
        assert lines(page)[:2] == ["Frozen, but moved: 1 weight", LEAK]
        assert sorted(listed(page)) == sorted(row.path for row in fl.summary(model).rows)
        cells = texts(fold(page, "lstm/lstm_cell").locator("td"))
        assert cells[2] == f"{sum(r.size for r in fl.summary(model).rows if 'lstm' in r.path):,}"
        assert cells[-1] == "1"


def test_many_leaks_are_listed_in_part(opened, tmp_path):
    model = keras.Sequential([keras.Input((2,)), *[keras.layers.Dense(2) for _ in range(30)]])
    fl.freeze(model, "*kernel")
    before = {path: np.array(array) - 1 for path, array in fl.snapshot(model).items()}
    with opened(fl.report(model, before, path=tmp_path / "report.html")) as page:
        assert "LEAK: 120 frozen entries moved" in page.locator(".verdict.leak").inner_text()
        assert lines(page)[0] == "Frozen, but moved: 30 weights"
        assert lines(page)[21] == "10 weights more"
        assert len(listed(page)) == 60


def test_the_words_below_the_table_are_those_in_it(opened, made, tmp_path):
    path, _, _ = made
    with opened(path) as page:
        said = page.locator(".words").inner_text()
        for word in ("whole", "block", "positions", "entries", "slots", "delta file", "leaked"):
            assert f"{word}:" in said, word
    with opened(fl.report(dense(2, 2), path=tmp_path / "report.html")) as page:
        said = page.locator(".words").inner_text()
        assert "delta file:" in said
        for word in ("whole", "block", "positions", "kind", "leaked", "moved"):
            assert f"{word}:" not in said, word
