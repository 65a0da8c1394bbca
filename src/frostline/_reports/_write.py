"""Where a report goes: refused before any work is done, and replaced only by a whole one."""

from __future__ import annotations

from pathlib import Path

from frostline._errors import ReportError
from frostline._replace import replacing


def refuse_place(out: Path, *suffixes: str) -> None:
    """Raise where a report can not be written.

    A file that is there is replaced, so its name has to say that it is a page, or a picture.

    Raises:
        ReportError: `out` has none of the suffixes, is a folder, or is in none.
    """
    if out.is_dir():
        inside = str(out / "report.html")
        raise ReportError(f"{out}: not a file; got a folder. Name a file in it: {inside!r}.")
    if not out.parent.is_dir():
        raise ReportError(
            f"{out}: its folder does not exist; got folder={str(out.parent)!r}. Make it first."
        )
    if out.suffix.lower() not in suffixes:
        raise ReportError(
            f"{out}: not the name of such a file; got suffix={out.suffix!r}. "
            f"Call it {out.with_suffix(suffixes[0]).name}."
        )


def write(text: str, out: Path) -> None:
    """Write a report, so that an old one stays until the new one is whole.

    Raises:
        ReportError: The folder can not be written to.
    """
    try:
        with replacing(out) as beside:
            beside.write_text(text, encoding="utf-8", newline="\n")
    except OSError as error:
        raise unwritable(out, error) from None


def unwritable(out: Path, error: OSError) -> ReportError:
    """What to say where the system does not let a file be written."""
    return ReportError(
        f"{out}: cannot be written; got {error.strerror or error}. Give another path; nothing was "
        "changed."
    )
