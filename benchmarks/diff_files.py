"""Write two large files of one model for `benchmarks.diff` without holding them in memory."""

from __future__ import annotations

import json
import math
import sys
import zipfile
from pathlib import Path
from typing import Any

import h5py
import keras
import numpy as np

import frostline as fl
from frostline._arrays.plan import plan_from_mask

COLUMNS = 4096
ROWS = 8192
NAMES = {"float32": "F32", "float16": "F16", "bfloat16": "BF16", "int8": "I8"}


def main() -> int:
    folder, kind, case, gigabytes, dtype = sys.argv[1:]
    random = np.random.default_rng(0)
    kernel = random.standard_normal((ROWS, COLUMNS), "float32").astype(np.dtype(dtype))
    count = round(float(gigabytes) * 2**30 / kernel.nbytes)
    if not count:  # the smallest file possible
        kernel, count = kernel[:2], 1
    mask = _frozen(case, kernel.shape, random)
    moved = kernel if case == "equal" else _moved(kernel, mask)
    for name, value in (("before", kernel), ("after", moved)):
        path = Path(folder) / f"{name}.{kind}"
        if kind == "safetensors":
            _write_safetensors(path, value, count)
        else:
            _write_hdf5(path, value, count)
        if kind == "keras":
            _wrap(path, _config(count, mask))
        print(path)
    return 0


def _frozen(case: str, shape: tuple[int, ...], random: np.random.Generator) -> np.ndarray:
    mask = np.zeros(shape, bool)
    if case == "rows":
        mask[: math.ceil(shape[0] / 100)] = True
    if case == "entries":
        mask = random.random(shape, "float32") < 0.5
    return mask


def _moved(kernel: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """Change the bits of every entry that is not frozen."""
    moved = kernel.copy()
    moved.view(f"u{kernel.dtype.itemsize}")[~mask] ^= 1
    return moved


def _write_safetensors(path: Path, value: np.ndarray, count: int) -> None:
    header = {
        f"layer_{n}/kernel": {
            "dtype": NAMES[str(value.dtype)],
            "shape": value.shape,
            "data_offsets": [n * value.nbytes, (n + 1) * value.nbytes],
        }
        for n in range(count)
    }
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)  # the format requires this alignment
    with open(path, "wb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        for _ in range(count):
            value.tofile(file)


def _write_hdf5(path: Path, value: np.ndarray, count: int) -> None:
    """Write the layout of a `Sequential` of `Dense` layers in Keras."""
    with h5py.File(path, "w") as hdf5:
        for n in range(count):
            own = hdf5.create_group(f"layers/dense{f'_{n}' if n else ''}/vars")
            own.attrs["name"] = f"layer_{n}"
            own["0"] = value


def _wrap(path: Path, config: dict[str, Any]) -> None:
    """Turn a weight file into a `.keras` file."""
    weights = path.with_suffix(".h5")
    path.rename(weights)
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("config.json", json.dumps(config))
        archive.write(weights, "model.weights.h5")
    weights.unlink()


def _config(count: int, mask: np.ndarray) -> dict[str, Any]:
    """The config of a small model, with the freeze of the large one."""
    model = keras.Sequential(
        [
            keras.Input((2,)),
            *(keras.layers.Dense(2, use_bias=False, name=f"layer_{n}") for n in range(count)),
        ]
    )
    plan = plan_from_mask(mask)
    if plan is not None:
        fl.freeze(model, "*", fl.at[0])
    config = keras.saving.serialize_keras_object(model)
    if plan is not None:
        described = plan.to_config()
        for layer in config["config"]["layers"]:
            for weight in layer["config"].get("frostline", {}).get("weights", []):
                weight["plan"] = described
    return config


if __name__ == "__main__":
    sys.exit(main())
