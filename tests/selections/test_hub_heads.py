"""Heads in the attention of KerasHub where as many features as heads hide which axis is which."""

from __future__ import annotations

import importlib
import inspect
import pathlib
from collections.abc import Callable
from typing import Any

import keras
import keras_hub
import numpy as np
import pytest

import frostline as fl
from frostline._catalogue import has_heads_first

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
    for path in root.rglob("*attention.py"):
        name = ".".join(path.relative_to(root.parents[2]).with_suffix("").parts)
        for kind in vars(importlib.import_module(name)).values():
            if not (inspect.isclass(kind) and kind.__module__ == name):
                continue
            if not issubclass(kind, keras.layers.Layer) or "Attention" not in kind.__name__:
                continue
            layer = object.__new__(kind)
            if "EinsumDense(" in inspect.getsource(kind) and not has_heads_first(layer):
                unknown.add(kind.__name__)
    # Its heads share an axis with the levels of an image.
    assert unknown == {"DFineMultiscaleDeformableAttention"}
