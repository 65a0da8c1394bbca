"""`frostline verify`: whether a file is intact."""

from __future__ import annotations

import typer

from frostline._cli import answers
from frostline._cli.application import application
from frostline._cli.options import Json, Model, Quiet, errors_to_stderr
from frostline._console import meter
from frostline._deltas import read
from frostline._errors import FileError
from frostline._files.check import check
from frostline._files.open import FORMATS


@application.command()
@errors_to_stderr
def verify(model: Model, json: Json = False, quiet: Quiet = False) -> None:
    """Check that a model file is intact.

    Checks that all of it can be read, that its config is valid, and that its freeze fits its
    weights.

    Exit status: 0 if it is intact, 1 if something is wrong with it, 2 if there is no such file.
    """
    if not model.exists():
        raise FileError(f"{model}: no such file; got nothing to verify. Check its name.")
    if not model.is_file():
        raise FileError(f"{model}: not a file; got a folder or a device. Pass a {FORMATS} file.")
    with meter("reading", model.stat().st_size, quiet=quiet) as advance:
        verification = check(model, read, advance)
    answers.verified(verification, model, as_json=json, quiet=quiet)
    raise typer.Exit(1 if verification.faults else 0)
