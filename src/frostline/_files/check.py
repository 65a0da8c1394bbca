"""Check a model file: every byte can be read, and every freeze fits its weight."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from frostline._arrays.pieces import PIECE, pieces
from frostline._errors import FileError
from frostline._files.archive import BLOCK, open_archive
from frostline._files.boundary import reading
from frostline._files.open import Stored, open_file, readable


@dataclass(frozen=True)
class Verification:
    """The result of a check.

    Attributes:
        faults: Descriptions of all faults; empty if the file is intact.
        weights: The number of weights.
        size: The number of their entries.
        frozen: The number of frozen entries.
    """

    faults: tuple[str, ...]
    weights: int = 0
    size: int = 0
    frozen: int = 0


def check(
    path: Path,
    read_delta: Callable[[Path], object],
    advance: Callable[[int], None] = lambda done: None,
) -> Verification:
    """Read a whole file, and describe its faults.

    Args:
        path: A `.keras`, `.weights.h5` or `.safetensors` file.
        read_delta: Reads a delta file; raises a `FileError` if it is damaged.
        advance: Called with the number of bytes read since the last call.
    """
    damaged: list[str] = []
    try:
        if path.name.lower().endswith(".keras"):
            damaged += _damaged_parts(path, advance)
        with open_file(path, faulty=True) as opened:
            if opened.format != "keras":
                read_all(opened.weights, advance)
            if opened.is_delta:
                read_delta(path)
            faults = (*damaged, *opened.faults, *opened.missing)
            return Verification(faults, len(opened.weights), opened.size, opened.frozen_count)
    except FileError as error:
        return Verification((*damaged, str(error)))


def _damaged_parts(path: Path, advance: Callable[[int], None]) -> Iterator[str]:
    """The faults of the archive members that are damaged."""
    with readable(path) as file, open_archive(path, file) as archive:
        for info in archive.infolist():
            try:
                with reading(info.filename, "damaged"), archive.open(info) as member:
                    while block := member.read(BLOCK):
                        advance(len(block))
            except FileError as error:
                yield str(error)


def read_all(weights: Iterable[Stored], advance: Callable[[int], None] = lambda done: None) -> None:
    """Read all entries of weights without keeping them.

    Args:
        weights: The weights to read.
        advance: Called with the number of bytes read since the last call.
    """
    buffer = np.empty(PIECE, np.uint8)
    for weight in weights:
        for piece in pieces(weight.shape, weight.dtype.itemsize):
            advance(weight.source.read(piece, buffer).nbytes)
