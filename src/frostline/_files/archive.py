"""The parts of a `.keras` file, a zip archive, without unpacking the large one."""

from __future__ import annotations

import io
import json
import os
import struct
import tempfile
import zipfile
import zlib
from pathlib import Path
from typing import IO, Any

from frostline._errors import FileError
from frostline._files.sources import read_at

CONFIG = "config.json"
WEIGHTS = "model.weights.h5"
_LOCAL_HEADER = 30  # bytes before the name of a member
BLOCK = 1 << 20


class Window(io.RawIOBase):
    """`length` bytes of a file from `start` on, as a file of its own."""

    def __init__(self, file: IO[bytes], start: int, length: int) -> None:
        self.file = file
        self.start = start
        self.length = length
        self._place = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        origin = {os.SEEK_SET: 0, os.SEEK_CUR: self._place, os.SEEK_END: self.length}[whence]
        self._place = max(0, origin + offset)
        return self._place

    def tell(self) -> int:
        return self._place

    def readinto(self, buffer: Any) -> int:
        view = memoryview(buffer).cast("B")
        count = max(0, min(len(view), self.length - self._place))
        read = read_at(self.file, view[:count], self.start + self._place)
        self._place += read
        return read


def open_archive(path: Path, file: IO[bytes]) -> zipfile.ZipFile:
    """The archive in an open file, or the error that says what is wrong with it."""
    try:
        archive = zipfile.ZipFile(file)
    except (zipfile.BadZipFile, ValueError, struct.error) as error:
        raise FileError(
            f"{path}: not a whole .keras file, which is a zip archive; got {error}. "
            "It may have been cut off while it was copied: take it from its source again."
        ) from None
    names = archive.namelist()
    for wanted in (CONFIG, WEIGHTS):
        if wanted not in names:
            raise FileError(
                f"{path}: a .keras file holds {CONFIG} and {WEIGHTS}; got no {wanted} among its "
                f"{len(names)} parts. Save the model with `model.save(...)`."
            )
    return archive


def read_config(path: Path, archive: zipfile.ZipFile) -> dict[str, Any]:
    """The config of the model, as plain data."""
    try:
        config = json.loads(archive.read(CONFIG))
    except (zipfile.BadZipFile, zlib.error, EOFError, ValueError, RecursionError) as error:
        raise FileError(
            f"{path}: {CONFIG} cannot be read; got {type(error).__name__}: {error}. "
            "Take the file from its source again."
        ) from None
    if not isinstance(config, dict):
        raise FileError(
            f"{path}: {CONFIG} is not the config of a model; got {type(config).__name__}. "
            "Save the model with `model.save(...)`."
        )
    return config


def weights_member(path: Path, archive: zipfile.ZipFile, file: IO[bytes]) -> Window:
    """The weights as a file: a window where they lie as they are, as Keras writes them.

    An archive that another program has compressed is unpacked into a temporary file.
    """
    info = archive.getinfo(WEIGHTS)
    if info.compress_type == zipfile.ZIP_STORED:
        file.seek(info.header_offset)
        header = file.read(_LOCAL_HEADER)
        name, extra = struct.unpack("<HH", header[26:30])
        start = info.header_offset + _LOCAL_HEADER + name + extra
        return Window(file, start, info.file_size)
    unpacked = tempfile.TemporaryFile(suffix=".h5")  # noqa: SIM115  # open as long as the window
    try:
        with archive.open(info) as member:
            while block := member.read(BLOCK):
                unpacked.write(block)
            unpacked.flush()  # the window reads past Python's own buffer
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError) as error:
        unpacked.close()
        raise FileError(
            f"{path}: {WEIGHTS} cannot be unpacked; got {type(error).__name__}: {error}. "
            "Take the file from its source again."
        ) from None
    return Window(unpacked, 0, unpacked.tell())
