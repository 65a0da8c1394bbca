"""A large array in pieces of some megabytes, read from where they lie in a file."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import IO, Any, Protocol

import numpy as np

from frostline._errors import FileError

PIECE = 1 << 22  # bytes: two of them and what is computed from them fit into a cache

Shape = tuple[int, ...]


@dataclass(frozen=True)
class Piece:
    """Entries `start:stop` in C order, which are `index` of the array."""

    start: int
    stop: int
    index: tuple[int | slice, ...]


def pieces(shape: Shape, itemsize: int, limit: int = PIECE) -> Iterator[Piece]:
    """The whole array in order, each piece at most `limit` bytes, or one entry.

    >>> [piece.index for piece in pieces((2, 3), itemsize=4, limit=8)][:2]
    [(0, slice(0, 2, None)), (0, slice(2, 3, None))]
    """
    if 0 in shape:
        return
    axis = 0
    while axis < len(shape) and math.prod(shape[axis + 1 :]) * itemsize > limit:
        axis += 1
    if axis >= len(shape):
        yield from (Piece(i, i + 1, _unravel(i, shape)) for i in range(math.prod(shape)))
        return
    inner = math.prod(shape[axis + 1 :])
    step = max(1, limit // (inner * itemsize))
    for place in np.ndindex(shape[:axis]):
        before = sum(i * math.prod(shape[a + 1 :]) for a, i in enumerate(int(i) for i in place))
        for row in range(0, shape[axis], step):
            end = min(row + step, shape[axis])
            index = (*(int(i) for i in place), slice(row, end))
            yield Piece(before + row * inner, before + end * inner, index)


def _unravel(place: int, shape: Shape) -> tuple[int, ...]:
    return tuple(int(i) for i in np.unravel_index(place, shape)) if shape else ()


class Source(Protocol):
    """Where the entries of a weight are."""

    def read(self, piece: Piece, buffer: np.ndarray) -> np.ndarray:
        """The entries of a piece, flat, in the weight's dtype.

        Args:
            piece: Which.
            buffer: `uint8[PIECE]` that may be filled with them; the answer may be a view of it.
        """
        ...


class Bytes:
    """Entries that lie one after the other in a file, from the byte `offset` on."""

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
        self._file.seek(self.offset + piece.start * size)
        done = 0
        while done < wanted:
            read = self._file.readinto(view[done:])  # type: ignore[attr-defined]
            if not read:
                raise FileError(
                    f"{self._name}: the file ends within this weight; got {done} of {wanted} "
                    f"bytes from byte {self.offset + piece.start * size} on. "
                    "Take the file from its source again."
                )
            done += read
        return target.view(self._dtype)


class Slices:
    """Entries that the HDF5 library has to find: in chunks, compressed, or never written."""

    def __init__(self, dataset: Any, name: str, dtype: np.dtype) -> None:
        self._dataset = dataset
        self._name = name
        self._dtype = dtype

    def read(self, piece: Piece, buffer: np.ndarray) -> np.ndarray:
        del buffer
        try:
            read = np.asarray(self._dataset[piece.index])
        except (OSError, RuntimeError, ValueError, KeyError) as error:
            raise FileError(
                f"{self._name}: this weight cannot be read; got {error}. "
                "Take the file from its source again."
            ) from None
        native = read.dtype.newbyteorder("=")
        return np.ascontiguousarray(read, native).reshape(-1).view(self._dtype)
