"""The file of a delta: a `.safetensors` file with a description of what it is in its metadata.

Of each weight of which something trained it holds a tensor `values/PATH`, and `positions/PATH`
where that is not all of it. The description lists all weights of the model: shape, dtype, how the
entries lie, and a hash of those that are not in the file. A hash over description and tensors tells
whether any bit of them changed. Nothing in a file is ever run.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from frostline._arrays.plan import AxisPlan, EntriesPlan, Plan, WholePlan
from frostline._deltas.delta import SHOWN, Delta
from frostline._deltas.held import DeltaWeight, compact_shape
from frostline._errors import FileError, TargetError
from frostline._files import safetensors
from frostline._files.open import readable
from frostline._files.sources import read_whole
from frostline._writing import check_target, replacing

SUFFIX = ".safetensors"
_VERSION = 1
_HELD = ("all", "none", "axis", "entries")


def made(weights: Iterable[DeltaWeight], version: str) -> Delta:
    """The delta of these weights, with the hash of what it holds."""
    weights = tuple(weights)
    return Delta(weights, _hash(_description(weights, version), _tensors(weights)), version)


def write(delta: Delta, path: Path) -> None:
    """Write a delta to a file, which takes the place of another once it is whole."""
    from safetensors.numpy import save

    if path.suffix != SUFFIX:
        raise FileError(
            f"{path}: a delta is a {SUFFIX} file; got suffix={path.suffix!r}. "
            f"Call it {path.with_suffix(SUFFIX).name}."
        )
    check_target(path)
    description = _description(delta.weights, delta.frostline)
    described = json.dumps({**description, "fingerprint": delta.fingerprint})
    # Of a scalar NumPy makes a vector when it puts it in order.
    tensors = {
        name: np.ascontiguousarray(tensor).reshape(tensor.shape)
        for name, tensor in _tensors(delta.weights).items()
    }
    written = save(tensors, metadata={safetensors.DELTA: described})
    with replacing(path) as unfinished:
        unfinished.write_bytes(written)


def read(path: Any) -> Delta:
    """Read a delta from a file.

    Raises:
        FileError: The file cannot be read, is not a delta, or is not as it was written.
    """
    path = as_path(path)
    if path.suffix != SUFFIX and not path.is_dir() and path.exists():
        raise FileError(
            f"{path}: a delta is a {SUFFIX} file; got suffix={path.suffix!r}. "
            "Make one with `fl.extract_delta(model).save(path)`, or `frostline delta extract`."
        )
    with readable(path) as file:
        held, metadata = safetensors.contents_of(path, file)
        described = metadata.get(safetensors.DELTA)
        if not isinstance(described, str):
            raise FileError(
                f"{path}: not a delta; got a {SUFFIX} file whose metadata tell of none. "
                "Make one with `fl.extract_delta(model).save(path)`."
            )
        tensors = {t.key: read_whole(t.source, t.shape, t.dtype) for t in held}
    try:
        description = json.loads(described)
        version = description["version"]
        if version != _VERSION:
            raise FileError(
                f"{path}: a delta of another version; got version={version!r}, this frostline "
                f"reads {_VERSION}. Install a newer frostline."
            )
        given = description.pop("fingerprint")
        weights = [_weight(entry, tensors) for entry in description["weights"]]
        frostline = str(description["frostline"])
    except FileError:
        raise
    except (LookupError, TypeError, ValueError, AttributeError, RecursionError) as error:
        raise FileError(
            f"{path}: its description is malformed; got {type(error).__name__}: {error}. "
            "Take the file from its source again."
        ) from None
    delta = made(weights, frostline)
    if delta.fingerprint != given or tensors.keys() != _tensors(weights).keys():
        raise FileError(
            f"{path}: not as it was written; got fingerprint={delta.fingerprint[:SHOWN]}, the file "
            f"says {str(given)[:SHOWN]}. Take the file from its source again."
        )
    return delta


def as_path(path: Any) -> Path:
    """The path of a file, or the error for what is none."""
    if isinstance(path, os.PathLike):
        path = path.__fspath__()
    if isinstance(path, str):
        return Path(path)
    raise TargetError(
        f"path: not the path of a file; got path={type(path).__name__}. "
        "Pass a string that ends in '.safetensors'."
    )


def _description(weights: Iterable[DeltaWeight], version: str) -> dict[str, Any]:
    return {
        "version": _VERSION,
        "frostline": version,
        "weights": [_entry(weight) for weight in weights],
    }


def _entry(weight: DeltaWeight) -> dict[str, Any]:
    entry: dict[str, Any] = {
        "path": weight.path,
        "shape": list(weight.shape),
        "dtype": weight.dtype,
        "held": _HELD[(None, WholePlan, AxisPlan, EntriesPlan).index(_type(weight.plan))],
        "others": weight.fingerprint,
    }
    if isinstance(weight.plan, AxisPlan):
        entry["axis"] = weight.plan.axis
    if weight.state:
        entry["state"] = True
    if not weight.layer_trainable:
        entry["off"] = True
    return entry


def _type(plan: Plan | None) -> Any:
    return None if plan is None else type(plan)


def _tensors(weights: Iterable[DeltaWeight]) -> dict[str, np.ndarray]:
    tensors = {}
    for weight in weights:
        if weight.values is not None:
            tensors[f"values/{weight.path}"] = weight.values
        if weight.positions is not None:
            tensors[f"positions/{weight.path}"] = weight.positions
    return tensors


def _hash(description: Mapping[str, Any], tensors: Mapping[str, np.ndarray]) -> str:
    digest = hashlib.sha256(json.dumps(description, sort_keys=True).encode())
    for name in sorted(tensors):
        tensor = np.ascontiguousarray(tensors[name])
        digest.update(f"\n{name} {tensor.dtype} {list(tensor.shape)}\n".encode())
        digest.update(tensor.reshape(-1).view(np.uint8).data)
    return digest.hexdigest()[:32]


def _weight(entry: Mapping[str, Any], tensors: Mapping[str, np.ndarray]) -> DeltaWeight:
    path, dtype, others = entry["path"], entry["dtype"], entry["others"]
    if not all(isinstance(text, str) for text in (path, dtype, others)):
        raise ValueError(f"no path, dtype and hash of {path!r}")
    shape = tuple(int(n) for n in entry["shape"])
    plan = _plan(entry, shape, tensors.get(f"positions/{path}"))
    values = None
    if not isinstance(plan, WholePlan):
        values = tensors[f"values/{path}"]
        wanted = compact_shape(plan, shape)
        if values.shape != wanted or str(values.dtype) != dtype:
            raise ValueError(
                f"values of {path!r} of shape {values.shape} and {values.dtype}, not {wanted} "
                f"and {dtype}"
            )
    state, layer_trainable = bool(entry.get("state")), not entry.get("off")
    return DeltaWeight(path, shape, dtype, others, state, layer_trainable, plan, values)


def _plan(entry: Mapping[str, Any], shape: tuple[int, ...], positions: Any) -> Plan | None:
    held = entry["held"]
    if held == "all":
        return None
    if held == "none":
        return WholePlan(shape)
    if held not in _HELD:
        raise ValueError(f"held={held!r}")
    if positions is None or positions.dtype.kind != "i" or positions.ndim != 1:
        raise ValueError(f"no positions of {entry['path']!r}")
    axis = int(entry["axis"]) if held == "axis" else 0
    length = shape[axis] if held == "axis" else math.prod(shape)
    # Sorted, unique, within the weight, and neither none nor all of it.
    if (
        not 0 < len(positions) < length
        or not 0 <= axis < max(1, len(shape))
        or positions[0] < 0
        or positions[-1] >= length
        or (np.diff(positions) <= 0).any()
    ):
        raise ValueError(f"positions of {entry['path']!r} outside its shape {shape}")
    if held == "axis":
        return AxisPlan(shape, axis, tuple(positions.tolist()))
    return EntriesPlan(shape, positions)
