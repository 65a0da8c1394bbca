"""The file format of a delta: a `.safetensors` file with a description in its metadata.

For each weight with trained entries, the file has a tensor `values/PATH`, and `positions/PATH` if
only some entries trained. The description lists all weights of the model: shape, dtype, kind,
the dtype that values were rounded to, and a hash of the entries that are not in the file. A hash
over description and tensors detects any changed bit. Nothing in a file is ever run.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from frostline._arrays.plan import AxisPlan, EntriesPlan, WholePlan
from frostline._deltas.held import DeltaWeight
from frostline._errors import FileError, TargetError
from frostline._files import safetensors
from frostline._files.boundary import reading
from frostline._writing import check_target, replacing

SUFFIX = ".safetensors"
VERSION = 2
"""Version of files with rounded values. All others have version 1, which frostline 0.1 reads."""
HELD = {type(None): "all", WholePlan: "none", AxisPlan: "axis", EntriesPlan: "entries"}
"""The word in the file for what a delta holds of a weight with such a plan."""


def write(path: Path, weights: Sequence[DeltaWeight], version: str, fingerprint: str) -> None:
    """Write a delta to a file; an existing file is replaced after the new one is complete."""
    from safetensors.numpy import save

    if path.suffix != SUFFIX:
        raise FileError(
            f"{path}: a delta is a {SUFFIX} file; got suffix={path.suffix!r}. "
            f"Call it {path.with_suffix(SUFFIX).name}."
        )
    check_target(path)
    described = json.dumps({**_description(weights, version), "fingerprint": fingerprint})
    # `ascontiguousarray` turns a scalar into a vector.
    tensors = {
        name: np.ascontiguousarray(tensor).reshape(tensor.shape)
        for name, tensor in tensors_of(weights).items()
    }
    with reading(path, "a weight has a dtype that no .safetensors file holds", "Leave it out."):
        written = save(tensors, metadata={safetensors.DELTA: described})
    with replacing(path) as unfinished:
        unfinished.write_bytes(written)


def as_path(path: Any) -> Path:
    """The path of a file; an error for anything else."""
    if isinstance(path, os.PathLike):
        path = path.__fspath__()
    if isinstance(path, str):
        return Path(path)
    raise TargetError(
        f"path: not the path of a file; got path={type(path).__name__}. "
        "Pass a string that ends in '.safetensors'."
    )


def _description(weights: Sequence[DeltaWeight], version: str) -> dict[str, Any]:
    return {
        "version": VERSION if any(weight.rounded_to for weight in weights) else 1,
        "frostline": version,
        "weights": [_entry(weight) for weight in weights],
    }


def _entry(weight: DeltaWeight) -> dict[str, Any]:
    entry: dict[str, Any] = {
        "path": weight.path,
        "shape": list(weight.shape),
        "dtype": weight.dtype,
        "held": HELD[type(weight.plan)],
        "others": weight.fingerprint,
    }
    if isinstance(weight.plan, AxisPlan):
        entry["axis"] = weight.plan.axis
    if weight.rounded_to:
        entry["rounded_to"] = weight.rounded_to
    if weight.state:
        entry["state"] = True
    if not weight.layer_trainable:
        entry["off"] = True
    return entry


def tensors_of(weights: Iterable[DeltaWeight]) -> dict[str, np.ndarray]:
    """The tensors of a file, by name."""
    tensors = {}
    for weight in weights:
        if weight.values is not None:
            tensors[f"values/{weight.path}"] = weight.values
        if weight.positions is not None:
            tensors[f"positions/{weight.path}"] = weight.positions
    return tensors


def hash_of(weights: Sequence[DeltaWeight], version: str) -> str:
    """A hash of everything in the file of these weights."""
    description = json.dumps(_description(weights, version), sort_keys=True)
    digest = hashlib.sha256(description.encode())
    for name, tensor in sorted(tensors_of(weights).items()):
        tensor = np.ascontiguousarray(tensor)  # a scalar is hashed as a vector of one entry
        digest.update(f"\n{name} {tensor.dtype} {list(tensor.shape)}\n".encode())
        digest.update(tensor.reshape(-1).view(np.uint8).data)
    return digest.hexdigest()[:32]
