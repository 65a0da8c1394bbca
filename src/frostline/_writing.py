"""Files that are written whole or not at all, and the check that a path can be written to.

A file is written under a hidden name beside its target, then replaces the target in one step. A
process that is killed leaves the hidden file behind. Its name contains the process id, so the next
write to that folder removes it, but never the file of a process that is still writing.
"""

from __future__ import annotations

import errno
import functools
import hashlib
import os
import platform
import re
import secrets
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from frostline._errors import FileError, FrostlineError

Refusal = Callable[[str], FrostlineError]
"""The class of the error for a file that cannot be written."""

_HIDDEN = re.compile(r"\.frostline-([0-9a-f]{8})-([1-9]\d{0,6})-[0-9a-f]{8}(\..*)?")
_OLD = 24 * 60 * 60  # seconds after which a hidden file of another machine counts as abandoned
_ours: set[str] = set()


@contextmanager
def replacing(out: Path, refusal: Refusal = FileError) -> Iterator[Path]:
    """Write a file so that `out` is either the old file or the complete new one, never in between.

    Args:
        out: The file to write, which may exist.
        refusal: The class of the error if the system refuses the write.

    Yields:
        The path to write to, with the suffix of `out`. At the end of the block it replaces `out`
        and takes over its permissions. After an error `out` is unchanged.
    """
    _refuse_special(out, refusal)
    # A link stays a link: the file that it points to is replaced.
    target = Path(os.path.realpath(out))
    try:
        if target.is_symlink():
            raise OSError(errno.ELOOP, os.strerror(errno.ELOOP))
        mode = target.stat().st_mode & 0o7777 if target.exists() else None
        with hidden(target.parent, target.suffix, private=mode is not None) as unfinished:
            yield unfinished
            if mode is not None:
                os.chmod(unfinished, mode)
            with open(unfinished, "rb+") as file:
                os.fsync(file.fileno())  # otherwise a power cut may leave an empty file
            os.replace(unfinished, target)
    except OSError as error:
        link = f", a link to {target}" if out.is_symlink() else ""
        raise refusal(
            f"{out}: cannot be written; got {error.strerror or error}{link}. "
            "Give another path; nothing was changed."
        ) from None


@contextmanager
def hidden(folder: Path, suffix: str, *, private: bool = True) -> Iterator[Path]:
    """Make an empty file in a folder, and remove it at the end of the block unless it was moved.

    Also removes files that killed processes left there.

    Args:
        folder: The folder.
        suffix: How the name ends.
        private: Whether only the user may read it. Otherwise it gets the default permissions.
    """
    _sweep(folder)
    name = f".frostline-{_machine()}-{os.getpid()}-{secrets.token_hex(4)}{suffix}"
    path = folder / name
    _ours.add(name)
    try:
        mode = 0o600 if private else 0o666
        os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, mode))
        yield path
    finally:
        path.unlink(missing_ok=True)
        _ours.discard(name)


def check_target(
    out: Path,
    *suffixes: str,
    force: bool = True,
    refusal: Refusal = FileError,
    read: Iterable[Path | None] = (),
) -> None:
    """Raise an error if a file cannot be written, before any work is done for it.

    Args:
        out: The file to write.
        suffixes: The suffixes that its name may have; any by default.
        force: Whether it may replace an existing file.
        refusal: The class of the error.
        read: Input files, which it must not replace.
    """
    if not out.parent.is_dir():
        raise refusal(
            f"{out}: its folder does not exist; got folder={str(out.parent)!r}. Make it first."
        )
    if out.is_dir():
        inside = str(out / f"name{suffixes[0]}") if suffixes else str(out / "name")
        raise refusal(f"{out}: not a file; got a folder. Name a file in it: {inside!r}.")
    _refuse_special(out, refusal)
    if suffixes and out.suffix.lower() not in suffixes:
        raise refusal(
            f"{out}: the name must end in {' or '.join(suffixes)}; got suffix={out.suffix!r}. "
            f"Call it {out.with_suffix(suffixes[0]).name}."
        )
    for path in read:
        if path is not None and path.exists() and out.exists() and path.samefile(out):
            raise refusal(
                f"{out}: the output would replace an input file; got {path} as input and as "
                "output. Name another file with -o."
            )
    if out.exists() and not force:
        raise refusal(
            f"{out}: this file exists; got no --force. Add it to replace the file, "
            "or give another name with -o."
        )
    folder = os.path.dirname(os.path.realpath(out))
    if os.path.isdir(folder) and not os.access(folder, os.W_OK):
        raise refusal(
            f"{out}: its folder is read-only; got folder={folder!r}. Name a file in another folder."
        )


def _refuse_special(out: Path, refusal: Refusal) -> None:
    # Replacing `/dev/null` would break every program that uses it.
    if out.exists() and not out.is_file() and not out.is_dir():
        raise refusal(
            f"{out}: not an ordinary file; got a device, a pipe or a socket. Name a file."
        )


def _sweep(folder: Path) -> None:
    """Remove the files in a folder that are known to be left by killed processes."""
    with suppress(OSError), os.scandir(folder) as entries:
        for entry in entries:
            with suppress(OSError):
                if _is_left(entry):
                    os.unlink(entry.path)


def _is_left(entry: os.DirEntry[str]) -> bool:
    found = _HIDDEN.fullmatch(entry.name)
    if found is None or not entry.is_file(follow_symlinks=False):
        return False
    pid = int(found[2])
    if os.name != "posix" or found[1] != _machine():
        return time.time() - entry.stat(follow_symlinks=False).st_mtime > _OLD
    # An earlier process may have had the same id as this one: in a container, often 1.
    return entry.name not in _ours if pid == os.getpid() else not _is_alive(pid)


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except OSError:
        pass  # it is alive and belongs to another user
    return True


@functools.cache
def _machine() -> str:
    """A name for the host or container, inside which process ids are unique."""
    space = ""
    with suppress(OSError):
        space = os.readlink("/proc/self/ns/pid")
    return hashlib.sha256(f"{platform.node()} {space}".encode()).hexdigest()[:8]
