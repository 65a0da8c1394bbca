"""Where two arrays have other bits, and how far apart their numbers are. Pure NumPy."""

from __future__ import annotations

import threading
from dataclasses import dataclass
from typing import Protocol

import numpy as np

BLOCK = 1 << 19  # entries: what is computed from so many stays in a cache

_SIGN_AND_NUMBER = np.uint32(0x8FFFE000)  # the bits of a half in those of a float32
_REBASED = np.float32(2.0**112)  # from the exponents of one to those of the other
_LARGEST_HALF = 0x7BFF  # as an integer; what is above is infinite or no number


def differ(one: np.ndarray, other: np.ndarray, out: np.ndarray | None = None) -> np.ndarray:
    """Where the bits differ, so that signed zeros and the payloads of NaNs count.

    Args:
        one: An array of any dtype and layout.
        other: Of the same shape and dtype.
        out: Boolean, of the same shape, for the answer. A new array by default.

    >>> differ(np.array([0.0, np.nan]), np.array([-0.0, np.nan])).tolist()
    [True, False]
    """
    size = one.dtype.itemsize
    if size in (1, 2, 4, 8):
        word = np.dtype(f"u{size}")
        return np.not_equal(one.view(word), other.view(word), out=out)
    word = np.dtype("u8" if size % 8 == 0 else "u1")
    # As a field, since an array of any layout may be viewed so.
    words = np.dtype([("words", word, (size // word.itemsize,))])
    return np.any(one.view(words)["words"] != other.view(words)["words"], axis=-1, out=out)


class Largest:
    """The largest |difference| of finite entries, over as many arrays as are added.

    Numbers of up to 32 bits are subtracted in 32, so it is rounded to that, and others in 64.

    Attributes:
        value: The largest |difference|, None where no two finite entries differ.
        not_finite: How many entries that differ are infinite or not a number, before or after.
    """

    def __init__(self) -> None:
        self.value: float | None = None
        self.not_finite = 0
        self._lock = threading.Lock()

    def add(
        self,
        one: np.ndarray,
        other: np.ndarray,
        differs: np.ndarray,
        count: int,
        room: np.ndarray,
    ) -> None:
        """Take two arrays in; several threads may, each with a `room` of its own.

        Args:
            one: At most `BLOCK` entries along one axis.
            other: Of the same shape and dtype.
            differs: Where they differ.
            count: In how many places that is, at least one.
            room: What `workspace` makes.
        """
        if one.dtype.type is np.void:
            return  # bytes without a meaning
        with np.errstate(invalid="ignore", over="ignore"):
            far = _distances(one, other, room)
            top = far.max()
            if not np.isfinite(top):
                finite = np.isfinite(far)
                # Two finite numbers of 32 bits may be an infinity apart in 32 bits.
                odd = np.flatnonzero(differs & ~finite)
                between, infinite = _farthest(one[odd], other[odd])
                count -= infinite
                far[~finite] = 0
                top = far.max()
                with self._lock:
                    self.not_finite += infinite
                top = max(top, between)
        if count:
            with self._lock:
                self.value = max(float(top), self.value or 0.0)


def workspace() -> np.ndarray:
    """Memory for one thread to compute in; of the last row the caller may take all."""
    return np.empty((4, BLOCK), np.float64)


def _distances(one: np.ndarray, other: np.ndarray, room: np.ndarray) -> np.ndarray:
    """`float[n]`: |difference| of each two entries."""
    wide = _wide(one.dtype)
    if wide.kind == "c":
        return np.abs(one.astype(wide) - other.astype(wide))
    first, second, far = (row.view(wide)[: one.size] for row in room[:3])
    if one.dtype != wide:
        one, other = _widened(one, first), _widened(other, second)
    np.subtract(one, other, out=far)
    return np.abs(far, out=far)


def _wide(dtype: np.dtype) -> np.dtype:
    """The dtype in which numbers of another are subtracted."""
    if dtype.kind == "c":
        return np.dtype(np.complex128)
    # Those of one and two bytes fit, as integers, as halves and as the numbers of ml_dtypes.
    return np.dtype(np.float32 if dtype.itemsize <= 2 or dtype == np.float32 else np.float64)


def _widened(array: np.ndarray, out: np.ndarray) -> np.ndarray:
    """The same numbers in another dtype, which holds them."""
    if array.dtype == np.float16 and (array.view("u2") & 0x7FFF).max() <= _LARGEST_HALF:
        # By their bits: five times as fast as NumPy's own conversion.
        bits = out.view(np.uint32)
        np.copyto(bits.view(np.int32), array.view(np.int16))
        np.left_shift(bits, 13, out=bits)
        np.bitwise_and(bits, _SIGN_AND_NUMBER, out=bits)
        return np.multiply(out, _REBASED, out=out)
    np.copyto(out, array, casting="unsafe")
    return out


def _farthest(one: np.ndarray, other: np.ndarray) -> tuple[float, int]:
    """The largest |difference| of finite entries in 64 bits, and how many are not finite."""
    kind = np.complex128 if one.dtype.kind == "c" else np.float64
    one, other = one.astype(kind), other.astype(kind)
    finite = np.isfinite(one) & np.isfinite(other)
    far = np.abs(one[finite] - other[finite]).max(initial=0)
    # Even in 64 bits two numbers may be farther apart than the largest there is.
    return min(float(far), float(np.finfo(np.float64).max)), int(np.count_nonzero(~finite))


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


def first_of(weight: _Named, place: int, before: np.generic, after: np.generic) -> First:
    index = tuple(int(i) for i in np.unravel_index(place, weight.shape)) if weight.shape else ()
    was, now = str(before), str(after)
    if was == now:
        # Two NaNs, or bytes without a meaning.
        was, now = (
            f"{text} (0x{one.tobytes()[::-1].hex()})" for text, one in ((was, before), (now, after))
        )
    return First(weight.path, index, was, now)
