"""Heads in KerasHub's attention, where equal numbers of heads and features hide the axes."""

from __future__ import annotations

import importlib
import inspect
import pathlib
import re
from collections.abc import Callable
from typing import Any

import keras
import keras_hub
import numpy as np
import pytest

import frostline as fl
from frostline._catalogue import ROLES, has_heads_first

pytestmark = pytest.mark.once

hub = keras_hub.models
SIZES = {"vocabulary_size": 20, "num_layers": 1, "intermediate_dim": 24}
GROUPED = {"num_query_heads": 4, "num_key_value_heads": 2}
BACKBONES: dict[str, Callable[[int], Any]] = {
    "Llama": lambda n: hub.LlamaBackbone(**SIZES, **GROUPED, hidden_dim=4 * n),
    "Mistral": lambda n: hub.MistralBackbone(**SIZES, **GROUPED, hidden_dim=4 * n),
    "Gemma": lambda n: hub.GemmaBackbone(**SIZES, **GROUPED, hidden_dim=16, head_dim=n),
    "Qwen": lambda n: hub.QwenBackbone(**SIZES, **GROUPED, hidden_dim=4 * n),
    "Qwen3": lambda n: hub.Qwen3Backbone(**SIZES, **GROUPED, hidden_dim=16, head_dim=n),
    "Phi-3": lambda n: hub.Phi3Backbone(**SIZES, **GROUPED, hidden_dim=4 * n),
}


def frozen_along(model: Any) -> dict[str, list[int]]:
    """The axes along which the mask of each frozen weight varies, by the end of its path."""
    fl.freeze(model, "*attention/*", fl.heads([0, 1]))
    masks = {path: fl.frozen_mask(weight) for path, weight in fl.weights(model).items()}
    return {
        path.partition("attention/")[2]: [
            axis for axis in range(mask.ndim) if np.diff(mask.astype(int), axis=axis).any()
        ]
        for path, mask in masks.items()
        if mask.any()
    }


@pytest.mark.parametrize("backbone", BACKBONES.values(), ids=BACKBONES)
def test_as_many_features_as_heads(backbone: Callable[[int], Any]) -> None:
    found = frozen_along(backbone(4))
    assert found == frozen_along(backbone(6))
    assert {"query/kernel", "key/kernel", "value/kernel", "attention_output/kernel"} <= set(found)


def test_each_attention_layer_of_keras_hub_is_known() -> None:
    root = pathlib.Path(inspect.getfile(keras_hub)).parent / "src" / "models"
    unknown = set()
    for path in root.rglob("*.py"):
        source = path.read_text(encoding="utf-8")
        if "Dense(" not in source and "Conv2D(" not in source:
            continue
        name = ".".join(path.relative_to(root.parents[2]).with_suffix("").parts)
        for kind in vars(importlib.import_module(name)).values():
            if inspect.isclass(kind) and kind.__module__ == name and makes_heads(kind):
                layer = object.__new__(kind)
                if not has_heads_first(layer):
                    unknown.add(kind.__name__)
    # One of these mixes heads and positions before its output, one is a recurrence over the
    # sequence, and two wrap a layer that has the heads.
    assert unknown == {
        "Attention2d",
        "DisentangledAttentionEncoder",
        "MultiHeadAttentionPooling",
        "RWKV7TimeMix",
    }


def makes_heads(kind: type) -> bool:
    """Whether a class counts heads, and has projections of its own."""
    if not issubclass(kind, keras.layers.Layer):
        return False
    source = inspect.getsource(kind)
    made = re.findall(r"self\._?(\w+) = [\w.]*(?:Dense|Conv2D)\(", source)
    counts = re.search(r"self\._?(n|num)_?(\w+_)?heads? = |self\.heads = ", source)
    called = "Attention" in kind.__name__ and re.search(r"Dense\(|\bConv2D\(", source)
    return bool(
        counts and (called or any(name in ROLES and not ROLES[name].output for name in made))
    )


def test_a_subclass_of_your_own_may_divide_an_axis_in_another_way() -> None:
    """Your own class may hold other projections, or reshape their outputs in its own way."""
    module = importlib.import_module(
        "keras_hub.src.models.swin_transformer.swin_transformer_layers"
    )
    mine = type("Mine", (module.WindowAttention,), {})
    for kind in (module.WindowAttention, mine):
        layer = kind(12, window_size=2, num_heads=3)
        layer(np.zeros((2, 4, 12), "float32"))
        if kind is mine:
            with pytest.raises(fl.SelectionError, match="the 3 heads of this Mine share an axis"):
                fl.freeze(layer, "*", fl.heads(0))
        else:
            fl.freeze(layer, "*", fl.heads(0))
            assert int(fl.frozen_mask(layer.qkv.kernel).sum()) == 12 * 12
            assert int(fl.frozen_mask(layer.proj.kernel).sum()) == 4 * 12
