"""The `frostline` command: its name and its options. Each subcommand adds itself."""

from __future__ import annotations

from typing import Annotated

import typer

from frostline._version import __version__

application = typer.Typer(
    name="frostline",
    help="Freeze any part of a Keras weight, and inspect, compare and edit model files.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)


def _show_version(asked: bool) -> None:
    if asked:
        typer.echo(f"frostline {__version__}")
        raise typer.Exit()


@application.callback()
def options(
    version: Annotated[
        bool,
        typer.Option("--version", callback=_show_version, is_eager=True, help="Print the version."),
    ] = False,
) -> None:
    """Does nothing: `--version` is handled before."""
    del version
