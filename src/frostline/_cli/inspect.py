"""`frostline inspect`: list the weights of a file, and what is frozen of each."""

from __future__ import annotations

from frostline._cli import answers
from frostline._cli.application import application
from frostline._cli.options import Json, Model, Quiet, errors_to_stderr
from frostline._files import open_file


@application.command()
@errors_to_stderr
def inspect(model: Model, json: Json = False, quiet: Quiet = False) -> None:
    """List the weights of a model file, and what is frozen of each.

    Reads no weight and needs no backend. Only .keras files hold a freeze.

    Exit status: 0, or 2 if the file cannot be read.
    """
    with open_file(model) as opened:
        answers.inspected(opened, as_json=json, quiet=quiet)
