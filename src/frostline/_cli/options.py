"""The options that several commands share, and how a command reports an error."""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer

from frostline._cli.ahead import started
from frostline._errors import FrostlineError
from frostline._files.hdf5 import Child

Child.ahead = started

Model = Annotated[
    Path, typer.Argument(metavar="MODEL", help="A .keras, .weights.h5 or .safetensors file.")
]
Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]
Quiet = Annotated[
    bool, typer.Option("--quiet", "-q", help="Print less: no table, no progress bar.")
]
Force = Annotated[bool, typer.Option("--force", help="Replace OUT if it exists.")]


def errors_to_stderr(command: Callable[..., None]) -> Callable[..., None]:
    """Print an error of the library as one line on the standard error; exit with status 2."""

    @functools.wraps(command)
    def run(*args: Any, **kwargs: Any) -> None:
        try:
            command(*args, **kwargs)
        except FrostlineError as error:
            print(f"frostline: {error}", file=sys.stderr)
            raise typer.Exit(2) from None

    return run
