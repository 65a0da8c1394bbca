"""Two files read piece by piece, ahead of what is done with the pieces."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor

import numpy as np

from frostline._files._open import Stored
from frostline._files._pieces import PIECE, Piece, pieces

DEPTH = 2  # pieces of each file in memory: the one that is worked on, and the next


def read_ahead(
    pairs: Sequence[tuple[Stored, Stored]],
) -> Iterator[tuple[int, Piece, np.ndarray, np.ndarray]]:
    """All weights of two files in order; while a piece is worked on, the next is read.

    Args:
        pairs: Weights of the one file and of the other, of the same shapes and dtypes.

    Yields:
        The number of the pair, the piece, and its entries in both, flat. They are good until the
        next piece is asked for.
    """
    buffers = np.empty((DEPTH, 2, PIECE), np.uint8)
    ahead: deque[tuple[int, Piece, Future[np.ndarray], Future[np.ndarray]]] = deque()
    # A thread for each file, since a file has one place from which it is read.
    with ThreadPoolExecutor(1) as reader, ThreadPoolExecutor(1) as other_reader:
        every = (
            (number, piece)
            for number, (one, _) in enumerate(pairs)
            for piece in pieces(one.shape, one.dtype.itemsize, PIECE)
        )
        for turn, (number, piece) in enumerate(every):
            one, other = pairs[number]
            mine, its = buffers[turn % DEPTH]
            ahead.append(
                (
                    number,
                    piece,
                    reader.submit(one.source.read, piece, mine),
                    other_reader.submit(other.source.read, piece, its),
                )
            )
            if len(ahead) == DEPTH:
                yield _read(*ahead.popleft())
        while ahead:
            yield _read(*ahead.popleft())


def _read(
    number: int, piece: Piece, one: Future[np.ndarray], other: Future[np.ndarray]
) -> tuple[int, Piece, np.ndarray, np.ndarray]:
    return number, piece, one.result(), other.result()
