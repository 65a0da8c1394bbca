"""Find where the bits of two arrays differ, and how large the differences are. Pure NumPy."""

from __future__ import annotations

import threading
from dataclasses import dataclass
from typing import Protocol

import numpy as np

BLOCK = 1 << 19  # entries: temporary arrays of this size stay in the cache

_SIGN_AND_NUMBER = np.uint32(0x8FFFE000)  # the bits of a half in those of a float32
_REBASED = np.float32(2.0**112)  # corrects the exponent after moving the bits
_LARGEST_HALF = 0x7BFF  # as an integer; larger ones are infinite or NaN


def differ(one: np.ndarray, other: np.ndarray, out: np.ndarray | None = None) -> np.ndarray:
    """Where the bits differ, also for signed zeros and NaN payloads.

    Args:
        one: An array of any dtype and layout.
        other: An array of the same shape and dtype.
        out: A boolean array of the same shape for the result. A new array by default.

    >>> differ(np.array([0.0, np.nan]), np.array([-0.0, np.nan])).tolist()
    [True, False]
    """
    size = one.dtype.itemsize
    if size in (1, 2, 4, 8):
        word = np.dtype(f"u{size}")
        return np.not_equal(one.view(word), other.view(word), out=out)
    word = np.dtype("u8" if size % 8 == 0 else "u1")
    # As a field of a structured dtype, so that arrays of any layout can be viewed.
    words = np.dtype([("words", word, (size // word.itemsize,))])
    return np.any(one.view(words)["words"] != other.view(words)["words"], axis=-1, out=out)


class Largest:
    """The largest |difference| of finite entries over all arrays that are added.

    Numbers of up to 32 bits are subtracted in float32, others in float64.

    Attributes:
        value: The largest |difference|, None if no two finite entries differ.
        not_finite: The number of differing entries that are infinite or NaN before or after.
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
        """Add two arrays; several threads may call this, each with its own `room`.

        Args:
            one: At most `BLOCK` entries along one axis.
            other: An array of the same shape and dtype.
            differs: Where they differ.
            count: The number of differing entries, at least one.
            room: The result of `workspace`.
        """
        if one.dtype.type is np.void:
            return  # raw bytes, not numbers
        with np.errstate(invalid="ignore", over="ignore"):
            far = _distances(one, other, room)
            top = far.max()
            if not np.isfinite(top):
                finite = np.isfinite(far)
                # The difference of two finite float32 numbers may overflow float32.
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
    """Temporary memory for one thread; the caller may use the whole last row."""
    return np.empty((4, BLOCK), np.float64)


def _distances(one: np.ndarray, other: np.ndarray, room: np.ndarray) -> np.ndarray:
    """`float[n]`: |difference| of each pair of entries."""
    wide = _wide(one.dtype)
    if wide.kind == "c":
        return np.abs(one.astype(wide) - other.astype(wide))
    first, second, far = (row.view(wide)[: one.size] for row in room[:3])
    if one.dtype != wide:
        one, other = _widened(one, first), _widened(other, second)
    np.subtract(one, other, out=far)
    return np.abs(far, out=far)


def _wide(dtype: np.dtype) -> np.dtype:
    """The dtype in which numbers are subtracted."""
    if dtype.kind == "c":
        return np.dtype(np.complex128)
    # All numbers of one and two bytes fit into float32: integers, float16 and those of ml_dtypes.
    return np.dtype(np.float32 if dtype.itemsize <= 2 or dtype == np.float32 else np.float64)


def _widened(array: np.ndarray, out: np.ndarray) -> np.ndarray:
    """The same numbers in a wider dtype."""
    if array.dtype == np.float16 and (array.view("u2") & 0x7FFF).max() <= _LARGEST_HALF:
        # Converted by their bits, which is five times as fast as NumPy's own conversion.
        bits = out.view(np.uint32)
        np.copyto(bits.view(np.int32), array.view(np.int16))
        np.left_shift(bits, 13, out=bits)
        np.bitwise_and(bits, _SIGN_AND_NUMBER, out=bits)
        return np.multiply(out, _REBASED, out=out)
    np.copyto(out, array, casting="unsafe")
    return out


def _farthest(one: np.ndarray, other: np.ndarray) -> tuple[float, int]:
    """The largest |difference| of finite entries in float64, and how many are not finite."""
    kind = np.complex128 if one.dtype.kind == "c" else np.float64
    one, other = one.astype(kind), other.astype(kind)
    finite = np.isfinite(one) & np.isfinite(other)
    far = np.abs(one[finite] - other[finite]).max(initial=0)
    # Even in float64 the difference may overflow.
    return min(float(far), float(np.finfo(np.float64).max)), int(np.count_nonzero(~finite))


class _Named(Protocol):
    @property
    def path(self) -> str: ...
    @property
    def shape(self) -> tuple[int, ...]: ...


@dataclass(frozen=True)
class First:
    """The first frozen entry that differs: its path, index, old value and new value."""

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
        # Two NaNs, or raw bytes.
        was, now = (
            f"{text} (0x{one.tobytes()[::-1].hex()})" for text, one in ((was, before), (now, after))
        )
    return First(weight.path, index, was, now)
