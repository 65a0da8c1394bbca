"""Deltas of model files: extract one, apply some, without Keras or a backend.

Only the deltas and one weight are in memory at a time.
"""

from __future__ import annotations

import shutil
import zipfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from frostline._arrays.frozen import Frozen
from frostline._arrays.plan import Plan, plan_from_mask
from frostline._deltas.compose import Patch, added, base_below, fits
from frostline._deltas.delta import Delta, base_of, other_base
from frostline._deltas.extract import Origin, check_paths, extract
from frostline._deltas.held import DeltaWeight, fingerprint_of
from frostline._deltas.match import match
from frostline._errors import RestoreError
from frostline._files import ModelFile, Stored, open_file
from frostline._files.archive import BLOCK, WEIGHTS, Window, open_archive, unpack
from frostline._files.boundary import reading
from frostline._files.compare import freeze_sources, frozen_by_key, paired
from frostline._files.hdf5 import Child, Slices, open_hdf5
from frostline._files.sources import Bytes, read_whole
from frostline._writing import hidden, replacing

Advance = Callable[[int], None]
Write = Callable[[Stored, np.ndarray], None]


@dataclass(frozen=True)
class FileWeight(Origin):
    """A weight in a file."""

    stored: Stored = None  # type: ignore[assignment]


def extract_from_file(
    tuned: ModelFile,
    base: ModelFile | None,
    freeze: ModelFile | None,
    version: str,
    advance: Advance,
) -> Delta:
    """Extract the entries that train from a file.

    Args:
        tuned: The file of the trained model.
        base: The file of the model before training: then only entries that differ are taken, and a
            frozen entry that differs is an error.
        freeze: The file to read the freeze from; `tuned` and `base` by default.
        version: The version of frostline.
        advance: Called with the number of entries processed since the last call.

    Raises:
        FileError: The files have different architectures, or `freeze` contains no freeze.
        RestoreError: No file says what trains.
        AuditError: A frozen entry differs.
    """
    said = freeze_sources([file for file in (tuned, base) if file is not None], freeze)
    if base is None and not any(file.holds_a_freeze for file in said):
        raise RestoreError(
            f"{tuned.path}: cannot tell which entries were trained; got a .{tuned.format} file "
            "without a freeze. Name a file that has the freeze with --frozen MODEL.keras, or the "
            "model before training with --base."
        )
    before = {} if base is None else {mine.key: one for one, mine in paired(base, tuned)}
    frozen = frozen_by_key([(weight, weight) for weight in tuned.weights], tuned, said)
    origins = [_origin(weight, frozen.get(weight.key)) for weight in _weights(tuned)]
    check_paths(str(tuned.path), origins)
    reader = None if base is None else lambda origin, value: _read(before[origin.stored.key])
    return extract(origins, reader, version, advance)


def apply_to_file(
    base: Path, deltas: Sequence[Delta], out: Path, overlap: str, advance: Advance
) -> None:
    """Write a copy of a model file with deltas applied; everything else in it stays the same.

    Args:
        base: The file of the model that the deltas were trained from.
        deltas: The deltas, in the order in which to apply them.
        out: The file to write, in the same format. It may be `base`.
        overlap: Which of two values of an entry wins, as for `apply_delta`.
        advance: Called with the number of entries processed since the last call.

    Raises:
        FileError: A file cannot be read or written.
        RestoreError: `base` has another architecture or other weights.
    """
    with ExitStack() as stack:
        opened = stack.enter_context(open_file(base))
        wanted = [_matched(delta, opened) for delta in deltas]
        unfinished = stack.enter_context(replacing(out))
        writer = stack.enter_context(_copy(opened, unfinished))
        for stored in _weights(opened):
            value, patches = _read(stored), []
            for delta, weights in zip(deltas, wanted, strict=True):
                weight = weights[stored.key]
                _check(opened, delta, weights, stored, value, patches)
                if weight.held:
                    patches, value = added(stored.path, value, patches, delta, weight, overlap)
            if patches:
                writer(stored, value)
            advance(stored.size)


def _weights(opened: ModelFile) -> list[Stored]:
    return [w for w in opened.weights if w.path.rpartition("/")[2] != "seed_generator_state"]


