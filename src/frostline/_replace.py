"""A file that is written beside its place, and put there once it is whole."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def replacing(out: Path) -> Iterator[Path]:
    """Write a file so that `out` is the old one or the whole new one, whatever happens.

    Yields:
        The path to write to, with the suffix of `out`. It takes its place at the end of the block,
        with the permissions of what was there; an error leaves that as it was.

    Raises:
        OSError: The folder can not be written to.
    """
    # A link stays one, and what it leads to is replaced.
    target = Path(os.path.realpath(out))
    handle, name = tempfile.mkstemp(
        prefix=f".{target.stem}-", suffix=target.suffix, dir=target.parent
    )
    os.close(handle)
    try:
        yield Path(name)
        os.chmod(name, _mode(target))
        os.replace(name, target)
    finally:
        Path(name).unlink(missing_ok=True)


def _mode(target: Path) -> int:
    """The permissions of the file that is replaced, or those that a new one gets."""
    if target.exists():
        return target.stat().st_mode & 0o7777
    mask = os.umask(0)
    os.umask(mask)
    return 0o666 & ~mask
