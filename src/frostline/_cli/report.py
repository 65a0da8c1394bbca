"""`frostline report`: a page about a model file, alone or compared with an earlier one."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path
from typing import Annotated

import typer

from frostline._cli import answers
from frostline._cli.application import application
from frostline._cli.options import Model, Quiet, errors_to_stderr
from frostline._cli.pictures import Pictures, write_frozen
from frostline._console import meter, show
from frostline._errors import ReportError
from frostline._files import open_file
from frostline._files.compare import compare
from frostline._writing import check_target


@application.command()
@errors_to_stderr
def report(
    model: Model,
    before: Annotated[
        Path | None,
        typer.Option(metavar="OLD", help="A file of the same model before training."),
    ] = None,
    frozen: Annotated[
        Path | None,
        typer.Option(
            metavar="MODEL",
            help="The .keras file that says what is frozen; by default MODEL and OLD.",
        ),
    ] = None,
    out: Annotated[
        Path, typer.Option("--out", "-o", help="The .html file to write, or to replace.")
    ] = Path("report.html"),
    quiet: Quiet = False,
) -> None:
    """Write an HTML page about a model file.

    The page shows what is frozen of each weight and, with --before, which entries moved and
    whether a frozen one did. Needs no backend, and little memory however large the files are.

    Exit status: 0 if the page is written and no frozen entry moved, 1 if it is written and one did,
    2 on any error; then nothing is written.
    """
    check_target(out, ".html", ".htm", refusal=ReportError, read=(model, before, frozen))
    with ExitStack() as stack:
        opened, old, freeze = (
            None if path is None else stack.enter_context(open_file(path))
            for path in (model, before, frozen)
        )
        assert opened is not None
        if old is None or before is None:
            show(write_frozen(opened, freeze, out, quiet=quiet))
            compared = None
        else:
            pictures = Pictures(old, opened, html=out, png=None)
            total = 2 * sum(weight.size * weight.dtype.itemsize for weight in opened.weights)
            with meter("comparing", total, quiet=quiet) as advance:
                compared = compare(old, opened, freeze, advance, pictures.watch)
            pictures.write(compared)
            answers.compared(compared, before, model, as_json=False, quiet=True)
    if not quiet:
        show(f"written to {out}")
    raise typer.Exit(1 if compared is not None and compared.first is not None else 0)
