"""The `frostline` command."""

import importlib
import sys
from pathlib import Path
from typing import Annotated, Any

from frostline import __version__
from frostline._backends import restart_with

# Top-level modules of what the extra `demo` brings, and their packages.
EXTRAS = {
    "matplotlib": "matplotlib",
    "sklearn": "scikit-learn",
    "threadpoolctl": "threadpoolctl",  # scikit-learn needs it
    "typer": "typer",
}


def main() -> None:
    """Run the command line; a missing extra is one line on the standard error."""
    try:
        app()()
    except ModuleNotFoundError as error:
        package = EXTRAS.get((error.name or "").partition(".")[0])
        if package is None:
            raise
        sys.exit(
            f"frostline: this command needs {package}, which is not installed. "
            'Run: pip install "frostline[demo]"'
        )


def app() -> Any:
    """The commands, as a typer application."""
    # Typer is an extra: the library works without it, and this module imports without it.
    import typer

    application = typer.Typer(
        name="frostline",
        help="Freeze any part of a Keras weight, in place and exactly.",
        no_args_is_help=True,
        add_completion=False,
        pretty_exceptions_enable=False,
    )

    def show_version(asked: bool) -> None:
        if asked:
            typer.echo(f"frostline {__version__}")
            raise typer.Exit()

    @application.callback()
    def options(
        version: Annotated[
            bool,
            typer.Option(
                "--version", callback=show_version, is_eager=True, help="Print the version."
            ),
        ] = False,
    ) -> None:
        pass

    @application.command()
    def demo(
        out: Annotated[
            Path, typer.Option(help="Where the picture goes, a PNG.", dir_okay=False)
        ] = Path("frostline-demo.png"),
        epochs: Annotated[int, typer.Option(help="Passes over the new digits.", min=1)] = 40,
    ) -> None:
        """Teach a network new digits around its frozen old weights, beside plain fine-tuning.

        Runs on JAX unless the environment names another backend of Keras.
        """
        if not out.parent.is_dir():
            raise typer.BadParameter(f"no such folder: {out.parent}", param_hint="--out")
        restart_with("jax")
        # Late, and by name: scikit-learn and matplotlib are in the same extra.
        importlib.import_module("frostline.demo").run(out, epochs)

    return application
