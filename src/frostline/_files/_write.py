"""A file that takes the place of another only once it is whole."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from frostline._errors import FileError


@contextmanager
def replaced(out: Path) -> Iterator[Path]:
    """A file beside `out` to write into, which is put in its place where the block ends well.

    Args:
        out: The file to write. A link stays one, and what it leads to is replaced; permissions are
            those of the file that is replaced.

    Yields:
        The path to write to, with the suffix of `out`.

    Raises:
        FileError: The file cannot be written.
    """
    target = Path(os.path.realpath(out))
    try:
        handle, name = tempfile.mkstemp(
            prefix=f".{target.stem}-", suffix=target.suffix, dir=target.parent
        )
    except OSError as error:
        raise _unwritable(out, error) from None
    os.close(handle)
    try:
        yield Path(name)
        os.chmod(name, _mode(target))
        os.replace(name, target)
    except OSError as error:
        raise _unwritable(out, error) from None
    finally:
        Path(name).unlink(missing_ok=True)


def refuse_target(out: Path, *, force: bool) -> None:
    """Raise where a file can not be written, before any work is done for it.

    Raises:
        FileError: `out` is there already and `force` is not given, or is a folder, or its folder is
            missing.
    """
    if not out.parent.is_dir():
        raise FileError(
            f"{out}: its folder does not exist; got folder={out.parent}. Make it first."
        )
    if out.is_dir():
        raise FileError(f"{out}: not a file; got a folder. Name a file in it.")
    if out.exists() and not force:
        raise FileError(
            f"{out}: this file exists; got force=False. Add --force to replace it, "
            "or give another name with -o."
        )


def _mode(target: Path) -> int:
    """The permissions of the file that is replaced, or those that a new one gets."""
    if target.exists():
        return target.stat().st_mode & 0o7777
    mask = os.umask(0)
    os.umask(mask)
    return 0o666 & ~mask


def _unwritable(out: Path, error: OSError) -> FileError:
    return FileError(
        f"{out}: cannot be written; got {error.strerror or error}. "
        "Give another name; nothing was changed."
    )
