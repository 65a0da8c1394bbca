"""Read the parts of a `.keras` file, a zip archive, without unpacking the weights."""

from __future__ import annotations

import io
import shutil
import struct
import tempfile
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path
from typing import IO, Any, NamedTuple

from frostline._errors import FileError
from frostline._files.boundary import AGAIN, CUT, check_room, parsed, reading

CONFIG = "config.json"
WEIGHTS = "model.weights.h5"
BLOCK = 1 << 20
_LOCAL_HEADER = 30  # bytes before the name of a member
_LOCAL_SIGN = b"PK\x03\x04"
_DIRECTORY = 1 << 20  # maximum bytes of the directory of members
_PACKED = {zipfile.ZIP_STORED: 1, zipfile.ZIP_DEFLATED: 1032}  # maximum compression of each method


class Window(NamedTuple):
    """`length` bytes of the open file at `path`, from `start` on."""

    file: IO[bytes]
    path: Path
    start: int
    length: int


class _Directory(io.FileIO):
    """A file that reads no more at once than the maximum size of a directory."""

    def read(self, size: int | None = -1, /) -> bytes:
        if size is None or size < 0:
            start = self.tell()
            size = self.seek(0, 2) - start
            self.seek(start)
        if size > _DIRECTORY:
            raise ValueError(f"a directory of {size} bytes")
        return super().read(size) or b""


@contextmanager
def open_archive(path: Path, file: IO[bytes]) -> Iterator[zipfile.ZipFile]:
    """The archive in an open file; an error if it is damaged."""
    whole = "not a complete .keras file, which is a zip archive"
    length = file.seek(0, 2)
    with _Directory(file.fileno(), "rb", closefd=False) as bounded:
        with reading(path, whole, CUT):
            archive = zipfile.ZipFile(bounded)
        with archive:
            names = archive.namelist()
            for wanted in (CONFIG, WEIGHTS):
                if wanted not in names:
                    raise FileError(
                        f"{path}: a .keras file must contain {CONFIG} and {WEIGHTS}; got no "
                        f"{wanted} among {len(names)} parts. Save the model with "
                        "`model.save(...)`."
                    )
            with reading(path, "its parts cannot be read"):
                _check(path, archive, length)
            yield archive


def _check(path: Path, archive: zipfile.ZipFile, length: int) -> None:
    """Check the directory of members against the size of the file."""
    members = sorted(archive.infolist(), key=lambda info: info.header_offset)
    names = {info.filename for info in members}
    ends = [*(info.header_offset for info in members), length]
    for info, (start, end) in zip(members, pairwise(ends), strict=True):
        got = ""
        if info.flag_bits & 1:
            got = "it is encrypted"
        elif info.compress_type not in _PACKED:
            got = f"it is compressed by method {info.compress_type}"
        elif start < 0 or start + _LOCAL_HEADER + len(info.filename) + info.compress_size > end:
            got = f"{info.compress_size} bytes at {start} of {length}, overlapping another part"
        elif info.file_size > _PACKED[info.compress_type] * info.compress_size:
            got = f"{info.file_size} bytes compressed to {info.compress_size}"
        elif len(names) < len(members):
            got = f"{len(members) - len(names)} repeated names"
        if got:
            raise FileError(
                f"{path}: {info.filename}: this part is not safe to read; got {got}. {AGAIN}"
            )


def read_config(path: Path, archive: zipfile.ZipFile) -> dict[str, Any]:
    """The config of the model, as plain data."""
    info = archive.getinfo(CONFIG)
    with reading(path, f"{CONFIG} cannot be read"):
        weights = min(archive.getinfo(WEIGHTS).file_size, archive.start_dir)
        check_room(info.file_size, weights)
        config = parsed(_bytes_of(archive, info), weights)
    if not isinstance(config, dict):
        raise FileError(
            f"{path}: {CONFIG} is not the config of a model; got {type(config).__name__}. "
            "Save the model with `model.save(...)`."
        )
    return config


def _bytes_of(archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> bytes:
    with archive.open(info) as member:
        whole = b"".join(iter(lambda: member.read(BLOCK), b""))
    if len(whole) != info.file_size:
        raise EOFError(f"{len(whole)} of {info.file_size} bytes")
    return whole


@contextmanager
def weights_member(path: Path, archive: zipfile.ZipFile, file: IO[bytes]) -> Iterator[Window]:
    """The weights as a file: a window of the archive if they are uncompressed, as Keras saves them.

    Compressed weights, from another program, are unpacked into a temporary file.
    """
    info = archive.getinfo(WEIGHTS)
    if info.compress_type == zipfile.ZIP_STORED:
        with reading(path, f"{WEIGHTS} cannot be read"):
            file.seek(info.header_offset)
            header = file.read(_LOCAL_HEADER)
            name, extra = struct.unpack("<HH", header[26:30])
            start = info.header_offset + _LOCAL_HEADER + name + extra
            if header[:4] != _LOCAL_SIGN or start + info.file_size > archive.start_dir:
                raise EOFError(f"{info.file_size} bytes at {start} of {archive.start_dir}")
        yield Window(file, path, start, info.file_size)
        return
    with tempfile.TemporaryDirectory() as folder:
        unpacked = Path(folder, WEIGHTS)
        with reading(path, f"{WEIGHTS} cannot be unpacked"):
            unpack(archive, info, unpacked)
        with open(unpacked, "rb", buffering=0) as other:
            yield Window(other, unpacked, 0, info.file_size)


def unpack(archive: zipfile.ZipFile, info: zipfile.ZipInfo, target: Path) -> None:
    """Write a member to a file, and check its checksum and size."""
    with archive.open(info) as member, open(target, "wb") as out:
        shutil.copyfileobj(member, out, BLOCK)
        if out.tell() != info.file_size:
            raise EOFError(f"{out.tell()} of {info.file_size} bytes")
