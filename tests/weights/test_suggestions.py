"""Suggestions in the error for a path that matches nothing."""

import re

import pytest

import frostline as fl
from frostline._weights.suggest import nearest, suggestion
from models import dense, dense_layers

PATHS = [
    "encoder/layer_0/attention_layernorm/scale",
    "encoder/layer_0/attention/query/kernel",
    "encoder/layer_0/attention/query/bias",
    "encoder/layer_1/attention_layernorm/scale",
    "encoder/layer_1/attention/query/kernel",
    "encoder/layer_1/attention/query/bias",
    "LayerNorm/gamma",
    "dense_1/kernel",
    "dense_1/bias",
]

MEANT = {
    "the name of variables": ("kernel", "'*/kernel' (3 weights)"),
    "another name": ("bias", "'*/bias' (3 weights)"),
    "the name of one": ("gamma", "'LayerNorm/gamma'"),
    "underscores": ("*attention_layer_norm*", "'*attention_layernorm*' (2 weights)"),
    "an underscore less": ("dense1/kernel", "'dense_1/kernel'"),
    "case": ("Dense_1/Kernel", "'dense_1/kernel'"),
    "case of a glob": ("Encoder/*/Kernel", "'encoder/*/kernel' (2 weights)"),
    "case the other way": ("layernorm/*", "'LayerNorm/gamma'"),
    "no star before": ("query/kernel", "'*/query/kernel' (2 weights)"),
    "a model around": ("model/dense_1/kernel", "'dense_1/kernel'"),
    "a slash after": ("dense_1/", "'dense_1/*' (2 weights)"),
    "a slash before": ("/dense_1/kernel", "'dense_1/kernel'"),
    "backslashes": ("dense_1\\kernel", "'dense_1/kernel'"),
    "layers left out": ("encoder/kernel", "'encoder/*/kernel' (2 weights)"),
    "part of a name": ("attention", "'*/attention/*' (4 weights)"),
    "a misspelt word": ("kernal", "'*/kernel' (3 weights)"),
    "a misspelt word in a glob": ("*/quary/*", "'*/query/*' (4 weights)"),
    "the name in TensorFlow": ("dense_1/kernel:0", None),
}


@pytest.mark.once
@pytest.mark.parametrize(("text", "meant"), MEANT.values(), ids=MEANT)
def test_a_glob_that_matches_is_suggested(text, meant):
    said = suggestion(text, PATHS)
    assert said == (f"Did you mean {meant}?" if meant else said)
    assert meant or said.startswith("Nearest: 'dense_1/kernel'")


@pytest.mark.once
@pytest.mark.parametrize(
    ("text", "said"),
    [
        (".*kernel", "Did you mean '*kernel' (3 weights)? A regex must be compiled: `re.compile("),
        ("^encoder.*bias$", "Did you mean 'encoder*bias' (2 weights)? A regex must be compiled"),
        ("(kernel|bias)", "A regex must be compiled: `re.compile('(kernel|bias)')`."),
        ("(kernel", "Did you mean '*/kernel' (3 weights)?"),
        (".*nothing", "It has 9 weights: 'encoder/layer_0/attention_layernorm/scale'"),
    ],
)
def test_a_regex_that_is_not_compiled(text, said):
    assert suggestion(text, PATHS).startswith(said)


@pytest.mark.once
@pytest.mark.parametrize("text", ["", "*", "/", "[", "xyz", "a" * 9999, "*a" * 99, "\\", "?*[a]"])
def test_a_message_is_short_whatever_is_asked_of_a_large_model(text):
    paths = [f"backbone/layer_{place}/dense/kernel" for place in range(300)]
    assert len(suggestion(text, paths)) < 250
    assert len(nearest(text, paths)) <= 3


def test_the_error_has_the_suggestion():
    model = dense_layers(hidden=8, out=3)
    with pytest.raises(fl.PathError, match=r"got weights='kernel'. Did you mean '\*/kernel' \(2 w"):
        fl.freeze(model, "kernel")
    with pytest.raises(fl.PathError, match=r"Did you mean 'kernel'\?$"):
        fl.freeze(dense(), "other/kernel")
    with pytest.raises(fl.PathError, match=r"Nearest: 'hidden/kernel'"):
        fl.freeze(model, re.compile("hidden.kernal"))
    with pytest.raises(fl.PathError, match=r"got weights='x{97}\.\.\.'. It has 4 weights"):
        fl.freeze(model, "x" * 5000)
