"""Two model files, weight by weight and bit by bit, in memory that does not grow with them."""

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
"""Is shown a piece with other bits in it: where it starts, its entries before and after, flat."""
Watch: TypeAlias = Callable[[Stored, Frozen | None], AbstractContextManager[See]]
"""Is told which weight comes, in the second file, and what is frozen of it."""


@dataclass(frozen=True)
class Compared:
    """What became of one weight.

    Attributes:
        path: Its path below the model.
        shape: Its shape.
        dtype: Its dtype.
        size: How many entries it has.
        changed: How many of them have other bits.
        largest: The largest |difference| of two finite entries, None where there is none.
        not_finite: How many entries with other bits are not finite before or after.
        frozen: How many entries are frozen.
        frozen_changed: How many of those have other bits.
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
    """Two files compared.

    Attributes:
        freeze_from: The files that said what is frozen; empty where none holds a freeze.
        weights: What became of each weight.
        first: The first frozen entry that differs, None where none does.
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
    """Compare the weights of two files of one architecture.

    Args:
        before: One file.
        after: The other.
        freeze: The file that says what is frozen; either of the two by default.
        advance: Told how many bytes of weights have been compared since it was last.
        watch: Sees what differs, weight by weight and in order, in one thread.

    Raises:
        FileError: The files are of different architectures, or `freeze` holds no freeze.
    """
    said = freeze_sources([before, after], freeze)
    weights = paired(before, after)
    frozen = frozen_by_key(weights, after, said)
    tallies = [_Tally(other, frozen.get(other.key)) for _, other in weights]
    with ExitStack() as stack:
        watched = None if watch is None else stack.enter_context(_Watched(watch, tallies))

        def see(both: Both, room: np.ndarray) -> None:
            # Every entry comes by here once.
            if tallies[both.number].see(both, room) and watched is not None:
                watched.see(both)

        for done in go_through(weights, see, threads=1 if watch else None):
            advance(done)
    compared = tuple(tally.compared() for tally in tallies)
    first = next(filter(None, (tally.first() for tally in tallies)), None)
    return Comparison(tuple(file.path for file in said if file.holds_a_freeze), compared, first)


def _identity(one: ModelFile, other: ModelFile) -> Callable[[Stored], str]:
    """What names the same weight in two files: names of layers may be automatic, places are not."""
    tensors = [file.format == "safetensors" for file in (one, other)]
    if tensors[0] == tensors[1]:
        return lambda weight: weight.key
    return lambda weight: weight.path


def freeze_sources(files: list[ModelFile], freeze: ModelFile | None) -> list[ModelFile]:
    """The files that say what is frozen: `freeze` alone, or all.

    Raises:
        FileError: `freeze` holds no freeze.
    """
    if freeze is None:
        return files
    if not freeze.holds_a_freeze:
        raise FileError(
            f"{freeze.path}: holds no freeze; got {len(freeze.weights)} weights, none of them "
            "frozen. Name the .keras file of the partly frozen model."
        )
    return [freeze]


def paired(before: ModelFile, after: ModelFile) -> list[tuple[Stored, Stored]]:
    """Each weight in both files, in the order of the second.

    Raises:
        FileError: The files are of different architectures.
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
                f"{without.path}: of another architecture than {file.path}; got no weight "
                f"{only[0].path} (and {len(only) - 1:,} more). Compare files of one model."
            )
    for key, weight in ones.items():
        other = others[key]
        for what in ("shape", "dtype"):
            if getattr(weight, what) != getattr(other, what):
                raise FileError(
                    f"{other.path}: of another architecture; got {what} {getattr(weight, what)} "
                    f"in {before.path} and {getattr(other, what)} in {after.path}. "
                    "Compare files of one model."
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
                    f"{file.path}: its freeze is of another architecture than {after.path}; got "
                    f"{weight.path} of shape {weight.shape}. Name the file of the same model."
                )
            known = frozen.get(mine.key)
            frozen[mine.key] = weight.frozen if known is None else either(known, weight.frozen)
    return frozen


class _Tally:
    """What became of one weight, as far as it has been seen."""

    def __init__(self, weight: Stored, frozen: Frozen | None) -> None:
        self.weight = weight
        self.frozen = frozen
        self._lock = threading.Lock()
        self._largest = Largest()
        self._changed = self._frozen_changed = 0
        self._first: tuple[int, np.generic, np.generic] | None = None

    def see(self, both: Both, room: np.ndarray) -> bool:
        """Count what differs in a piece, in any thread, and say whether anything does."""
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
        """What became of it, when all of it has been seen."""
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
    """Shows one weight after the other to somebody who watches, also those without entries."""

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
        """Show a piece."""
        self._turn_to(both.number)
        self._see(both.start, both.before, both.after)

    def _turn_to(self, number: int) -> None:
        while self._number < number:
            self._number += 1
            self._stack.close()
            tally = self._tallies[self._number]
            self._see = self._stack.enter_context(self._watch(tally.weight, tally.frozen))
