"""`frostline demo`: a tour on real data."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from frostline._backends.choose import restart_with
from frostline._cli.application import application

Picture = Annotated[Path, typer.Option(help="Where the picture goes, a PNG.", dir_okay=False)]


@application.command()
def demo(
    out: Picture = Path("frostline-demo.png"),
    epochs: Annotated[int, typer.Option(help="Passes over the new digits.", min=1)] = 40,
) -> None:
    """Teach a network new digits around its frozen old weights.

    Shows it beside plain fine-tuning. Runs on JAX unless the environment names another backend
    of Keras.
    """
    if not out.parent.is_dir():
        raise typer.BadParameter(f"no such folder: {out.parent}", param_hint="--out")
    restart_with("jax")
    from frostline._cli.demo import run  # late: Keras, whose backend is named now, and an extra

    run(out, epochs)
