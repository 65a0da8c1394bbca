"""Which of many weights get a map, and what the figure says about the others."""

from typing import Any

import keras
import numpy as np
import pytest

import frostline as fl
from frostline._plots.fold import Gallery
from frostline._plots.maps import merged
from helpers import maps, value

pytestmark = pytest.mark.once

layers = keras.layers


class Block(layers.Layer):
    """A block like one of a language model: two kernels and a normalization."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.up, self.down = layers.Dense(8, name="up"), layers.Dense(6, name="down")
        self.norm = layers.LayerNormalization(name="norm")

    def call(self, x: Any) -> Any:
        return self.norm(x + self.down(self.up(x)))


def language_model(blocks: int = 5) -> keras.Model:
    keras.utils.set_random_seed(0)
    inputs = keras.Input((3,), dtype="int32")
    x = layers.Embedding(20, 6, name="tokens")(inputs)
    for number in range(blocks):
        x = Block(name=f"block_{number}")(x)
    return keras.Model(inputs, layers.Dense(20, name="head")(x), name="lm")


def titles(figure: Any) -> list[str]:
    return [axes.get_title("left") for axes in maps(figure)]


def said(figure: Any) -> str:
    return " ".join(text.get_text() for text in figure.texts).replace("\n", " ")


def facts(axes: Any) -> str:
    return "\n".join(text.get_text() for text in axes.texts)


def test_partly_frozen_weights_have_maps_and_the_others_a_line_a_layer():
    model = language_model()
    fl.freeze(model, "tokens/embeddings", ~fl.tokens([18, 19]))
    fl.freeze(model, "*/up/kernel", fl.at[:, :2])
    fl.freeze(model, "*/down/*")
    figure = fl.plot(model)
    assert titles(figure) == ["tokens/embeddings", "block_*/up/kernel"]
    assert facts(maps(figure)[1]) == "(6, 8), 25.0% frozen (block)\n5 alike"
    text = said(figure)
    assert "block_0 ... block_4 x 5: 10 weights whole (270 entries), 15 weights not frozen" in text
    assert "head: 2 weights not frozen (140 entries)" in text
    assert "block: one range of positions along an axis" in text
    assert "positions:" not in text


def test_alike_weights_have_one_map_with_a_range():
    model = language_model(13)
    for number in range(13):
        kernel = f"block_{number}/up/kernel"
        fl.freeze(model, kernel, fl.mask(np.arange(48).reshape(6, 8) % 8 > number % 2))
    (axes,) = maps(fl.plot(model))
    assert axes.get_title("left") == "block_*/up/kernel"
    assert "75.0 to 87.5% frozen" in facts(axes)
    assert "13 alike: this is the first" in facts(axes)
    assert len(maps(fl.plot(model, fold=False, limit=100))) == len(fl.summary(model).rows)


def test_a_few_that_differ_are_all_drawn():
    model = language_model(4)
    for number in range(4):
        fl.freeze(model, f"block_{number}/up/kernel", fl.at[:, [number, 7]])
    assert titles(fl.plot(model)) == [f"block_{number}/up/kernel" for number in range(4)]


def moved(model: keras.Model, *paths: str) -> dict[str, np.ndarray]:
    before = fl.snapshot(model)
    for path in paths:
        variable = fl.weights(model, path)[path]
        variable.assign(value(variable) + 1)
    return before


def test_what_moved_has_a_map():
    model = language_model()
    before = moved(model, "head/bias", "block_3/norm/gamma")
    figure = fl.plot_drift(before, model)
    assert titles(figure) == ["block_3/norm/gamma", "head/bias"]
    assert "block_0 ... block_2 x 3: 18 weights not frozen" in said(figure)


def test_a_leak_has_its_own_map():
    model = language_model(13)
    fl.freeze(model, "*/up/kernel", fl.at[:, :2])
    before = fl.snapshot(model)
    for number in range(13):
        kernel = model.get_layer(f"block_{number}").up.kernel
        changed = value(kernel)
        changed[:, 2:] += 1
        changed[0, 0] += number == 7
        kernel.assign(changed)
    figure = fl.plot_drift(before, model)
    assert titles(figure) == ["block_7/up/kernel\n1 frozen entry moved", "block_*/up/kernel"]
    assert "12 alike: this is the first" in facts(maps(figure)[1])


def test_one_weight_has_a_map_whatever_is_frozen():
    model = language_model()
    fl.freeze(model, "head/kernel")
    assert titles(fl.plot(model, "head/kernel")) == ["head/kernel"]
    assert titles(fl.plot(model, "head/bias")) == ["head/bias"]
    assert titles(fl.plot(model, "head/*")) == []


@pytest.mark.parametrize(
    ("paths", "name"),
    [
        (["a/b"], "a/b"),
        (["layer_0/kernel", "layer_1/kernel", "layer_11/kernel"], "layer_*/kernel"),
        (["dense/kernel", "dense_1/kernel", "dense_2/kernel"], "dense*/kernel"),
        (["conv2_block1_out/k", "conv3_block1_out/k", "conv3_block2_out/k"], "conv*_out/k"),
    ],
)
def test_a_pattern_names_all_of_them(paths, name):
    found = paths[0]
    for path in paths[1:]:
        found = merged(found, path)
    assert found == name


def test_no_more_maps_are_kept_than_are_drawn():
    model = language_model(30)
    fl.freeze(model, "*/up/kernel", fl.at[:, :2])
    galleries: list[Gallery] = []

    class Watched(Gallery):
        def __init__(self, *given: Any) -> None:
            super().__init__(*given)
            galleries.append(self)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("frostline.plots.Gallery", Watched)
        fl.plot(model, limit=4)
        fl.plot(model, limit=4, fold=False)
    kept = [sum(len(kept.panels) for kept in one._kept.values()) for one in galleries]
    assert kept[0] == 1
    assert 4 <= kept[1] <= 8
