"""Model files for the tests of what reads them without a model, and ways to spoil them."""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import keras
import numpy as np

import frostline as fl
from helpers import weights

layers = keras.layers


@keras.saving.register_keras_serializable("model_files")
class Around(layers.Layer):
    """A layer that makes another and does not tell of it."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.dense = layers.Dense(3, name="inside")

    def call(self, inputs: Any) -> Any:
        return self.dense(inputs)


@keras.saving.register_keras_serializable("model_files")
class Tagger(keras.Model):
    """A subclassed model whose config tells of no layer."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.recurrent = layers.LSTM(3, name="recurrent")
        self.around = Around(name="around")
        self.blocks = [layers.Dense(3, name="first"), layers.Dense(3, name="second")]

    def call(self, inputs: Any) -> Any:
        x = self.around(self.recurrent(inputs))
        for block in self.blocks:
            x = block(x)
        return x


def large() -> keras.Model:
    """Nested, with attention, recurrent layers, normalization, convolutions and an embedding."""
    keras.utils.set_random_seed(0)
    inputs = keras.Input((4,), dtype="int32")
    x = layers.Embedding(20, 8, name="tokens")(inputs)
    x = layers.MultiHeadAttention(2, 3, name="attention")(x, x)
    x = layers.BatchNormalization(name="norm")(x)
    x = layers.Bidirectional(layers.GRU(3, return_sequences=True, name="gru"), name="both")(x)
    x = layers.LSTM(5, return_sequences=True, name="lstm")(x)
    x = layers.LayerNormalization(name="scaled", center=False)(x)
    x = layers.TimeDistributed(layers.Dense(5, name="inner"), name="each")(x)
    encoder = keras.Sequential(
        [keras.Input((20,)), layers.Dense(6, name="hidden"), layers.Dense(4, name="last")],
        name="encoder",
    )
    x = encoder(layers.Flatten()(x))
    return keras.Model(inputs, layers.Dense(3, use_bias=False, name="out")(x), name="large")


def subclassed() -> keras.Model:
    keras.utils.set_random_seed(0)
    model = Tagger()
    model(np.zeros((2, 4, 6), "float32"))
    return model


def small() -> keras.Model:
    keras.utils.set_random_seed(0)
    return keras.Sequential(
        [keras.Input((4,)), layers.Dense(6, name="hidden"), layers.Dense(2, name="out")]
    )


MAKERS: dict[str, Callable[[], keras.Model]] = {
    "large": large,
    "subclassed": subclassed,
    "small": small,
}


def frozen_variously(model: keras.Model) -> keras.Model:
    """Whole weights, blocks and scattered positions along axes, and single entries."""
    chosen: dict[str, Any] = {
        "bias": None,
        "recurrent_kernel": fl.at[:, ::2],
        "hidden/kernel": lambda w: np.arange(w.size).reshape(w.shape) % 5 == 1,
        "kernel": fl.at[0],
    }
    for found in weights(model):
        for end, where in chosen.items():
            if found.path.endswith(end):
                fl.freeze(model, found.path, where)
                break
    return model


def moved(model: keras.Model, path: str, index: Any, value: float) -> keras.Model:
    """Write one entry of a weight, frozen or not."""
    layer_name, _, name = path.rpartition("/")
    layer: Any = model
    for part in layer_name.split("/"):
        layer = layer.get_layer(part)
    variable = getattr(layer, name)
    array = np.array(keras.ops.convert_to_numpy(variable.value))
    array[index] = value
    variable.assign(array)
    return model


def with_config(path: Path, change: Callable[[dict[str, Any]], None], out: Path) -> Path:
    """A copy of a `.keras` file with another config."""
    return _copied(path, out, change, lambda weights: weights)


def with_weights(path: Path, change: Callable[[Any], None], out: Path) -> Path:
    """A copy of a `.keras` file whose weights were changed as an HDF5 file."""

    def changed(data: bytes) -> bytes:
        buffer = io.BytesIO(data)
        with h5py.File(buffer, "r+") as hdf5:
            change(hdf5)
        return buffer.getvalue()

    return _copied(path, out, lambda config: None, changed)


def compressed(path: Path, out: Path) -> Path:
    """A copy of a `.keras` file that another program has packed."""
    return _copied(path, out, lambda config: None, lambda weights: weights, zipfile.ZIP_DEFLATED)


def _copied(
    path: Path,
    out: Path,
    change: Callable[[dict[str, Any]], None],
    changed: Callable[[bytes], bytes],
    compression: int = zipfile.ZIP_STORED,
) -> Path:
    with zipfile.ZipFile(path) as archive:
        parts = {name: archive.read(name) for name in archive.namelist()}
    config = json.loads(parts["config.json"])
    change(config)
    parts["config.json"] = json.dumps(config).encode()
    parts["model.weights.h5"] = changed(parts["model.weights.h5"])
    with zipfile.ZipFile(out, "w", compression) as archive:
        for name, data in parts.items():
            archive.writestr(name, data)
    return out


def descriptions(config: Any) -> list[dict[str, Any]]:
    """What a config says is frozen, one entry a weight, to be changed in place."""
    found: list[dict[str, Any]] = []
    if isinstance(config, list):
        for part in config:
            found += descriptions(part)
    if isinstance(config, dict):
        own = config.get("frostline")
        if isinstance(own, dict):
            found += own["weights"]
        for part in config.values():
            found += descriptions(part)
    return found
