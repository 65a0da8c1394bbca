"""A partly frozen model exported by PyTorch gives the same outputs, also in other runtimes.

`test_files.py` tests the formats that Keras exports to on each backend.
"""

import platform
import sys
from typing import Any

import keras
import numpy as np
import pytest

import frostline as fl
from helpers import array, assert_only_the_rest_moved, train, values

layers = keras.layers


def attention():
    inputs = keras.Input((3, 6))
    return keras.Model(inputs, layers.MultiHeadAttention(2, 4, name="layer")(inputs, inputs))


def around(layer, *shape, dtype="float32"):
    return lambda: keras.Sequential([keras.Input(shape, dtype=dtype), layer()])


MODELS = {
    "Dense": (around(lambda: layers.Dense(5, name="layer"), 6), "kernel"),
    "Conv2D": (around(lambda: layers.Conv2D(4, 3, name="layer"), 5, 5, 2), "kernel"),
    "Embedding": (
        around(lambda: layers.Embedding(9, 5, name="layer"), 7, dtype="int32"),
        "embeddings",
    ),
    "EinsumDense": (
        around(lambda: layers.EinsumDense("abc,cd->abd", (None, 5), name="layer"), 3, 6),
        "kernel",
    ),
    "MultiHeadAttention": (attention, "query/kernel"),
    "LSTM": (around(lambda: layers.LSTM(5, name="layer"), 3, 6), "*/recurrent_kernel"),
}
KINDS = {
    "first rows": fl.at[:2],
    "first columns": fl.at[..., :2],
    "rows": fl.at[::2],
    "columns": fl.at[..., ::2],
    "entries": lambda kernel: np.arange(kernel.size).reshape(kernel.shape) % 3 == 1,
    "whole": fl.everything,
}


def made(layer, kind):
    make, weight = MODELS[layer]
    keras.utils.set_random_seed(0)
    model = make()
    fl.freeze(model, f"layer/{weight}", KINDS[kind])
    return model


def inputs_for(model):
    """Three rows; the models are exported for a batch of one."""
    shape, random = (3, *model.inputs[0].shape[1:]), np.random.default_rng(0)
    if "int" in model.inputs[0].dtype:
        return random.integers(0, 9, shape).astype("int32")
    return random.normal(size=shape).astype("float32")


def with_onnx(model, row, folder):
    # PyTorch exports by graph (`dynamo=True`) or by trace. Keras tries the graph and silently falls
    # back to a trace.
    import torch

    model.export(folder / "keras.onnx", format="onnx", verbose=False)
    x = (torch.tensor(row),)
    torch.onnx.export(model, x, folder / "graph.onnx", dynamo=True, verbose=False)
    return [run_by_onnx(folder / name) for name in ("keras.onnx", "graph.onnx")]


def run_by_onnx(file):
    import onnxruntime

    session = onnxruntime.InferenceSession(file, providers=["CPUExecutionProvider"])
    (given,) = session.get_inputs()
    return lambda row: session.run(None, {given.name: row})[0]


def with_pytorch(model, row, folder):
    import torch

    x = torch.tensor(row)
    torch.export.save(torch.export.export(model, (x,)), folder / "exported.pt2")
    loaded = torch.export.load(folder / "exported.pt2").module()
    traced: Any = torch.jit.trace(model, x)
    return [lambda row, run=run: array(run(torch.tensor(row))) for run in (loaded, traced)]


EXPORTERS = {"onnx": with_onnx, "pytorch": with_pytorch}
# These run every time. They cover each layer and each kind of freeze in every format.
QUICK = {
    *[("Dense", kind) for kind in ("first rows", "entries", "whole")],
    *[("Embedding", kind) for kind in ("first rows", "rows", "columns", "entries")],
    *[("Conv2D", "columns"), ("EinsumDense", "entries"), ("MultiHeadAttention", "entries")],
    *[("LSTM", "rows"), ("LSTM", "first columns")],
}
CELLS = [
    pytest.param(
        layer,
        kind,
        id=f"{layer}-{kind}",
        marks=() if (layer, kind) in QUICK else pytest.mark.full,
    )
    for layer in MODELS
    for kind in KINDS
]
NO_WHEEL = sys.platform == "darwin" and platform.machine() == "x86_64"

if keras.backend.backend() == "torch":
    # Exporters emit warnings of their own, with and without a freeze.
    @pytest.mark.filterwarnings("ignore")
    @pytest.mark.parametrize("format", EXPORTERS)
    @pytest.mark.parametrize(("layer", "kind"), CELLS)
    def test_exporters_of_pytorch_take_every_kind_of_freeze(layer, kind, format, tmp_path):
        if format == "onnx" and NO_WHEEL:
            pytest.skip("there is no onnxruntime for macOS on Intel")
        model = made(layer, kind)
        x = inputs_for(model)
        expected = array(model(x))
        for run in EXPORTERS[format](model, x[:1], tmp_path):
            found = np.concatenate([run(row[None]) for row in x])
            np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)
        # The model still trains.
        before = values(model)
        train(model, x, np.ones_like(expected))
        assert_only_the_rest_moved(model, before)

    @pytest.mark.filterwarnings("ignore")
    def test_a_model_that_was_exported_before_its_first_call_trains(tmp_path):
        model = made("Dense", "entries")
        x = inputs_for(model)
        with_pytorch(model, x[:1], tmp_path)
        before = values(model)
        train(model, x, np.ones((3, 5), "float32"))
        assert_only_the_rest_moved(model, before)
