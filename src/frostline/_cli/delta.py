"""`frostline delta`: extract what was trained from a model file, and apply it to the base."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from frostline._cli import answers
from frostline._cli.application import application
from frostline._cli.options import Force, Json, Quiet, errors_to_stderr
from frostline._console import meter, show
from frostline._deltas import SUFFIX, apply_to_file, extract_from_file, read
from frostline._errors import AuditError, FileError, RestoreError
from frostline._files import open_file
from frostline._version import __version__
from frostline._writing import check_target

delta_application = typer.Typer(
    name="delta",
    help="Save what was trained in a small file, and apply it to its base.",
    no_args_is_help=True,
    rich_markup_mode=None,
)
application.add_typer(delta_application)

Delta = Annotated[Path, typer.Argument(metavar="DELTA", help="A .safetensors file.")]


class Overlap(StrEnum):
    """Which of two values of an entry is taken."""

    error = "error"
    first = "first"
    last = "last"


class Rounded(StrEnum):
    """The dtypes that values can be rounded to."""

    bfloat16 = "bfloat16"
    float16 = "float16"


@delta_application.command()
@errors_to_stderr
def extract(
    tuned: Annotated[Path, typer.Argument(metavar="TUNED", help="The file of the trained model.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="The .safetensors file to write.")],
    base: Annotated[
        Path | None,
        typer.Option(
            metavar="MODEL", help="The model before training: take only entries that differ."
        ),
    ] = None,
    frozen: Annotated[
        Path | None,
        typer.Option(
            metavar="MODEL",
            help="The .keras file that says what is frozen; by default TUNED and the base.",
        ),
    ] = None,
    dtype: Annotated[
        Rounded | None,
        typer.Option(help="Round the values to 16 bits: half the size, no longer bit for bit."),
    ] = None,
    force: Force = False,
    quiet: Quiet = False,
) -> None:
    """Save the trained entries of a model file as a delta.

    Takes the unfrozen entries of layers with `trainable=True`; with --base, only those that differ
    from it.

    Exit status: 0, or 2 on any error; then nothing is written.
    """
    check_target(out, force=force, read=(tuned, base, frozen))
    with ExitStack() as stack:
        trained, before, says = (
            None if path is None else stack.enter_context(open_file(path))
            for path in (tuned, base, frozen)
        )
        assert trained is not None
        meters = meter("extracting", trained.size, quiet=quiet, unit="entries")
        with _about(tuned), meters as advance:
            delta = extract_from_file(trained, before, says, __version__, advance)
    delta.save(out, dtype=dtype and dtype.value)
    answers.delta_listed(read(out) if dtype else delta, out, as_json=False, quiet=quiet)


@delta_application.command()
@errors_to_stderr
def apply(
    base: Annotated[Path, typer.Argument(metavar="BASE", help="The file of the base model.")],
    deltas: Annotated[
        list[Path], typer.Argument(metavar="DELTA", help="Deltas of this base model.")
    ],
    out: Annotated[
        Path, typer.Option("--out", "-o", help="The file to write, in the format of BASE.")
    ],
    overlap: Annotated[
        Overlap,
        typer.Option(help="Which DELTA is taken if two have different values for an entry."),
    ] = Overlap.error,
    force: Force = False,
    quiet: Quiet = False,
) -> None:
    """Apply deltas to the base model that they were trained from.

    The rest of the file stays as it is, also the freeze and the state of the optimizer.

    Exit status: 0, or 2 on any error, such as a delta of another base; then nothing is written.
    """
    if _format(base) == SUFFIX and all(_format(path) != SUFFIX for path in deltas):
        raise FileError(
            f"{deltas[0]}: not a delta, which is a {SUFFIX} file; got {base} as the base. "
            f"The base comes first: `frostline delta apply {deltas[0]} {base} -o OUT`."
        )
    if _format(out) != _format(base):
        raise FileError(
            f"{out}: of another format than {base}; got suffix={out.suffix!r}. "
            f"Name a {_format(base)} file."
        )
    check_target(out, force=force, read=deltas)
    loaded = [read(path) for path in deltas]
    with open_file(base) as opened:
        size = opened.size
    with _about(base), meter("applying", size, quiet=quiet, unit="entries") as advance:
        apply_to_file(base, loaded, out, overlap.value, advance)
    if not quiet:
        for path, delta in zip(deltas, loaded, strict=True):
            show(f"{path}: {delta.size:,} entries")
    show(f"written to {out}")


@delta_application.command()
@errors_to_stderr
def info(delta: Delta, json: Json = False, quiet: Quiet = False) -> None:
    """List what is in a delta, and the base it can be applied to.

    Exit status: 0, or 2 if the file cannot be read, is damaged, or is not a delta.
    """
    loaded = read(delta)
    answers.delta_listed(loaded, delta, as_json=json, quiet=quiet)
    if not json:
        show(f"fingerprint {loaded.fingerprint}, for base {loaded.base}")


@contextmanager
def _about(path: Path) -> Iterator[None]:
    """Name the file in an error that names only a weight of it."""
    try:
        yield
    except (AuditError, RestoreError) as error:
        said = str(error)
        raise type(error)(said if str(path) in said else f"{path}: {said}") from None


def _format(path: Path) -> Any:
    return "".join(path.suffixes[-2:]) if path.suffix == ".h5" else path.suffix
