"""`frostline diff`: what differs between two files, and whether a frozen entry does."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path
from typing import Annotated

import typer

from frostline._cli import answers
from frostline._cli.application import application
from frostline._cli.options import Json, Quiet, errors_to_stderr
from frostline._cli.pictures import Pictures
from frostline._console import meter
from frostline._files import open_file
from frostline._files.compare import compare


@application.command()
@errors_to_stderr
def diff(
    before: Annotated[Path, typer.Argument(metavar="BEFORE", help="A model file.")],
    after: Annotated[Path, typer.Argument(metavar="AFTER", help="Another file of the same model.")],
    frozen: Annotated[
        Path | None,
        typer.Option(
            metavar="MODEL",
            help="The .keras file that says what is frozen; by default BEFORE and AFTER.",
        ),
    ] = None,
    html: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Also write a page with a map of each weight."),
    ] = None,
    png: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Also draw the maps (needs matplotlib)."),
    ] = None,
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Compare two files, and say whether a frozen entry differs.

    Compares bits: signed zeros and the payloads of NaNs count. Needs no backend, and little
    memory however large the files are.

    Exit status: 0 if no frozen entry differs, 1 if one does, 2 if a file cannot be read or the
    files are of different architectures.
    """
    with ExitStack() as stack:
        one, other = (stack.enter_context(open_file(path)) for path in (before, after))
        freeze = None if frozen is None else stack.enter_context(open_file(frozen))
        total = 2 * sum(weight.size * weight.dtype.itemsize for weight in other.weights)
        pictures = Pictures(one, other, html, png)
        with meter("comparing", total, quiet=quiet) as advance:
            # Pictures need the weights one by one and in order, so in one thread.
            watch = None if html is png is None else pictures.watch
            compared = compare(one, other, freeze, advance, watch)
        written = pictures.write(compared)
    answers.compared(compared, before, after, written, as_json=json, quiet=quiet)
    raise typer.Exit(1 if compared.first is not None else 0)
