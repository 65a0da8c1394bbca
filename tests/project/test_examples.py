"""Each example runs on the current backend and prints the results that it describes."""

import importlib.util
from xml.etree import ElementTree

import numpy as np
import pytest

from helpers import ROOT

EXAMPLES = ROOT / "examples"
# The number of lines of examples that may be longer than the others.
LONGER = {
    "new_tokens_language_model": 210,  # two models, two processes, and a recipe to compare with
    "packnet": 150,  # the method of a paper, a comparison, and a picture of both
}


def load(name):
    spec = importlib.util.spec_from_file_location(name, EXAMPLES / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("path", sorted(EXAMPLES.glob("*.py")), ids=lambda path: path.stem)
def test_each_example_is_short_and_says_how_to_run_it(path):
    text = path.read_text()
    assert len(text.splitlines()) < LONGER.get(path.stem, 100)
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
        assert [text.split()[0] for text in result["after"]] == ["import", "def"]
        np.testing.assert_array_equal(result["resumed"], result["logits"])
        np.testing.assert_array_equal(result["from_delta"], result["logits"])
        assert result["delta_bytes"] < 20_000
        assert result["drift"] == 0
        assert result["masked_drift"] > 0.01


def whole(delta, path):
    """A kernel with only the entries of a delta, and zeros elsewhere."""
    held = ~delta.frozen_mask(path)
    kernel = np.zeros(held.shape, "float32")
    kernel[held] = delta.values(path).ravel()
    return kernel


def test_packnet_keeps_three_tasks_to_the_bit_where_fine_tuning_forgets(
    tmp_path, capsys, monkeypatch
):
    example = load("packnet")
    monkeypatch.setattr(example, "EPOCHS", 4)
    result = example.main(tmp_path / "packnet.png")
    finished, at_the_end, kept = result["finished"], result["at_the_end"], result["kept"]
    assert len(finished) == len(at_the_end) == len(kept) == len(result["deltas"]) == 3
    for before, after in zip(finished, at_the_end, strict=True):
        assert before.shape == (597, 10)
        np.testing.assert_array_equal(before.view("uint32"), after.view("uint32"))
    assert len({logits.tobytes() for logits in finished}) == 3
    for path in ("hidden_1/kernel", "hidden_2/kernel"):
        size = kept[0][path].size
        assert [int(masks[path].sum()) for masks in kept] == [size // 4] * 3
        owners = sum(masks[path].astype(int) for masks in kept)
        assert np.max(owners) == 1, "no entry belongs to two tasks"
        kernels = [whole(delta, path) for delta in result["deltas"]]
        assert np.all(kernels[-1][owners == 0] == 0), "a quarter is free"
        for task, masks in enumerate(kept):
            assert all(np.all(earlier[masks[path]] == 0) for earlier in kernels[:task])
            for later in kernels[task + 1 :]:
                np.testing.assert_array_equal(later[masks[path]], kernels[task][masks[path]])
    packnet, fine_tuning = result["packnet"], result["fine_tuning"]
    for task in range(3):
        assert packnet[-1][task] == packnet[task][task] > 0.8
        assert fine_tuning[task][task] > 0.8
    for task in range(2):
        assert fine_tuning[-1][task] < fine_tuning[task][task] - 0.2, "it forgot"
    out = capsys.readouterr().out
    assert out.count(" 6,144 ") == 3
    assert "bit for bit: True" in out
    for drawn in (tmp_path / "packnet.png", EXAMPLES.parent / "docs" / "packnet.png"):
        assert 20_000 < drawn.stat().st_size < 60_000
