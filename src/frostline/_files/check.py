"""Whether a model file is whole: every byte can be read, and every freeze fits its weight."""

from __future__ import annotations

import zipfile
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from frostline._arrays.pieces import PIECE, pieces
from frostline._errors import FileError
from frostline._files.archive import BLOCK, open_archive
from frostline._files.open import ModelFile, open_file, readable


@dataclass(frozen=True)
class Report:
    """What a check found.

    Attributes:
        faults: All that is wrong, in words; empty where the file is whole.
        weights: How many weights it holds.
        size: How many entries they have.
        frozen: How many of those are frozen.
    """

    faults: tuple[str, ...]
    weights: int = 0
    size: int = 0
    frozen: int = 0


def check(path: Path, advance: Callable[[int], None] = lambda done: None) -> Report:
    """Read a whole file, and say what is wrong with it.

    Args:
        path: A `.keras`, `.weights.h5` or `.safetensors` file.
        advance: Told how many bytes have been read since it was last.
    """
    damaged: list[str] = []
    try:
        if path.name.lower().endswith(".keras"):
            damaged += _damaged_parts(path, advance)
        with open_file(path, faulty=True) as opened:
            if opened.format != "keras":
                _read_all(opened, advance)
            if opened.is_delta:
                # Late: deltas are read with the modules of this folder.
                from frostline._deltas.load import read

                read(path)
            faults = (*damaged, *opened.faults, *opened.missing)
            return Report(faults, len(opened.weights), opened.size, opened.frozen_count)
    except FileError as error:
        return Report((*damaged, str(error)))


def _damaged_parts(path: Path, advance: Callable[[int], None]) -> Iterator[str]:
    """The members of an archive whose bytes are not those that were written."""
    with readable(path) as file, open_archive(path, file) as archive:
        for info in archive.infolist():
            try:
                with archive.open(info) as member:
                    while block := member.read(BLOCK):
                        advance(len(block))
            except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError) as error:
                yield f"{info.filename}: damaged; got {type(error).__name__}: {error}"


def _read_all(opened: ModelFile, advance: Callable[[int], None]) -> None:
    buffer = np.empty(PIECE, np.uint8)
    for weight in opened.weights:
        for piece in pieces(weight.shape, weight.dtype.itemsize):
            advance(weight.source.read(piece, buffer).nbytes)
