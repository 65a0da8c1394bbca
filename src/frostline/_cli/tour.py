"""`frostline demo`: a short demonstration on real data."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from frostline._backends.choose import restart_with
from frostline._cli.application import application
from frostline._cli.options import errors_to_stderr

Picture = Annotated[
    Path, typer.Option(help="The .png file to write, or to replace.", dir_okay=False)
]


@application.command()
@errors_to_stderr
def demo(
    out: Picture = Path("frostline-demo.png"),
    epochs: Annotated[int, typer.Option(help="Epochs on the new digits.", min=1)] = 40,
) -> None:
    """Teach a network new digits while its old weights stay frozen.

    Compares the result with plain fine-tuning, as a table and a picture. Runs on JAX unless
    the environment names another backend of Keras. Needs the extra `demo`.
    """
    if not out.parent.is_dir():
        raise typer.BadParameter(f"no such folder: {out.parent}", param_hint="--out")
    if out.suffix.lower() != ".png":
        raise typer.BadParameter(f"not the name of a .png file: {out}", param_hint="--out")
    restart_with("jax")
    from frostline._cli.demo import run  # late: Keras, after its backend is chosen, and an extra

    run(out, epochs)
