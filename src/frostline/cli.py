"""The `frostline` command."""

import importlib
import io
import sys
from typing import Any

# Top-level modules that come with an extra: their packages, and the extra.
EXTRAS = {
    "matplotlib": ("matplotlib", "demo"),
    "sklearn": ("scikit-learn", "demo"),
    "threadpoolctl": ("threadpoolctl", "demo"),  # scikit-learn needs it
    "typer": ("typer", "cli"),
}


def main() -> None:
    """Run the command line; a missing extra is one line on the standard error."""
    for stream in (sys.stdout, sys.stderr):
        # A layer's name may hold what the terminal has no sign for.
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    try:
        app()()
    except ModuleNotFoundError as error:
        module = (error.name or "").partition(".")[0]
        if module not in EXTRAS:
            raise
        package, extra = EXTRAS[module]
        sys.exit(
            f"frostline: this command needs {package}, which is not installed. "
            f'Run: pip install "frostline[{extra}]"'
        )


def app() -> Any:
    """The commands, as a typer application."""
    # Typer is an extra: the library works without it, and this module imports without it.
    importlib.import_module("typer")
    return importlib.import_module("frostline._cli.commands").application
