"""A file that takes the place of another only once it is whole, or the error that says why not."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from frostline._errors import FileError
from frostline._replace import replacing


@contextmanager
def replaced(out: Path) -> Iterator[Path]:
    """As `replacing`, where what cannot be written is an error of ours.

    Raises:
        FileError: The file cannot be written.
    """
    try:
        with replacing(out) as beside:
            yield beside
    except OSError as error:
        raise FileError(
            f"{out}: cannot be written; got {error.strerror or error}. "
            "Give another name; nothing was changed."
        ) from None


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
