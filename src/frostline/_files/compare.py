"""Compare two model files weight by weight, bit by bit, with a fixed amount of memory."""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np

from frostline._arrays.bits import BLOCK, First, Largest, differ, first_of
from frostline._arrays.frozen import Frozen, either
from frostline._errors import FileError
from frostline._files.open import ModelFile, Stored
from frostline._files.through import Both, go_through

See: TypeAlias = Callable[[int, np.ndarray, np.ndarray], None]
"""Called with a piece that differs: its start, and its entries before and after, flat."""
Watch: TypeAlias = Callable[[Stored, Frozen | None], AbstractContextManager[See]]
"""Called with each weight of the second file, and what is frozen of it, before its pieces."""


@dataclass(frozen=True)
class Compared:
    """How one weight changed.

    Attributes:
        path: Its path below the model.
        shape: Its shape.
        dtype: Its dtype.
        size: The number of entries.
        changed: The number of entries whose bits differ.
        largest: The largest |difference| of two finite entries, None if there is none.
        not_finite: The number of changed entries that are not finite before or after.
        frozen: The number of frozen entries.
        frozen_changed: The number of frozen entries whose bits differ.
    """

    path: str
    shape: tuple[int, ...]
    dtype: str
    size: int
    changed: int
    largest: float | None
    not_finite: int
    frozen: int
    frozen_changed: int


@dataclass(frozen=True)
class Comparison:
    """The result of comparing two files.

    Attributes:
        freeze_from: The files that the freeze was read from; empty if none contains one.
        weights: How each weight changed.
        first: The first frozen entry that differs, None if there is none.
    """

    freeze_from: tuple[Path, ...]
    weights: tuple[Compared, ...]
    first: First | None

    def total(self, name: str) -> int:
        """The sum of a count over all weights."""
        return sum(getattr(weight, name) for weight in self.weights)


def compare(
    before: ModelFile,
    after: ModelFile,
    freeze: ModelFile | None = None,
    advance: Callable[[int], None] = lambda done: None,
    watch: Watch | None = None,
) -> Comparison:
    """Compare the weights of two files with the same architecture.

    Args:
        before: The first file.
        after: The second file.
        freeze: The file to read the freeze from; both files by default.
        advance: Called with the number of bytes of weights compared since the last call.
        watch: Receives what differs, weight by weight and in order, in one thread.

    Raises:
        FileError: The files have different architectures, or `freeze` contains no freeze.
    """
    said = freeze_sources([before, after], freeze)
    weights = paired(before, after)
    frozen = frozen_by_key(weights, after, said)
    tallies = [_Tally(other, frozen.get(other.key)) for _, other in weights]
    with ExitStack() as stack:
        watched = None if watch is None else stack.enter_context(_Watched(watch, tallies))

        def see(both: Both, room: np.ndarray) -> None:
            # Called once for every piece.
            if tallies[both.number].see(both, room) and watched is not None:
                watched.see(both)

        for done in go_through(weights, see, threads=1 if watch else None):
            advance(done)
    compared = tuple(tally.compared() for tally in tallies)
    first = next(filter(None, (tally.first() for tally in tallies)), None)
    return Comparison(tuple(file.path for file in said if file.holds_a_freeze), compared, first)


def _identity(one: ModelFile, other: ModelFile) -> Callable[[Stored], str]:
    """The identity of a weight in two files: by place, because layer names may be automatic."""
    tensors = [file.format == "safetensors" for file in (one, other)]
    if tensors[0] == tensors[1]:
        return lambda weight: weight.key
    return lambda weight: weight.path


def freeze_sources(files: list[ModelFile], freeze: ModelFile | None) -> list[ModelFile]:
    """The files to read the freeze from: only `freeze`, or all.

    Raises:
        FileError: `freeze` contains no freeze.
    """
    if freeze is None:
        return files
    if not freeze.holds_a_freeze:
        raise FileError(
            f"{freeze.path}: this file contains no freeze; got {len(freeze.weights)} weights, none "
            "of them frozen. Name the .keras file of the partly frozen model."
        )
    return [freeze]


