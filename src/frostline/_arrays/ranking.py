"""Find the k smallest entries of many arrays, without sorting, copying or joining them.

Scores are converted to unsigned integers in the same order. A sample gives two bounds for the k-th
smallest, and one pass over all scores collects the keys between them. If there are too many, or the
k-th is not among them, it is found by counting, 16 bits at a time, with one pass for each.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np

PIECE = 1 << 17  # scores at once, so that their keys and counts stay in the cache

_DIGIT = 16  # bits
_HALVES = ("bfloat16", "float16", "float32", "int8", "uint8", "int16", "uint16", "bool")


def key_bits(dtype: np.dtype) -> int | None:
    """The number of bits of keys for scores of this dtype, None for a dtype without an order.

    >>> key_bits(np.dtype("float32")), key_bits(np.dtype("int64")), key_bits(np.dtype("complex64"))
    (32, 64, None)
    """
    if dtype.name in _HALVES or dtype.name.startswith("float8"):
        return 32
    return 64 if dtype.kind in "fiu" and dtype.itemsize <= 8 else None


def sort_keys(scores: np.ndarray, bits: int, *, largest: bool, magnitude: bool) -> np.ndarray:
    """Unsigned integers in the order of the scores; the smallest comes first.

    Args:
        scores: Real numbers of any shape and layout.
        bits: 32 or 64, at least `key_bits` of the dtype.
        largest: Whether the largest score comes first.
        magnitude: Whether absolute values are compared.

    Returns:
        A flat array in C order. NaN comes last either way, and `-0.0` equals `0.0`.

    >>> keys = sort_keys(np.float32([np.nan, 2, -1, 0]), 32, largest=False, magnitude=False)
    >>> keys.argsort()
    array([2, 3, 1, 0])
    """
    number, word = (np.float32, np.uint32) if bits == 32 else (np.float64, np.uint64)
    values = np.ascontiguousarray(scores, number).reshape(-1)
    sign, infinite = word(1 << (bits - 1)), np.array(np.inf, number).view(word)
    if magnitude:
        keys = values.view(word) & ~sign
        if not largest:
            # Larger than infinity means NaN.
            return np.minimum(keys, infinite + word(1), out=keys)
        missing = keys > infinite
        np.subtract(infinite, keys, out=keys)
    else:
        keys = (values + number(0)).view(word)  # -0.0 + 0.0 is 0.0
        missing = np.isnan(values)
        # The bits of negative numbers are in reverse order.
        keys ^= np.where(keys & sign, ~word(0), sign)
        if largest:
            np.invert(keys, out=keys)
    keys[missing] = ~word(0)
    return keys


Keys = Callable[[int], Iterable[np.ndarray]]
"""Returns every nth key of an array, in order, piece by piece. It may be called several times."""

_STRIDE = 97  # of the sample; a prime number, unlikely to match any layout
_LARGE = 1 << 20  # number of keys from which a sample is worth it
_COLLECTED = 1 << 22  # maximum number of keys between the two bounds


@dataclass(frozen=True)
class Cut:
    """The cut in a ranking: keys below `prefix` are taken, and some of those equal to it.

    Attributes:
        shift: The number of lowest bits of a key that are ignored.
        prefix: The other bits of the key at the cut.
        ties: The number of keys equal to it that are taken.
        tied: The number of keys equal to it.
    """

    shift: int
    prefix: int
    ties: int
    tied: int

    def take(self, keys: np.ndarray, ties: int, out: np.ndarray) -> int:
        """Write to `out` which keys are taken; of those at the cut, the first `ties`.

        Returns:
            The number of ties left for the following keys.
        """
        begins, word = self._begins(keys), keys.dtype.type
        if self.ties == self.tied:
            np.less_equal(begins, word(self.prefix), out=out)
            return ties
        np.less(begins, word(self.prefix), out=out)
        equal = np.flatnonzero(begins == word(self.prefix))[:ties] if ties else []
        out[equal] = True
        return ties - len(equal)

    def equal(self, keys: np.ndarray) -> int:
        """The number of keys at the cut."""
        return int(np.count_nonzero(self._begins(keys) == keys.dtype.type(self.prefix)))

    def _begins(self, keys: np.ndarray) -> np.ndarray:
        return keys >> keys.dtype.type(self.shift) if self.shift else keys


def find_cut(arrays: Sequence[Keys], count: int, total: int, bits: int) -> Cut:
    """The cut for which exactly `count` keys of all arrays are taken.

    Args:
        arrays: The keys of each array, of `bits` bits.
        count: At least 1, and at most `total`.
        total: The total number of keys.
        bits: 32 or 64.

    >>> find_cut([lambda n: [np.uint32([3, 1])], lambda n: [np.uint32([1, 9])]], 1, 4, 32)
    Cut(shift=0, prefix=1, ties=1, tied=2)
    """
    found = _sampled(arrays, count, total, bits) if total >= _LARGE else None
    return found or _counted(arrays, count, bits, exact=False)


def _sampled(arrays: Sequence[Keys], count: int, total: int, bits: int) -> Cut | None:
    """The cut, found with bounds from a sample; None if these are not good enough."""
    sample = np.sort(np.concatenate([piece for keys in arrays for piece in keys(_STRIDE)]))
    share = count / total
    margin = 16 + 5 * math.sqrt(sample.size * max(share * (1 - share), 0))
    first, last = int(share * sample.size - margin), int(share * sample.size + margin)
    low = sample[first] if first > 0 else sample.dtype.type(0)
    high = sample[last] if last < sample.size else ~sample.dtype.type(0)
    between: list[np.ndarray] = []
    collected = 0
    for keys in arrays:
        for piece in keys(1):
            below = piece < low
            count -= int(np.count_nonzero(below))
            inside = np.flatnonzero((piece <= high) & ~below)
            collected += inside.size
            if collected > _COLLECTED:
                return None
            between.append(piece[inside])
    if not 0 < count <= collected:
        return None
    return _counted([lambda _: between], count, bits, exact=True)


def _counted(arrays: Sequence[Keys], count: int, bits: int, *, exact: bool) -> Cut:
    """The cut, found by counting: with as few of the highest bits as needed, or exactly."""
    prefix = 0
    for shift in range(bits - _DIGIT, -1, -_DIGIT):
        counts = np.zeros(1 << _DIGIT, np.int64)
        for keys in arrays:
            for piece in keys(1):
                counts += _digits(piece, shift, bits, prefix)
        below = np.cumsum(counts)
        digit = int(np.searchsorted(below, count))
        count -= int(below[digit - 1]) if digit else 0
        prefix = prefix << _DIGIT | digit
        tied = int(counts[digit])
        if shift == 0 or (count == tied and not exact):
            return Cut(shift, prefix, count, tied)
    raise AssertionError("the last pass returns")


def _digits(keys: np.ndarray, shift: int, bits: int, prefix: int) -> np.ndarray:
    """How often each 16-bit number occurs at `shift`, in keys that begin with `prefix`."""
    word = keys.dtype.type
    digits = keys >> word(shift) if shift else keys
    if shift + _DIGIT < bits:
        digits = digits[(digits >> word(_DIGIT)) == word(prefix)] & word((1 << _DIGIT) - 1)
    return np.bincount(digits.astype(np.intp), minlength=1 << _DIGIT)
