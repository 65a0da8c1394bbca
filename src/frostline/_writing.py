"""Files that are written whole or not at all, and the check that a path can be written to."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from frostline._errors import FileError, FrostlineError

Refusal = Callable[[str], FrostlineError]
"""The class of the error that says why a file cannot be written."""


@contextmanager
def replacing(out: Path, refusal: Refusal = FileError) -> Iterator[Path]:
    """Write a file so that `out` is the old one or the whole new one, whatever happens.

    Args:
        out: The file to write, which may exist.
        refusal: The class of the error where the system does not let it be written.

    Yields:
        The path to write to, with the suffix of `out`. It takes its place at the end of the block,
        with the permissions of what was there; an error leaves that as it was.
    """
    # A link stays one, and what it leads to is replaced.
    target = Path(os.path.realpath(out))
    unfinished = None
    try:
        handle, name = tempfile.mkstemp(
            prefix=f".{target.stem}-", suffix=target.suffix, dir=target.parent
        )
        os.close(handle)
        unfinished = Path(name)
        yield unfinished
        os.chmod(unfinished, _mode(target))
        os.replace(unfinished, target)
    except OSError as error:
        raise refusal(
            f"{out}: cannot be written; got {error.strerror or error}. "
            "Give another path; nothing was changed."
        ) from None
    finally:
        if unfinished is not None:
            unfinished.unlink(missing_ok=True)


def check_target(
    out: Path,
    *suffixes: str,
    force: bool = True,
    refusal: Refusal = FileError,
) -> None:
    """Raise where a file cannot be written, before any work is done for it.

    Args:
        out: The file to write.
        suffixes: What its name may end in; anything by default.
        force: Whether it may replace a file.
        refusal: The class of the error.
    """
    if not out.parent.is_dir():
        raise refusal(
            f"{out}: its folder does not exist; got folder={str(out.parent)!r}. Make it first."
        )
    if out.is_dir():
        inside = str(out / f"name{suffixes[0]}") if suffixes else str(out / "name")
        raise refusal(f"{out}: not a file; got a folder. Name a file in it: {inside!r}.")
    if suffixes and out.suffix.lower() not in suffixes:
        raise refusal(
            f"{out}: not the name of such a file; got suffix={out.suffix!r}. "
            f"Call it {out.with_suffix(suffixes[0]).name}."
        )
    if out.exists() and not force:
        raise refusal(
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
