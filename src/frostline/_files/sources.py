"""Read the entries of a weight from a file, piece by piece."""

from __future__ import annotations

import math
import os
import threading
from typing import IO, Any, Protocol

import numpy as np

from frostline._arrays.pieces import Piece, Shape, pieces
from frostline._errors import FileError

_one_at_a_time = threading.Lock()


def dtype_named(name: str) -> np.dtype:
    """The dtype of a name, from NumPy or `ml_dtypes`."""
    if not name.startswith(("bfloat", "float8")):
        return np.dtype(name)
    import ml_dtypes  # imported late, because most files do not need it

    return np.dtype(getattr(ml_dtypes, name))


def read_at(file: IO[bytes], buffer: Any, offset: int) -> int:
    """Fill a buffer from an offset in a file, in any thread; return the number of bytes read."""
    if hasattr(os, "preadv"):
        return os.preadv(file.fileno(), [buffer], offset)
    with _one_at_a_time:  # elsewhere threads share the position in the file
        file.seek(offset)
        return file.readinto(buffer)  # type: ignore[attr-defined]


class Source(Protocol):
    """The entries of a weight in a file, readable in any thread.

    Attributes:
        piece: The best number of bytes to read at once.
    """

    piece: int

    def read(self, piece: Piece, buffer: np.ndarray) -> np.ndarray:
        """Return the entries of a piece, flat, in the weight's dtype.

        Args:
            piece: The piece to read.
            buffer: `uint8[PIECE]` that may be filled; the result may be a view of it.
        """
        ...


class Bytes:
    """Entries that are contiguous in a file, from the byte `offset` on."""

    piece = 1 << 20  # two pieces and temporary arrays fit into the caches of a core

    def __init__(self, file: IO[bytes], name: str, offset: int, dtype: np.dtype) -> None:
        self._file = file
        self._name = name
        self.offset = offset
        self._dtype = dtype

    def read(self, piece: Piece, buffer: np.ndarray) -> np.ndarray:
        size = self._dtype.itemsize
        wanted = (piece.stop - piece.start) * size
        target = buffer[:wanted]
        view: Any = target
        begin = self.offset + piece.start * size
        done = 0
        while done < wanted:
            read = read_at(self._file, view[done:], begin + done)
            if not read:
                raise FileError(
                    f"{self._name}: the file ends inside this weight; got {done} of {wanted} "
                    f"bytes from byte {begin} on. Take the file from its source again."
                )
            done += read
        return target.view(self._dtype)


def read_whole(source: Source, shape: Shape, dtype: np.dtype) -> np.ndarray:
    """Read a whole weight into a new array."""
    whole = np.empty(math.prod(shape), dtype)
    raw, size = whole.view(np.uint8), dtype.itemsize
    for piece in pieces(shape, size):
        target = raw[piece.start * size : piece.stop * size]
        read = source.read(piece, target)
        # Some sources return a new array instead of filling the buffer.
        if not np.may_share_memory(read, target):
            target[:] = read.view(np.uint8)
    return whole.reshape(shape)
