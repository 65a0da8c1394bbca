"""Read files that others wrote: a single kind of error, and JSON with a memory limit."""

from __future__ import annotations

import errno
import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from frostline._errors import FileError, FrostlineError

AGAIN = "Take the file from its source again."
CUT = f"It may have been cut off while it was copied: {AGAIN[0].lower()}{AGAIN[1:]}"
_NO_ROOM = (errno.ENOSPC, errno.EFBIG, errno.EDQUOT, errno.EROFS)
_ROOM = 48 << 20  # bytes that JSON data may take in addition to a multiple of the weights
# Approximate bytes of Python objects for each character of JSON.
_TAKES = {b"{": 184, b"[": 64, b",": 32, b":": 20, b'"': 12}


@contextmanager
def reading(
    path: Path | str, fault: str, do: str = AGAIN, *, writes: bool = False
) -> Iterator[None]:
    """Turn any exception of a library that reads a file into a `FileError`.

    Args:
        path: The file, and the place in it.
        fault: The rule that is broken if reading fails.
        do: What to do then.
        writes: Whether the block also writes a file; errors for a full disk then pass through.
    """
    try:
        yield
    except FrostlineError:
        raise
    except Exception as error:  # includes MemoryError and RecursionError
        if writes and isinstance(error, OSError) and error.errno in _NO_ROOM:
            raise
        said = (str(error).strip() or "out of memory").split("\n")[0][:300].removesuffix(".")
        raise FileError(f"{path}: {fault}; got {type(error).__name__}: {said}. {do}") from None


def check_room(length: int, weights: int, objects: int = 0) -> None:
    """Raise `ValueError` if JSON would take too much memory, as bytes, as text and as objects.

    Args:
        length: Bytes of the JSON.
        weights: Bytes of the weights in the same file; there may be few.
        objects: Bytes of the objects in it.
    """
    takes = 2 * length + objects
    if takes > _ROOM + 4 * weights:
        raise ValueError(f"{length:,} bytes of JSON would take {takes:,} bytes of memory")


def parsed(text: bytes, weights: int, *, strict: bool = False) -> Any:
    """Parse JSON from a file; `ValueError` if it is invalid or would take too much memory.

    Args:
        text: The JSON.
        weights: Bytes of the weights in the same file.
        strict: Whether repeated names, NaN and infinity are errors.
    """
    objects = sum(text.count(sign) * size for sign, size in _TAKES.items())
    check_room(len(text), weights, objects)
    if strict:
        return json.loads(text, object_pairs_hook=_once, parse_constant=_no_number)
    return json.loads(text)


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [name for name, _ in pairs]
        raise ValueError(f"{next(n for n in names if names.count(n) > 1)[:100]!r} occurs twice")
    return found


def _no_number(name: str) -> None:
    raise ValueError(f"{name} is not a JSON number")