def paired(before: ModelFile, after: ModelFile) -> list[tuple[Stored, Stored]]:
    """Each weight in both files, in the order of the second.

    Raises:
        FileError: The files have different architectures.
    """
    name = _identity(before, after)
    ones = {name(weight): weight for weight in before.weights}
    others = {name(weight): weight for weight in after.weights}
    for held, missing, file, without in (
        (ones, others, before, after),
        (others, ones, after, before),
    ):
        only = [weight for key, weight in held.items() if key not in missing]
        if only:
            raise FileError(
                f"{without.path}: the architecture differs from {file.path}; got no weight "
                f"{only[0].path} (and {len(only) - 1:,} more). Compare files of the same model."
            )
    for key, weight in ones.items():
        other = others[key]
        for what in ("shape", "dtype"):
            if getattr(weight, what) != getattr(other, what):
                raise FileError(
                    f"{other.path}: the architecture differs; got {what} {getattr(weight, what)} "
                    f"in {before.path} and {getattr(other, what)} in {after.path}. "
                    "Compare files of the same model."
                )
    return [(ones[name(weight)], weight) for weight in after.weights]


def frozen_by_key(
    both: list[tuple[Stored, Stored]], after: ModelFile, said: list[ModelFile]
) -> dict[str, Frozen]:
    """What is frozen of each weight, by its key in `after`."""
    frozen: dict[str, Frozen] = {}
    for file in said:
        name = _identity(file, after)
        weights = {name(weight): weight for _, weight in both}
        for weight in file.weights:
            if weight.frozen is None:
                continue
            mine = weights.get(name(weight))
            if mine is None or mine.shape != weight.shape:
                raise FileError(
                    f"{file.path}: its freeze does not fit the architecture of {after.path}; got "
                    f"{weight.path} of shape {weight.shape}. Name a file of the same model."
                )
            known = frozen.get(mine.key)
            frozen[mine.key] = weight.frozen if known is None else either(known, weight.frozen)
    return frozen


class _Tally:
    """The differences of one weight that have been counted so far."""

    def __init__(self, weight: Stored, frozen: Frozen | None) -> None:
        self.weight = weight
        self.frozen = frozen
        self._lock = threading.Lock()
        self._largest = Largest()
        self._changed = self._frozen_changed = 0
        self._first: tuple[int, np.generic, np.generic] | None = None

    def see(self, both: Both, room: np.ndarray) -> bool:
        """Count the differences in a piece, in any thread; return whether there are any."""
        found = False
        for at in range(0, both.stop - both.start, BLOCK):
            before, after = both.before[at : at + BLOCK], both.after[at : at + BLOCK]
            differs = differ(before, after, out=room[-1].view(bool)[: before.size])
            count = int(np.count_nonzero(differs))
            if count:
                self._largest.add(before, after, differs, count, room)
                self._count(both.start + at, before, after, differs, count)
                found = True
        return found

    def _count(
        self, start: int, before: np.ndarray, after: np.ndarray, differs: np.ndarray, count: int
    ) -> None:
        leaked = place = 0
        if self.frozen is not None:
            moved = self.frozen.flat_mask(start, start + before.size)
            moved &= differs
            leaked = int(np.count_nonzero(moved))
            place = int(moved.argmax())
        with self._lock:
            self._changed += count
            self._frozen_changed += leaked
            if leaked and (self._first is None or start + place < self._first[0]):
                self._first = start + place, before[place], after[place]

    def compared(self) -> Compared:
        """The result, after all pieces have been counted."""
        return Compared(
            path=self.weight.path,
            shape=self.weight.shape,
            dtype=str(self.weight.dtype),
            size=self.weight.size,
            changed=self._changed,
            largest=self._largest.value,
            not_finite=self._largest.not_finite,
            frozen=0 if self.frozen is None else self.frozen.frozen_count,
            frozen_changed=self._frozen_changed,
        )

    def first(self) -> First | None:
        """The first frozen entry that differs."""
        return None if self._first is None else first_of(self.weight, *self._first)


class _Watched:
    """Passes each weight to `watch` in order, also weights without entries."""

    def __init__(self, watch: Watch, tallies: list[_Tally]) -> None:
        self._watch = watch
        self._tallies = tallies
        self._number = -1
        self._stack = ExitStack()
        self._see: See = lambda start, before, after: None

    def __enter__(self) -> _Watched:
        return self

    def __exit__(self, kind: Any, error: Any, trace: Any) -> None:
        if kind is None:
            self._turn_to(len(self._tallies) - 1)
        self._stack.__exit__(kind, error, trace)

    def see(self, both: Both) -> None:
        """Pass on a piece."""
        self._turn_to(both.number)
        self._see(both.start, both.before, both.after)

    def _turn_to(self, number: int) -> None:
        while self._number < number:
            self._number += 1
            self._stack.close()
            tally = self._tallies[self._number]
            self._see = self._stack.enter_context(self._watch(tally.weight, tally.frozen))
