"""Two model files, weight by weight and bit by bit, in memory that does not grow with them."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, TypeAlias

import numpy as np

from frostline._errors import FileError
from frostline._files._frozen import Frozen, either
from frostline._files._open import ModelFile, Stored
from frostline._files._pieces import PIECE, Piece, pieces

See: TypeAlias = Callable[[Piece, np.ndarray, np.ndarray], None]
"""Is shown a piece of a weight with other bits in it: its entries before and after, flat."""
Watch: TypeAlias = Callable[[Stored, Frozen | None], AbstractContextManager[See]]
"""Is told which weight comes, in the second file, and what is frozen of it."""

_FEW = 8  # where fewer than one entry in so many differs, only those are looked at


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


class _Named(Protocol):
    @property
    def path(self) -> str: ...
    @property
    def shape(self) -> tuple[int, ...]: ...


@dataclass(frozen=True)
class First:
    """The first frozen entry that differs: its weight, its index, what it was and what it is."""

    path: str
    index: tuple[int, ...]
    before: str
    after: str

    def __str__(self) -> str:
        return f"{self.path}{list(self.index)}: {self.before} -> {self.after}"


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
    watch: Watch = lambda weight, frozen: nullcontext(lambda piece, before, after: None),
) -> Comparison:
    """Compare the weights of two files of one architecture.

    Args:
        before: One file.
        after: The other.
        freeze: The file that says what is frozen; either of the two by default.
        advance: Told how many bytes of weights have been compared since it was last.
        watch: Sees what differs, weight by weight.

    Raises:
        FileError: The files are of different architectures, or `freeze` holds no freeze.
    """
    if freeze is not None and not freeze.holds_a_freeze:
        raise FileError(
            f"{freeze.path}: holds no freeze; got {len(freeze.weights)} weights, none of them "
            "frozen. Name the .keras file of the partly frozen model."
        )
    paired = _pairs(before, after)
    said = [before, after] if freeze is None else [freeze]
    frozen = _frozen(paired, after, said)
    buffers = np.empty((2, 2, PIECE), np.uint8)
    weights = []
    first = None
    with ThreadPoolExecutor(max_workers=1) as reader:
        for one, other in paired:
            ahead = _read_ahead(one, other, reader, buffers)
            with watch(other, frozen.get(other.key)) as see:
                compared, where = _weight(other, ahead, frozen.get(other.key), advance, see)
            weights.append(compared)
            first = first or where
    return Comparison(
        tuple(file.path for file in said if file.holds_a_freeze), tuple(weights), first
    )


def _identity(one: ModelFile, other: ModelFile) -> Callable[[Stored], str]:
    """What names the same weight in two files: names of layers may be automatic, places are not."""
    tensors = [file.format == "safetensors" for file in (one, other)]
    if tensors[0] == tensors[1]:
        return lambda weight: weight.key
    return lambda weight: weight.path


def _pairs(before: ModelFile, after: ModelFile) -> list[tuple[Stored, Stored]]:
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


def _frozen(
    paired: list[tuple[Stored, Stored]], after: ModelFile, said: list[ModelFile]
) -> dict[str, Frozen]:
    """What is frozen of each weight, by its key in `after`."""
    frozen: dict[str, Frozen] = {}
    for file in said:
        name = _identity(file, after)
        weights = {name(weight): weight for _, weight in paired}
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


def _weight(
    other: Stored,
    ahead: Iterator[tuple[Piece, np.ndarray, np.ndarray]],
    frozen: Frozen | None,
    advance: Callable[[int], None],
    see: See,
) -> tuple[Compared, First | None]:
    changed = not_finite = frozen_changed = 0
    largest: float | None = None
    first = None
    for piece, a, b in ahead:
        advance(2 * a.nbytes)
        differs = _bits_differ(a, b)
        count = int(np.count_nonzero(differs))
        if not count:
            continue
        see(piece, a, b)
        changed += count
        far, odd = _difference(a, b, differs, count)
        not_finite += odd
        largest = far if largest is None else max(largest, far if far is not None else largest)
        if frozen is not None:
            moved = differs & frozen.mask(piece.start, piece.stop)
            frozen_changed += int(np.count_nonzero(moved))
            if first is None and moved.any():
                place = int(moved.argmax())
                first = _first(other, piece.start + place, a[place], b[place])
    compared = Compared(
        path=other.path,
        shape=other.shape,
        dtype=str(other.dtype),
        size=other.size,
        changed=changed,
        largest=largest,
        not_finite=not_finite,
        frozen=0 if frozen is None else frozen.count,
        frozen_changed=frozen_changed,
    )
    return compared, first


def _read_ahead(
    one: Stored, other: Stored, reader: Executor, buffers: np.ndarray
) -> Iterator[tuple[Piece, np.ndarray, np.ndarray]]:
    """Both weights piece by piece; while one piece is compared, the next is read.

    Args:
        one: The one.
        other: The other, of the same shape and dtype.
        reader: Reads in another thread.
        buffers: `uint8[2, 2, PIECE]`: for the piece that is compared and for the next, of each.
    """

    def read(piece: Piece, mine: np.ndarray) -> tuple[Piece, np.ndarray, np.ndarray]:
        return piece, one.source.read(piece, mine[0]), other.source.read(piece, mine[1])

    ahead: Future[tuple[Piece, np.ndarray, np.ndarray]] | None = None
    for number, piece in enumerate(pieces(one.shape, one.dtype.itemsize)):
        following = reader.submit(read, piece, buffers[number % 2])
        if ahead is not None:
            yield ahead.result()
        ahead = following
    if ahead is not None:
        yield ahead.result()


def _bits_differ(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """`bool[n]`: where two arrays have other bits, so that signed zeros and NaN payloads count."""
    size = a.dtype.itemsize
    word = np.dtype(f"u{size}") if size in (1, 2, 4, 8) else np.dtype("u1")
    differs = a.view(word) != b.view(word)
    return differs.reshape(a.size, -1).any(axis=1) if word.itemsize != size else differs


def _difference(
    a: np.ndarray, b: np.ndarray, differs: np.ndarray, count: int
) -> tuple[float | None, int]:
    """The largest |difference| of finite entries, and how many that differ are not finite."""
    if str(a.dtype).startswith("|V"):
        return None, 0  # bytes without a meaning
    if a.dtype.itemsize < 4 and a.dtype.kind in "fV":
        # Half precision, and ml_dtypes' numbers, which say that they are bytes.
        a, b = a.astype(np.float32), b.astype(np.float32)
    if a.dtype.kind == "f" and count * _FEW > a.size:
        with np.errstate(invalid="ignore", over="ignore"):
            far = float(np.max(np.abs(a - b)))
        if math.isfinite(far):
            return far, 0
    kind = np.complex128 if a.dtype.kind == "c" else np.float64
    one, other = a[differs].astype(kind), b[differs].astype(kind)
    finite = np.isfinite(one) & np.isfinite(other)
    odd = int(count - np.count_nonzero(finite))
    if odd == count:
        return None, odd
    return float(np.max(np.abs(one[finite] - other[finite]))), odd


def _first(weight: _Named, place: int, before: np.generic, after: np.generic) -> First:
    index = tuple(int(i) for i in np.unravel_index(place, weight.shape)) if weight.shape else ()
    was, now = str(before), str(after)
    if was == now:
        # Two NaNs, or bytes without a meaning.
        was, now = (
            f"{text} (0x{one.tobytes()[::-1].hex()})" for text, one in ((was, before), (now, after))
        )
    return First(weight.path, index, was, now)
