"""A mask as text in a config: eight entries a byte, compressed. Pure NumPy."""

from __future__ import annotations

import base64
import zlib
from typing import Any

import numpy as np


def pack(mask: np.ndarray) -> str:
    """The text of a boolean array; a random one takes a bit and a third for each entry."""
    return base64.b64encode(zlib.compress(np.packbits(mask).tobytes(), 9)).decode("ascii")


def unpack(text: Any, count: int) -> np.ndarray:
    """`uint8[n]`: the bits of a mask of `count` entries, from its text.

    Raises:
        ValueError: It is not the text of such a mask. At most `count` bits are unpacked.
    """
    wanted = -(-count // 8)
    # zlib makes incompressible data longer by less than this.
    longest = 4 * (wanted + wanted // 1000 + 64) // 3 + 4
    if not isinstance(text, str) or len(text) > longest:
        raise ValueError(f"not a mask of {count:,} entries")
    inflate = zlib.decompressobj()
    try:
        packed = inflate.decompress(base64.b64decode(text), wanted + 1)
    except zlib.error as error:
        raise ValueError(str(error)) from None
    if len(packed) != wanted or not inflate.eof:
        raise ValueError(f"{len(packed)} bytes of mask do not fit {count:,} entries")
    return np.frombuffer(packed, dtype=np.uint8)
