"""Selections given as a boolean array."""

from __future__ import annotations

import base64
import binascii
import math
import zlib
from dataclasses import dataclass
from typing import Any

import numpy as np

from frostline._algebra import Selection, Weight
from frostline._errors import SelectionError
from frostline._index import shorten

_LISTED = 64  # a mask of more entries is shown packed


@dataclass(frozen=True, init=False, repr=False)
class Mask(Selection):
    """Selects the entries where a boolean array is `True`: `True` = frozen.

    Args:
        array: Boolean array of exactly the shape of the weight, or a nested list of booleans. It is
            copied.

    Raises:
        SelectionError: The array is not boolean; or, when used, has another shape than the weight.

    Examples:
        >>> import frostline as fl
        >>> fl.mask([[True, False]]) | fl.at[:, 1]
        mask([[True, False]]) | at[:, 1]
        >>> fl.mask.packed((1, 2), "eNprAAAAgQCB")
        mask([[True, False]])
    """

    shape: tuple[int, ...]
    bits: bytes  # np.packbits of the entries in C order: immutable, an eighth of the array

    def __init__(self, array: Any) -> None:
        try:
            value = np.asarray(array)
        except ValueError:
            raise SelectionError(
                f"mask: the rows differ in length; got {shorten(repr(array))}. "
                "Use rows of one length."
            ) from None
        if value.size == 0 and isinstance(array, list):
            value = value.astype(bool)
        if value.dtype != np.bool_:
            raise SelectionError(
                f"mask: the array must be boolean; got dtype={value.dtype} (shape {value.shape}). "
                "Use fl.mask(array != 0)."
            )
        self._hold(value.shape, np.packbits(value.ravel()).tobytes())

    def _hold(self, shape: tuple[int, ...], bits: bytes) -> None:
        object.__setattr__(self, "shape", shape)  # the dataclass is frozen
        object.__setattr__(self, "bits", bits)

    @classmethod
    def packed(cls, shape: tuple[int, ...], data: str) -> Mask:
        """The mask of `shape` from `data`, as a large mask prints itself.

        Args:
            shape: Shape of the mask.
            data: Base64 of the zlib-compressed `np.packbits` of the entries in C order.

        Raises:
            SelectionError: `data` is damaged, or holds another number of entries than `shape`.
        """
        size = math.prod(shape)
        wanted = -(-size // 8)
        try:
            # Bounded: a damaged or hostile text must not unpack to more than the shape allows.
            inflate = zlib.decompressobj()
            bits = inflate.decompress(base64.b64decode(data, validate=True), wanted + 1)
        except (binascii.Error, zlib.error, ValueError) as error:
            raise SelectionError(
                f"mask.packed: the data cannot be unpacked ({error}); got data={data[:20]!r}... "
                f"(shape {shape}). Use the text that repr(fl.mask(array)) prints."
            ) from None
        if len(bits) != wanted or not inflate.eof or min(shape, default=0) < 0:
            raise SelectionError(
                f"mask.packed: the data does not hold {size} entries; got data={data[:20]!r}... "
                f"(shape {shape}). Use the text that repr(fl.mask(array)) prints."
            )
        selection = cls.__new__(cls)
        bits = np.packbits(np.unpackbits(np.frombuffer(bits, np.uint8), count=size)).tobytes()
        selection._hold(tuple(int(n) for n in shape), bits)
        return selection

    def _array(self) -> np.ndarray:
        flat = np.unpackbits(np.frombuffer(self.bits, np.uint8), count=math.prod(self.shape))
        return flat.astype(bool).reshape(self.shape)

    def mask(self, weight: Weight) -> np.ndarray:
        if self.shape != weight.shape:
            raise weight.error(
                "a mask needs exactly the shape of the weight",
                f"a mask of shape {self.shape}",
                fitting_hint(self.shape, weight.shape),
            )
        return self._array()

    def __repr__(self) -> str:
        if 0 < math.prod(self.shape) <= _LISTED or self.shape == (0,):
            return f"mask({self._array().tolist()})"
        data = base64.b64encode(zlib.compress(self.bits, 9)).decode("ascii")
        return f"mask.packed({self.shape}, {data!r})"


def fitting_hint(shape: tuple[int, ...], wanted: tuple[int, ...]) -> str:
    """What to do with a boolean array of another shape than the weight's."""
    if shape and shape == wanted[: len(shape)]:
        return "Use fl.at[array], an index along the first axes."
    try:
        fits = np.broadcast_shapes(shape, wanted) == wanted
    except ValueError:
        fits = False
    if fits:
        return f"Use fl.mask(np.broadcast_to(array, {wanted}))."
    return f"Make it an array of shape {wanted}."