def _origin(stored: Stored, frozen: Frozen | None) -> FileWeight:
    return FileWeight(
        path=stored.path,
        shape=stored.shape,
        dtype=str(stored.dtype),
        read=lambda: _read(stored),
        plan=_plan(stored, frozen),
        layer_trainable=stored.layer_trainable,
        state=stored.path.rpartition("/")[2].startswith("moving_"),
        stored=stored,
    )


def _plan(stored: Stored, frozen: Frozen | None) -> Plan | None:
    return (
        None
        if frozen is None
        else plan_from_mask(frozen.flat_mask(0, stored.size).reshape(stored.shape))
    )


def _read(stored: Stored) -> np.ndarray:
    return read_whole(stored.source, stored.shape, stored.dtype)


def _matched(delta: Delta, opened: ModelFile) -> dict[str, DeltaWeight]:
    """The weight of a delta for the key of each weight in a file."""
    stored = _weights(opened)
    # A safetensors file has its tensors in any order.
    by_place = opened.format != "safetensors"
    targets = [_origin(weight, None) for weight in stored]
    found = match(delta.weights, targets, str(opened.path), by_place=by_place)
    return {mine.stored.key: weight for mine, weight in zip(found, delta.weights, strict=True)}


def _check(
    opened: ModelFile,
    delta: Delta,
    weights: Mapping[str, DeltaWeight],
    stored: Stored,
    value: np.ndarray,
    patches: Sequence[Patch],
) -> None:
    if fits(weights[stored.key], value, patches):
        return
    marks = []
    for other in _weights(opened):
        weight = weights[other.key]
        whole = value if other.key == stored.key else _read(other)
        below = patches if other.key == stored.key else []
        mark = fingerprint_of(weight.plan, base_below(whole, below))
        marks.append((other.shape, str(other.dtype), mark))
    raise other_base(stored.path, str(opened.path), base_of(marks), delta)


@contextmanager
def _copy(opened: ModelFile, unfinished: Path) -> Iterator[Write]:
    """Copy a model file, and yield a function that writes a whole weight into the copy."""
    if opened.format == "keras":
        with _unpacked(opened.path, unfinished) as weights, _into(weights, opened) as writer:
            yield writer
        return
    shutil.copyfile(opened.path, unfinished)
    with _into(unfinished, opened) as writer:
        yield writer


@contextmanager
def _into(path: Path, opened: ModelFile) -> Iterator[Write]:
    with ExitStack() as stack:
        file = stack.enter_context(open(path, "r+b", buffering=0))
        window = Window(file, path, 0, file.seek(0, 2))
        packed: list[Child] = []

        def write(stored: Stored, value: np.ndarray) -> None:
            if isinstance(stored.source, Bytes):
                file.seek(stored.source.offset - opened.weights_start)
                file.write(value.reshape(-1).view(np.uint8).data)
            elif isinstance(stored.source, Slices):
                if not packed:
                    packed.append(stack.enter_context(open_hdf5(path, window, "r+")).child)
                packed[0].write(stored.source.number, value)

        yield write


@contextmanager
def _unpacked(path: Path, unfinished: Path) -> Iterator[Path]:
    """Unpack the weights of a `.keras` file to a file, and pack it with the rest at the end."""
    with (
        open(path, "rb", buffering=0) as file,
        open_archive(path, file) as archive,
        hidden(unfinished.parent, ".h5") as weights,
    ):
        with reading(path, f"{WEIGHTS} cannot be unpacked", writes=True):
            unpack(archive, archive.getinfo(WEIGHTS), weights)
        yield weights
        with (
            reading(path, "its parts cannot be copied", writes=True),
            zipfile.ZipFile(unfinished, "w") as packed,
        ):
            for info in archive.infolist():
                changed = info.filename == WEIGHTS
                with (
                    open(weights, "rb") if changed else archive.open(info) as source,
                    packed.open(_entry(info), "w", force_zip64=True) as target,
                ):
                    shutil.copyfileobj(source, target, BLOCK)


def _entry(info: zipfile.ZipInfo) -> zipfile.ZipInfo:
    """The name, date and compression of a part, without its size and checksum."""
    entry = zipfile.ZipInfo(info.filename, info.date_time)
    entry.compress_type = info.compress_type
    entry.external_attr = info.external_attr
    return entry
