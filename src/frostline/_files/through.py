"""Go through two files side by side, piece by piece, in several threads and little memory."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from queue import SimpleQueue
from typing import NamedTuple

import numpy as np

from frostline._arrays.bits import workspace
from frostline._arrays.pieces import PIECE, Piece, pieces
from frostline._files.open import Stored

# Reading is limited by the disk or the memory, so more than a few threads do not help.
THREADS = min(4, os.cpu_count() or 1)
BATCH = 1 << 24  # bytes of each file that a thread goes through at a time

Pair = tuple[Stored, Stored]


class Both(NamedTuple):
    """A piece of a weight in two files.

    Attributes:
        number: The number of the weight.
        start: The first entry, in C order.
        stop: The entry after the last.
        before: The entries in the first file, flat.
        after: The entries in the second file, flat.
    """

    number: int
    start: int
    stop: int
    before: np.ndarray
    after: np.ndarray


def go_through(
    pairs: Sequence[Pair], work: Callable[[Both, np.ndarray], None], threads: int | None = None
) -> Iterator[int]:
    """Read all weights of two files, and call a function with each piece.

    Args:
        pairs: Weights of the first and the second file, of the same shapes and dtypes.
        work: Called with each piece, whose entries are valid until it returns, and with temporary
            memory, see `workspace`. It is called in any thread and in any order; with one thread,
            in order.
        threads: The number of threads.

    Yields:
        The number of bytes processed since the last yield.
    """
    threads = threads or THREADS
    # The thread that reads a piece also processes it, while it is in the cache.
    desks: SimpleQueue[tuple[np.ndarray, np.ndarray]] = SimpleQueue()
    for _ in range(threads):
        desks.put((np.empty((2, PIECE), np.uint8), workspace()))

    def one_batch(batch: list[tuple[int, Piece]]) -> int:
        desk = desks.get()
        (mine, its), room = desk
        done = 0
        for number, piece in batch:
            one, other = pairs[number]
            before, after = one.source.read(piece, mine), other.source.read(piece, its)
            work(Both(number, piece.start, piece.stop, before, after), room)
            done += before.nbytes + after.nbytes
        desks.put(desk)
        return done

    with ThreadPoolExecutor(threads) as pool:
        yield from pool.map(one_batch, _batches(pairs))


def _batches(pairs: Sequence[Pair]) -> Iterator[list[tuple[int, Piece]]]:
    """All pieces in order, in batches large enough for a thread."""
    batch: list[tuple[int, Piece]] = []
    size = 0
    for number, (one, other) in enumerate(pairs):
        item = one.dtype.itemsize
        best = min(PIECE, max(one.source.piece, other.source.piece))
        for piece in pieces(one.shape, item, best):
            batch.append((number, piece))
            size += (piece.stop - piece.start) * item
            if size >= BATCH:
                yield batch
                batch, size = [], 0
    if batch:
        yield batch
