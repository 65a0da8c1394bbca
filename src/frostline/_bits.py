"""Where two arrays have other bits, and how far apart their numbers are. Pure NumPy."""

from __future__ import annotations

import math

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

    It is that of the entries in 64 bits, whatever their dtype is and however they are divided.

    Attributes:
        value: The largest |difference|, None where no two finite entries differ.
        not_finite: How many entries that differ are infinite or not a number, before or after.
    """

    def __init__(self, room: np.ndarray | None = None) -> None:
        """Start with nothing.

        Args:
            room: What `workspace` makes, where several of these may share it.
        """
        self.value: float | None = None
        self.not_finite = 0
        self._top = -math.inf  # the largest as rounded in the dtype that it is computed in
        self._room = workspace() if room is None else room

    def add(self, one: np.ndarray, other: np.ndarray, differs: np.ndarray, count: int) -> None:
        """Take two arrays in.

        Args:
            one: At most `BLOCK` entries along one axis.
            other: Of the same shape and dtype.
            differs: Where they differ.
            count: In how many places that is.
        """
        if one.dtype.type is np.void:
            return  # bytes without a meaning
        with np.errstate(invalid="ignore", over="ignore"):
            far = self._distances(one, other)
            top = far.max(initial=0)
            if not np.isfinite(top):
                finite = np.isfinite(far)
                # Two finite numbers of 32 bits may be an infinity apart in 32 bits.
                odd = np.flatnonzero(differs & ~finite)
                between, infinite = _far(one[odd], other[odd])
                self.not_finite += infinite
                count -= infinite
                far[~finite] = 0
                top = far.max(initial=0)
                if between is not None:
                    self._take(between, math.inf)
        # Equal entries are no distance apart and cannot be the largest unless nothing is.
        if count and top >= self._top:
            self._take(self._exact(one, other, far, top), float(top))

    def _take(self, value: float, top: float) -> None:
        self._top = max(self._top, top)
        self.value = value if self.value is None else max(value, self.value)

    def _distances(self, one: np.ndarray, other: np.ndarray) -> np.ndarray:
        """`float[n]`: |difference| of each two entries, rounded to the dtype that holds both."""
        wide = _wide(one.dtype)
        if wide.kind == "c":
            return np.abs(one.astype(wide) - other.astype(wide))
        first, second, far = (row[: one.size] for row in self._room.view(wide))
        if one.dtype != wide:
            one, other = _widened(one, first), _widened(other, second)
        np.subtract(one, other, out=far)
        return np.abs(far, out=far)

    @staticmethod
    def _exact(one: np.ndarray, other: np.ndarray, far: np.ndarray, top: np.floating) -> float:
        """The largest of those distances before they were rounded, which keeps their order."""
        if one.dtype.kind in "biu" or far.dtype != np.float32 or not top:
            return float(top)
        there = far == top
        largest, _ = _far(one[there], other[there])
        assert largest is not None
        return largest


def workspace() -> np.ndarray:
    """Memory for `Largest` to compute in."""
    return np.empty((3, BLOCK), np.float64)


def _wide(dtype: np.dtype) -> np.dtype:
    """The dtype in which numbers of another are subtracted."""
    if dtype.kind == "c":
        return np.dtype(np.complex128)
    # Those of one and two bytes fit, as integers, as halves and as the numbers of ml_dtypes.
    return np.dtype(np.float32 if dtype.itemsize <= 2 or dtype == np.float32 else np.float64)


def _widened(array: np.ndarray, out: np.ndarray) -> np.ndarray:
    """The same numbers in another dtype, which holds them."""
    if array.dtype == np.float16 and (array.view("u2") & 0x7FFF).max(initial=0) <= _LARGEST_HALF:
        # By their bits: five times as fast as NumPy's own conversion.
        bits = out.view(np.uint32)
        np.copyto(bits.view(np.int32), array.view(np.int16))
        np.left_shift(bits, 13, out=bits)
        np.bitwise_and(bits, _SIGN_AND_NUMBER, out=bits)
        return np.multiply(out, _REBASED, out=out)
    np.copyto(out, array, casting="unsafe")
    return out


def _far(one: np.ndarray, other: np.ndarray) -> tuple[float | None, int]:
    """The largest |difference| of finite entries in 64 bits, and how many are not finite."""
    kind = np.complex128 if one.dtype.kind == "c" else np.float64
    one, other = one.astype(kind), other.astype(kind)
    finite = np.isfinite(one) & np.isfinite(other)
    odd = finite.size - int(np.count_nonzero(finite))
    if odd == finite.size:
        return None, odd
    far = np.max(np.abs(one[finite] - other[finite]))
    # Even in 64 bits two numbers may be farther apart than the largest there is.
    return min(float(far), float(np.finfo(np.float64).max)), odd
