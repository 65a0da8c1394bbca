"""Each example runs on the current backend, and prints what it promises."""

import importlib.util
from xml.etree import ElementTree

import numpy as np
import pytest

from helpers import ROOT

EXAMPLES = ROOT / "examples"


def load(name):
    spec = importlib.util.spec_from_file_location(name, EXAMPLES / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


LINES = {"new_tokens_language_model": 210}  # two models, two processes, and a recipe to compare


@pytest.mark.parametrize("path", sorted(EXAMPLES.glob("*.py")), ids=lambda path: path.stem)
def test_each_example_is_short_and_says_how_to_run_it(path):
    text = path.read_text()
    assert len(text.splitlines()) < LINES.get(path.stem, 100)
    assert f"python examples/{path.name}" in text


def test_one_row_keeps_w1_and_trains_w2(capsys):
    result = load("one_row").main()
    before, after = result["before"], result["after"]
    assert before.shape == after.shape == (2, 4)
    np.testing.assert_array_equal(before[0].view("uint32"), after[0].view("uint32"))
    assert np.all(before[1] != after[1])
    assert result["w1_same_bits"] is True
    assert result["w2_moved"] == pytest.approx(np.abs(after[1] - before[1]).max())
    assert result["w2_moved"] > 0.05
    assert result["losses"][-1] < result["losses"][0]
    out = capsys.readouterr().out
    assert out.index("before training:") < out.index("after training:")
    assert out.count("W1 =") == out.count("W2 =") == 2


def test_bias_only_frozen_equals_the_custom_layer_at_each_epoch(capsys):
    result = load("bias_only_frozen").main()
    frozen, custom = result["frozen"], result["custom"]
    assert frozen.shape == custom.shape == (5, 3)
    np.testing.assert_allclose(frozen, custom, rtol=1e-6)
    assert result["difference"] == np.abs(frozen - custom).max()
    np.testing.assert_array_equal(frozen[:, 2], np.float32(0.25))
    assert np.all(np.diff(frozen[:, 0]) > 0.05), "the kernel moves at each epoch"
    assert capsys.readouterr().out.count("epoch") == 10


def test_split_by_hand_equals_frozen_in_place_and_the_output_attribute_does_nothing(capsys):
    result = load("split_by_hand").main()
    assert result["difference"] < 1e-5
    assert result["by_machine"] < 1e-5
    assert result["kept_same_bits"] is True
    assert result["moved"] > 0.05
    assert result["drift"] > 0.05
    assert "largest difference over all weights" in capsys.readouterr().out


def test_the_picture_shows_a_row_that_stayed(tmp_path):
    drawn = tmp_path / "picture.svg"
    result = load("picture").main(drawn)
    before, after, frozen = result["before"], result["after"], result["frozen"]
    assert frozen.sum(axis=1).tolist() == [5, 0, 0, 0]
    np.testing.assert_array_equal(before[0].view("uint32"), after[0].view("uint32"))
    assert np.all(before[1:] != after[1:])
    stored = EXAMPLES.parent / "docs" / "one_row.svg"
    for path in (drawn, stored):
        root = ElementTree.parse(path).getroot()
        kinds = [part.get("class", "") for part in root.iter() if part.tag.endswith("rect")]
        assert (kinds.count("cell cold"), kinds.count("cell warm")) == (3 * 5 + 1, 3 * 15 + 1)
        numbers = [part.text for part in root.iter() if part.get("class") == "number"]
        assert numbers[:5] == numbers[20:25], "the frozen row before and after"
        assert numbers[40:45] == ["0"] * 5
        assert "prefers-color-scheme: dark" in path.read_text(encoding="utf-8")
    assert stored.stat().st_size < 150_000


@pytest.mark.full
@pytest.mark.filterwarnings("ignore:Converting sparse IndexedSlices:UserWarning")
def test_new_tokens_learn_alone_in_tied_and_untied_language_models():
    results = load("new_tokens_language_model").main()
    for name, entries in (("gpt2", 2 * 64), ("llama", 4 * 64)):
        result = results[name]
        assert result["trained"] == entries
        assert result["losses"][-1] < result["losses"][0]
        assert result["after"] != result["before"]
        np.testing.assert_array_equal(result["resumed"], result["logits"])
        np.testing.assert_array_equal(result["from_delta"], result["logits"])
        assert result["delta_bytes"] < 20_000
        assert result["drift"] == 0
        assert result["masked_drift"] > 0.01
