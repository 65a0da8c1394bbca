"""Two files gone through side by side, piece by piece, in several threads and little memory."""

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

# Reading is bound by the disk or the memory, of which more threads than a few bring no more.
THREADS = min(4, os.cpu_count() or 1)
BATCH = 1 << 24  # bytes of each file that a thread goes through at a time

Pair = tuple[Stored, Stored]


class Both(NamedTuple):
    """A piece of a weight in two files.

    Attributes:
        number: Which weight it is of.
        start: Its first entry in C order.
        stop: The entry after its last.
        before: Its entries in the one file, flat.
        after: Those in the other.
    """

    number: int
    start: int
    stop: int
    before: np.ndarray
    after: np.ndarray


def go_through(
    pairs: Sequence[Pair], work: Callable[[Both, np.ndarray], None], threads: int | None = None
) -> Iterator[int]:
    """Read all weights of two files, and do something with each piece.

    Args:
        pairs: Weights of the one file and of the other, of the same shapes and dtypes.
        work: What is done with a piece, whose entries are there until it returns. Its second
            argument is memory to compute in, see `workspace`. Called in any thread and in any
            order; with one thread, in order.
        threads: How many threads there are.

    Yields:
        How many bytes have been worked on since it last did.
    """
    threads = threads or THREADS
    # The thread that reads a piece works on it, while its caches hold it.
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
    """All pieces in order, so many at a time that handing them to a thread takes no time."""
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
