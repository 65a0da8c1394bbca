"""Functions that change or damage model files."""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py


def with_config(path: Path, change: Callable[[dict[str, Any]], None], out: Path) -> Path:
    """Copy a `.keras` file and change its config."""
    return _copied(path, out, change, lambda weights: weights)


def with_weights(path: Path, change: Callable[[Any], None], out: Path) -> Path:
    """Copy a `.keras` file and change its weights as an HDF5 file."""

    def changed(data: bytes) -> bytes:
        buffer = io.BytesIO(data)
        with h5py.File(buffer, "r+") as hdf5:
            change(hdf5)
        return buffer.getvalue()

    return _copied(path, out, lambda config: None, changed)


def compressed(path: Path, out: Path) -> Path:
    """Copy a `.keras` file with compression, as another program may pack it."""
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
    """The freezes described in a config, one per weight; a test may change them in place."""
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
