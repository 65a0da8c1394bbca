"""Read a delta from its file. Nothing in a file is ever run."""

from __future__ import annotations

import math
import os
import re
from collections.abc import Mapping
from typing import Any

import numpy as np

from frostline._arrays.pieces import shape_from
from frostline._arrays.plan import AxisPlan, EntriesPlan, Plan, WholePlan
from frostline._deltas.delta import SHOWN, Delta
from frostline._deltas.format import HELD, SUFFIX, VERSION, as_path, tensors_of
from frostline._deltas.held import HINT, WIDE, DeltaWeight, compact_shape
from frostline._errors import FileError, TargetError
from frostline._files import safetensors
from frostline._files.boundary import AGAIN, parsed, reading
from frostline._files.open import readable
from frostline._files.sources import read_whole


def read(path: Any) -> Delta:
    """Read a delta from a file.

    Raises:
        FileError: The file cannot be read, is not a delta, or is damaged.
    """
    path = as_path(path)
    if path.suffix != SUFFIX and not path.is_dir() and path.exists():
        raise FileError(
            f"{path}: a delta is a {SUFFIX} file; got suffix={path.suffix!r}. "
            "Make one with `fl.extract_delta(model).save(path)`, or `frostline delta extract`."
        )
    with readable(path) as file, reading(path, "its description is malformed"):
        held, metadata = safetensors.contents_of(path, file)
        described = metadata.get(safetensors.DELTA)
        if not isinstance(described, str):
            raise FileError(
                f"{path}: not a delta; got a {SUFFIX} file without a delta in its metadata. "
                "Make one with `fl.extract_delta(model).save(path)`."
            )
        size = sum(math.prod(tensor.shape) * tensor.dtype.itemsize for tensor in held)
        description = parsed(described.encode(), size, strict=True)
        version = description["version"]
        if type(version) is not int or version not in (1, VERSION):
            raise FileError(
                f"{path}: a delta of an unknown version; got version={str(version)[:100]}, this "
                f"frostline reads 1 and {VERSION}. Install a newer frostline."
            )
        given, frostline = description.pop("fingerprint"), description["frostline"]
        tensors = {t.key: read_whole(t.source, t.shape, t.dtype) for t in held}
        weights = tuple(_weight(entry, tensors) for entry in description["weights"])
        paths = {weight.path for weight in weights}
        if not isinstance(frostline, str) or len(paths) < len(weights):
            raise ValueError(f"{len(weights) - len(paths)} paths more than once")
        delta = Delta(weights, frostline)
        if delta.fingerprint != given or tensors.keys() != tensors_of(weights).keys():
            raise FileError(
                f"{path}: the file is damaged; got fingerprint={delta.fingerprint[:SHOWN]}, it was "
                f"saved with {str(given)[:SHOWN]}. {AGAIN}"
            )
    return delta


def as_delta(given: Any) -> Delta:
    """A delta, given as an object or as the path of its file.

    Raises:
        TargetError: It is neither.
        FileError: As for `read`.
    """
    if isinstance(given, Delta):
        return given
    if isinstance(given, (str, os.PathLike)):
        return read(given)
    do = "Make one with `fl.extract_delta(model)`"
    if isinstance(given, (list, tuple)):
        do = "Give one delta; `fl.applied` takes several"
    elif hasattr(given, "trainable_variables"):
        do = "The model comes first: `fl.apply_delta(model, delta)`"
    raise TargetError(
        f"delta: must be a Delta or the path of its file; got delta={type(given).__name__}. {do}."
    )


def _weight(entry: Mapping[str, Any], tensors: Mapping[str, np.ndarray]) -> DeltaWeight:
    path, dtype, others = entry["path"], entry["dtype"], entry["others"]
    if not all(isinstance(text, str) for text in (path, dtype, others)):
        raise ValueError(f"no path, dtype and hash of {path!r}")
    shape = shape_from(entry["shape"])
    if dtype not in safetensors.KNOWN or not re.fullmatch("[0-9a-f]{32}", others):
        raise ValueError(f"dtype and hash of {path!r}: {dtype[:100]!r}, {others[:100]!r}")
    plan = _plan(entry, shape, tensors.get(f"positions/{path}"))
    values = None
    if not isinstance(plan, WholePlan):
        values = tensors[f"values/{path}"]
        wanted, stored = compact_shape(plan, shape), entry.get("rounded_to", dtype)
        if "rounded_to" in entry and (stored not in HINT or dtype not in WIDE):
            raise ValueError(f"values of {path!r} of {dtype} rounded to {stored!r}")
        if values.shape != wanted or str(values.dtype) != stored:
            raise ValueError(
                f"values of {path!r} of shape {values.shape} and {values.dtype}, not {wanted} "
                f"and {stored}"
            )
    if any(type(entry.get(name, False)) is not bool for name in ("state", "off")):
        raise ValueError(f"state and off of {path!r}")
    state, layer_trainable = entry.get("state", False), not entry.get("off", False)
    return DeltaWeight(path, shape, dtype, others, state, layer_trainable, plan, values)


def _plan(entry: Mapping[str, Any], shape: tuple[int, ...], positions: Any) -> Plan | None:
    held = entry["held"]
    if held == "all":
        return None
    if held == "none":
        return WholePlan(shape)
    if not isinstance(held, str) or held not in HELD.values():
        raise ValueError(f"held={held!r}")
    if positions is None or positions.dtype.kind != "i" or positions.ndim != 1:
        raise ValueError(f"no positions of {entry['path']!r}")
    axis = entry["axis"] if held == "axis" else 0
    if type(axis) is not int or not 0 <= axis < len(shape):
        raise ValueError(f"no axis of {entry['path']!r} of shape {shape}: {str(axis)[:100]}")
    length = shape[axis] if held == "axis" else math.prod(shape)
    # Sorted, unique, within the weight, and neither none nor all of it. Neighbours are compared,
    # not subtracted: the difference may exceed 32 bits.
    if (
        not 0 < len(positions) < length
        or positions[0] < 0
        or positions[-1] >= length
        or (positions[1:] <= positions[:-1]).any()
    ):
        raise ValueError(f"positions of {entry['path']!r} outside its shape {shape}")
    if held == "axis":
        return AxisPlan(shape, axis, positions)
    return EntriesPlan(shape, positions)
